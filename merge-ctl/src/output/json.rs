//! The JSON stream: one object a line, every field documented in `docs/json.md`.
//!
//! Every object has `schema`, `type` and `origin` (the dm name). Integers are in base units (bytes,
//! nanoseconds, chunks); floats are only rates, fractions and seconds left. What is not known is
//! `null`, never 0. A field may be added within a schema; one that changes its meaning or goes
//! raises [`SCHEMA`].

use serde::Serialize;
use serde::ser::Serializer;

use super::offline_json::{OfflineNow, Terms};
use super::throttle::ThrottlingJson;
use crate::cost::TimeRange;
use crate::harmless;
use crate::model::{
    Ahead, Announcement, Cause, Latencies, Latency, Model, PhaseTime, Relation, Stall, State,
    UpcomingRun, Write, Writer, Writes,
};
use crate::sample::{
    Below, CurrentRun, Dropped, End, MergeIdentity, OfflineEnd, Phase, PhaseNs, ProbeReport,
    ProbeTier, Run, ToldBy,
};
use crate::units::DeviceNumber;

/// The number of the stream's form.
pub const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Line<'a, T> {
    schema: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    origin: &'a str,
    #[serde(flatten)]
    body: T,
}

/// One object as a line, without its newline.
pub(super) fn to_line<T: Serialize>(
    kind: &'static str,
    identity: &MergeIdentity,
    body: T,
) -> String {
    let line = Line { schema: SCHEMA, kind, origin: &identity.origin, body };
    // Only a map with keys that are no strings, or a failing Serialize, could fail: neither is here.
    harmless::json(&line).unwrap_or_default()
}

#[derive(Serialize)]
struct Begin<'a> {
    unix_s: u64,
    at_ns: u64,
    state: &'static str,
    origin_label: &'a str,
    snapshot: Option<&'a str>,
    origin_device: Option<String>,
    real_device: Option<String>,
    cow_device: Option<String>,
    owner: &'static str,
    chunk_bytes: u64,
    size_bytes: u64,
    siblings: &'a [String],
    kernel: &'a str,
    probes: Probes<'a>,
    left_bytes: u64,
    throttle_percent: Option<u32>,
    throttling: Option<ThrottlingJson>,
    offline: Option<Terms>,
}

#[derive(Serialize)]
pub(super) struct Probes<'a> {
    tier: ProbeTier,
    missing: &'a [String],
}

impl<'a> From<&'a ProbeReport> for Probes<'a> {
    fn from(report: &'a ProbeReport) -> Self {
        Self { tier: report.tier, missing: &report.missing }
    }
}

/// The first object: what is watched, and what can be seen of it.
pub fn begin(model: &Model) -> String {
    let identity = &model.identity;
    to_line(
        "begin",
        identity,
        Begin {
            unix_s: model.unix_s,
            at_ns: model.now_ns,
            state: model.state.name(),
            origin_label: &identity.origin_label,
            snapshot: identity.snapshot_label.as_deref(),
            origin_device: number(identity.origin_dev),
            real_device: number(identity.real_dev),
            cow_device: number(identity.cow_dev),
            owner: identity.owner_code(),
            chunk_bytes: identity.chunk_size.bytes(),
            size_bytes: identity.size.bytes(),
            siblings: &identity.siblings,
            kernel: &identity.kernel,
            probes: (&identity.probes).into(),
            left_bytes: model.progress.left_bytes,
            throttle_percent: model.throttle_percent,
            throttling: model.throttling.as_ref().map(Into::into),
            offline: identity.offline.map(Into::into),
        },
    )
}

/// A device's number; none of a file, nor of an origin that has no device while it is merged.
fn number(dev: DeviceNumber) -> Option<String> {
    (dev.major != 0).then(|| dev.to_string())
}

#[derive(Serialize)]
struct FinishedRun {
    old_chunk: u64,
    new_chunk: u64,
    chunks: u32,
    metadata_ns: u64,
    siblings_ns: u64,
    drain_ns: u64,
    copy_ns: u64,
    flush_ns: u64,
    commit_ns: u64,
    started_ns: u64,
    finished_ns: u64,
}

/// One finished run.
pub fn run(identity: &MergeIdentity, run: &Run) -> String {
    let ns = |phase: Phase| run.phase_ns[phase as usize];
    let body = FinishedRun {
        old_chunk: run.old_chunk,
        new_chunk: run.new_chunk,
        chunks: run.chunks,
        metadata_ns: ns(Phase::Metadata),
        siblings_ns: ns(Phase::Siblings),
        drain_ns: ns(Phase::Drain),
        copy_ns: ns(Phase::Copy),
        flush_ns: ns(Phase::Flush),
        commit_ns: ns(Phase::Commit),
        started_ns: run.started_ns,
        finished_ns: run.finished_ns,
    };
    to_line("run", identity, body)
}

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
struct LatencyNow {
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

    fn total(latencies: &Latencies) -> Self {
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

#[derive(Serialize)]
pub(super) struct StallBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'static str>,
    cause: &'static str,
    started_ns: u64,
    started_unix_s: u64,
    ended_ns: Option<u64>,
    duration_ns: u64,
    detail: &'a str,
}

impl<'a> StallBody<'a> {
    pub(super) fn new(stall: &'a Stall, now_ns: u64) -> Self {
        Self {
            event: None,
            cause: stall.cause.name(),
            started_ns: stall.started_ns,
            started_unix_s: stall.started_unix_s,
            ended_ns: stall.ended_ns,
            duration_ns: stall.duration_ns(now_ns),
            detail: &stall.detail,
        }
    }
}

/// A stall, once when it is noticed and once when it has ended.
pub fn stall(identity: &MergeIdentity, stall: &Stall, now_ns: u64) -> String {
    let event = if stall.ended_ns.is_none() { "begin" } else { "end" };
    to_line("stall", identity, StallBody { event: Some(event), ..StallBody::new(stall, now_ns) })
}

#[derive(Serialize)]
struct Summary<'a> {
    unix_s: u64,
    at_ns: u64,
    state: &'static str,
    over: bool,
    failed: Option<Failed<'a>>,
    origin_label: &'a str,
    snapshot: Option<&'a str>,
    owner: &'static str,
    elapsed_ns: u64,
    initial_bytes: u64,
    merged_bytes: u64,
    left_bytes: u64,
    runs: u64,
    chunks: u64,
    largest_run_chunks: u64,
    phases_ns: PhasesNs,
    run_sizes: Vec<SizeBucket>,
    latency: Option<LatencyNow>,
    stalls: Vec<StallBody<'a>>,
    dropped: Dropped,
    offline: Option<OfflineNow<'a>>,
    probes: Probes<'a>,
    verdict: String,
    cause: Option<&'static str>,
}

/// What is known of a merge that failed.
#[derive(Serialize)]
pub(super) struct Failed<'a> {
    cause: &'a str,
    told_by: Option<ToldBy>,
    phase: Option<Phase>,
    device: Option<&'a str>,
    dev: Option<String>,
    errno: i32,
    at_ns: Option<u64>,
    old_chunk: Option<u64>,
    chunks: Option<u32>,
}

impl<'a> Failed<'a> {
    const UNKNOWN: Self = Self {
        cause: "unknown",
        told_by: None,
        phase: None,
        device: None,
        dev: None,
        errno: 0,
        at_ns: None,
        old_chunk: None,
        chunks: None,
    };

    pub(super) fn of(model: &'a Model) -> Option<Self> {
        if model.state != State::Failed {
            return None;
        }
        if let Some(OfflineEnd::Failed(fault)) =
            model.offline.as_ref().and_then(|offline| offline.end.as_ref())
        {
            let device = fault.device.as_deref();
            let (cause, errno) = (fault.code.as_str(), fault.errno);
            let identity = &model.identity;
            let dev = match device {
                Some(label) if label == identity.real_label => number(identity.real_dev),
                Some(label) if label == identity.cow_label => number(identity.cow_dev),
                _ => None,
            };
            let at_ns = Some(model.now_ns);
            return Some(Self { cause, device, dev, errno, at_ns, ..Self::UNKNOWN });
        }
        let Some(End::Failed { at_ns, fault: Some(fault), told_by, errno, old_chunk, chunks }) =
            model.end
        else {
            return Some(Self::UNKNOWN);
        };
        let identity = &model.identity;
        let (device, dev) = match fault.below() {
            Below::Cow => (&identity.cow_label, identity.cow_dev),
            Below::Real => (&identity.real_label, identity.real_dev),
        };
        let run_known = chunks > 0;
        Some(Self {
            cause: fault.code(),
            told_by: Some(told_by),
            phase: Some(fault.phase()),
            device: Some(device),
            dev: Some(dev.to_string()),
            errno,
            at_ns: Some(at_ns),
            old_chunk: run_known.then_some(old_chunk),
            chunks: run_known.then_some(chunks),
        })
    }
}

#[derive(Serialize)]
pub(super) struct PhasesNs {
    #[serde(flatten, serialize_with = "by_name")]
    phases: PhaseNs,
    between: u64,
}

impl From<PhaseTime> for PhasesNs {
    fn from(time: PhaseTime) -> Self {
        Self { phases: time.ns, between: time.between_ns }
    }
}

/// The phases as fields, each under its own name.
fn by_name<S: Serializer>(ns: &PhaseNs, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(Phase::ALL.map(|phase| (phase.name(), ns[phase as usize])))
}

#[derive(Serialize)]
pub(super) struct SizeBucket {
    from_chunks: u64,
    runs: u64,
    chunks: u64,
    ns: u64,
}

/// The run sizes, empty buckets left out.
pub(super) fn size_buckets(model: &Model) -> Vec<SizeBucket> {
    let buckets = model.sizes.buckets.iter().enumerate().take(u64::BITS as usize);
    buckets
        .filter(|(_, bucket)| bucket.runs > 0)
        .map(|(power, bucket)| SizeBucket {
            from_chunks: 1 << power,
            runs: bucket.runs,
            chunks: bucket.chunks,
            ns: bucket.ns,
        })
        .collect()
}

/// The last object: totals, and how it ended.
pub fn summary(model: &Model) -> String {
    let identity = &model.identity;
    let body = Summary {
        unix_s: model.unix_s,
        at_ns: model.now_ns,
        state: model.state.name(),
        over: model.state.is_over(),
        failed: Failed::of(model),
        origin_label: &identity.origin_label,
        snapshot: identity.snapshot_label.as_deref(),
        owner: identity.owner_code(),
        elapsed_ns: model.elapsed_ns,
        initial_bytes: model.progress.initial_bytes,
        merged_bytes: model.progress.merged_bytes(),
        left_bytes: model.progress.left_bytes,
        runs: model.totals.runs,
        chunks: model.totals.chunks,
        largest_run_chunks: model.totals.largest_run_chunks,
        phases_ns: model.phases.since_start.into(),
        run_sizes: size_buckets(model),
        latency: model.latency.as_ref().map(LatencyNow::total),
        stalls: model.stalls.iter().map(|stall| StallBody::new(stall, model.now_ns)).collect(),
        dropped: model.dropped,
        offline: model.offline.as_ref().map(Into::into),
        probes: (&identity.probes).into(),
        verdict: model.verdict(),
        cause: model.cause().map(Cause::code),
    };
    to_line("summary", identity, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture;
    use serde_json::{Value, json};

    fn parse(line: &str) -> Value {
        assert!(!line.contains('\n'), "one object a line");
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["schema"], 1);
        assert_eq!(value["origin"], "vg-data");
        value
    }

    #[test]
    fn a_run_has_its_chunks_and_the_time_of_each_phase() {
        let model = fixture::merging();
        let value = parse(&run(&model.identity, model.recent_runs.back().unwrap()));
        let run = model.recent_runs.back().unwrap();
        assert_eq!(
            value,
            json!({
                "schema": 1, "type": "run", "origin": "vg-data",
                "old_chunk": run.old_chunk, "new_chunk": run.new_chunk, "chunks": run.chunks,
                "metadata_ns": run.phase_ns[0], "siblings_ns": run.phase_ns[1],
                "drain_ns": run.phase_ns[2], "copy_ns": run.phase_ns[3],
                "flush_ns": run.phase_ns[4], "commit_ns": run.phase_ns[5],
                "started_ns": run.started_ns, "finished_ns": run.finished_ns,
            })
        );
    }

    #[test]
    fn progress_lists_what_is_in_flight() {
        let model = fixture::stalled();
        let value = parse(&progress(&model));
        assert_eq!(value["type"], "progress");
        assert_eq!(value["state"], "stalled");
        assert_eq!(value["current"]["phase"], "drain");
        assert_eq!(value["current"]["age_ns"], 3_100_000_000_u64);
        let writes = model.writes.as_ref().unwrap();
        assert_eq!(value["in_flight"].as_array().unwrap().len(), writes.listed.len());
        assert_eq!(value["in_flight"][0]["awaited"], true);
        assert_eq!(value["in_flight"][0]["held"], false);
        assert_eq!(value["in_flight"][0]["comm"], "fio");
        assert_eq!(value["kernel_writes_in_flight"], 13);
        assert_eq!(value["merged_bytes"], model.progress.merged_bytes());
    }

    #[test]
    fn what_is_not_known_is_null() {
        let value = parse(&progress(&fixture::no_probes()));
        for field in ["writes_in_flight", "writes_held", "runs_per_s", "latency", "current"] {
            assert!(value[field].is_null(), "{field}: {}", value[field]);
        }
        for field in ["initial_runs", "runs_left", "largest_run_ahead_chunks"] {
            assert!(value[field].is_null(), "{field}: {}", value[field]);
        }
        assert!(value["store_unread"].as_str().unwrap().contains("permission denied"));
        let mut model = fixture::merging();
        assert_eq!(parse(&progress(&model))["runs_left"], 4_812);
        model.current.as_mut().unwrap().chunks = 0;
        model.rate.bytes_per_s = f64::NAN;
        let value = parse(&progress(&model));
        assert!(value["current"]["old_chunk"].is_null() && value["bytes_per_s"].is_null());
    }

    #[test]
    fn the_summary_has_totals_state_and_phases() {
        let model = fixture::done();
        let value = parse(&summary(&model));
        assert_eq!(value["type"], "summary");
        assert_eq!(value["state"], "done-not-finished");
        assert_eq!(value["over"], true);
        assert_eq!(value["left_bytes"], 0);
        assert_eq!(value["runs"], model.totals.runs);
        assert_eq!(value["phases_ns"]["commit"], model.phases.since_start.ns[5]);
        assert_eq!(value["phases_ns"].as_object().unwrap().len(), Phase::ALL.len() + 1);
        assert_eq!(value["probes"]["tier"], "full");
        assert_eq!(value["stalls"][0]["cause"], "drain");
        assert!(value["stalls"][0].get("event").is_none());
    }

    #[test]
    fn a_failure_has_one_code_a_cause_and_names_its_device() {
        let mut model = fixture::failed();
        let value = parse(&summary(&model));
        assert_eq!(
            value["failed"],
            json!({
                "cause": "copy-write-origin", "told_by": "probes", "phase": "copy",
                "device": "vg/data-real", "dev": "253:1", "errno": 0, "at_ns": model.now_ns,
                "old_chunk": 88_120, "chunks": 256,
            })
        );
        model.end = None;
        let value = parse(&summary(&model));
        assert_eq!(value["failed"]["cause"], "unknown");
        for field in ["told_by", "phase", "device", "dev", "at_ns", "old_chunk", "chunks"] {
            assert!(value["failed"][field].is_null(), "{field}: {}", value["failed"]);
        }
        assert!(parse(&summary(&fixture::done()))["failed"].is_null());
    }

    #[test]
    fn an_offline_merge_tells_its_stages_and_its_error() {
        let terms = parse(&begin(&fixture::offline_limited()));
        assert_eq!(
            (&terms["owner"], &terms["offline"]["verify"]),
            (&json!("image"), &json!(false))
        );
        assert_eq!(terms["offline"]["bandwidth_bytes_per_s"], 100 << 20);
        let now = parse(&progress(&fixture::offline()));
        assert_eq!(
            (&now["state"], &now["offline"]["stage"]),
            (&json!("merging"), &json!("copying"))
        );
        assert_eq!(now["offline"]["stages_ns"]["copying"], 31_900_000_000_u64);
        assert!(now["current"].is_null() && now["offline"]["verify_bytes_per_s"].is_null());
        let ended = parse(&summary(&fixture::offline_finished()));
        assert_eq!((&ended["over"], &ended["offline"]["end"]), (&json!(true), &json!("finished")));
        let stopped = parse(&summary(&fixture::offline_stopped()));
        assert_eq!((&stopped["over"], &stopped["state"]), (&json!(false), &json!("stopped")));
        assert_eq!(stopped["left_bytes"], stopped["initial_bytes"]);
        let failed = parse(&summary(&fixture::offline_failed()));
        assert_eq!(failed["failed"]["cause"], "copy-write-origin");
        assert_eq!(failed["offline"]["error"]["sector"], 704_960);
        assert!(parse(&progress(&fixture::merging()))["offline"].is_null());
    }

    #[test]
    fn a_stall_begins_and_ends() {
        let model = fixture::stalled();
        let mut one = model.stalls.back().unwrap().clone();
        let value = parse(&stall(&model.identity, &one, model.now_ns));
        assert_eq!(
            (&value["event"], &value["duration_ns"]),
            (&json!("begin"), &json!(3_100_000_000_u64))
        );
        one.ended_ns = Some(model.now_ns);
        assert_eq!(parse(&stall(&model.identity, &one, model.now_ns))["event"], "end");
    }

    #[test]
    fn begin_tells_what_is_missing() {
        let value = parse(&begin(&fixture::block_only()));
        assert_eq!(value["probes"]["tier"], "block-only");
        assert_eq!(value["probes"]["missing"].as_array().unwrap().len(), 1);
        assert_eq!(value["chunk_bytes"], 4096);
        assert_eq!(value["owner"], "lvm");
    }

    #[test]
    fn nasty_figures_still_make_an_object() {
        let mut model = fixture::nasty();
        model.identity.origin = "vg-data".to_owned();
        for line in [begin(&model), progress(&model), summary(&model)] {
            parse(&line);
        }
    }

    #[test]
    fn every_field_is_documented() {
        let text = include_str!("../../../docs/json.md");
        let model = fixture::stalled();
        let stalls = stall(&model.identity, model.stalls.back().unwrap(), model.now_ns);
        let runs = run(&model.identity, model.recent_runs.back().unwrap());
        let announced = fixture::announced();
        let told = announcement(&announced, announced.announcement.as_ref().unwrap());
        for line in [begin(&model), runs, progress(&model), stalls, summary(&model), told] {
            for field in parse(&line).as_object().unwrap().keys() {
                assert!(text.contains(&format!("`{field}`")), "docs/json.md lacks {field}");
            }
        }
        let offline = fixture::offline_failed();
        for line in [begin(&offline), progress(&offline)] {
            for field in parse(&line)["offline"].as_object().unwrap().keys() {
                assert!(text.contains(&format!("`{field}`")), "docs/json.md lacks {field}");
            }
        }
    }
}
