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

use super::super::attach::{self, Turn};
use super::super::begin::{is_undone, journal_of};
use super::super::live::{self, LeaveSignals};
use super::super::raw::Raw;
use super::super::{plans, terminal};
use super::follow::{Subject, Volume, Whose, follow_then};
use crate::cli::Start;
use crate::exit::{self, Exit, Interrupted, TimeOver};

/// Merges the snapshot of a plan.
pub(super) async fn run(
    control: &Control,
    host: &Host,
    plan: &Plan<'_>,
    options: &Start,
) -> anyhow::Result<ExitCode> {
    // Before anything is changed: a dashboard that cannot be had is a wrong usage.
    live::output(&options.live)?;
    refusals::look(host, plan)?;
    if options.offline.dry_run {
        return rehearsed::print(host, plan, handover(plan)?, options);
    }
    let asks = !options.yes && io::stdin().is_terminal();
    if asks && !plans::confirmed(std::slice::from_ref(plan))? {
        terminal::tell("nothing was changed");
        return Ok(Exit::Refused.into());
    }
    let subject = Subject {
        origin: plan.origin.label(),
        dm_name: Some(plan.origin.info.name.clone()),
        snapshot: Some(plan.snapshot.label()),
        whose: Whose::DeviceMapper,
        origin_dev: Some(plan.origin.info.dev),
    };
    // From here on until the engine heeds it itself: neither is it lost, nor does it kill us.
    let signals = LeaveSignals::listen()?;
    let raw = begun(control, &subject, options, asks)?;
    aside(raw, (control, host), &subject, options, signals).await.map(Into::into)
}

/// Puts the devices aside for the engine, and all back where that does not go to its end.
async fn aside(
    mut raw: Raw,
    (control, host): (&Control, &Host),
    subject: &Subject,
    options: &Start,
    mut signals: LeaveSignals,
) -> anyhow::Result<Exit> {
    if super::is_over(options) {
        close_undone(raw, control);
        return Err(TimeOver.into());
    }
    let guard = match raw.put_aside(control) {
        Ok(guard) => guard,
        Err(error) => {
            close_undone(raw, control);
            return Err(error.context("the merge was not begun"));
        }
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
    if signals.have_come().await {
        drop(devices);
        return Err(back_out(raw, guard, control, Interrupted.into()));
    }
    if super::is_over(options) {
        drop(devices);
        return Err(back_out(raw, guard, control, TimeOver.into()));
    }
    merge(raw, guard, control, subject, devices, options, signals).await
}

/// The engine, and what comes after it.
async fn merge(
    raw: Raw,
    guard: Guard,
    control: &Control,
    subject: &Subject,
    devices: Devices,
    options: &Start,
    signals: LeaveSignals,
) -> anyhow::Result<Exit> {
    let mut held = Some((raw, guard));
    let mut after = None;
    let outcome = follow_then(subject, devices, options, signals, async |outcome| {
        let (raw, guard) = held.take().context("nobody holds the devices")?;
        let ended = end(&Ending::of(outcome), raw, guard, control, &subject.origin)?;
        let volume = if ended.exit == Exit::Done { Volume::GivenBack } else { Volume::NotYet };
        after = Some(ended);
        Ok(volume)
    })
    .await;
    let after = match (after, held) {
        (Some(after), _) => after,
        // The engine is gone without a word.
        (None, Some((raw, guard))) => end(&Ending::Broken, raw, guard, control, &subject.origin)?,
        // What came after it has failed, and says so.
        (None, None) => return outcome.map(|_| Exit::Error),
    };
    match (outcome, after.words) {
        (Ok(_), _) => Ok(after.exit),
        (Err(error), Some(words)) => Err(error.context(words)),
        (Err(error), None) => Err(error),
    }
}

fn handover<'p>(plan: &'p Plan<'_>) -> anyhow::Result<&'p Handover> {
    match &plan.way {
        Way::DeviceMapper(handover) => Ok(handover),
        Way::Lvm { .. } => anyhow::bail!("{} is LVM's", plan.origin.label()),
    }
}

/// Looks at everything anew, now that it is agreed to and our turn, and writes the journal.
fn begun(
    control: &Control,
    subject: &Subject,
    options: &Start,
    notes_were_read: bool,
) -> anyhow::Result<Raw> {
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
    for note in plan.notes.iter().filter(|_| !notes_were_read) {
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
    bring_back(&mut raw, guard, control);
    close_undone(raw, control);
    error.context("the merge was not begun")
}

fn bring_back(raw: &mut Raw, guard: Guard, control: &Control) {
    // Nothing was copied yet, whatever the journal says by now. Where it cannot be told otherwise, the
    // kernel merges, which is right too.
    if raw.record().phase != Phase::Starting
        && let Err(also) = raw.journal().advance(Phase::Starting)
    {
        terminal::tell(&exit::words(&also.into()));
    }
    if let Err(also) = raw.drive_under(guard, &Goal::Rest, "undone", control) {
        terminal::tell(&exit::words(&also));
    }
}

/// Where all is as it was, there is nothing to resume.
fn close_undone(raw: Raw, control: &Control) {
    let closed = match is_undone(&raw, control) {
        Ok(true) => raw.close(),
        Ok(false) => Ok(()),
        Err(blind) => Err(blind),
    };
    if let Err(also) = closed {
        terminal::tell(&exit::words(&also));
    }
}

/// What the engine came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ending {
    Merged,
    Stopped,
    /// It has refused before it copied anything.
    Refused,
    /// It could not go on, and the devices are as good as before.
    Broken,
    /// A device, or what is on it, is not to be trusted; why.
    Faulty(String),
}

impl Ending {
    fn of(outcome: &Result<Outcome, OfflineError>) -> Self {
        use OfflineError as E;
        match outcome {
            Ok(Outcome::Merged(_)) => Self::Merged,
            Ok(Outcome::Stopped) => Self::Stopped,
            Err(E::Same(_) | E::Blocks { .. } | E::NoStore(_) | E::Invalid(_)) => Self::Refused,
            Err(E::Resource { .. } | E::Open { .. }) => Self::Broken,
            Err(error @ (E::Store { .. } | E::Io { .. } | E::Differs { .. })) => {
                Self::Faulty(human::in_full(error))
            }
        }
    }
}

/// Where everything is in the end.
struct Ended {
    exit: Exit,
    /// What there is to say beside the engine's error.
    words: Option<String>,
}

/// What is done once the engine has let go of the devices.
fn end(
    ending: &Ending,
    mut raw: Raw,
    guard: Guard,
    control: &Control,
    origin: &str,
) -> anyhow::Result<Ended> {
    match ending {
        Ending::Faulty(why) => return take_down(raw, guard, control, origin, why),
        Ending::Refused => {
            bring_back(&mut raw, guard, control);
            close_undone(raw, control);
            let words = Some("the merge was not begun".to_owned());
            return Ok(Ended { exit: Exit::Refused, words });
        }
        Ending::Merged | Ending::Stopped | Ending::Broken => {}
    }
    let state = raw.drive_under(guard, &Goal::Merge, "taken up by the kernel", control)?;
    if *ending == Ending::Merged && state == State::DoneNotFinished {
        raw.finish(control)?;
        return Ok(Ended { exit: Exit::Done, words: None });
    }
    let goes_on = format!(
        "the kernel merges the rest into {}; to follow and finish it: merge-ctl resume {}",
        printable(origin),
        argument(origin)
    );
    // After a stop the summary says so, after an error the error.
    if *ending == Ending::Merged {
        terminal::tell(&goes_on);
    }
    Ok(Ended { exit: Exit::StillMerging, words: Some(goes_on) })
}

/// A device failed, or what is on it cannot be right: the kernel would come upon the same, and a merge
/// that it gives up is worse to get out of. So nothing is left that could be used, until somebody
/// who has seen to the device says so.
fn take_down(
    mut raw: Raw,
    guard: Guard,
    control: &Control,
    origin: &str,
    why: &str,
) -> anyhow::Result<Ended> {
    let guard = match raw.advance_under(guard, Phase::Failed { why: why.to_owned() }) {
        Ok(guard) => guard,
        Err((guard, also)) => {
            terminal::tell(&exit::words(&also));
            guard
        }
    };
    raw.drive_under(guard, &Goal::Rest, "taken down", control).context(printable(why))?;
    let origin = argument(origin);
    let words = format!(
        "the offline merge into {origin} cannot go on. {origin} and its snapshot are taken down, so \
         that nobody sees half a merge; the exceptions on the COW device say what is left. See to \
         the device, and then let the kernel merge the rest: merge-ctl resume {origin}"
    );
    Ok(Ended { exit: Exit::Failed, words: Some(words) })
}
