//! The binary that is published: static, without the builder's paths, and without symbols.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::build::TARGET;
use crate::workspace::Workspace;
use crate::{ebpf, remap};

/// Builds it; returns its path.
pub(super) fn build(workspace: &Workspace) -> Result<PathBuf> {
    ebpf::build(workspace)?;
    let flags = format!("-C target-feature=+crt-static {}", remap::flags(workspace).join(" "));
    let mut cargo = workspace.cargo();
    cargo
        .args(["build", "--release", "--locked", "--target", TARGET])
        .args(["--package", "merge-ctl", "--bin", "merge-ctl"])
        .env("RUSTFLAGS", flags)
        .env("CARGO_TARGET_DIR", target_dir(workspace))
        // Its messages name what fails; nobody debugs it by a core file without its symbols anyway.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "none")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    cargo.cargo_build("building merge-ctl as it is published").context("it does not build")?;
    let binary = release_dir(workspace).join("merge-ctl");
    without_our_paths(workspace, &binary)?;
    Ok(binary)
}

/// The cargo tools that make packages are told of it too.
pub(super) fn target_dir(workspace: &Workspace) -> PathBuf {
    workspace.target.join("dist-build")
}

/// Where the binary is.
pub(super) fn release_dir(workspace: &Workspace) -> PathBuf {
    target_dir(workspace).join(TARGET).join("release")
}

/// Whoever builds it is nobody's business, and would make each build another one.
fn without_our_paths(workspace: &Workspace, binary: &Path) -> Result<()> {
    let bytes = fs::read(binary)?;
    let homes = [Some(workspace.root.clone()), remap::cargo_home()];
    for path in homes.into_iter().flatten() {
        let path = path.display().to_string();
        if path.len() > 1 && bytes.windows(path.len()).any(|part| part == path.as_bytes()) {
            bail!("{} contains {path}, a path of this machine", binary.display());
        }
    }
    Ok(())
}
