//! `merge-ctl finish ORIGIN`: complete a merge that nobody finishes.

use std::process::ExitCode;

use anyhow::Context;
use merge_ctl::dm::{Control, Host, resolve};
use merge_ctl::merge::finish::Finish;
use merge_ctl::merge::live::LiveExecutor;
use merge_ctl::merge::memory::LockedMemory;
use merge_ctl::sample::Owner;

use super::finish_lvm;
use crate::cli;
use crate::exit::Exit;

/// Finishes the merge, or says why not.
pub(crate) fn run(options: &cli::Finish) -> anyhow::Result<ExitCode> {
    let control = Control::open()?;
    let host = Host::read(&control)?;
    let origin = resolve::resolve(&host, &options.origin)?;
    let label = origin.label();
    let finish = Finish::of(&host, origin)?;
    match (origin.owner(), origin.volume()) {
        (Owner::Lvm, Some(volume)) => return Ok(finish_lvm::run(&control, &volume)?.into()),
        (Owner::Lvm, None) => anyhow::bail!(
            "{label} belongs to LVM, and its name cannot be read as a volume: finish it with \
             `lvchange --poll y`"
        ),
        (Owner::DeviceMapper, _) => {
            let _locked = LockedMemory::lock().context("cannot lock memory")?;
            finish.carry_out(&mut LiveExecutor::new(&control, [origin]))?;
            println!("{label} is a plain device again.");
        }
    }
    Ok(Exit::Done.into())
}
