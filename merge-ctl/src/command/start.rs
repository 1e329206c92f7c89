//! `merge-ctl start SNAPSHOT…`: preflight, merge, live view, finish.
//!
//! With several snapshots all are looked at before the first is touched, and one answer stands for
//! all. They are begun one after the other; where one cannot begin, those behind it are left as they
//! are, because what is in its way may be in theirs, and those before it are followed to their end.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::Context;
use merge_ctl::dm::{Control, Host, SnapshotStatus, Usage};
use merge_ctl::harmless::{argument, printable};
use merge_ctl::merge::journal::intent::Intent;
use merge_ctl::merge::preflight::Plan;
use merge_ctl::probe::Probe;
use merge_ctl::sampler::{FIRST_SAMPLE_WAITS, Watch};

use super::attach;
use super::begin::{Begun, begin};
use super::check;
use super::detach::{self, News, Teller};
use super::elsewhere;
use super::face::Face;
use super::followed::Followed;
use super::live::{self, LeaveSignals, Live};
use super::offline;
use super::plans;
use super::quiet::{QuietWait, Waited, still_quiet};
use super::recording::Recording;
use super::resume;
use super::terminal;
use crate::cli::{Output, Start};
use crate::exit::{self, Exit};

/// Merges the snapshots and shows it.
pub(crate) async fn run(options: &Start) -> anyhow::Result<ExitCode> {
    if options.check {
        return check::run(options);
    }
    Recording::check(options.record.record.as_deref())?;
    if options.offline.offline {
        return offline::run(options).await;
    }
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
    let output = output(options)?;
    let control = Control::open()?;
    elsewhere::refuse(&Host::read(&control)?, &options.snapshots)?;
    if let Some((host, origin)) = begun_by_another(&control, &options.snapshots)? {
        return onlook(control, &host, &origin, options, teller).await;
    }
    let (read, lose_siblings) = match agree(&control, options)? {
        Agreed::Here { read, lose_siblings } => (read, lose_siblings),
        Agreed::Over(exit) => return Ok(exit),
    };
    let mut signals = signals(options)?;
    let mut parts = (control, Probe::attach(live::probe_options(&options.live)));
    let mut quiet = QuietWait::asked_for(&options.quiet, &options.live, output);
    let mut intents = Vec::new();
    loop {
        if let Some(quiet) = &mut quiet
            && let Some(exit) =
                until_quiet(quiet, &mut parts, options, &mut intents, &mut signals, teller).await?
        {
            return Ok(exit.into());
        }
        // Looked at anew: much may have changed while somebody thought about the answer.
        let host = plans::settled_host(&parts.0, &options.snapshots)?;
        let plans = match plans::gate(&parts.0, &host, &options.snapshots, lose_siblings) {
            Ok(plans) => plans,
            Err(refused) => return or_onlook(refused, parts.0, options, teller).await,
        };
        let mut watch = Watch::new(parts.0, parts.1);
        let ready = ready(&mut watch, &host, &plans, options)?;
        if quiet.is_some() && !still_quiet(&watch, &plans) {
            parts = watch.into_parts();
            continue;
        }
        tell_notes(&plans, &read);
        let recording = recording(options)?;
        let prepared = Prepared { watch, ready, intents, recording };
        return merge(options, output, &plans, prepared, signals, teller).await;
    }
}

/// Nobody sees a dashboard that is detached.
fn output(options: &Start) -> anyhow::Result<Output> {
    match options.live.output {
        Some(Output::Tui) if options.detached.is_some() || options.detach => Ok(Output::Plain),
        _ => Ok(live::output(&options.live)?),
    }
}

/// Whoever is detached has no terminal that could hang up.
fn signals(options: &Start) -> io::Result<LeaveSignals> {
    let signals = LeaveSignals::listen()?;
    Ok(if options.detached.is_some() { signals.deaf_to_hangup() } else { signals })
}

/// Tells what was not read with the question.
fn tell_notes(plans: &[Plan<'_>], read: &[String]) {
    for note in plans.iter().flat_map(|plan| &plan.notes).filter(|note| !read.contains(*note)) {
        terminal::tell(note);
    }
}

/// Another start may have taken the devices just now: what was refused is its doing then.
async fn or_onlook(
    refused: anyhow::Error,
    control: Control,
    options: &Start,
    teller: &mut Teller,
) -> anyhow::Result<ExitCode> {
    match begun_by_another(&control, &options.snapshots)? {
        Some((host, origin)) => onlook(control, &host, &origin, options, teller).await,
        None => Err(refused),
    }
}

/// What became of the look before anything is prepared.
enum Agreed {
    /// This process goes on.
    Here {
        /// Notes that were read with the question.
        read: Vec<String>,
        /// Whether other snapshots may be lost.
        lose_siblings: bool,
    },
    /// It does not: nobody wants the merge, or another process sees to it.
    Over(ExitCode),
}

/// Asks whoever can be asked, and hands over to a detached process where that is wanted.
fn agree(control: &Control, options: &Start) -> anyhow::Result<Agreed> {
    let detached = options.detached.is_some();
    let asks = !options.yes && !detached && io::stdin().is_terminal();
    let detaches = options.detach && !detached;
    // Whoever is asked, and answers yes, has read which snapshots are lost.
    let lose_siblings = options.lose_siblings || asks;
    if !asks && !detaches {
        return Ok(Agreed::Here { read: Vec::new(), lose_siblings });
    }
    let host = plans::settled_host(control, &options.snapshots)?;
    let plans = plans::gate(control, &host, &options.snapshots, lose_siblings)?;
    if asks && !plans::confirmed(&plans)? {
        terminal::tell("nothing was changed");
        return Ok(Agreed::Over(Exit::Refused.into()));
    }
    if detaches {
        return detach::detach(&plans, options, lose_siblings).map(Agreed::Over);
    }
    let read = plans.into_iter().flat_map(|plan| plan.notes).collect();
    Ok(Agreed::Here { read, lose_siblings })
}

/// Waits for a quiet moment; the exit status where it does not come.
async fn until_quiet(
    quiet: &mut QuietWait,
    (control, probe): &mut (Control, Probe),
    options: &Start,
    intents: &mut Vec<Intent>,
    signals: &mut LeaveSignals,
    teller: &mut Teller,
) -> anyhow::Result<Option<Exit>> {
    let host = plans::settled_host(control, &options.snapshots)?;
    let plans = plans::quick(&host, &options.snapshots)?;
    if intents.is_empty() {
        *intents = announce(&plans)?;
    }
    teller.tell_last(News::Waits);
    match quiet.wait(control, probe, &plans, signals).await? {
        Waited::GoOn => Ok(None),
        Waited::Left => {
            terminal::tell("nothing was changed");
            Ok(Some(Exit::Refused))
        }
        Waited::GaveUp => {
            terminal::tell(&format!("{}; nothing was changed", quiet.gave_up()));
            Ok(Some(Exit::Timeout))
        }
    }
}

/// Tells whoever waits for these merges that they are going to begin.
fn announce(plans: &[Plan<'_>]) -> anyhow::Result<Vec<Intent>> {
    let announce = |plan: &Plan<'_>| Intent::announce(&plan.origin.info.name);
    let intents = plans.iter().map(announce).collect::<io::Result<_>>();
    intents.context("cannot make known that a merge is to begin")
}

/// What is there before the first merge begins.
struct Prepared {
    watch: Watch,
    ready: Vec<Followed>,
    intents: Vec<Intent>,
    recording: Option<Recording>,
}

/// Begins the merges and shows them.
async fn merge(
    options: &Start,
    output: Output,
    plans: &[Plan<'_>],
    Prepared { mut watch, ready, intents, recording }: Prepared,
    mut signals: LeaveSignals,
    teller: &mut Teller,
) -> anyhow::Result<ExitCode> {
    let beginning = begin_all(plans, ready, &mut watch, &mut signals).await;
    // What was begun can be seen; what was not is not going to be.
    drop(intents);
    if beginning.begun.is_empty()
        && let Some(error) = beginning.failure
    {
        tell_left_out(&beginning.left_out);
        return Err(error);
    }
    tell_fates(&beginning);
    teller.tell_last(beginning.news());
    let Beginning { begun, failure, left_out, interrupted, .. } = beginning;
    // What LVM has put off has nothing to show.
    let is_live = !interrupted && !begun.iter().all(Followed::is_over);
    let output = if is_live || output == Output::Json { output } else { Output::Plain };
    let face = Face::new_or_lines(output, &options.live);
    let live = Live {
        watch,
        face,
        signals,
        merges: begun,
        newcomers: None,
        recording,
        options: &options.live,
    };
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
    teller: &mut Teller,
) -> anyhow::Result<ExitCode> {
    let origin = host.by_name(origin).with_context(|| format!("{origin} is gone"))?;
    let name = printable(&options.snapshots.join(", "));
    terminal::tell(&format!("{name} is being merged already"));
    if options.detach && options.detached.is_none() {
        terminal::tell(&format!("to follow it: merge-ctl resume {}", argument(&origin.label())));
        return Ok(Exit::StillMerging.into());
    }
    teller.tell_last(News::Begun { status: 0, words: String::new() });
    Ok(resume::attach(control, host, origin, &options.live, recording(options)?).await?.into())
}

/// The recording that is asked for. Begun when nothing is in the way any more.
fn recording(options: &Start) -> anyhow::Result<Option<Recording>> {
    Recording::asked_for(options.record.record.as_deref(), "start", &options.live)
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
    /// What lvm2 said of those that it has put off.
    put_off: Vec<String>,
    /// Why one could not begin.
    failure: Option<anyhow::Error>,
    /// The snapshots that nothing was done to.
    left_out: Vec<String>,
    /// Whether the user wants to leave already.
    interrupted: bool,
}

impl Beginning {
    /// What whoever detached this wants to know.
    fn news(&self) -> News {
        if self.begun.iter().all(Followed::is_over) && self.failure.is_none() {
            return News::Scheduled { words: self.put_off.join(" ") };
        }
        let failure = self.failure.as_ref();
        let status = failure.map_or(Exit::Done, exit::of) as u8;
        let mut words: Vec<_> = failure.iter().map(|error| format!("{error:#}")).collect();
        words.extend(not_begun(&self.left_out));
        News::Begun { status, words: words.join("\n") }
    }
}

/// Begins one after the other, until one cannot or the user leaves.
async fn begin_all(
    plans: &[Plan<'_>],
    ready: Vec<Followed>,
    watch: &mut Watch,
    signals: &mut LeaveSignals,
) -> Beginning {
    let mut all = Beginning {
        begun: Vec::new(),
        put_off: Vec::new(),
        failure: None,
        left_out: Vec::new(),
        interrupted: false,
    };
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
                merge.put_off(watch.sample_scheduled(merge.place));
                watch.leave(merge.place);
                all.begun.push(merge);
                all.put_off.push(words);
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
    terminal::tell(&format!(
        "{origin} is in use, so LVM has recorded the merge and begins it at the next \
         activation of {origin}. lvm2 says: {}",
        printable(words)
    ));
}

/// Says of a beginning that did not go to its end what became of each.
fn tell_fates(beginning: &Beginning) {
    if let Some(error) = &beginning.failure {
        terminal::tell(&exit::words(error));
    }
    if beginning.failure.is_some() || !beginning.left_out.is_empty() {
        let begun: Vec<_> = beginning.begun.iter().map(Followed::name).collect();
        terminal::tell(&format!("begun before, and going on: the merge into {}", begun.join(", ")));
        tell_left_out(&beginning.left_out);
    }
}

/// Says which snapshots were not touched.
fn tell_left_out(snapshots: &[String]) {
    if let Some(words) = not_begun(snapshots) {
        terminal::tell(&words);
    }
}

fn not_begun(snapshots: &[String]) -> Option<String> {
    (!snapshots.is_empty())
        .then(|| format!("not begun, and unchanged: {}", printable(&snapshots.join(", "))))
}
