//! The eBPF programs, built into one object that merge-ctl carries inside.
//!
//! Debian's `rustc-web` brings a compiled `core` for the BPF target, so the usual way (a nightly
//! toolchain that builds `core` from source) is not needed there. Elsewhere that way is taken:
//! `cargo +nightly -Z build-std=core` with rust-src and a bpf-linker on PATH. It is the usual way
//! of projects that use Aya, but the tests here run the first one only.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::run::Command;
use crate::workspace::Workspace;
use crate::{linker, packages, remap};

const TARGET: &str = "bpfel-unknown-none";

/// Builds the object, and puts it where merge-ctl's build script looks for it.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let mut cargo = match debian_rustc() {
        Some(rustc) => with_debian(workspace, &rustc),
        None => with_nightly(workspace),
    };
    let linker = linker::ensure(workspace)?;
    cargo
        .args(["build", "--package", "merge-ebpf", "--release", "--target", TARGET])
        .env("RUSTFLAGS", flags(workspace))
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &linker);
    let target = profile(&mut cargo, workspace);
    cargo.cargo_build("building the eBPF programs").context("the eBPF programs do not build")?;
    install(&target.join(TARGET).join("release/merge-ebpf"), &workspace.ebpf_object())
}

/// Fails if the object holds code for a panic: the verifier refuses a program that can get there.
pub(crate) fn without_panics(workspace: &Workspace) -> Result<()> {
    let objdump = packages::file_of("llvm-22", "/bin/llvm-objdump")
        .or_else(|| packages::find("llvm-objdump").map(|path| path.display().to_string()))
        .context("llvm-objdump is needed to look for panics")?;
    let code = Command::new(objdump)
        .args(["--disassemble", "--reloc", "--demangle"])
        .arg(workspace.ebpf_object())
        .output()?;
    let panics: Vec<_> = code.lines().filter(|line| line.contains("panic")).collect();
    if !panics.is_empty() {
        bail!("the eBPF programs can panic:\n{}", panics.join("\n"));
    }
    Ok(())
}

/// Lints the eBPF programs for their own target, with the clippy that belongs to their compiler.
pub(crate) fn clippy(workspace: &Workspace) -> Result<()> {
    let (Some(rustc), Some(clippy)) =
        (debian_rustc(), packages::file_of("rust-web-clippy", "/bin/cargo-clippy"))
    else {
        let mut cargo = with_nightly(workspace);
        profile(&mut cargo, workspace);
        return cargo.args(["clippy", "--package", "merge-ebpf"]).args(lint_args()).run();
    };
    let mut cargo = Command::new(clippy);
    debian_env(cargo.dir(&workspace.root), &rustc);
    profile(&mut cargo, workspace);
    cargo.args(["clippy", "--package", "merge-ebpf"]).args(lint_args()).run()
}

fn lint_args() -> [&'static str; 7] {
    ["--quiet", "--release", "--target", TARGET, "--", "-D", "warnings"]
}

fn debian_rustc() -> Option<String> {
    packages::file_of("libstd-rust-web-dev-bpf", ".rlib")?;
    packages::file_of("rustc-web", "/bin/rustc")
}

fn with_debian(workspace: &Workspace, rustc: &str) -> Command {
    let mut cargo = workspace.cargo();
    debian_env(&mut cargo, rustc);
    cargo
}

fn debian_env(cargo: &mut Command, rustc: &str) {
    // A stable compiler, asked for what the BPF target needs of an unstable one.
    cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
}

fn with_nightly(workspace: &Workspace) -> Command {
    // The path of the cargo that runs us is one toolchain's; rustup's own picks by `+nightly`.
    let mut cargo = Command::new("cargo");
    cargo.dir(&workspace.root).unset("RUSTC").unset("RUSTUP_TOOLCHAIN").unset("RUSTDOC");
    cargo.args(["+nightly", "-Z", "build-std=core"]);
    cargo
}

/// Whole debug information, which becomes BTF, and a target directory of its own: the two
/// compilers would throw away each other's work.
fn profile(cargo: &mut Command, workspace: &Workspace) -> PathBuf {
    let target = workspace.target.join("ebpf-build");
    cargo
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_PROFILE_RELEASE_DEBUG", "2")
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .unset("RUSTC_WRAPPER")
        .unset("RUSTC_WORKSPACE_WRAPPER")
        .unset("CARGO_ENCODED_RUSTFLAGS");
    target
}

fn flags(workspace: &Workspace) -> String {
    let remapped = remap::flags(workspace).join(" ");
    format!("-C link-arg=--btf -C debuginfo=2 --cfg bpf_target_arch=\"x86_64\" {remapped}")
}

/// Replaces the object only if it changed: merge-ctl is rebuilt when its time does.
fn install(built: &Path, object: &Path) -> Result<()> {
    let new = fs::read(built).with_context(|| format!("{} was not built", built.display()))?;
    if fs::read(object).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let dir = object.parent().context("a path without a directory")?;
    fs::create_dir_all(dir)?;
    fs::write(object, new).with_context(|| format!("cannot write {}", object.display()))
}
