//! What plain lines say of an offline merge, in place of runs, phases and probes.

use crate::human;
use crate::model::{Model, Offline, StageTime};
use crate::offline::meter::Stage;
use crate::sample::{OfflineEnd, OfflineTerms};

/// What was agreed, in one line.
pub(super) fn terms(terms: OfflineTerms) -> String {
    let mut words = vec![
        format!("{} at once", human::counted(terms.requests.into(), "request")),
        format!("{} of memory", human::bytes(terms.memory_bytes)),
    ];
    if let Some(limit) = terms.bandwidth_bytes {
        words.push(format!("at most {}", human::rate(limit.get() as f64)));
    }
    words.push(if terms.verify {
        "all compared before the exceptions are cleared".to_owned()
    } else {
        "not compared afterwards (--verify does)".to_owned()
    });
    format!("engine: {}", words.join(", "))
}

/// What it does, in a word or two.
pub(crate) fn doing(offline: &Offline) -> String {
    match (offline.stopping, offline.end.is_none()) {
        (true, true) => format!("{}, stopping", offline.stage.name()),
        _ => offline.stage.name().to_owned(),
    }
}

/// The stages with their shares: `reading 2 %, copying 92 %`.
pub(crate) fn shares(offline: &Offline) -> String {
    let share = |time: &StageTime| format!("{} {}", time.stage.name(), human::share(time.share));
    let taken = offline.stages.iter().filter(|time| time.ns > 0);
    taken.map(share).collect::<Vec<_>>().join(", ")
}

/// What the summary says of it, a line each.
pub(super) fn summary(model: &Model, offline: &Offline) -> Vec<String> {
    let verify = model.identity.offline.is_some_and(|terms| terms.verify);
    let mut lines = vec![
        format!(
            "exceptions     {}, {} cleared",
            human::count(offline.exceptions),
            human::count(offline.cleared_exceptions)
        ),
        format!("copied         {}", moved(offline, Stage::Copying, offline.copied_bytes)),
    ];
    lines.push(if verify {
        let outcome = match (&offline.end, offline.stage > Stage::Verifying) {
            (_, true) => ", all of it as it should be",
            (Some(OfflineEnd::Failed(_)), _) => ", not to its end",
            _ => "",
        };
        let moved = moved(offline, Stage::Verifying, offline.verified_bytes);
        format!("compared       {moved}{outcome}")
    } else {
        "compared       no (--verify does)".to_owned()
    });
    lines.push(format!("time by stage  {}", times(offline)));
    lines
}

/// `12.0 GiB of 12.0 GiB in 35 s, 340 MiB/s`.
fn moved(offline: &Offline, stage: Stage, bytes: u64) -> String {
    let amount = human::bytes_of(bytes, offline.total_bytes);
    let Some(time) = offline.of_stage(stage).filter(|time| time.ns > 0) else { return amount };
    let rate = time.bytes_per_s.map_or_else(String::new, |rate| format!(", {}", human::rate(rate)));
    format!("{amount} in {}{rate}", human::duration(time.ns))
}

fn times(offline: &Offline) -> String {
    let time = |time: &StageTime| {
        let share = human::share(time.share);
        format!("{} {} ({share})", time.stage.name(), human::duration(time.ns))
    };
    let taken = offline.stages.iter().filter(|time| time.ns > 0);
    taken.map(time).collect::<Vec<_>>().join(", ")
}
