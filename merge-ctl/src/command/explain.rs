//! `merge-ctl explain NAME`: why a merge goes as it goes, why those of a recording went as they went, or
//! what the merge of a snapshot would be like.

mod recorded;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use merge_ctl::dm::{Control, Device, SnapshotStatus, disk_stats};
use merge_ctl::lvm::lvm2::Lvm;
use merge_ctl::model::causes::outlook::{self, outlook};
use merge_ctl::model::causes::{Finding, Outlook};
use merge_ctl::model::{Cause, DEFAULT_STALL_AFTER_NS, Model, State};
use merge_ctl::output::explain::{self, Explained, Watched};
use merge_ctl::probe::{Probe, ProbeOptions};
use merge_ctl::sampler::Watch;
use merge_ctl::store::{ForwardRuns, Source, Store};
use merge_ctl::units::nanoseconds;

use super::live;
use super::subject::{Content, Devices, Subject};
use super::terminal;
use crate::cli::Explain;
use crate::exit::{Exit, NoMerge};

/// As often as the live commands ask.
const SAMPLE_EVERY: Duration = Duration::from_millis(200);
/// How long what somebody may be about to change must last before it counts as certain.
const SETTLED: Duration = Duration::from_secs(1);
/// How long the store of a running merge may be read: the merge is what was asked about.
const MAX_STORE_READ: Duration = Duration::from_secs(5);

/// Explains what was named.
pub(crate) async fn run(options: &Explain) -> anyhow::Result<ExitCode> {
    if let Some(recording) = recorded::open(&options.name)? {
        return recorded::run(options, recording);
    }
    let subject = Subject::find(&options.name)?;
    match &subject.devices {
        Some(devices) if devices.merging => merge(options, &subject, devices).await?,
        devices => {
            let store = Some(of_snapshot(&subject, devices.as_ref())?);
            let name = &subject.label;
            print(options, &Explained { name, merge: None, store, missing: Vec::new() })?;
        }
    }
    Ok(Exit::Done.into())
}

async fn merge(options: &Explain, subject: &Subject, devices: &Devices) -> anyhow::Result<()> {
    let is_it = |device: &&Device| {
        device.merge().is_some_and(|args| args.cow.number() == Some(devices.cow.dev))
    };
    let origin = devices.host.merges().find(is_it);
    let origin = origin.ok_or_else(|| NoMerge(subject.label.clone()))?;
    let args = origin.merge().ok_or_else(|| NoMerge(subject.label.clone()))?;
    let mut missing = Vec::new();
    let store = what_is_left(subject, devices).unwrap_or_else(|error| {
        missing.push(format!("What is left in the exception store: {error:#}."));
        None
    });
    let probe = Probe::attach(ProbeOptions {
        best: live::best_tier(options.probes),
        ..ProbeOptions::default()
    });
    let mut all = Watch::new(Control::open()?, probe);
    let place = all.add(&devices.host, origin, args, None)?;
    let (model, watched) = watch(all, place, options.duration).await;
    missing.splice(0..0, model.identity.probes.missing.iter().cloned());
    let merge = Some(Watched { model: &model, ns: nanoseconds(watched) });
    print(options, &Explained { name: &options.name, merge, store, missing })
}

/// Follows the merge for so long, or until nothing more will be learned.
async fn watch(mut all: Watch, place: usize, duration: Duration) -> (Model, Duration) {
    let began = Instant::now();
    // Without the store, which only the map is made of: on a slow device it takes a while to read.
    let first = all.sample(place);
    let mut model = Model::first(all.identity(place).clone(), &first, DEFAULT_STALL_AFTER_NS);
    if io::stderr().is_terminal() {
        terminal::tell(&format!("watching {} for {duration:?} …", model.identity.origin_label));
    }
    let mut ticker = tokio::time::interval(SAMPLE_EVERY);
    let mut unsettled = None;
    while began.elapsed() < duration && !is_certain(&model, &mut unsettled) {
        tokio::select! {
            _ = ticker.tick() => {}
            () = all.something_happened() => {}
        }
        model = model.next(&all.sample(place));
    }
    (model, began.elapsed())
}

/// Whether watching on would change nothing. What somebody else may end at any moment has to last.
fn is_certain(model: &Model, since: &mut Option<Instant>) -> bool {
    let is_waiting =
        model.state == State::DoneNotFinished || model.cause() == Some(Cause::Suspended);
    if !is_waiting {
        *since = None;
        return model.state.is_over();
    }
    since.get_or_insert_with(Instant::now).elapsed() >= SETTLED
}

/// What a merge of this snapshot would be like.
fn of_snapshot(subject: &Subject, devices: Option<&Devices>) -> anyhow::Result<Finding> {
    let status = devices.and_then(|devices| devices.status.as_ref());
    if matches!(status, Some(SnapshotStatus::Invalid | SnapshotStatus::Overflow)) {
        return Ok(outlook::invalid());
    }
    if let Some(origin) = devices.and_then(scheduled_into) {
        return Ok(outlook::scheduled(&origin));
    }
    let runs = match subject.open()? {
        Content::New => Some(Outlook::EMPTY),
        Content::Store(store) => runs(&store, None)?,
    };
    Ok(outlook::before(&runs.unwrap_or(Outlook::EMPTY)))
}

/// The origin that LVM will merge this snapshot into at its next activation. Where lvm2 cannot be
/// asked, nothing is known of such a plan.
fn scheduled_into(devices: &Devices) -> Option<String> {
    let snapshot = devices.host.by_dev(devices.cow.dev)?.snapshot_of_lvm()?;
    let volumes = Lvm::find().ok()?.volumes().ok()?;
    let is_it = |vg: &str, lv: &str| vg == snapshot.vg && lv == snapshot.lv;
    let volume = volumes.iter().find(|volume| is_it(&volume.vg, &volume.lv))?;
    volume.is_merging_snapshot().then(|| devices.origin.clone())?
}

/// What is left of a merge that goes on; nothing where the store takes too long to read.
fn what_is_left(subject: &Subject, devices: &Devices) -> anyhow::Result<Option<Finding>> {
    if disk_stats::read(devices.cow.dev).is_ok_and(|facts| facts.suspended) {
        bail!("its device is suspended, and a read of it would wait");
    }
    let Content::Store(store) = subject.open()? else { return Ok(None) };
    let left = runs(&store, Some(Instant::now() + MAX_STORE_READ))?;
    Ok(left.map(|left| outlook(&left)))
}

/// All runs of a store, counted in a walk forwards, which a merge at its other end does not disturb;
/// nothing where the deadline passes first.
fn runs<S: Source>(store: &Store<S>, deadline: Option<Instant>) -> anyhow::Result<Option<Outlook>> {
    let mut outlook = Outlook { chunk_size: Some(store.layout().chunk_size()), ..Outlook::EMPTY };
    let mut runs = ForwardRuns::default();
    for placed in store.exceptions() {
        let placed = placed?;
        // The clock is asked once an area: as often as the device.
        if placed.place.entry == 0 && deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return Ok(None);
        }
        if let Some(ended) = runs.add(placed) {
            outlook.add(ended.run.chunks);
        }
    }
    if let Some(last) = runs.finish() {
        outlook.add(last.run.chunks);
    }
    Ok(Some(outlook))
}

fn print(options: &Explain, explained: &Explained<'_>) -> anyhow::Result<()> {
    let text = if options.json { explain::json(explained) } else { explain::text(explained) };
    let text = if options.json { text.into() } else { terminal::for_stdout(&text) };
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("cannot write the answer")
}
