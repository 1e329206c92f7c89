//! `merge-ctl finish ORIGIN`: complete a merge that nobody finishes.

use std::process::ExitCode;

use anyhow::Context;
use merge_ctl::dm::{Control, Host, SnapshotStatus, resolve};
use merge_ctl::lvm::lvm2::Lvm;
use merge_ctl::merge::live::LiveExecutor;
use merge_ctl::merge::memory::LockedMemory;
use merge_ctl::merge::preflight;
use merge_ctl::sample::Owner;

use crate::cli::Finish;
use crate::exit::Exit;

/// Finishes the merge, or says why not.
pub(crate) fn run(options: &Finish) -> anyhow::Result<ExitCode> {
    let control = Control::open()?;
    let host = Host::read(&control)?;
    let origin = resolve::resolve(&host, &options.origin)?;
    let label = origin.label();
    if let Some(SnapshotStatus::Usage(usage)) = &origin.status
        && origin.merge().is_some()
        && !usage.is_empty()
    {
        eprintln!(
            "merge-ctl: the merge into {label} is not done.\nWatch it: merge-ctl monitor {label}"
        );
        return Ok(Exit::StillMerging.into());
    }
    if matches!(origin.status, Some(SnapshotStatus::MergeFailed | SnapshotStatus::Invalid)) {
        let refusal = preflight::finish(&host, origin).map(drop).unwrap_err();
        eprintln!("merge-ctl: {refusal}");
        return Ok(Exit::Failed.into());
    }
    let finish = preflight::finish(&host, origin)?;
    match (origin.owner(), origin.volume()) {
        (Owner::Lvm, Some(volume)) => {
            Lvm::find()?.poll(&volume.vg, &volume.lv)?;
            println!("lvm2 was asked to finish the merge into {label}.");
        }
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
