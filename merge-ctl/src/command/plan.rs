//! `merge-ctl plan SNAPSHOT|COW|FILE`: what a merge will do.
//!
//! Finds the store and its devices, times a few reads, and prints what the planner makes of it.
//! Nothing is written anywhere but to standard output.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use merge_ctl::calibrate::{time_reads, time_wake_ups};
use merge_ctl::dm::target::Persistence;
use merge_ctl::dm::{Host, SnapshotStatus, disk_stats};
use merge_ctl::output::plan_picture::Paper;
use merge_ctl::output::{plan, plan_json};
use merge_ctl::plan as planned;
use merge_ctl::plan::costs::MergeCosts;
use merge_ctl::plan::siblings::SiblingFacts;
use merge_ctl::planner::{self, Fill, Planned, Request};
use merge_ctl::store::{AnySource, Opened, Place, Run, Source, Store};
use merge_ctl::units::Sectors;

use super::subject::{Content, Devices, Disk, Sibling, Subject};
use super::terminal::unfolded_for_stdout as for_stdout;
use crate::cli;
use crate::exit::Exit;

/// Columns where nobody tells how wide the output is.
const WIDTH: usize = 80;
/// No terminal is too narrow to be written to, but tables need room.
const LEAST_WIDTH: usize = 60;
/// Rows of prose are hard to read when they are longer.
const MOST_WIDTH: usize = 160;

/// Prints the plan.
pub(crate) fn run(options: &cli::Plan) -> anyhow::Result<ExitCode> {
    let subject = Subject::find(&options.subject)?;
    let mut out = BufWriter::new(io::stdout().lock());
    match subject.open()? {
        Content::New => {
            let untried = "there is nothing to merge, so the devices were not tried".to_owned();
            let plan = planner::empty(known(&subject, None), Err(untried));
            print(&mut out, options, &plan, std::iter::empty())?;
        }
        Content::Store(store) => {
            let chunk_bytes = store.layout().chunk_size().bytes();
            let merging = subject.devices.as_ref().is_some_and(|devices| devices.merging);
            let request = Request {
                subject: known(&subject, Some(chunk_bytes)),
                costs: costs(&subject, options, chunk_bytes),
                siblings: siblings(&subject),
                // A merge eats the store from its end: what a second walk would find is not what
                // the first one counted.
                list_runs: options.runs && merging,
            };
            let read = || format!("cannot read the exceptions of {}", subject.label);
            let Planned { plan, end, runs } = planner::plan(&store, request).with_context(read)?;
            let runs = runs_of(&store, end, runs).map(|run| run.with_context(read));
            print(&mut out, options, &plan, runs)?;
        }
    }
    out.flush()?;
    Ok(Exit::Done.into())
}

/// The runs in merge order, from the list where there is one.
fn runs_of<'a, S: Source>(
    store: &'a Store<S>,
    end: Place,
    listed: Option<Vec<Run>>,
) -> Box<dyn Iterator<Item = Result<Run, merge_ctl::store::StoreError>> + 'a> {
    match listed {
        Some(runs) => Box::new(runs.into_iter().map(Ok)),
        None => Box::new(store.runs(end)),
    }
}

fn print(
    out: &mut impl Write,
    options: &cli::Plan,
    plan: &planned::Plan,
    runs: impl Iterator<Item = anyhow::Result<Run>>,
) -> anyhow::Result<()> {
    match (options.json, options.runs) {
        (true, false) => writeln!(out, "{}", plan_json::object(plan))?,
        (true, true) => {
            write!(out, "{}", plan_json::object_before_runs(plan))?;
            for (number, run) in runs.enumerate() {
                let comma = if number > 0 { "," } else { "" };
                write!(out, "{comma}{}", plan_json::run(&run?))?;
            }
            writeln!(out, "{}", plan_json::END)?;
        }
        (false, list) => {
            write!(out, "{}", for_stdout(&plan::text(plan, &paper())))?;
            if list && plan.work.runs > 0 {
                write!(out, "{}", for_stdout(&plan::runs_head()))?;
                for run in runs {
                    write!(out, "{}", for_stdout(&plan::run_line(&run?)))?;
                }
            }
        }
    }
    Ok(())
}

/// The terminal, or a file that is as wide as most.
fn paper() -> Paper {
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let columns = if terminal { crossterm::terminal::size().ok() } else { None };
    let width = columns.map_or(WIDTH, |(columns, _)| usize::from(columns));
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Paper { width: width.clamp(LEAST_WIDTH, MOST_WIDTH), colour: terminal && !unwanted }
}

fn known(subject: &Subject, chunk_bytes: Option<u64>) -> planned::Subject {
    let devices = subject.devices.as_ref();
    planned::Subject {
        label: subject.label.clone(),
        origin: devices.and_then(|devices| devices.origin.clone()),
        merging: devices.is_some_and(|devices| devices.merging),
        origin_bytes: subject.origin_size.map(Sectors::bytes),
        cow_bytes: subject.source.size().bytes(),
        chunk_bytes: chunk_bytes.or_else(|| devices.map(|devices| devices.chunk_size.bytes())),
    }
}

/// What was given, else what the devices say, else why nothing is known.
fn costs(subject: &Subject, options: &cli::Plan, chunk_bytes: u64) -> Result<MergeCosts, String> {
    if let (Some(run_ns), Some(byte_rate)) = (options.run_cost, options.byte_rate) {
        return Ok(MergeCosts::given(run_ns, 1e9 / byte_rate, chunk_bytes));
    }
    let give = "--run-cost and --byte-rate give what it costs";
    let Some(devices) = &subject.devices else {
        return Err(format!("there are no devices to try; {give}"));
    };
    if options.no_calibrate {
        return Err(format!("the devices were not tried; {give}"));
    }
    calibrated(devices).map_err(|error| format!("the devices cannot be tried: {error:#}; {give}"))
}

fn calibrated(devices: &Devices) -> anyhow::Result<MergeCosts> {
    let usage = devices.status.as_ref().and_then(SnapshotStatus::usage);
    let used = usage.map_or(Sectors(u64::MAX / 512), |usage| usage.allocated);
    let time = |disk: &Disk, used| time_reads(disk.dev, &disk.path, used);
    let cow = time(&devices.cow, used)?;
    if disk_stats::read(devices.real.dev).is_ok_and(|facts| facts.suspended) {
        bail!("the origin's device is suspended, and a read of it would wait");
    }
    let real = time(&devices.real, Sectors(u64::MAX / 512))?;
    MergeCosts::measured(&cow, &real, time_wake_ups()?).context("no read was timed")
}

fn siblings(subject: &Subject) -> Vec<planner::Sibling<AnySource>> {
    let devices = subject.devices.iter();
    devices
        .flat_map(|devices| devices.siblings.iter().map(|it| sibling(it, &devices.host)))
        .collect()
}

fn sibling(sibling: &Sibling, host: &Host) -> planner::Sibling<AnySource> {
    let lost = sibling.status == Some(SnapshotStatus::Invalid);
    let size = host
        .snapshots()
        .find(|device| {
            device.snapshot().is_some_and(|args| args.cow.number() == Some(sibling.cow.dev))
        })
        .map_or(Sectors(u64::MAX / 512), merge_ctl::dm::Device::size);
    let persistent = sibling.persistence != Persistence::Transient;
    let store = if persistent && !lost { open(sibling, size) } else { None };
    let usage = sibling.status.as_ref().and_then(SnapshotStatus::usage);
    planner::Sibling {
        facts: SiblingFacts {
            label: sibling.label.clone(),
            chunk_size: sibling.chunk_size,
            size,
            unread: store.is_none(),
            lost,
        },
        store,
        fill: usage.map(|usage| Fill {
            total: usage.total,
            allocated: usage.allocated,
            metadata: usage.metadata,
            persistent,
        }),
    }
}

/// A sibling's store. Without it the figures are bounds, and say so.
fn open(sibling: &Sibling, origin: Sectors) -> Option<Store<AnySource>> {
    let source = AnySource::open(&sibling.cow.path).ok()?;
    match Store::open(source, Some(origin)).ok()? {
        Opened::Usable(store) => Some(store),
        // A device whose snapshot is active has a header.
        Opened::New | Opened::Invalid => None,
    }
}
