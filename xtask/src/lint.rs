//! `cargo xtask lint`: format, clippy for both sides, and the links in the documentation.

use anyhow::{Context as _, Result};

use crate::ebpf;
use crate::run::say;
use crate::workspace::Workspace;

/// Checks everything that needs no test run.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    // merge-ctl carries the object inside, so even to look at it the object must be there.
    ebpf::build(workspace)?;
    ebpf::without_panics(workspace)?;
    say("format");
    workspace.cargo().args(["fmt", "--all", "--check"]).run().context("type `cargo fmt --all`")?;
    say("lints of the user side");
    workspace
        .cargo()
        .args(["clippy", "--quiet", "--workspace", "--exclude", "merge-ebpf", "--all-targets"])
        .args(["--", "-D", "warnings"])
        .run()?;
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
