//! bpf-linker: the one build tool that is not packaged, built once for each version.
//!
//! It must be built with the same LLVM as the compiler that feeds it. A copy in the user's cache
//! saves the next clone the minute that this takes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::packages;
use crate::run::say;
use crate::workspace::Workspace;

/// The version that was tried with LLVM 22 and Debian's compiler.
const VERSION: &str = "0.13.0";
const LLVM: &str = "/usr/lib/llvm-22";

/// Returns the path of a working bpf-linker, building it if need be.
pub(crate) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    let linker = path(workspace);
    if linker.is_file() {
        return Ok(linker);
    }
    let kept = workspace.cache.join(format!("tools/bpf-linker-{VERSION}"));
    if !kept.is_file() {
        if !Path::new(LLVM).is_dir() {
            return packages::find("bpf-linker")
                .with_context(|| format!("there is no LLVM in {LLVM} and no bpf-linker on PATH"));
        }
        build(workspace)?;
        return keep(&linker, &kept).map(|()| linker);
    }
    keep(&kept, &linker)?;
    Ok(linker)
}

/// One that was built into the checkout carries its version in its directory's name.
fn path(workspace: &Workspace) -> PathBuf {
    root(workspace).join("bin/bpf-linker")
}

fn root(workspace: &Workspace) -> PathBuf {
    workspace.tools().join(format!("bpf-linker-{VERSION}"))
}

fn build(workspace: &Workspace) -> Result<()> {
    say(format_args!("building bpf-linker {VERSION}: about a minute, once"));
    workspace
        .cargo()
        .args(["install", "bpf-linker", "--quiet", "--locked", "--version", VERSION])
        .args(["--no-default-features", "--features", "llvm-22", "--no-track", "--root"])
        .arg(root(workspace))
        .env("LLVM_SYS_221_PREFIX", LLVM)
        .env("LLVM_PREFIX", LLVM)
        .unset("CARGO_TARGET_DIR")
        .run()?;
    if !path(workspace).is_file() {
        bail!("cargo install left no bpf-linker in {}", root(workspace).display());
    }
    Ok(())
}

/// Copies under another name first: a half-written program must never be found.
fn keep(from: &Path, to: &Path) -> Result<()> {
    let dir = to.parent().context("a path without a directory")?;
    let copy = || -> Result<()> {
        fs::create_dir_all(dir)?;
        let half = dir.join(format!(".bpf-linker.{}", std::process::id()));
        fs::copy(from, &half)?;
        Ok(fs::rename(&half, to)?)
    };
    copy().with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}
