//! A snapshot of plain device-mapper: put aside, merged by the engine, taken up again by the kernel.
//!
//! What always holds: the journal says what is about to be done before it is done, and a guard
//! stands by from the first step to the last; the engine has the devices below for itself; and
//! whatever it left is the kernel's to merge, were it nothing: the kernel is the judge of a store that
//! is said to be empty. It refuses devices that anybody has open, and origins with other snapshots.

mod refusals;
mod rehearsed;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use merge_ctl::dm::{Control, DeviceRef, Host, nodes};
use merge_ctl::guard::Guard;
use merge_ctl::harmless::{argument, printable};
use merge_ctl::human;
use merge_ctl::merge::handover::Handover;
use merge_ctl::merge::journal::{Phase, Record};
use merge_ctl::merge::machine::Goal;
use merge_ctl::merge::preflight::{Obstacle, Plan, Refusal, Way};
use merge_ctl::merge::recording;
use merge_ctl::offline::{Devices, OfflineError, Outcome, Target};
use merge_ctl::state::State;

pub(super) use self::refusals::begun_before;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use super::super::attach::{self, Turn};
use super::super::begin::{is_undone, journal_of};
use super::super::raw::Raw;
use super::super::{plans, terminal};
use super::follow::{Subject, Volume, Whose, follow_then};
use crate::cli::Start;
use crate::exit::{self, Exit, Interrupted};

/// Merges the snapshot of a plan.
pub(super) async fn run(
    control: &Control,
    host: &Host,
    plan: &Plan<'_>,
    options: &Start,
) -> anyhow::Result<ExitCode> {
    refusals::look(host, plan)?;
    if options.offline.dry_run {
        super::for_people(options)?;
        return rehearsed::print(host, plan, handover(plan)?, options);
    }
    if !options.yes && io::stdin().is_terminal() && !plans::confirmed(std::slice::from_ref(plan))? {
        eprintln!("merge-ctl: nothing was changed");
        return Ok(Exit::Refused.into());
    }
    let subject = Subject {
        origin: plan.origin.label(),
        dm_name: Some(plan.origin.info.name.clone()),
        snapshot: Some(plan.snapshot.label()),
        whose: Whose::DeviceMapper,
    };
    // From here on until the engine heeds it itself: neither is it lost, nor does it kill us.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut raw = begun(control, &subject, options)?;
    let guard = match raw.put_aside(control) {
        Ok(guard) => guard,
        Err(error) => return Err(undone(raw, control, error)),
    };
    // Only now does the kernel let go of them.
    let devices = match devices(raw.record(), host) {
        Ok(devices) => devices,
        Err(error) => return Err(back_out(raw, guard, control, error)),
    };
    let guard = match raw.advance_under(guard, Phase::Merging) {
        Ok(guard) => guard,
        Err((guard, error)) => {
            drop(devices);
            return Err(back_out(raw, guard, control, error));
        }
    };
    if has_come(&mut interrupt).await {
        drop(devices);
        return Err(back_out(raw, guard, control, Interrupted.into()));
    }
    let mut exit = Exit::Error;
    follow_then(&subject, devices, options, async |outcome| {
        exit = end(Ending::of(outcome), raw, guard, control, &subject.origin)?;
        Ok(if exit == Exit::Done { Volume::GivenBack } else { Volume::NotYet })
    })
    .await?;
    Ok(exit.into())
}

async fn has_come(interrupt: &mut Signal) -> bool {
    // Long enough for the runtime to look for what has arrived.
    timeout(Duration::from_millis(1), interrupt.recv()).await.is_ok()
}

fn handover<'p>(plan: &'p Plan<'_>) -> anyhow::Result<&'p Handover> {
    match &plan.way {
        Way::DeviceMapper(handover) => Ok(handover),
        Way::Lvm { .. } => anyhow::bail!("{} is LVM's", plan.origin.label()),
    }
}

/// Looks at everything anew, now that it is agreed to and our turn, and writes the journal.
fn begun(control: &Control, subject: &Subject, options: &Start) -> anyhow::Result<Raw> {
    let host = plans::settled_host(control, &options.snapshots)?;
    let plans = plans::gate(control, &host, &options.snapshots, false)?;
    let plan = plans.first().context("the snapshot is gone")?;
    refusals::look(&host, plan)?;
    let handover = handover(plan)?;
    let driver = match attach::turn(control, &handover.origin)? {
        Turn::Ours(driver) => driver,
        Turn::Theirs => return Err(merges_already(&subject.origin).into()),
    };
    // While we waited for our turn another may have merged it.
    let host = Host::read(control)?;
    let now = plans::quick(&host, &options.snapshots)?;
    refusals::look(&host, now.first().context("the snapshot is gone")?)?;
    let record = Record { offline: true, ..recording::of_handover(&host, handover)? };
    for note in &plan.notes {
        terminal::tell(note);
    }
    Ok(Raw::new(journal_of(record)?, driver))
}

fn merges_already(origin: &str) -> Refusal {
    Refusal {
        obstacle: Obstacle::AlreadyMerging,
        reason: format!("A snapshot is being merged into {origin} already."),
        way_out: format!("To watch it: merge-ctl monitor {}.", argument(origin)),
    }
}

/// Both devices below, for this process alone.
fn devices(record: &Record, host: &Host) -> anyhow::Result<Devices> {
    let args = record.args().context("the journal knows no merge target")?;
    let open = |device: &DeviceRef| {
        let dev = device.number().with_context(|| format!("{device} has no number"))?;
        let path = nodes::kernel_path(dev).with_context(|| format!("{dev} has no node"))?;
        Ok::<_, anyhow::Error>(Target::open(&path, host.label_of(dev))?)
    };
    Ok(Devices { origin: open(&args.real)?, cow: open(&args.cow)? })
}

/// Brings both devices back, before the engine has begun.
fn back_out(mut raw: Raw, guard: Guard, control: &Control, error: anyhow::Error) -> anyhow::Error {
    // Nothing was copied yet, whatever the journal says by now. Where it cannot be told otherwise, the
    // kernel merges, which is right too.
    if raw.record().phase != Phase::Starting
        && let Err(also) = raw.journal().advance(Phase::Starting)
    {
        eprintln!("merge-ctl: {}", exit::words(&also.into()));
    }
    if let Err(also) = raw.drive_under(guard, &Goal::Rest, "undone", control) {
        eprintln!("merge-ctl: {}", exit::words(&also));
    }
    undone(raw, control, error)
}

/// An error, after which there is nothing to resume where all is as it was.
fn undone(raw: Raw, control: &Control, error: anyhow::Error) -> anyhow::Error {
    let closed = match is_undone(&raw, control) {
        Ok(true) => raw.close(),
        Ok(false) => Ok(()),
        Err(blind) => Err(blind),
    };
    if let Err(also) = closed {
        eprintln!("merge-ctl: {}", exit::words(&also));
    }
    error.context("the merge was not begun")
}

/// What the engine came to.
enum Ending {
    Merged,
    Stopped,
    /// It could not go on, and the devices are as good as before.
    Broken,
    /// A device, or what is on it, is not to be trusted, for this reason.
    Faulty(String),
}

impl Ending {
    fn of(outcome: &Result<Outcome, OfflineError>) -> Self {
        match outcome {
            Ok(Outcome::Merged(_)) => Self::Merged,
            Ok(Outcome::Stopped) => Self::Stopped,
            Err(OfflineError::Resource { .. } | OfflineError::Open { .. }) => Self::Broken,
            Err(error) => Self::Faulty(human::in_full(error)),
        }
    }
}

/// What is done once the engine has let go of the devices; its error is told at the end.
fn end(
    ending: Ending,
    mut raw: Raw,
    guard: Guard,
    control: &Control,
    origin: &str,
) -> anyhow::Result<Exit> {
    if let Ending::Faulty(why) = ending {
        take_down(raw, guard, control, origin, why);
        return Ok(Exit::Failed);
    }
    let state = raw.drive_under(guard, &Goal::Merge, "taken up by the kernel", control)?;
    if matches!((&ending, state), (Ending::Merged, State::DoneNotFinished)) {
        raw.finish(control)?;
        return Ok(Exit::Done);
    }
    terminal::tell(&format!(
        "the kernel merges the rest into {}; to follow and finish it: merge-ctl resume {}",
        printable(origin),
        argument(origin)
    ));
    Ok(Exit::StillMerging)
}

/// A device failed, or what is on it cannot be right: the kernel would come upon the same, and a merge
/// that it gives up is worse to get out of. So nothing is left that could be used, until somebody
/// who has seen to the device says so.
fn take_down(mut raw: Raw, guard: Guard, control: &Control, origin: &str, why: String) {
    let guard = match raw.advance_under(guard, Phase::Failed { why }) {
        Ok(guard) => guard,
        Err((guard, also)) => {
            terminal::tell(&exit::words(&also));
            guard
        }
    };
    if let Err(also) = raw.drive_under(guard, &Goal::Rest, "taken down", control) {
        terminal::tell(&exit::words(&also));
        return;
    }
    let (printable, origin) = (printable(origin), argument(origin));
    terminal::tell(&format!(
        "{printable} and its snapshot are taken down, so that nobody sees half a merge; the \
         exceptions on the COW device say what is left. See to the device, and then let the kernel \
         merge the rest: merge-ctl resume {origin}"
    ));
}
