//! What `merge-ctl throttle` prints: the setting, a line a second of what came of it, and the end.

use std::fmt::Write as _;

use serde::Serialize;

use super::json::{SCHEMA, to_line};
use crate::human;
use crate::model::Model;
use crate::throttle::effect::{EffectLog, Side};
use crate::throttle::others::Others;
use crate::throttle::throttler::{Recent, latency_ns};
use crate::throttle::{Effect, Goal, Lease, Percentile, Profile, Restored, Throttling};

/// The setting as it is, and who has made it so.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// In percent; none where dm-snapshot is not loaded.
    pub percent: Option<u32>,
    /// What a throttler has written down of itself, and whether it lives.
    pub lease: Option<(&'a Lease, bool)>,
    /// Whom it hits.
    pub others: &'a Others,
}

/// A throttler at one instant.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// What it does.
    pub throttling: &'a Throttling,
    /// The setting.
    pub percent: u32,
    /// The setting before.
    pub previous_percent: u32,
    /// The percentile that latencies are told at.
    pub percentile: Percentile,
    /// What happened since the report before.
    pub recent: &'a Recent,
    /// What happened with the throttle and without.
    pub log: &'a EffectLog,
}

const GLOBAL: &str = "The setting is one for all snapshots of this host, copies on write included.";
/// What is said, once, where the setting does nothing.
const NO_EFFECT: &str = "The throttle has no effect on this merge: hardly a copy took long enough to contain \
    one of the kernel's sleeps of 100 ms. The storage is too fast for it, or copies take less than \
    that share of the time anyway.";
const NO_EFFECT_BY_SPEED: &str = "The throttle seems to have no effect on this merge: it is as fast as \
    before.";

/// The setting, for people.
pub fn setting(setting: &Setting<'_>) -> String {
    let Some(percent) = setting.percent else {
        return "There is no throttle: dm-snapshot is not loaded.".to_owned();
    };
    let mut text = match percent {
        100.. => "The throttle is off (100 %).".to_owned(),
        _ => format!("Copies of snapshots may take {percent} % of the time."),
    };
    if let Some((lease, alive)) = setting.lease {
        let holder = &lease.holder;
        let what = told(&lease.throttling);
        let origin = human::printable(&lease.origin);
        let _ = match alive {
            true => write!(
                text,
                "\nSet for {origin} by process {}: {what}. It was {} % before, and is put back when \
                 that process ends.",
                holder.pid, lease.previous_percent
            ),
            false => write!(
                text,
                "\nProcess {} had set it for {origin} and is dead. It was {} % before: \
                 `merge-ctl throttle --reset` puts it back.",
                holder.pid, lease.previous_percent
            ),
        };
    }
    text.push('\n');
    text.push_str(GLOBAL);
    push_others(&mut text, setting.others);
    text
}

/// What is done, in words: `30 %; fixed; it slows the merge`.
fn told(throttling: &Throttling) -> String {
    let name =
        throttling.profile.map_or_else(String::new, |profile| format!("{}: ", profile.name()));
    format!(
        "{name}{}; {}; {}",
        throttling.goal,
        throttling.doing.words(),
        throttling.effect.words()
    )
}

fn push_others(text: &mut String, others: &Others) {
    let list = |names: &[String]| {
        names.iter().map(|name| human::printable(name)).collect::<Vec<_>>().join(", ")
    };
    if !others.merges.is_empty() {
        let _ = write!(text, "\nMerges: {}.", list(&others.merges));
    }
    if !others.snapshots.is_empty() {
        let _ = write!(
            text,
            "\nSnapshots, whose origins' first writes wait for a copy: {}.",
            list(&others.snapshots)
        );
    }
}

/// What is about to be done, for people.
pub fn begin(model: &Model, report: &Report<'_>, others: &Others) -> String {
    let mut text = format!(
        "{} {}: throttle {} while the merge lasts; it was {} % and will be again. The first seconds \
         are watched without it.\n{GLOBAL}",
        stamp(model),
        human::printable(&model.identity.origin_label),
        report.throttling.goal,
        report.previous_percent,
    );
    if !others.is_nobody() {
        text.push_str(" It also hits:");
        push_others(&mut text, others);
    }
    text
}

/// One line of what it does and what came of it.
pub fn line(model: &Model, report: &Report<'_>) -> String {
    let mut parts = vec![
        format!("throttle {}", percents(report)),
        report.throttling.doing.words().to_owned(),
        format!(
            "merge {}{}",
            rate(&report.recent.side),
            without(report.log.free.bytes_per_s().map(human::rate))
        ),
    ];
    let latency = |side: &Side| latency_ns(&side.writes, report.percentile).map(human::duration);
    if let Some(now) = latency(&report.recent.side) {
        let held = match report.recent.held {
            0 => String::new(),
            held => format!(", {} held", human::count(held)),
        };
        let before = without(latency(&report.log.free));
        parts.push(format!("{} of writes below {now}{before}{held}", report.percentile));
    }
    if report.throttling.effect != Effect::NotKnown {
        parts.push(report.throttling.effect.words().to_owned());
    }
    format!(
        "{} {}  {}",
        stamp(model),
        human::printable(&model.identity.origin_label),
        parts.join("  ")
    )
}

fn percents(report: &Report<'_>) -> String {
    match report.recent.percent {
        Some((low, high)) if low != high => format!("{low}–{high} %"),
        _ => format!("{} %", report.percent),
    }
}

fn rate(side: &Side) -> String {
    side.bytes_per_s().map_or_else(|| "–".to_owned(), human::rate)
}

fn without(figure: Option<String>) -> String {
    figure.map_or_else(String::new, |figure| format!(" ({figure} without)"))
}

/// That the setting does nothing, for people.
pub fn no_effect(model: &Model) -> &'static str {
    if model.sees_runs() { NO_EFFECT } else { NO_EFFECT_BY_SPEED }
}

/// What became of the setting, for people.
pub fn restored(restored: Restored) -> String {
    match restored {
        Restored::To(percent) => format!("the throttle is {percent} % again, as before"),
        Restored::Foreign(percent) => {
            format!("somebody else has set the throttle to {percent} %, so it stays so")
        }
        Restored::Gone => "dm-snapshot was unloaded, and the throttle with it".to_owned(),
    }
}

/// All of it in the end, for people.
pub fn end(model: &Model, report: &Report<'_>, became: Restored) -> String {
    let mut text = format!(
        "{}: {} after {}; {}",
        human::printable(&model.identity.origin_label),
        model.state.name(),
        human::duration(model.elapsed_ns),
        restored(became),
    );
    for (what, side) in [("without", &report.log.free), ("with it", &report.log.throttled)] {
        if side.span_ns > 0 {
            let _ = write!(
                text,
                "\n  {what}  {} in {}: {}{}",
                human::bytes(side.merged_bytes),
                human::duration(side.span_ns),
                rate(side),
                writes(side, report.percentile)
            );
        }
    }
    if report.throttling.effect != Effect::NotKnown {
        let _ = write!(text, "\n  {}", report.throttling.effect.words());
    }
    text
}

fn writes(side: &Side, percentile: Percentile) -> String {
    match latency_ns(&side.writes, percentile) {
        Some(latency) => format!(
            "; {}, {percentile} below {}",
            human::counted(side.writes.count(), "write"),
            human::duration(latency)
        ),
        None => String::new(),
    }
}

fn stamp(model: &Model) -> String {
    format!("{}Z", human::clock_utc(model.unix_s))
}

/// What a throttler does, for programs.
#[derive(Serialize)]
pub(super) struct ThrottlingJson {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture;
    use crate::throttle::Doing;

    fn throttling() -> Throttling {
        Throttling {
            goal: Goal::WriteLatency(Profile::Gentle.target()),
            profile: Some(Profile::Gentle),
            doing: Doing::Slowing,
            effect: Effect::Slows,
            pid: 4711,
        }
    }

    fn log() -> EffectLog {
        let mut log = EffectLog::default();
        log.free.span_ns = 2_000_000_000;
        log.free.merged_bytes = 24 << 20;
        log.throttled.span_ns = 8_000_000_000;
        log.throttled.merged_bytes = 16 << 20;
        let mut counts = vec![0; 60];
        counts[40] = 200;
        log.free.writes = crate::throttle::evidence::Histogram::new(counts);
        log
    }

    fn with_report<T>(act: impl FnOnce(&Report<'_>) -> T) -> T {
        let recent = Recent { side: log().throttled, percent: Some((10, 100)), held: 3 };
        act(&Report {
            throttling: &throttling(),
            percent: 10,
            previous_percent: 100,
            percentile: Percentile::P99,
            recent: &recent,
            log: &log(),
        })
    }

    #[test]
    fn a_line_has_the_figures_with_and_without() {
        let line = with_report(|report| line(&fixture::merging(), report));
        for part in ["throttle 10–100 %", "slows the merge", "2.0 MiB/s (12.0 MiB/s without)"] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }

    #[test]
    fn the_end_says_what_became_of_the_setting() {
        let text = with_report(|report| end(&fixture::done(), report, Restored::To(100)));
        assert!(text.contains("100 % again"), "{text}");
        assert!(text.contains("24.0 MiB in 2.0 s: 12.0 MiB/s; 200 writes"), "{text}");
        let text = with_report(|report| end(&fixture::done(), report, Restored::Foreign(55)));
        assert!(text.contains("somebody else has set the throttle to 55 %"), "{text}");
    }

    #[test]
    fn the_beginning_names_whom_it_hits_and_nothing_reaches_the_terminal_as_control() {
        let others = Others { merges: vec!["vg/a\u{1b}".into()], snapshots: vec!["vg/b".into()] };
        let text = with_report(|report| begin(&fixture::nasty(), report, &others));
        assert!(text.contains("vg/b") && text.contains("vg/a"), "{text}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }

    #[test]
    fn json_tells_the_moment() {
        let parse = |moment| -> serde_json::Value {
            let text = with_report(|report| json(&fixture::merging(), report, moment));
            serde_json::from_str(&text).unwrap()
        };
        let line = parse(Moment::Line);
        assert_eq!((&line["type"], &line["percent"]), (&"throttling".into(), &10.into()));
        assert_eq!(line["throttling"]["target_ns"], 10_000_000);
        assert_eq!(line["without"]["writes"], 200);
        assert_eq!(line.get("restored"), None);
        let end = parse(Moment::End(Restored::Foreign(55)));
        assert_eq!(end["restored"]["how"], "foreign");
        assert!(parse(Moment::NoEffect)["note"].as_str().unwrap().contains("no effect"));
    }

    #[test]
    fn a_setting_without_a_module_or_a_holder() {
        let others = Others::default();
        let setting = |percent| Setting { percent, lease: None, others: &others };
        assert!(super::setting(&setting(None)).contains("not loaded"));
        assert!(super::setting(&setting(Some(100))).contains("off"));
        assert!(super::setting(&setting(Some(30))).contains("30 %"));
        let json: serde_json::Value =
            serde_json::from_str(&setting_json(&setting(Some(30)))).unwrap();
        assert_eq!((&json["percent"], &json["holder"]), (&30.into(), &serde_json::Value::Null));
    }
}
