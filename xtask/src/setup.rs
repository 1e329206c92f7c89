//! `cargo xtask setup`: everything the other tasks need, and only what is missing.
//!
//! When all is there it takes well under a second and needs no network, so each task calls it
//! first.

use anyhow::{Result, bail};

use crate::kernels::{self, Choice};
use crate::run::Command;
use crate::workspace::Workspace;
use crate::{fuzz, linker, packages};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Look for newer kernels than those kept
    #[arg(long)]
    refresh: bool,
    /// Kernels to get, as in `test --kernels`
    #[arg(long, default_value = kernels::DEFAULT, value_name = "NAMES")]
    kernels: String,
}

/// Gets everything, cargo-fuzz and kernels too.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    tools(workspace)?;
    fuzz::ready(workspace)?;
    for choice in kernels::parse_list(&args.kernels)? {
        let kernel = kernels::ensure(workspace, &Choice::Named(choice), args.refresh)?;
        println!("kernel {}: {}", kernel.name, kernel.version);
    }
    println!("everything is there");
    Ok(())
}

/// Gets packages, the BPF linker and the toolchain's components: no kernel, and not cargo-fuzz.
pub(crate) fn tools(workspace: &Workspace) -> Result<()> {
    packages::ensure()?;
    components(workspace)?;
    linker::ensure(workspace).map(drop)
}

/// What rustup installs is the user's choice: say the command rather than run it.
fn components(workspace: &Workspace) -> Result<()> {
    let there = |tool: &str| workspace.cargo().args([tool, "--version"]).quietly().is_ok();
    let missing: Vec<_> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(tool, _)| !there(tool))
        .map(|(_, component)| component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if Command::new("rustup").arg("--version").quietly().is_err() {
        bail!("cargo lacks {}: install it as you installed cargo", missing.join(" and "));
    }
    bail!("the toolchain lacks components. Type:\n    rustup component add {}", missing.join(" "));
}
