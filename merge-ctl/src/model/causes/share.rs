//! Where the time goes: causes whose weight is the part of the time that would go away with them.

use super::slow;
use super::thresholds::{
    DEAR_FLUSH_NS, ENOUGH_RUNS, FLUSH_OVER_COPY, SCATTERED, SHORT_RUN, THROTTLE_SLEEP_NS,
    WORTH_SAYING,
};
use super::{Cause, Finding, Measured, Value, advice};
use crate::human;
use crate::model::Model;
use crate::sample::Phase;

/// All that is worth saying, the largest share first. Never empty.
pub(super) fn findings(measured: &Measured<'_>) -> Vec<Finding> {
    if !measured.model.sees_runs() {
        return vec![slow::without_runs(measured)];
    }
    if !measured.is_enough() {
        return vec![nothing_yet(measured)];
    }
    let candidates = [
        fragmentation(measured),
        flush_latency(measured),
        slow::finding(measured),
        draining_writers(measured),
        siblings(measured),
        throttle(measured),
        device_speed(measured),
    ];
    let mut findings: Vec<Finding> = candidates.into_iter().flatten().collect();
    // Stable: where two shares are equal, the order above decides.
    findings.sort_by(|a, b| b.share.unwrap_or(0.0).total_cmp(&a.share.unwrap_or(0.0)));
    if findings.is_empty() {
        findings.push(no_single_cause(measured));
    }
    findings
}

fn worth_saying(share: f64) -> bool {
    share >= WORTH_SAYING
}

fn nothing_yet(measured: &Measured<'_>) -> Finding {
    let runs = measured.runs.runs;
    let sentence = match runs {
        0 => "No run has finished yet.".to_owned(),
        _ => format!("{} seen so far: too few to tell why it goes as it goes.", counted_runs(runs)),
    };
    Finding::new(Cause::NothingYet, sentence)
        .with("runs", Value::Count(runs))
        .with("measured_ns", Value::Ns(measured.time.total_ns()))
        .advise(advice::nothing_yet())
}

fn counted_runs(runs: u64) -> String {
    human::counted(runs, "run")
}

/// `4,812 runs of one chunk, 24 ms each`.
fn runs(measured: &Measured<'_>) -> String {
    let each = human::duration(measured.per_run_ns(measured.time.total_ns() as f64));
    let size = match measured.mean_chunks() {
        one if one < 1.05 => "one chunk".to_owned(),
        few if few < 10.0 => format!("{few:.1} chunks on average"),
        many => format!("{} chunks on average", human::count(many.round() as u64)),
    };
    format!("{} of {size}, {each} each", counted_runs(measured.runs.runs))
}

/// The figures that every finding about runs has.
fn with_runs(finding: Finding, measured: &Measured<'_>) -> Finding {
    finding
        .with("runs", Value::Count(measured.runs.runs))
        .with("chunks_per_run", Value::Mean(measured.mean_chunks()))
        .with("ns_per_run", Value::Ns(measured.per_run_ns(measured.time.total_ns() as f64)))
}

fn fragmentation(measured: &Measured<'_>) -> Option<Finding> {
    let counted = measured.runs;
    let longest = measured.longest_chunks();
    let is_short =
        measured.mean_chunks() < longest as f64 * SHORT_RUN && measured.data_part() < 1.0;
    if counted.runs < ENOUGH_RUNS || !is_short {
        return None;
    }
    let overhead = measured.flush_and_commit_ns();
    let latency = measured.awake_copy_ns() * (1.0 - measured.data_part());
    // As many runs as these chunks would need, each paying once.
    let needed = counted.chunks.div_ceil(longest).max(1);
    let avoidable = 1.0 - needed as f64 / counted.runs as f64;
    let share = measured.share(overhead + latency) * avoidable;
    if !worth_saying(share) {
        return None;
    }
    let flush_and_commit = measured.share(overhead);
    let spent = if overhead >= latency {
        format!("{} of the time is flush and commit", human::share(flush_and_commit))
    } else {
        let copy = measured.share(measured.awake_copy_ns());
        format!(
            "{} of the time is flush and commit, {} copying a little at a time",
            human::share(flush_and_commit),
            human::share(copy)
        )
    };
    let written = written(measured.model);
    let sentence = format!("{spent}: {}{}.", runs(measured), written.map_or("", Written::words));
    let finding = Finding::of_share(Cause::Fragmentation, share, sentence)
        .with("flush_and_commit_share", Value::Share(flush_and_commit))
        .with("copy_share", Value::Share(measured.share(measured.ns(Phase::Copy))));
    let finding = with_runs(finding, measured)
        .with("longest_possible_chunks", Value::Count(longest))
        .with("chunk_bytes", Value::Bytes(measured.model.identity.chunk_size.bytes()));
    Some(finding.advise(advice::fragmentation(measured.model)))
}

/// How a snapshot was written, where its runs show it.
#[derive(Clone, Copy)]
enum Written {
    AtRandom,
    Backwards,
}

impl Written {
    const fn words(self) -> &'static str {
        match self {
            Self::AtRandom => "; the snapshot was written at random",
            Self::Backwards => "; the snapshot was written backwards",
        }
    }
}

/// From the last runs. A merge goes from the newest exception to the oldest, so what was written
/// backwards, chunk before chunk, is merged forwards.
fn written(model: &Model) -> Option<Written> {
    let recent = &model.recent_runs;
    let short = recent.iter().filter(|run| run.chunks <= 2).count();
    if (recent.len() as u64) < ENOUGH_RUNS || (short as f64) < recent.len() as f64 * SCATTERED {
        return None;
    }
    let follows = recent.iter().zip(recent.iter().skip(1)).filter(|(one, next)| {
        one.old_chunk.checked_add(u64::from(one.chunks)) == Some(next.old_chunk)
    });
    let backwards = follows.count() as f64 >= (recent.len() - 1) as f64 * SCATTERED;
    Some(if backwards { Written::Backwards } else { Written::AtRandom })
}

fn flush_latency(measured: &Measured<'_>) -> Option<Finding> {
    let overhead = measured.flush_and_commit_ns();
    let copy = measured.awake_copy_ns();
    let each = measured.per_run_ns(overhead);
    let is_dear =
        measured.runs.runs > 0 && each >= DEAR_FLUSH_NS && overhead >= copy * FLUSH_OVER_COPY;
    // What would go away if they took no longer than the copy.
    let share = measured.share(overhead - copy);
    if !is_dear || !worth_saying(share) {
        return None;
    }
    let identity = &measured.model.identity;
    let (flush, commit) = (measured.ns(Phase::Flush), measured.ns(Phase::Commit));
    let sentence = format!(
        "{} of the time is flush and commit, {} for each run against {} of copying: a flush of {} \
         takes {}, a commit on {} {}.",
        human::share(measured.share(overhead)),
        human::duration(each),
        human::duration(measured.per_run_ns(copy)),
        identity.real_label,
        human::duration(measured.per_run_ns(flush)),
        identity.cow_label,
        human::duration(measured.per_run_ns(commit)),
    );
    let finding = Finding::of_share(Cause::FlushLatency, share, sentence)
        .with("flush_ns_per_run", Value::Ns(measured.per_run_ns(flush)))
        .with("commit_ns_per_run", Value::Ns(measured.per_run_ns(commit)))
        .with("copy_ns_per_run", Value::Ns(measured.per_run_ns(copy)));
    Some(with_runs(finding, measured).advise(advice::flush_latency(measured.model)))
}

fn draining_writers(measured: &Measured<'_>) -> Option<Finding> {
    let share = measured.share(measured.ns(Phase::Drain));
    if !worth_saying(share) {
        return None;
    }
    let writers = &measured.model.awaited;
    let named: Vec<_> = writers.iter().take(3).map(ToString::to_string).collect();
    let whose = match named.as_slice() {
        [] => String::new(),
        named => format!(": {}", named.join(", ")),
    };
    let sentence = format!(
        "{} of the time runs wait for application writes that began before them{whose}.",
        human::share(share)
    );
    let finding = Finding::of_share(Cause::DrainingWriters, share, sentence)
        .with("drain_share", Value::Share(share))
        .with("writers", Value::Names(writers.iter().map(ToString::to_string).collect()));
    Some(with_runs(finding, measured).advise(advice::draining_writers(writers)))
}

fn siblings(measured: &Measured<'_>) -> Option<Finding> {
    let share = measured.share(measured.ns(Phase::Siblings));
    if !worth_saying(share) {
        return None;
    }
    let names = &measured.model.identity.siblings;
    let into = match names.as_slice() {
        [] => "other snapshots of this origin".to_owned(),
        names => format!("other snapshots of this origin: {}", names.join(", ")),
    };
    let sentence =
        format!("{} of the time old data is first copied into {into}.", human::share(share));
    let each = measured.per_run_ns(measured.ns(Phase::Siblings));
    let finding = Finding::of_share(Cause::Siblings, share, sentence)
        .with("siblings_share", Value::Share(share))
        .with("siblings_ns_per_run", Value::Ns(each))
        .with("siblings", Value::Names(names.clone()));
    Some(with_runs(finding, measured).advise(advice::siblings(measured.model)))
}

fn throttle(measured: &Measured<'_>) -> Option<Finding> {
    let percent = measured.model.throttle_percent.filter(|_| measured.is_throttled())?;
    let idle = measured.idle_copy_ns()?;
    let share = measured.share(idle);
    if !worth_saying(share) || !has_slept(measured) {
        return None;
    }
    let sentence = format!(
        "{} of the time nothing is read or written while copying: snapshot_copy_throttle is {} %, \
         which makes the copying sleep.",
        human::share(share),
        percent
    );
    let finding = Finding::of_share(Cause::Throttle, share, sentence)
        .with("throttle_percent", Value::Percent(percent))
        .with("idle_copy_share", Value::Share(share))
        .with("copy_share", Value::Share(measured.share(measured.ns(Phase::Copy))));
    Some(with_runs(finding, measured).advise(advice::throttle()))
}

/// Whether any copy took as long as the throttle sleeps.
fn has_slept(measured: &Measured<'_>) -> bool {
    let model = measured.model;
    let current = model.current.as_ref().filter(|run| run.phase == Phase::Copy);
    let current_ns = current.map_or(0, |run| model.now_ns.saturating_sub(run.phase_started_ns));
    let recent = model.recent_runs.iter().map(|run| run.phase_ns[Phase::Copy as usize]);
    recent.chain([current_ns]).any(|ns| ns >= THROTTLE_SLEEP_NS)
}

fn device_speed(measured: &Measured<'_>) -> Option<Finding> {
    if slow::slower(measured).is_some() {
        return None;
    }
    let copy = measured.awake_copy_ns();
    let share = measured.share(copy * measured.data_part());
    if !worth_saying(share) {
        return None;
    }
    let bytes = measured.runs.chunks as f64 * measured.model.identity.chunk_size.bytes() as f64;
    let per_s = bytes / (copy / 1e9).max(f64::MIN_POSITIVE);
    let sentence = format!(
        "{} of the time is copying, in runs of {} on average: while it copies it moves {}.",
        human::share(measured.share(copy)),
        human::bytes(measured.mean_bytes() as u64),
        human::rate(per_s),
    );
    let finding = Finding::of_share(Cause::DeviceSpeed, share, sentence)
        .with("copy_share", Value::Share(measured.share(copy)))
        .with("copy_bytes_per_s", Value::BytesPerS(per_s))
        .with("bytes_per_run", Value::Bytes(measured.mean_bytes() as u64));
    let finding = slow::with_latencies(with_runs(finding, measured), measured);
    Some(finding.advise(advice::device_speed()))
}

fn no_single_cause(measured: &Measured<'_>) -> Finding {
    let mut shares: Vec<_> = Phase::ALL
        .iter()
        .map(|phase| (measured.share(measured.ns(*phase)), phase.name()))
        .collect();
    shares.push((measured.share(measured.time.between_ns as f64), "between runs"));
    shares.sort_by(|a, b| b.0.total_cmp(&a.0));
    let largest: Vec<_> = shares
        .iter()
        .take(3)
        .filter(|(share, _)| *share > 0.0)
        .map(|(share, name)| format!("{name} {}", human::share(*share)))
        .collect();
    let sentence = format!("No one thing stands out: {} ({}).", largest.join(", "), runs(measured));
    let finding = with_runs(Finding::new(Cause::NoSingleCause, sentence), measured);
    slow::with_latencies(finding, measured).advise(advice::no_single_cause())
}
