//! merge-ctl, its VM tests and its demo, static, as they go into the VMs, and examples for this host.
//!
//! What goes into the VMs has a target directory of its own, because other flags would make cargo
//! rebuild the contributor's every time.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::ebpf;
use crate::run::Command;
use crate::workspace::Workspace;

/// What is built for: static, so that it runs on any distribution, and in an initramfs.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds merge-ctl with the eBPF programs inside; returns its path.
pub(crate) fn merge_ctl(workspace: &Workspace) -> Result<PathBuf> {
    ebpf::build(workspace)?;
    let mut cargo = static_cargo(workspace, "build");
    cargo.args(["--package", "merge-ctl", "--bin", "merge-ctl"]);
    cargo
        .cargo_build("building merge-ctl, static, for the VMs")
        .context("merge-ctl does not build")?;
    Ok(target_dir(workspace).join(TARGET).join("release/merge-ctl"))
}

/// Builds what `cargo xtask demo` runs inside its VM; returns its path.
pub(crate) fn demo(workspace: &Workspace) -> Result<PathBuf> {
    vm_example(workspace, "demo")
}

/// Builds an example program of merge-ctl, static, for the VMs; returns its path.
pub(crate) fn vm_example(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    ebpf::build(workspace)?;
    let mut cargo = static_cargo(workspace, "build");
    cargo.args(["--package", "merge-ctl", "--example", name]);
    cargo
        .cargo_build(&format!("building merge-ctl's example {name}, static, for the VMs"))
        .with_context(|| format!("the example {name} does not build"))?;
    Ok(target_dir(workspace).join(TARGET).join("release/examples").join(name))
}

/// Builds the tests that run inside a VM; returns their program's path.
pub(crate) fn vm_tests(workspace: &Workspace) -> Result<PathBuf> {
    ebpf::build(workspace)?;
    let mut cargo = static_cargo(workspace, "test");
    cargo.args(["--no-run", "--package", "merge-ctl", "--test", "vm"]);
    let messages = cargo
        .arg("--message-format=json-render-diagnostics")
        .cargo_build("building the tests for the VMs")
        .context("the VM tests do not build")?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "vm")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo built no test program named vm")
}

/// Builds an example program of merge-ctl for this host; returns its path.
pub(crate) fn example(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    ebpf::build(workspace)?;
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--package", "merge-ctl", "--example", name]);
    cargo
        .cargo_build(&format!("building merge-ctl's example {name}"))
        .with_context(|| format!("the example {name} does not build"))?;
    Ok(workspace.target.join("release/examples").join(name))
}

fn static_cargo(workspace: &Workspace, subcommand: &str) -> Command {
    let mut cargo = workspace.cargo();
    cargo
        .args([subcommand, "--release", "--target", TARGET])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_TARGET_DIR", target_dir(workspace));
    cargo
}

fn target_dir(workspace: &Workspace) -> PathBuf {
    workspace.target.join("vm-build")
}
