//! `merge-ctl start SNAPSHOT…`: preflight, merge, live view, finish.
//!
//! With several snapshots all are looked at before the first is touched, and one answer stands for
//! all. They are begun one after the other; where one cannot begin, those behind it are left as they
//! are, because what is in its way may be in theirs, and those before it are followed to their end.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use merge_ctl::dm::{Control, Device, Host, SnapshotStatus, Usage, holders, resolve};
use merge_ctl::human::{self, printable};
use merge_ctl::merge::preflight::{self, Obstacle, Plan, Refusal, Way};
use merge_ctl::probe::Probe;
use merge_ctl::sampler::{FIRST_SAMPLE_WAITS, Watch};

use super::attach;
use super::begin::{Begun, begin};
use super::face::Face;
use super::followed::Followed;
use super::live::{self, LeaveSignals, Live};
use super::resume;
use crate::cli::{Output, Start};
use crate::exit::{self, Exit};

/// How often a device that is in use is looked at again.
const SCAN_TRIES: u32 = 8;
/// Between two such looks.
const SCAN_PAUSE: Duration = Duration::from_millis(200);

/// Merges the snapshots and shows it.
pub(crate) async fn run(options: &Start) -> anyhow::Result<ExitCode> {
    let output = live::output(&options.live)?;
    let control = Control::open()?;
    if let Some((host, origin)) = begun_by_another(&control, &options.snapshots)? {
        return onlook(control, &host, &origin, options).await;
    }
    if !options.yes && io::stdin().is_terminal() {
        let host = settled_host(&control, &options.snapshots)?;
        if !confirmed(&preflight(&host, &options.snapshots)?)? {
            eprintln!("merge-ctl: nothing was changed");
            return Ok(Exit::Refused.into());
        }
    }
    // Looked at anew: much may have changed while somebody thought about the answer.
    let host = settled_host(&control, &options.snapshots)?;
    let plans = match preflight(&host, &options.snapshots) {
        Ok(plans) => plans,
        // Another start may have taken the devices just now: what was refused is its doing then.
        Err(error) => match begun_by_another(&control, &options.snapshots)? {
            Some((host, origin)) => return onlook(control, &host, &origin, options).await,
            None => return Err(error),
        },
    };
    for note in plans.iter().flat_map(|plan| &plan.notes) {
        eprintln!("merge-ctl: {note}");
    }
    let mut signals = LeaveSignals::listen()?;
    let mut watch = Watch::new(control, Probe::attach(live::probe_options(&options.live)));
    let ready = ready(&mut watch, &host, &plans, options)?;
    let beginning = begin_all(&plans, ready, &mut watch, &mut signals).await;
    if beginning.begun.is_empty()
        && let Some(error) = beginning.failure
    {
        tell_left_out(&beginning.left_out);
        return Err(error);
    }
    tell_fates(&beginning);
    let Beginning { begun, failure, left_out, interrupted } = beginning;
    // What LVM has put off has nothing to show.
    let is_live = !interrupted && !begun.iter().all(Followed::is_over);
    let output = if is_live || output == Output::Json { output } else { Output::Plain };
    let face = Face::new_or_lines(output, &options.live);
    let live =
        Live { watch, face, signals, merges: begun, newcomers: None, options: &options.live };
    let exit = if interrupted { live.end()? } else { live.run().await? };
    tell_left_out(&left_out);
    Ok(Exit::worst(failure.iter().map(exit::of).chain([exit])).into())
}

/// The one merge that is asked for, where another merge-ctl has it in hand.
fn begun_by_another(
    control: &Control,
    snapshots: &[String],
) -> anyhow::Result<Option<(Host, String)>> {
    match snapshots {
        [snapshot] => attach::begun_by_another(control, snapshot),
        _ => Ok(None),
    }
}

/// Shows the merge that another has in hand.
async fn onlook(
    control: Control,
    host: &Host,
    origin: &str,
    options: &Start,
) -> anyhow::Result<ExitCode> {
    eprintln!("merge-ctl: {} is being merged already", printable(&options.snapshots.join(", ")));
    let origin = host.by_name(origin).with_context(|| format!("{origin} is gone"))?;
    resume::attach(control, host, origin, &options.live).await
}

/// The host, once nobody has the devices open any more who only scans them, as lvm2 and udev do;
/// whoever still has is not gone in a moment.
fn settled_host(control: &Control, snapshots: &[String]) -> anyhow::Result<Host> {
    for _ in 1..SCAN_TRIES {
        let host = Host::read(control)?;
        let refusal = preflight(&host, snapshots).err();
        let refusal = refusal.as_ref().and_then(|error| error.downcast_ref::<Refusal>());
        if refusal.is_none_or(|refusal| refusal.obstacle != Obstacle::InUse) {
            return Ok(host);
        }
        thread::sleep(SCAN_PAUSE);
    }
    Ok(Host::read(control)?)
}

/// Looks at all of them before any is touched.
fn preflight<'a>(host: &'a Host, snapshots: &[String]) -> anyhow::Result<Vec<Plan<'a>>> {
    let mut plans: Vec<Plan<'a>> = Vec::new();
    for snapshot in snapshots {
        if let Some(origin) = attach::merge_of(host, snapshot) {
            return Err(merging_already(snapshot, origin).into());
        }
        let device = resolve::resolve(host, snapshot)?;
        // A holder that cannot be found is still in the kernel's count, which is what decides.
        let holders_of = |dev| holders::holders_of(dev).unwrap_or_default();
        let plan = preflight::check(host, device, &holders_of)?;
        if let Some(other) =
            plans.iter().find(|other| other.origin.info.dev == plan.origin.info.dev)
        {
            return Err(same_origin(other, &plan).into());
        }
        plans.push(plan);
    }
    Ok(plans)
}

fn merging_already(snapshot: &str, origin: &Device) -> Refusal {
    Refusal {
        obstacle: Obstacle::Unfit,
        reason: format!("{} is being merged already.", printable(snapshot)),
        way_out: format!("Leave it out; to watch it: merge-ctl monitor {}.", origin.label()),
    }
}

/// The kernel merges one snapshot an origin at a time.
fn same_origin(one: &Plan<'_>, other: &Plan<'_>) -> Refusal {
    let (first, second) = (one.snapshot.label(), other.snapshot.label());
    let (reason, way_out) = if one.snapshot.info.dev == other.snapshot.info.dev {
        (format!("{first} is named twice."), "Name it once.".to_owned())
    } else {
        (
            format!(
                "{first} and {second} are snapshots of one origin, {}: one merge an origin at a \
                 time, and what is merged last is what stays.",
                one.origin.label()
            ),
            format!("Merge {first}, and {second} in its turn, once that merge has ended."),
        )
    };
    Refusal { obstacle: Obstacle::Unfit, reason, way_out }
}

/// Everything that is needed to follow the merges, made before the first of them begins, so that
/// progress counts from the whole. Their stores are read at the same time.
fn ready(
    watch: &mut Watch,
    host: &Host,
    plans: &[Plan<'_>],
    options: &Start,
) -> io::Result<Vec<Followed>> {
    let mut places = Vec::new();
    for plan in plans {
        places.push(watch.add(host, plan.origin, &plan.args, Some(plan.snapshot))?);
    }
    for (&place, plan) in places.iter().zip(plans) {
        watch.read_store(place, Some(usage(plan)), FIRST_SAMPLE_WAITS);
    }
    Ok(places.into_iter().map(|place| Followed::new(watch, place, &options.live)).collect())
}

/// What is left when the figures before the merge are the snapshot's own.
fn usage(plan: &Plan<'_>) -> Usage {
    match &plan.snapshot.status {
        Some(SnapshotStatus::Usage(usage)) => *usage,
        // Preflight lets no other pass.
        _ => Usage::default(),
    }
}

/// What became of beginning them all.
struct Beginning {
    /// Those that merge, or that LVM will merge.
    begun: Vec<Followed>,
    /// Why one could not begin.
    failure: Option<anyhow::Error>,
    /// The snapshots that nothing was done to.
    left_out: Vec<String>,
    /// Whether the user wants to leave already.
    interrupted: bool,
}

/// Begins one after the other, until one cannot or the user leaves.
async fn begin_all(
    plans: &[Plan<'_>],
    ready: Vec<Followed>,
    watch: &mut Watch,
    signals: &mut LeaveSignals,
) -> Beginning {
    let mut all =
        Beginning { begun: Vec::new(), failure: None, left_out: Vec::new(), interrupted: false };
    for (plan, mut merge) in plans.iter().zip(ready) {
        all.interrupted = all.interrupted || (!all.begun.is_empty() && signals.have_come().await);
        if all.failure.is_some() || all.interrupted {
            watch.leave(merge.place);
            all.left_out.push(printable(&plan.snapshot.label()));
            continue;
        }
        match begin(plan, watch.control()) {
            Ok(Begun::Merging(driver)) => all.begun.push(merge.finished_by(Box::new(driver))),
            Ok(Begun::Scheduled(words)) => {
                tell_scheduled(plan, &words);
                merge.put_off(&watch.sample_scheduled(merge.place));
                watch.leave(merge.place);
                all.begun.push(merge);
            }
            Err(error) => {
                watch.leave(merge.place);
                all.failure = Some(error.context(format!(
                    "the merge of {} could not begin",
                    printable(&plan.snapshot.label())
                )));
            }
        }
        // The next may take a while to begin, and this one merges already.
        watch.collect();
    }
    all
}

fn tell_scheduled(plan: &Plan<'_>, words: &str) {
    let origin = printable(&plan.origin.label());
    eprintln!(
        "merge-ctl: {origin} is in use, so LVM has recorded the merge and begins it at the next \
         activation of {origin}. lvm2 says: {words}"
    );
}

/// Says of a beginning that did not go to its end what became of each.
fn tell_fates(beginning: &Beginning) {
    if let Some(error) = &beginning.failure {
        eprintln!("merge-ctl: {error:#}");
    }
    if beginning.failure.is_some() || !beginning.left_out.is_empty() {
        let begun: Vec<_> = beginning.begun.iter().map(Followed::name).collect();
        eprintln!("merge-ctl: begun before, and going on: the merge into {}", begun.join(", "));
        tell_left_out(&beginning.left_out);
    }
}

/// Says which snapshots were not touched.
fn tell_left_out(snapshots: &[String]) {
    if !snapshots.is_empty() {
        eprintln!("merge-ctl: not begun, and unchanged: {}", snapshots.join(", "));
    }
}

/// Asks whether the user means it.
fn confirmed(plans: &[Plan<'_>]) -> io::Result<bool> {
    let mut err = io::stderr().lock();
    write!(err, "{}", question(plans))?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// What will happen, and whether it shall.
fn question(plans: &[Plan<'_>]) -> String {
    let mut text = String::new();
    for plan in plans {
        let (origin, snapshot) =
            (printable(&plan.origin.label()), printable(&plan.snapshot.label()));
        text.push_str(&format!(
            "{origin} will be rolled back to {snapshot}: {} are copied back. What was written to \
             {origin} since the snapshot was taken is lost, {snapshot} goes away, and a merge that \
             has begun cannot be called off.\n",
            human::bytes(plan.to_merge.bytes())
        ));
        if let Way::Lvm { origin_in_use: true, .. } = plan.way {
            text.push_str(&format!("{origin} is in use: LVM will begin at its next activation.\n"));
        }
    }
    text.push_str(&match plans.len() {
        1 => "Merge? [y/N] ".to_owned(),
        count => format!("Merge all {count}? [y/N] "),
    });
    text
}
