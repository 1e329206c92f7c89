//! Goes on with a merge that has failed, on the safe path, once somebody has agreed to it.
//!
//! Of an origin of LVM lvm2 takes the path: it deactivates the volume and activates it again, and its
//! own metadata says that the merge goes on. Of any other the device is removed and made anew by our
//! own steps, with a journal that says how, from before the first of them.

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::terminal;
use anyhow::Context;
use merge_ctl::dm::holders::{self, Holders};
use merge_ctl::dm::{
    Control, Device, DeviceRef, DiskIdentity, Host, SnapshotArgs, Table, Target, kernel_log, nodes,
};
use merge_ctl::harmless::{argument, printable};
use merge_ctl::lvm::lvm2::Lvm;
use merge_ctl::lvm::names::VolumeName;
use merge_ctl::merge::failed::answers::{self, Lower};
use merge_ctl::merge::failed::{self, SafePath};
use merge_ctl::merge::journal::below::Below;
use merge_ctl::merge::journal::{Journal, Phase, Record, StoreMark, boot_id};
use merge_ctl::merge::live::LiveExecutor;
use merge_ctl::merge::preflight::{Obstacle, Refusal};
use merge_ctl::sample::Owner;
use merge_ctl::store::FileSource;
use merge_ctl::units::{DeviceNumber, Sectors};

/// How often a device that is in use is looked at again: udev and lvm2 open it for a moment.
const SCAN_TRIES: u32 = 8;
/// Between two such looks.
const SCAN_PAUSE: Duration = Duration::from_millis(200);

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// The merge goes on.
    GoesOn,
    /// Whoever was asked said no; nothing was changed.
    Declined,
}

/// Goes on with the failed merge into `origin`, of LVM's or of somebody's who keeps no journal.
/// Whoever calls this drives the merge ([`merge_ctl::merge::journal::Driver`]).
///
/// # Errors
/// [`Refusal`], with nothing changed; [`failed::Stopped`] in the middle of it, with what is there;
/// what lvm2 says.
pub(crate) fn without_journal(
    control: &Control,
    origin: &str,
    yes: bool,
) -> anyhow::Result<Recovery> {
    if !may_go_on(control, origin, yes)? {
        return Ok(Recovery::Declined);
    }
    let host = settled(control, origin)?;
    let device = host.by_name(origin).with_context(|| format!("{origin} is gone"))?;
    match (device.owner(), device.volume()) {
        (Owner::Lvm, Some(volume)) => by_lvm(&volume)?,
        (Owner::Lvm, None) => anyhow::bail!(
            "{origin} belongs to LVM, and its name cannot be read as a volume: deactivate and \
             activate it with lvchange"
        ),
        (Owner::DeviceMapper, _) => {
            // Only while the device is not there: the merge is somebody else's.
            let mut journal = Journal::create(record(&host, device)?)?;
            take(control, &mut journal)?;
            journal.close()?;
        }
    }
    Ok(Recovery::GoesOn)
}

/// Activates an origin of LVM that was taken down and not brought back.
///
/// # Errors
/// What lvm2 says.
pub(crate) fn activate(volume: &VolumeName, yes: bool) -> anyhow::Result<Recovery> {
    let question = format!("{volume} is not active. Activate it, so that its merge goes on:");
    if !agreed(&question, yes)? {
        return Ok(Recovery::Declined);
    }
    Lvm::find()?.activate(&volume.vg, &volume.lv)?;
    Ok(Recovery::GoesOn)
}

/// The same for a merge with a journal, whose phase is `Failed` when this returns.
///
/// # Errors
/// As [`without_journal`].
pub(crate) fn with_journal(
    control: &Control,
    journal: &mut Journal,
    yes: bool,
) -> anyhow::Result<Recovery> {
    let origin = journal.record().origin.name.clone();
    if !may_go_on(control, &origin, yes)? {
        return Ok(Recovery::Declined);
    }
    take(control, journal)?;
    Ok(Recovery::GoesOn)
}

/// Whether nothing stands in the way, and whoever is asked agrees.
fn may_go_on(control: &Control, origin: &str, yes: bool) -> anyhow::Result<bool> {
    let host = settled(control, origin)?;
    let device = host.by_name(origin).with_context(|| format!("{origin} is gone"))?;
    failed::has_failed(device)?;
    failed::unused(device, &holders_of)?;
    answer(&host, device)?;
    agreed(&failed::question(device), yes)
}

/// Takes the steps that are left of the safe path, once the journal says so. Consent was given.
fn take(control: &Control, journal: &mut Journal) -> anyhow::Result<()> {
    let path = SafePath::of_record(journal.record());
    // Looked at anew: much may have changed while somebody thought about the answer.
    let host = settled(control, &path.origin.name)?;
    let steps = path.steps(&host, &holders_of)?;
    if !matches!(journal.record().phase, Phase::Failed { .. }) {
        journal.advance(Phase::Failed { why: why() })?;
    }
    let mut executor = LiveExecutor::new(control, host.by_name(&path.origin.name));
    path.carry_out(&steps, &mut executor)?;
    for note in executor.notes() {
        terminal::tell(&printable(note));
    }
    Ok(())
}

/// The host, once nobody has the origin open any more who only scans it.
fn settled(control: &Control, origin: &str) -> anyhow::Result<Host> {
    let mut host = Host::read(control)?;
    for _ in 1..SCAN_TRIES {
        if host.by_name(origin).is_none_or(|device| device.info.open_count == 0) {
            break;
        }
        thread::sleep(SCAN_PAUSE);
        host = Host::read(control)?;
    }
    Ok(host)
}

/// A holder that cannot be found is still in the kernel's count, which is what decides.
fn holders_of(dev: DeviceNumber) -> Holders {
    holders::holders_of(dev).unwrap_or_default()
}

/// Whether the devices below answer again.
fn answer(host: &Host, origin: &Device) -> anyhow::Result<()> {
    let args = args_of(origin)?;
    let (real, cow) = (lower(host, &args.real)?, lower(host, &args.cow)?);
    answers::try_both(real, cow, origin.size()).map_err(Refusal::from)?;
    Ok(())
}

fn args_of(origin: &Device) -> anyhow::Result<&SnapshotArgs> {
    origin.merge().with_context(|| format!("{} carries no merge any more", origin.label()))
}

fn lower(host: &Host, dev: &DeviceRef) -> anyhow::Result<Lower> {
    let dev = number(dev)?;
    if host.by_dev(dev).is_some_and(|device| device.info.suspended) {
        return Err(Refusal {
            obstacle: Obstacle::Unfit,
            reason: format!("{} is suspended: nothing below it answers.", host.label_of(dev)),
            way_out: "Whoever suspended it has to resume it. Do not resume the merging origin."
                .to_owned(),
        }
        .into());
    }
    let path = nodes::kernel_path(dev).with_context(|| format!("device {dev} has no node"))?;
    Ok(Lower { label: host.label_of(dev), path })
}

fn number(dev: &DeviceRef) -> anyhow::Result<DeviceNumber> {
    dev.number().with_context(|| format!("{dev} has no device number"))
}

fn agreed(question: &str, yes: bool) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        return Err(Refusal {
            obstacle: Obstacle::Unfit,
            reason: question.to_owned(),
            way_out: "Nobody is here to agree to that: say --yes.".to_owned(),
        }
        .into());
    }
    let mut err = io::stderr().lock();
    write!(err, "{question}\nGo on? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn by_lvm(volume: &VolumeName) -> anyhow::Result<()> {
    let lvm = Lvm::find()?;
    let again = || format!("lvchange -ay {}", argument(&volume.to_string()));
    lvm.deactivate(&volume.vg, &volume.lv).with_context(|| {
        format!("{volume} could not be taken down; if it is not active now: {}", again())
    })?;
    lvm.activate(&volume.vg, &volume.lv).with_context(|| {
        format!("{volume} IS NOT ACTIVE now, its data is untouched. Try again: {}", again())
    })
}

/// What is known of the failure, in words, for whoever reads the journal.
fn why() -> String {
    let logged = kernel_log::last_failure().ok().flatten();
    logged.map_or_else(
        || "the status line said so".to_owned(),
        |failure| format!("{} was the kernel log's last word", failure.fault.code()),
    )
}

/// The journal of a merge that was begun by somebody else.
fn record(host: &Host, origin: &Device) -> anyhow::Result<Record> {
    let args = args_of(origin)?;
    let (real, cow) = (number(&args.real)?, number(&args.cow)?);
    let cow_path = nodes::kernel_path(cow).with_context(|| format!("device {cow} has no node"))?;
    let store = StoreMark::read(FileSource::open(&cow_path)?, origin.size())?
        .with_context(|| format!("{} holds no valid exceptions", host.label_of(cow)))?;
    let SafePath { origin: named, merging } = SafePath::of(origin);
    let before = Target::SnapshotOrigin { real: args.real.clone() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Record {
        phase: Phase::Failed { why: why() },
        offline: false,
        boot_id: boot_id()?,
        begun_unix_s: now.as_secs(),
        origin: named,
        origin_before: Table::single(origin.size(), before),
        origin_merging: merging,
        snapshot: None,
        // How much there was when it began, nobody knows.
        allocated: Sectors(0),
        store,
        below: Below::of(host, &[real, cow], &DiskIdentity::read)?,
    })
}
