//! `merge-ctl start SNAPSHOT`: preflight, merge, live view, finish.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use merge_ctl::dm::{Control, Host, SnapshotStatus, Usage, holders, resolve};
use merge_ctl::human;
use merge_ctl::merge::preflight::{self, Obstacle, Plan, Refusal, Way};
use merge_ctl::model::Model;
use merge_ctl::output::advice;
use merge_ctl::probe::Probe;
use merge_ctl::sample::Sample;
use merge_ctl::sampler::Sampler;

use super::begin::{Begun, Driver, begin};
use super::detach::{self, News, Teller};
use super::face::Face;
use super::live::{self, Following, LeaveSignals};
use super::quiet::{QuietWait, Waited};
use crate::cli::{Output, Start};
use crate::exit::Exit;

/// How often a device that is in use is looked at again.
const SCAN_TRIES: u32 = 8;
/// Between two such looks.
const SCAN_PAUSE: Duration = Duration::from_millis(200);

/// Merges the snapshot and shows it.
pub(crate) async fn run(options: &Start) -> anyhow::Result<ExitCode> {
    let Some(socket) = &options.detached else {
        return start(options, &mut Teller::default()).await;
    };
    let mut teller = detach::settle(socket)?;
    let outcome = start(options, &mut teller).await;
    if let Err(error) = &outcome {
        teller.tell_last(detach::ended(error));
    }
    outcome
}

async fn start(options: &Start, teller: &mut Teller) -> anyhow::Result<ExitCode> {
    let detached = options.detached.is_some();
    let away = detached || options.detach;
    let output = match options.live.output {
        Some(Output::Tui) if away => Output::Plain,
        _ => live::output(&options.live)?,
    };
    let control = Control::open()?;
    if !options.yes && !detached && io::stdin().is_terminal() {
        let host = settled_host(&control, &options.snapshot)?;
        if !confirmed(&preflight(&host, &options.snapshot)?)? {
            eprintln!("merge-ctl: nothing was changed");
            return Ok(Exit::Refused.into());
        }
    }
    if options.detach && !detached {
        let host = settled_host(&control, &options.snapshot)?;
        return detach::detach(&preflight(&host, &options.snapshot)?, options);
    }
    let mut signals = LeaveSignals::listen()?;
    if detached {
        signals = signals.deaf_to_hangup();
    }
    let mut parts = (control, Probe::attach(live::probe_options(&options.live)));
    let mut quiet = QuietWait::asked_for(&options.quiet, &options.live, output);
    loop {
        if let Some(quiet) = &mut quiet
            && let Some(exit) =
                until_quiet(quiet, &mut parts, options, &mut signals, teller).await?
        {
            return Ok(exit.into());
        }
        // Looked at anew: much may have changed while somebody thought about the answer.
        let host = settled_host(&parts.0, &options.snapshot)?;
        let plan = preflight(&host, &options.snapshot)?;
        for note in &plan.notes {
            eprintln!("merge-ctl: {note}");
        }
        let (control, probe) = parts;
        let mut sampler =
            Sampler::new(control, probe, &host, plan.origin, &plan.args, Some(plan.snapshot))?;
        let first = sampler.sample_before(usage(&plan));
        if quiet.as_ref().is_some_and(|quiet| !quiet.still_quiet(&first)) {
            parts = sampler.into_parts();
            continue;
        }
        return merge(options, output, &plan, sampler, &first, signals, teller).await;
    }
}

/// Waits for a quiet moment; the exit status where it does not come.
async fn until_quiet(
    quiet: &mut QuietWait,
    (control, probe): &mut (Control, Probe),
    options: &Start,
    signals: &mut LeaveSignals,
    teller: &mut Teller,
) -> anyhow::Result<Option<Exit>> {
    let host = settled_host(control, &options.snapshot)?;
    let plan = preflight(&host, &options.snapshot)?;
    teller.tell_last(News::Waits);
    match quiet.wait(control, probe, &plan, signals).await? {
        Waited::GoOn => Ok(None),
        Waited::Left => {
            eprintln!("merge-ctl: nothing was changed");
            Ok(Some(Exit::Refused))
        }
        Waited::GaveUp => {
            eprintln!("merge-ctl: {}; nothing was changed", quiet.gave_up());
            Ok(Some(Exit::Timeout))
        }
    }
}

/// Begins the merge and shows it.
async fn merge(
    options: &Start,
    output: Output,
    plan: &Plan<'_>,
    sampler: Sampler,
    first: &Sample,
    signals: LeaveSignals,
    teller: &mut Teller,
) -> anyhow::Result<ExitCode> {
    let stall_after_ns = live::nanoseconds(options.live.stall_after);
    let model = Model::first(sampler.identity().clone(), first, stall_after_ns);
    match begin(plan, sampler.control())? {
        Begun::Merging => {
            teller.tell_last(News::Begun);
            let face = Face::new_or_lines(output, &options.live);
            show(sampler, model, plan, face, signals).await
        }
        Begun::Scheduled(words) => {
            teller.tell_last(News::Scheduled { words: words.clone() });
            let output = if output == Output::Tui { Output::Plain } else { output };
            scheduled(sampler, model, plan, Face::new_or_lines(output, &options.live), &words)
        }
    }
}

/// The host, once nobody has the devices open any more who only scans them, as lvm2 and udev do;
/// whoever still has is not gone in a moment.
fn settled_host(control: &Control, snapshot: &str) -> anyhow::Result<Host> {
    for _ in 1..SCAN_TRIES {
        let host = Host::read(control)?;
        let refusal = preflight(&host, snapshot).err();
        let refusal = refusal.as_ref().and_then(|error| error.downcast_ref::<Refusal>());
        if refusal.is_none_or(|refusal| refusal.obstacle != Obstacle::InUse) {
            return Ok(host);
        }
        thread::sleep(SCAN_PAUSE);
    }
    Ok(Host::read(control)?)
}

fn preflight<'a>(host: &'a Host, snapshot: &str) -> anyhow::Result<Plan<'a>> {
    let device = resolve::resolve(host, snapshot)?;
    // A holder that cannot be found is still in the kernel's count, which is what decides.
    let holders_of = |dev| holders::holders_of(dev).unwrap_or_default();
    Ok(preflight::check(host, device, &holders_of)?)
}

/// What is left when the figures before the merge are the snapshot's own.
fn usage(plan: &Plan<'_>) -> Usage {
    match &plan.snapshot.status {
        Some(SnapshotStatus::Usage(usage)) => *usage,
        // Preflight lets no other pass.
        _ => Usage::default(),
    }
}

async fn show(
    mut sampler: Sampler,
    model: Model,
    plan: &Plan<'_>,
    mut face: Face,
    mut signals: LeaveSignals,
) -> anyhow::Result<ExitCode> {
    let mut finisher = Driver::new(plan);
    let following = Following {
        sampler: &mut sampler,
        face: &mut face,
        finisher: &mut finisher,
        signals: &mut signals,
    };
    let come_back = advice::come_back(&model);
    match following.show(model).await {
        Ok(model) => {
            face.end(&model)?;
            Ok(live::exit_of(&model).into())
        }
        Err(error) => {
            // The view has failed, the merge has not.
            drop(face);
            eprintln!("merge-ctl: {}", come_back.unwrap_or_default());
            Err(error)
        }
    }
}

fn scheduled(
    mut sampler: Sampler,
    model: Model,
    plan: &Plan<'_>,
    face: Face,
    words: &str,
) -> anyhow::Result<ExitCode> {
    let origin = plan.origin.label();
    eprintln!(
        "merge-ctl: {origin} is in use, so LVM has recorded the merge and begins it at the next \
         activation of {origin}. lvm2 says: {words}"
    );
    face.end(&model.next(&sampler.sample_scheduled()))?;
    Ok(Exit::StillMerging.into())
}

/// Asks whether the user means it.
fn confirmed(plan: &Plan<'_>) -> io::Result<bool> {
    let (origin, snapshot) = (plan.origin.label(), plan.snapshot.label());
    let mut err = io::stderr().lock();
    writeln!(
        err,
        "{origin} will be rolled back to {snapshot}: {} are copied back. What was written to \
         {origin} since the snapshot was taken is lost, {snapshot} goes away, and a merge that \
         has begun cannot be called off.",
        human::bytes(plan.to_merge.bytes())
    )?;
    if let Way::Lvm { origin_in_use: true, .. } = plan.way {
        writeln!(err, "{origin} is in use: LVM will begin at its next activation.")?;
    }
    write!(err, "Merge? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
