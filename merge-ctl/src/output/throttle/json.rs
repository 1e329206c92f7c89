//! The same as objects, for programs.

use serde::Serialize;

use super::{Report, Setting, no_effect};
use crate::model::Model;
use crate::output::json::{SCHEMA, to_line};
use crate::throttle::effect::Side;
use crate::throttle::others::Others;
use crate::throttle::throttler::latency_ns;
use crate::throttle::{Goal, Percentile, Profile, Restored, Throttling};

/// What a throttler does, for programs.
#[derive(Serialize)]
pub(crate) struct ThrottlingJson {
    pid: u32,
    percent: Option<u32>,
    target_ns: Option<u64>,
    percentile: Option<f64>,
    floor_percent: Option<u32>,
    profile: Option<&'static str>,
    doing: &'static str,
    effect: &'static str,
}

impl From<&Throttling> for ThrottlingJson {
    fn from(throttling: &Throttling) -> Self {
        let (percent, target) = match throttling.goal {
            Goal::Fixed { percent } => (Some(percent), None),
            Goal::WriteLatency(target) => (None, Some(target)),
        };
        Self {
            pid: throttling.pid,
            percent,
            target_ns: target.map(|target| target.latency_ns),
            percentile: target.map(|target| target.percentile.percent()),
            floor_percent: target.map(|target| target.floor_percent),
            profile: throttling.profile.map(Profile::name),
            doing: throttling.doing.code(),
            effect: throttling.effect.code(),
        }
    }
}

#[derive(Serialize)]
struct OthersJson<'a> {
    merges: &'a [String],
    snapshots: &'a [String],
}

impl<'a> From<&'a Others> for OthersJson<'a> {
    fn from(others: &'a Others) -> Self {
        Self { merges: &others.merges, snapshots: &others.snapshots }
    }
}

/// The setting as one object.
pub fn setting_json(setting: &Setting<'_>) -> String {
    #[derive(Serialize)]
    struct Answer<'a> {
        schema: u32,
        #[serde(rename = "type")]
        kind: &'static str,
        percent: Option<u32>,
        holder: Option<HolderJson<'a>>,
        others: OthersJson<'a>,
    }
    #[derive(Serialize)]
    struct HolderJson<'a> {
        alive: bool,
        origin: &'a str,
        previous_percent: u32,
        since_unix_s: u64,
        #[serde(flatten)]
        throttling: ThrottlingJson,
    }
    let holder = setting.lease.map(|(lease, alive)| HolderJson {
        alive,
        origin: &lease.origin,
        previous_percent: lease.previous_percent,
        since_unix_s: lease.since_unix_s,
        throttling: (&lease.throttling).into(),
    });
    let answer = Answer {
        schema: SCHEMA,
        kind: "throttle",
        percent: setting.percent,
        holder,
        others: setting.others.into(),
    };
    serde_json::to_string(&answer).unwrap_or_default()
}

#[derive(Serialize)]
struct SideJson {
    span_ns: u64,
    merged_bytes: u64,
    bytes_per_s: Option<f64>,
    runs: u64,
    copies_that_may_have_slept: u64,
    writes: u64,
    latency_ns: Option<u64>,
}

impl SideJson {
    fn new(side: &Side, percentile: Percentile) -> Self {
        Self {
            span_ns: side.span_ns,
            merged_bytes: side.merged_bytes,
            bytes_per_s: side.bytes_per_s(),
            runs: side.runs,
            copies_that_may_have_slept: side.may_have_slept,
            writes: side.writes.count(),
            latency_ns: latency_ns(&side.writes, percentile),
        }
    }
}

#[derive(Serialize)]
struct ReportJson<'a> {
    unix_s: u64,
    at_ns: u64,
    state: &'static str,
    percent: u32,
    percent_low: u32,
    percent_high: u32,
    previous_percent: u32,
    throttling: ThrottlingJson,
    told_percentile: f64,
    now: SideJson,
    without: SideJson,
    with: SideJson,
    speed_kept: Option<f64>,
    writes_held: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    others: Option<OthersJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restored: Option<RestoredJson>,
}

#[derive(Serialize)]
struct RestoredJson {
    how: &'static str,
    percent: Option<u32>,
}

impl From<Restored> for RestoredJson {
    fn from(restored: Restored) -> Self {
        let (how, percent) = match restored {
            Restored::To(percent) => ("to", Some(percent)),
            Restored::Foreign(percent) => ("foreign", Some(percent)),
            Restored::Gone => ("gone", None),
        };
        Self { how, percent }
    }
}

/// What an object of the stream is about.
#[derive(Clone, Copy, Debug)]
pub enum Moment<'a> {
    /// It begins; whom else it hits.
    Begin(&'a Others),
    /// A second has passed.
    Line,
    /// It was found that the setting does nothing.
    NoEffect,
    /// It is over.
    End(Restored),
}

/// An object of the stream.
pub fn json(model: &Model, report: &Report<'_>, moment: Moment<'_>) -> String {
    let (low, high) = report.recent.percent.unwrap_or((report.percent, report.percent));
    let side = |side| SideJson::new(side, report.percentile);
    let body = ReportJson {
        unix_s: model.unix_s,
        at_ns: model.now_ns,
        state: model.state.name(),
        percent: report.percent,
        percent_low: low,
        percent_high: high,
        previous_percent: report.previous_percent,
        throttling: report.throttling.into(),
        told_percentile: report.percentile.percent(),
        now: side(&report.recent.side),
        without: side(&report.log.free),
        with: side(&report.log.throttled),
        speed_kept: report.log.speed_kept(),
        writes_held: report.recent.held,
        others: match moment {
            Moment::Begin(others) => Some(others.into()),
            _ => None,
        },
        note: match moment {
            Moment::NoEffect => Some(no_effect(model)),
            _ => None,
        },
        restored: match moment {
            Moment::End(restored) => Some(restored.into()),
            _ => None,
        },
    };
    let kind = match moment {
        Moment::Begin(_) => "throttle-begin",
        Moment::Line => "throttling",
        Moment::NoEffect => "throttle-note",
        Moment::End(_) => "throttle-end",
    };
    to_line(kind, &model.identity, body)
}
