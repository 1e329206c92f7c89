//! `merge-ctl finish ORIGIN`: complete a merge that nobody finishes.

use std::process::ExitCode;

use anyhow::Context;
use merge_ctl::dm::{Control, Device, Host, resolve};
use merge_ctl::merge::finish::Finish;
use merge_ctl::merge::journal::{Driver, Journal, Phase};
use merge_ctl::sample::Owner;

use super::finish_lvm;
use super::raw::Raw;
use super::terminal;
use crate::cli;
use crate::exit::Exit;

/// Finishes the merge, or says why not.
pub(crate) fn run(options: &cli::Finish) -> anyhow::Result<ExitCode> {
    let control = Control::open()?;
    let host = Host::read(&control)?;
    let origin = resolve::resolve(&host, &options.origin)?;
    let label = origin.label();
    match (origin.owner(), origin.volume()) {
        (Owner::Lvm, Some(volume)) => {
            Finish::of(&host, origin)?;
            return Ok(finish_lvm::run(&control, &volume)?.into());
        }
        (Owner::Lvm, None) => anyhow::bail!(
            "{label} belongs to LVM, and its name cannot be read as a volume: finish it with \
             `lvchange --poll y`"
        ),
        (Owner::DeviceMapper, _) => {
            ours(&control, origin)?.finish(&control)?;
            terminal::print(&format!("{label} is a plain device again."))?;
        }
    }
    Ok(Exit::Done.into())
}

/// The merge, in our hands if it may be finished. With a journal that holds also for what was
/// interrupted half-way: without one, a suspended device is somebody else's.
fn ours(control: &Control, origin: &Device) -> anyhow::Result<Raw> {
    let name = &origin.info.name;
    // Refused before anything is waited for: most often because it still merges.
    may_be_finished(&Host::read(control)?, name)?;
    let driver = Driver::take_patiently(name)?;
    // Looked at anew: whoever drove until now may have finished it.
    let host = Host::read(control)?;
    may_be_finished(&host, name)?;
    Raw::adopt(driver, &host, name)
}

fn may_be_finished(host: &Host, name: &str) -> anyhow::Result<()> {
    let origin = host.by_name(name).with_context(|| format!("{name} is gone"))?;
    let journal = Journal::of(name)?;
    let interrupted = journal.is_some_and(|journal| {
        matches!(journal.record().phase, Phase::Finishing { .. })
            && (origin.info.suspended || origin.info.inactive_table || origin.merge().is_none())
    });
    if !interrupted {
        Finish::of(host, origin)?;
    }
    Ok(())
}
