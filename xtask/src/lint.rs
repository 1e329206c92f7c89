//! `cargo xtask lint`: format, clippy for both sides, and the links in the documentation.

use anyhow::{Context as _, Result};

use crate::run::{Command, say};
use crate::workspace::Workspace;
use crate::{boot, ebpf, fuzz, package, packages};

/// Checks everything that needs no test run.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    // merge-ctl carries the object inside, so even to look at it the object must be there.
    ebpf::build(workspace)?;
    ebpf::without_panics(workspace)?;
    say("format");
    workspace.cargo().args(["fmt", "--all", "--check"]).run().context("type `cargo fmt --all`")?;
    let fuzz = fuzz::directory(workspace).join("Cargo.toml");
    workspace
        .cargo()
        .args(["fmt", "--check", "--manifest-path"])
        .arg(&fuzz)
        .run()
        .context("type `cargo fmt --manifest-path merge-ctl/fuzz/Cargo.toml`")?;
    say("lints of the user side");
    workspace
        .cargo()
        .args(["clippy", "--quiet", "--workspace", "--exclude", "merge-ebpf", "--all-targets"])
        .args(["--", "-D", "warnings"])
        .run()?;
    say("lints of the fuzz targets");
    workspace
        .cargo()
        .args(["clippy", "--quiet", "--locked", "--manifest-path"])
        .arg(&fuzz)
        .args(["--", "-D", "warnings"])
        // Nothing is linked: libFuzzer need not be built for it.
        .env("CUSTOM_LIBFUZZER_PATH", "/nonexistent/libfuzzer.a")
        .env("CARGO_TARGET_DIR", workspace.target.join("fuzz"))
        .run()?;
    boot_scripts(workspace)?;
    say("lints of the eBPF programs");
    ebpf::clippy(workspace)?;
    say("documentation");
    workspace
        .cargo()
        .args(["doc", "--quiet", "--workspace", "--exclude", "merge-ebpf", "--no-deps"])
        .arg("--document-private-items")
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}

/// The hook files of `merge-ctl/boot`, and what packages run. Where there is no shellcheck, their tests must do.
fn boot_scripts(workspace: &Workspace) -> Result<()> {
    if packages::find("shellcheck").is_none() {
        return Ok(());
    }
    say("lints of the scripts of boot and packages");
    let mut shellcheck = Command::new("shellcheck");
    // What is sourced is not here.
    shellcheck.args(["--exclude", "SC1091"]).dir(&workspace.root.join("merge-ctl/boot"));
    shellcheck.args(boot::scripts()).run()?;
    let mut shellcheck = Command::new("shellcheck");
    shellcheck.dir(&workspace.root).args(package::SCRIPTS).run()
}
