//! What `cargo xtask bench estimate` runs in its VM: merges of mixed fragmentation on slow devices,
//! and what was predicted at 10, 25 and 50 % of the time that each took. One JSON line a merge.
//!
//!     estimate run [--record] [NAME …]   in a VM: makes and removes device-mapper devices
//!     estimate replay FILE               anywhere: what the model makes of recorded samples
//!
//! With `--record` each merge's samples go before its line, so that a change of the estimate can be
//! judged by the same merges again.

#[path = "estimate/cases.rs"]
mod cases;
#[path = "../tests/vm/testbed.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "made for the tests, which use all of it and panic where they fail"
)]
mod testbed;

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use merge_ctl::dm::{Control, Host, SnapshotStatus, holders};
use merge_ctl::merge::drive::{Unwritten, drive};
use merge_ctl::merge::finish::Finish;
use merge_ctl::merge::live::LiveExecutor;
use merge_ctl::merge::machine::Goal;
use merge_ctl::merge::preflight::{self, Way};
use merge_ctl::merge::recording;
use merge_ctl::model::{DEFAULT_STALL_AFTER_NS, Model, State};
use merge_ctl::probe::{Probe, ProbeOptions};
use merge_ctl::sample::{MergeIdentity, ProbeTier, Sample};
use merge_ctl::sampler::{FIRST_SAMPLE_WAITS, Watch};
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

use cases::{CASES, Case};
use testbed::{AlignedBuffer, BLOCK, Testbed, mix, stamp};

/// How often a sample is taken: as `merge-ctl start` does.
const SAMPLE_EVERY: Duration = Duration::from_millis(200);
/// The shares of the time at which a prediction counts.
const AT: [f64; 3] = [0.10, 0.25, 0.50];

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    match (words.next().as_deref(), words.next()) {
        (Some("run"), word) => run(&word.into_iter().chain(words).collect::<Vec<_>>()),
        (Some("replay"), Some(file)) => replay(&file),
        _ => bail!("say `estimate run [--record] [NAME …]` or `estimate replay FILE`"),
    }
}

/// A line of the output.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Begin { case: String, identity: Box<MergeIdentity> },
    Sample(Box<Sample>),
    Result(Outcome),
}

/// What was predicted of one merge, and what came true.
#[derive(Serialize, Deserialize)]
struct Outcome {
    case: String,
    total_s: f64,
    runs: Option<u64>,
    points: Vec<Point>,
}

/// A prediction.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Point {
    elapsed_s: f64,
    /// Elapsed and left: the low end, the middle and the high end.
    low_s: Option<f64>,
    middle_s: Option<f64>,
    high_s: Option<f64>,
    /// Elapsed, divided by the share of bytes that is merged.
    linear_s: Option<f64>,
}

impl Point {
    fn of(model: &Model) -> Self {
        let elapsed_s = model.elapsed_ns as f64 / 1e9;
        let fraction = model.progress.fraction();
        let total = |left: fn(&merge_ctl::cost::TimeRange) -> f64| {
            model.left.as_ref().map(|range| elapsed_s + left(range))
        };
        Self {
            elapsed_s,
            low_s: total(|left| left.low_s),
            middle_s: total(merge_ctl::cost::TimeRange::middle_s),
            high_s: total(|left| left.high_s),
            linear_s: (fraction > 0.0).then(|| elapsed_s / fraction),
        }
    }
}

/// One merge as it is followed, live or from a recording.
struct Followed {
    case: String,
    model: Model,
    points: Vec<Point>,
}

impl Followed {
    fn new(case: String, identity: MergeIdentity, first: &Sample) -> Self {
        let model = Model::first(identity, first, DEFAULT_STALL_AFTER_NS);
        Self { case, points: vec![Point::of(&model)], model }
    }

    /// Takes a sample in; whether the merge goes on.
    fn take(&mut self, sample: &Sample) -> bool {
        self.model = self.model.clone().next(sample);
        self.points.push(Point::of(&self.model));
        !(self.model.state.is_over() || self.model.state == State::DoneNotFinished)
    }

    fn outcome(self) -> Outcome {
        let total_s = self.model.elapsed_ns as f64 / 1e9;
        let at = |share: f64| {
            self.points.iter().rev().find(|point| point.elapsed_s <= share * total_s).copied()
        };
        let points = AT.into_iter().filter_map(at).collect();
        let runs = self.model.ahead.map(|ahead| ahead.initial_runs);
        Outcome { case: self.case, total_s, runs, points }
    }
}

fn say(line: &Line) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, line)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

fn replay(file: &str) -> anyhow::Result<()> {
    let recording = BufReader::new(File::open(file).with_context(|| file.to_owned())?);
    let (mut begun, mut followed): (Option<(String, MergeIdentity)>, Option<Followed>) =
        (None, None);
    for line in recording.lines() {
        match serde_json::from_str(&line?)? {
            Line::Begin { case, identity } => begun = Some((case, *identity)),
            Line::Sample(sample) => match (&mut followed, begun.take()) {
                (Some(followed), None) => {
                    followed.take(&sample);
                }
                (_, Some((case, identity))) => {
                    followed = Some(Followed::new(case, identity, &sample));
                }
                (None, None) => bail!("a sample comes before any merge began"),
            },
            Line::Result(_) => {
                let followed = followed.take().context("a result comes before any sample")?;
                say(&Line::Result(followed.outcome()))?;
            }
        }
    }
    Ok(())
}

fn run(words: &[String]) -> anyhow::Result<()> {
    let record = words.iter().any(|word| word == "--record");
    let named: Vec<_> = words.iter().filter(|word| !word.starts_with("--")).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for case in
        CASES.iter().filter(|case| named.is_empty() || named.iter().any(|n| *n == case.name))
    {
        let bed = Testbed::new("estimate", case.mib, case.chunk_sectors);
        case.write(&bed);
        bed.slow_down_one("cow", case.cow_ms);
        bed.slow_down_one("real", case.real_ms);
        let outcome =
            with_writers(&bed, case, |go| runtime.block_on(merge(&bed, case, record, go)));
        bed.slow_down(0);
        say(&Line::Result(outcome?))?;
    }
    Ok(())
}

/// Between two writes of an application.
const PAUSE: Duration = Duration::from_millis(20);

/// Merges the snapshot, lets the writers go, and tells what was predicted meanwhile.
async fn merge(bed: &Testbed, case: &Case, record: bool, go: &Stage) -> anyhow::Result<Outcome> {
    let control = Control::open()?;
    let host = Host::read(&control)?;
    let snapshot = host.by_name(&bed.dm("snap")).context("no snapshot")?;
    let plan =
        preflight::check(&host, snapshot, &|dev| holders::holders_of(dev).unwrap_or_default())?;
    let (Way::DeviceMapper(handover), Some(SnapshotStatus::Usage(usage))) =
        (&plan.way, &snapshot.status)
    else {
        bail!("the testbed is not plain device-mapper");
    };
    let best = if case.probes { ProbeTier::Full } else { ProbeTier::None };
    let probe = Probe::attach(ProbeOptions { best, ..ProbeOptions::default() });
    let mut watch = Watch::new(control, probe);
    let place = watch.add(&host, plan.origin, &plan.args, Some(plan.snapshot))?;
    watch.read_store(place, Some(*usage), FIRST_SAMPLE_WAITS);
    let first = watch.first_sample(place);
    let identity = watch.identity(place).clone();
    if record {
        let identity = Box::new(identity.clone());
        say(&Line::Begin { case: case.name.to_owned(), identity })?;
        say(&Line::Sample(Box::new(first.clone())))?;
    }
    let mut followed = Followed::new(case.name.to_owned(), identity, &first);
    let mut log = Unwritten(recording::of_handover(&host, handover)?);
    let mut executor = LiveExecutor::new(watch.control(), [plan.origin, plan.snapshot]);
    drive(&Goal::Merge, &mut executor, &mut log).or_not("begun", &handover.origin)?;
    go.set(Stage::GO);
    follow(&mut watch, place, &mut followed, record).await?;
    if followed.model.state != State::DoneNotFinished {
        bail!("the merge ended as {}", followed.model.state.name());
    }
    let host = Host::read(watch.control())?;
    let origin = host.by_name(&bed.dm("origin")).context("no origin")?;
    let finish = Finish::of(&host, origin)?;
    let mut executor = LiveExecutor::new(watch.control(), [origin]);
    let goal = Goal::Finish(finish.plain);
    drive(&goal, &mut executor, &mut log).or_not("finished", &finish.origin)?;
    Ok(followed.outcome())
}

/// Until all is merged.
async fn follow(
    watch: &mut Watch,
    place: usize,
    followed: &mut Followed,
    record: bool,
) -> anyhow::Result<()> {
    let mut ticker = interval(SAMPLE_EVERY);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticker.tick() => {}
            () = watch.something_happened() => {}
        }
        let sample = watch.sample(place);
        let goes_on = followed.take(&sample);
        if record {
            say(&Line::Sample(Box::new(sample)))?;
        }
        if !goes_on {
            return Ok(());
        }
    }
}

/// Does something while applications write to the origin, where the case has any.
///
/// They begin when they are told to: preflight looks for users of the origin in other processes
/// only, and could not say who has it open.
fn with_writers<T>(bed: &Testbed, case: &Case, act: impl FnOnce(&Stage) -> T) -> T {
    let stage = Stage::default();
    thread::scope(|scope| {
        for writer in 0..case.writers {
            let stage = &stage;
            scope.spawn(move || write_while(bed, writer, stage));
        }
        let result = act(&stage);
        stage.set(Stage::STOP);
        result
    })
}

/// What the writers are to do.
#[derive(Default)]
struct Stage(AtomicU8);

impl Stage {
    const WAIT: u8 = 0;
    const GO: u8 = 1;
    const STOP: u8 = 2;

    fn set(&self, stage: u8) {
        self.0.store(stage, Ordering::Relaxed);
    }

    fn is(&self, stage: u8) -> bool {
        self.0.load(Ordering::Relaxed) == stage
    }
}

/// Writes blocks at random places of the origin, with a pause after each.
fn write_while(bed: &Testbed, writer: u64, stage: &Stage) {
    while stage.is(Stage::WAIT) {
        thread::sleep(PAUSE);
    }
    let file = bed.open("origin");
    let mut buffer = AlignedBuffer::new(BLOCK);
    let blocks = bed.bytes() / BLOCK as u64;
    let mut turn = 0;
    while stage.is(Stage::GO) {
        let block = mix(writer << 32 | turn) % blocks;
        stamp(buffer.as_mut(), turn, block);
        let written = file.write_all_at(buffer.as_mut(), block * BLOCK as u64);
        written.unwrap_or_else(|error| panic!("a write to block {block} failed: {error}"));
        thread::sleep(PAUSE);
        turn += 1;
    }
}
