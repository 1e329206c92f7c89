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
use merge_ctl::sampler::Sampler;

use super::begin::{Begun, Driver, begin};
use super::face::Face;
use super::live::{self, Following, LeaveSignals};
use super::throttle::Beside;
use crate::cli::{Output, Start};
use crate::exit::Exit;

/// How often a device that is in use is looked at again.
const SCAN_TRIES: u32 = 8;
/// Between two such looks.
const SCAN_PAUSE: Duration = Duration::from_millis(200);

/// Merges the snapshot and shows it.
pub(crate) async fn run(options: &Start) -> anyhow::Result<ExitCode> {
    let output = live::output(&options.live)?;
    let control = Control::open()?;
    if !options.yes && io::stdin().is_terminal() {
        let host = settled_host(&control, &options.snapshot)?;
        if !confirmed(&preflight(&host, &options.snapshot)?)? {
            eprintln!("merge-ctl: nothing was changed");
            return Ok(Exit::Refused.into());
        }
    }
    // Looked at anew: much may have changed while somebody thought about the answer.
    let host = settled_host(&control, &options.snapshot)?;
    let plan = preflight(&host, &options.snapshot)?;
    for note in &plan.notes {
        eprintln!("merge-ctl: {note}");
    }
    let signals = LeaveSignals::listen()?;
    let probe = Probe::attach(live::probe_options(&options.live));
    let mut sampler =
        Sampler::new(control, probe, &host, plan.origin, &plan.args, Some(plan.snapshot))?;
    let first = sampler.sample_before(usage(&plan));
    let stall_after_ns = live::nanoseconds(options.live.stall_after);
    let model = Model::first(sampler.identity().clone(), &first, stall_after_ns);
    let tier = sampler.identity().probes.tier;
    let throttle = Beside::begin(&options.live, tier, &plan.origin.label())?;
    match begin(&plan, sampler.control())? {
        Begun::Merging => {
            let face = Face::new_or_lines(output, &options.live);
            show(sampler, model, &plan, face, signals, throttle).await
        }
        Begun::Scheduled(words) => {
            let output = if output == Output::Tui { Output::Plain } else { output };
            scheduled(sampler, model, &plan, Face::new_or_lines(output, &options.live), &words)
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
    mut throttle: Beside,
) -> anyhow::Result<ExitCode> {
    let mut finisher = Driver::new(plan);
    let following = Following {
        sampler: &mut sampler,
        face: &mut face,
        finisher: &mut finisher,
        signals: &mut signals,
        throttle: &mut throttle,
    };
    let come_back = advice::come_back(&model);
    let shown = following.show(model).await;
    // Before anything is printed that may fail.
    let put_back = throttle.end();
    match shown {
        Ok(model) => {
            put_back.iter().for_each(|line| face.log(line));
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
