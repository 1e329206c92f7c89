//! `cargo xtask demo`: a real merge in a disposable VM, in front of you.
//!
//! What happens in the VM is in `merge-ctl/examples/demo.rs`; its exit status is ours, and is 0
//! only if every byte was proved right.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Result;

use crate::kernels::{self, ByHand, Choice};
use crate::run::say;
use crate::vm::{self, Vm};
use crate::workspace::Workspace;
use crate::{build, setup};

/// On a slow machine the half a minute becomes several; what takes longer hangs.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Plain lines instead of the dashboard; always so where this is no terminal
    #[arg(long)]
    headless: bool,
    /// 5.10, 6.1, 6.12, sid or experimental
    #[arg(long, value_name = "NAME", default_value = kernels::DEFAULT_VM, conflicts_with = "kernel_image")]
    kernel: String,
    #[command(flatten)]
    by_hand: ByHand,
}

/// Sets up, builds, boots and runs; returns the demo's exit status.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<u8> {
    let choice = match args.by_hand.choice() {
        Some(choice) => choice,
        None => Choice::Named(kernels::parse(&args.kernel)?),
    };
    setup::tools(workspace)?;
    let kernel = kernels::ensure(workspace, &choice, false)?;
    let mut vm = Vm::new(kernel);
    vm.copies = vec![build::merge_ctl(workspace)?, build::demo(workspace)?];
    vm.interactive = !args.headless && vm::on_terminal();
    vm.timeout = Some(TIMEOUT);
    say(format_args!("a merge on kernel {} ({})", vm.kernel.name, vm.kernel.version));
    let mut command: Vec<OsString> = vec!["demo".into()];
    if !vm.interactive {
        command.extend(["--output".into(), "plain".into()]);
    }
    vm.run(workspace, &command)
}
