//! What `merge-ctl throttle` prints: the setting, a line a second of what came of it, and the end.

mod json;

use std::fmt::Write as _;

use crate::human;
use crate::model::Model;
use crate::throttle::effect::{EffectLog, Side};
use crate::throttle::others::Others;
use crate::throttle::throttler::{Recent, latency_ns};
use crate::throttle::{Effect, Lease, Percentile, Restored, Throttling};

pub(super) use json::ThrottlingJson;
pub use json::{Moment, json, setting_json};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture;
    use crate::throttle::{Doing, Goal, Profile};

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
