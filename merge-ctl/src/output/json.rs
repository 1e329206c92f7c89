//! The JSON stream: one object a line, every field documented in `docs/json.md`.
//!
//! Every object has `schema`, `type` and `origin` (the dm name). Integers are in base units (bytes,
//! nanoseconds, chunks); floats are only rates, fractions and seconds left. What is not known is
//! `null`, never 0. A field may be added within a schema; one that changes its meaning or goes
//! raises [`SCHEMA`].

mod progress;
mod summary;
#[cfg(test)]
mod tests;

pub use progress::{announcement, progress};
pub use summary::summary;
pub(super) use summary::{Failed, PhasesNs, SizeBucket, size_buckets};

use serde::Serialize;

use crate::harmless;
use crate::model::{Model, Stall};
use crate::output::offline_json::Terms;
use crate::output::throttle::ThrottlingJson;
use crate::sample::{MergeIdentity, Phase, ProbeReport, ProbeTier, Run};
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
