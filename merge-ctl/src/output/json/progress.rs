//! The merge at an instant: what is done, in progress, in flight and to come.

use serde::Serialize;

use super::to_line;
use crate::cost::TimeRange;
use crate::model::{
    Ahead, Announcement, Cause, Latencies, Latency, Model, Relation, UpcomingRun, Write, Writer,
    Writes,
};
use crate::output::offline_json::OfflineNow;
use crate::output::throttle::ThrottlingJson;
use crate::sample::{CurrentRun, Dropped, Phase};

#[derive(Serialize)]
struct Progress<'a> {
    unix_s: u64,
    at_ns: u64,
    elapsed_ns: u64,
    state: &'static str,
    initial_bytes: u64,
    merged_bytes: u64,
    left_bytes: u64,
    fraction: f64,
    bytes_per_s: f64,
    runs_per_s: Option<f64>,
    left_low_s: Option<f64>,
    left_high_s: Option<f64>,
    left_middle_s: Option<f64>,
    initial_runs: Option<u64>,
    runs_left: Option<u64>,
    largest_run_ahead_chunks: Option<u64>,
    store_unread: Option<&'a str>,
    runs: u64,
    chunks: u64,
    throttle_percent: Option<u32>,
    throttling: Option<ThrottlingJson>,
    current: Option<Current>,
    writes_in_flight: Option<u64>,
    writes_held: Option<u64>,
    writes_awaited: Option<u64>,
    kernel_writes_in_flight: Option<u64>,
    writes_soon_held: Option<u64>,
    in_flight: Vec<InFlight<'a>>,
    upcoming: Option<Vec<Coming<'a>>>,
    latency: Option<LatencyNow>,
    dropped: Dropped,
    offline: Option<OfflineNow<'a>>,
    verdict: String,
    cause: Option<&'static str>,
}

#[derive(Serialize)]
struct Current {
    old_chunk: Option<u64>,
    new_chunk: Option<u64>,
    chunks: Option<u32>,
    phase: Phase,
    age_ns: u64,
    run_age_ns: u64,
}

impl Current {
    fn new(run: &CurrentRun, now_ns: u64) -> Self {
        let known = run.chunks > 0;
        Self {
            old_chunk: known.then_some(run.old_chunk),
            new_chunk: known.then_some(run.new_chunk),
            chunks: known.then_some(run.chunks),
            phase: run.phase,
            age_ns: now_ns.saturating_sub(run.phase_started_ns),
            run_age_ns: now_ns.saturating_sub(run.started_ns),
        }
    }
}

#[derive(Serialize)]
struct InFlight<'a> {
    sector: u64,
    bytes: u32,
    age_ns: u64,
    pid: u32,
    comm: &'a str,
    held: bool,
    awaited: bool,
    held_after_runs: Option<u32>,
    held_in_ns: Option<u64>,
}

impl<'a> From<&'a Write> for InFlight<'a> {
    fn from(write: &'a Write) -> Self {
        let (held_after_runs, held_in_ns) = match write.relation {
            Relation::Soon { runs, about_ns } => (Some(runs), about_ns),
            _ => (None, None),
        };
        Self {
            sector: write.sector,
            bytes: write.bytes,
            age_ns: write.age_ns,
            pid: write.pid,
            comm: &write.comm,
            held: write.relation == Relation::Held,
            awaited: write.relation == Relation::Awaited,
            held_after_runs,
            held_in_ns,
        }
    }
}

/// How many of the coming runs are listed.
const COMING: usize = 16;

#[derive(Serialize)]
struct Coming<'a> {
    old_chunk: u64,
    new_chunk: u64,
    chunks: u32,
    begins_in_ns: Option<u64>,
    lasts_ns: Option<u64>,
    writes: u64,
    writers: Vec<WriterOf<'a>>,
}

#[derive(Serialize)]
struct WriterOf<'a> {
    pid: u32,
    comm: &'a str,
    writes: u64,
}

impl<'a> From<&'a UpcomingRun> for Coming<'a> {
    fn from(coming: &'a UpcomingRun) -> Self {
        let writer = |writer: &'a Writer| WriterOf {
            pid: writer.pid,
            comm: &writer.comm,
            writes: writer.writes,
        };
        Self {
            old_chunk: coming.run.old_chunk,
            new_chunk: coming.run.new_chunk,
            chunks: coming.run.chunks,
            begins_in_ns: coming.begins_in_ns,
            lasts_ns: coming.lasts_ns,
            writes: coming.writes,
            writers: coming.writers.iter().map(writer).collect(),
        }
    }
}

#[derive(Serialize)]
struct WillHold<'a> {
    unix_s: u64,
    at_ns: u64,
    after_runs: u64,
    #[serde(flatten)]
    coming: Coming<'a>,
}

/// Writes that a coming run will hold.
pub fn announcement(model: &Model, announcement: &Announcement) -> String {
    let body = WillHold {
        unix_s: model.unix_s,
        at_ns: model.now_ns,
        after_runs: announcement.runs,
        coming: (&announcement.coming).into(),
    };
    to_line("will-hold", &model.identity, body)
}

#[derive(Serialize)]
pub(super) struct LatencyNow {
    writes: Figures,
    reads: Figures,
}

#[derive(Serialize)]
struct Figures {
    count: u64,
    per_s: f64,
    bytes_per_s: f64,
    p50_ns: u64,
    p99_ns: u64,
    max_ns: u64,
}

impl From<&Latency> for Figures {
    fn from(latency: &Latency) -> Self {
        let Latency { count, per_s, bytes_per_s, p50_ns, p99_ns, max_ns } = *latency;
        Self { count, per_s, bytes_per_s, p50_ns, p99_ns, max_ns }
    }
}

impl LatencyNow {
    fn now(latencies: &Latencies) -> Self {
        Self { writes: (&latencies.writes_now).into(), reads: (&latencies.reads_now).into() }
    }

    pub(super) fn total(latencies: &Latencies) -> Self {
        Self { writes: (&latencies.writes).into(), reads: (&latencies.reads).into() }
    }
}

/// The merge at this instant.
#[expect(clippy::too_many_lines, reason = "a line a field")]
pub fn progress(model: &Model) -> String {
    let writes = model.writes.as_ref();
    let of_writes = |figure: fn(&Writes) -> u64| writes.map(figure);
    let left = |end: fn(&TimeRange) -> f64| model.left.as_ref().map(end);
    let ahead = |figure: fn(&Ahead) -> u64| model.ahead.as_ref().map(figure);
    let body = Progress {
        unix_s: model.unix_s,
        at_ns: model.now_ns,
        elapsed_ns: model.elapsed_ns,
        state: model.state.name(),
        initial_bytes: model.progress.initial_bytes,
        merged_bytes: model.progress.merged_bytes(),
        left_bytes: model.progress.left_bytes,
        fraction: model.progress.fraction(),
        bytes_per_s: model.rate.bytes_per_s,
        runs_per_s: model.rate.runs_per_s,
        left_low_s: left(|left| left.low_s),
        left_high_s: left(|left| left.high_s),
        left_middle_s: left(TimeRange::middle_s),
        initial_runs: ahead(|ahead| ahead.initial_runs),
        runs_left: ahead(|ahead| ahead.runs),
        largest_run_ahead_chunks: ahead(|ahead| ahead.largest_run_chunks),
        store_unread: model.store_unread.as_deref(),
        runs: model.totals.runs,
        chunks: model.totals.chunks,
        throttle_percent: model.throttle_percent,
        throttling: model.throttling.as_ref().map(Into::into),
        current: model.current.as_ref().map(|run| Current::new(run, model.now_ns)),
        writes_in_flight: of_writes(|writes| writes.in_flight),
        writes_held: of_writes(|writes| writes.held),
        writes_awaited: of_writes(|writes| writes.awaited),
        writes_soon_held: of_writes(|writes| writes.soon),
        upcoming: model
            .upcoming
            .as_ref()
            .map(|upcoming| upcoming.runs.iter().take(COMING).map(Into::into).collect()),
        kernel_writes_in_flight: writes.and_then(|w| w.kernel).map(|kernel| kernel.writes),
        in_flight: writes.map_or_else(Vec::new, |w| w.listed.iter().map(Into::into).collect()),
        latency: model.latency.as_ref().map(LatencyNow::now),
        dropped: model.dropped,
        offline: model.offline.as_ref().map(Into::into),
        verdict: model.verdict(),
        cause: model.cause().map(Cause::code),
    };
    to_line("progress", &model.identity, body)
}
