//! What the offline merge engine is worth: beside the kernel's merge in a VM, and beside fio on this host.

use anyhow::Result;

use super::{offline_host, offline_vm};
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many rounds of each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    offline_vm::run(workspace, &offline_vm::Args::of_rounds(args.rounds))?;
    println!();
    offline_host::run(workspace, &offline_host::Args::of_rounds(args.rounds))
}
