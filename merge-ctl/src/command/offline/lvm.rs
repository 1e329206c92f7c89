//! `start --offline` of a logical volume: asks, takes the volume down, copies, brings it up again.
//!
//! The order of steps and what each leaves is in [`merge_ctl::lvm::offline`]; here it is decided
//! whether they are begun at all, and said how they ended.

mod asleep;
mod fit;
mod scheduled;
mod words;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use merge_ctl::dm::{Control, Host};
use merge_ctl::harmless::printable;
use merge_ctl::lvm::lvm2::Lvm;
use merge_ctl::lvm::names::VolumeName;
use merge_ctl::lvm::offline::captured::Captured;
use merge_ctl::lvm::offline::hands::LvmHands;
use merge_ctl::lvm::offline::{self as steps, Halt, Standing, Step};
use merge_ctl::merge::journal::Driver;
use merge_ctl::merge::preflight::Plan;
use merge_ctl::offline::Outcome;
use merge_ctl::output::dry_run::DryRun;

use super::census::Census;
use super::dry_run;
use super::follow::{Subject, Volume, Whose, follow_then};
use crate::cli::Start;
use crate::command::live::LeaveSignals;
use crate::command::{plans, terminal};
use crate::exit::{self, Exit, TimeOver};

pub(super) use self::asleep::run_asleep;
pub(super) use self::scheduled::run_scheduled;

/// How long LVM may take to drop the snapshot.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Merges a snapshot whose volumes are active.
pub(super) async fn run(
    control: &Control,
    host: &Host,
    plan: &Plan<'_>,
    options: &Start,
) -> anyhow::Result<ExitCode> {
    let lvm = Lvm::find()?;
    match agree(control, host, plan, options, &lvm, true)? {
        Agreed::Yes(captured) => {
            let driver = Driver::take(&dm_name(&captured.names))?;
            merge(control, lvm, *captured, options, driver).await
        }
        Agreed::No(exit) => Ok(exit.into()),
    }
}

/// Whether it is begun.
enum Agreed {
    /// It is, with what was captured.
    Yes(Box<Captured>),
    /// It is not: nobody wants it, or it was only asked what would be done.
    No(Exit),
}

/// Looks, asks, and captures. Changes nothing.
fn agree(
    control: &Control,
    host: &Host,
    plan: &Plan<'_>,
    options: &Start,
    lvm: &Lvm,
    found_active: bool,
) -> anyhow::Result<Agreed> {
    let captured = fit::captured(control, host, plan, lvm, found_active)?;
    if options.offline.dry_run {
        rehearse(plan, options, &captured, &lvm.disks_of(&captured.names.vg)?)?;
        return Ok(Agreed::No(Exit::Done));
    }
    terminal::tell(&words::warning(&captured.names));
    if !options.yes && io::stdin().is_terminal() {
        if !plans::confirmed(std::slice::from_ref(plan))? {
            terminal::tell("nothing was changed");
            return Ok(Agreed::No(Exit::Refused));
        }
        // Much may have changed while somebody thought about the answer.
        return Ok(Agreed::Yes(Box::new(fit::captured(control, host, plan, lvm, found_active)?)));
    }
    for note in &plan.notes {
        terminal::tell(note);
    }
    Ok(Agreed::Yes(Box::new(captured)))
}

/// Says what would be done.
fn rehearse(
    plan: &Plan<'_>,
    options: &Start,
    captured: &Captured,
    disks: &[PathBuf],
) -> anyhow::Result<()> {
    let engine = super::engine(options);
    let names = &captured.names;
    let (snapshot, real, cow) = (names.snapshot(), captured.real.label(), captured.cow.label());
    let census = Census::of_plan(plan, &cow, engine.memory_bytes)?;
    let steps = words::steps(captured, disks, &census, engine.verify);
    let run = DryRun {
        origin: &dm_name(names),
        origin_label: &names.origin(),
        snapshot: Some(&snapshot),
        owner: "lvm",
        devices: Some([&real, &cow]),
        terms: Whose::Lvm.terms(&engine),
        counted: Some(census.counted()),
        steps: &steps,
        notes: &plan.notes,
    };
    dry_run::print(&run, &words::dry_run(names, &steps, &plan.notes), options)
}

/// The origin's device-mapper name.
fn dm_name(names: &steps::Names) -> String {
    VolumeName::new(&names.vg, &names.origin).to_dm()
}

/// Does it. `_driver` tells others who is at work on the volume, as long as that is so.
async fn merge(
    control: &Control,
    lvm: Lvm,
    captured: Captured,
    options: &Start,
    _driver: Driver,
) -> anyhow::Result<ExitCode> {
    let names = captured.names.clone();
    let subject = Subject {
        origin: printable(&names.origin()),
        dm_name: Some(dm_name(&names)),
        snapshot: Some(printable(&names.snapshot())),
        whose: Whose::Lvm,
        origin_dev: None,
    };
    // From here on until the engine heeds them: neither are they lost, nor do they kill us half-way.
    let mut signals = LeaveSignals::listen()?;
    if super::is_over(options) && captured.found_active {
        return Err(TimeOver.into());
    }
    let mut hands = hands(control, lvm, captured, options);
    let devices = match steps::prepare(&mut hands) {
        Ok(devices) => devices,
        Err(halt) => return Ok(not_held(halt, &names, options).into()),
    };
    if signals.have_come().await {
        drop(devices);
        return Ok(stopped(steps::abandon(&mut hands), &names).into());
    }
    let mut left = None;
    let outcome = follow_then(&subject, devices, options, signals, async |outcome| {
        let exit = match outcome {
            Ok(Outcome::Merged(_)) => brought_up(&mut hands, &names),
            Ok(Outcome::Stopped) => stopped(steps::abandon(&mut hands), &names),
            Err(_) => abandoned(&mut hands, &names),
        };
        left = Some(exit);
        Ok(if exit == Exit::Done { Volume::GivenBack } else { Volume::NotYet })
    })
    .await;
    outcome?;
    Ok(left.unwrap_or(Exit::Error).into())
}

fn hands<'c>(control: &'c Control, lvm: Lvm, captured: Captured, options: &Start) -> LvmHands<'c> {
    let hands = LvmHands::new(control, lvm, captured);
    match options.offline.time_limit {
        Some(limit) => hands.with_lock_patience(limit.left()),
        None => hands,
    }
}

/// Says what went wrong before the engine began. That the time was over while somebody else had LVM's
/// lock is no error.
fn not_held(halt: Halt, names: &steps::Names, options: &Start) -> Exit {
    let in_vain = halt.step == Step::Lock && super::is_over(options);
    let exit = halted(halt, names);
    if in_vain { Exit::StillMerging } else { exit }
}

/// Has LVM finish the merge, whose exceptions are all gone.
fn brought_up(hands: &mut LvmHands<'_>, names: &steps::Names) -> Exit {
    let begun = Instant::now();
    let wait = || {
        thread::sleep(LOOK_EVERY);
        begun.elapsed() < PATIENCE
    };
    match steps::finish(hands, wait) {
        Ok(()) => {
            terminal::tell(&words::done(names));
            Exit::Done
        }
        Err(halt) => halted(halt, names),
    }
}

/// After an error of the engine's, which is told at the end.
fn abandoned(hands: &mut LvmHands<'_>, names: &steps::Names) -> Exit {
    stopped(steps::abandon(hands), names);
    Exit::Failed
}

/// Says that it goes on at the next activation.
fn stopped(abandoned: Result<(), Halt>, names: &steps::Names) -> Exit {
    match abandoned {
        Ok(()) => {
            terminal::tell(&words::standing(Standing::Recorded, names));
            Exit::StillMerging
        }
        Err(halt) => halted(halt, names),
    }
}

/// Says what went wrong, and where the volume is now.
fn halted(halt: Halt, names: &steps::Names) -> Exit {
    let (standing, exit) = (halt.standing, words::exit(&halt));
    terminal::tell(&exit::words(&anyhow::Error::new(halt)));
    terminal::tell(&words::standing(standing, names));
    exit
}
