//! `cargo xtask bench`: what is measured rather than tested. A figure that misses its aim is said,
//! and is no failure: the machine has its part in it.

mod device;
mod estimate;
mod fio;
mod machine;
mod offline_vm;
mod overhead;
mod ratios;
mod store;
mod throttle;
mod tracer;

use anyhow::Result;
use clap::Subcommand;

use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// What merge-ctl's tracer costs the application, on this host: root only
    Overhead(overhead::Args),
    /// How fast exception stores are read: from the page cache on this host, and from a slow device
    /// in a VM
    Store(store::Args),
    /// How right the predicted time of a merge is, on slow devices in a VM
    Estimate(estimate::Args),
    /// How long the kernel and merge-ctl's own engine take to merge the same snapshots, on slow devices in a VM
    OfflineVm(offline_vm::Args),
    /// What a throttle does for an application's writes beside a merge, and what it costs the merge,
    /// on a shared disk in a VM
    Throttle(throttle::Args),
}

/// Measures, and prints the result as Markdown.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    match &args.bench {
        Bench::Overhead(args) => overhead::run(workspace, args),
        Bench::Store(args) => store::run(workspace, args),
        Bench::Estimate(args) => estimate::run(workspace, args),
        Bench::OfflineVm(args) => offline_vm::run(workspace, args),
        Bench::Throttle(args) => throttle::run(workspace, args),
    }
}
