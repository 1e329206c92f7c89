//! The end: totals, and why a merge failed.

use serde::Serialize;
use serde::ser::Serializer;

use super::progress::LatencyNow;
use super::{Probes, StallBody, number, to_line};
use crate::model::{Cause, Model, PhaseTime, State};
use crate::output::offline_json::OfflineNow;
use crate::sample::{Below, Dropped, End, OfflineEnd, Phase, PhaseNs, ToldBy};

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
pub(in crate::output) struct Failed<'a> {
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

    pub(in crate::output) fn of(model: &'a Model) -> Option<Self> {
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
pub(in crate::output) struct PhasesNs {
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
pub(in crate::output) struct SizeBucket {
    from_chunks: u64,
    runs: u64,
    chunks: u64,
    ns: u64,
}

/// The run sizes, empty buckets left out.
pub(in crate::output) fn size_buckets(model: &Model) -> Vec<SizeBucket> {
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
