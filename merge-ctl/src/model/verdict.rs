//! One sentence that says where the time goes, or what is wrong.

use super::{Model, PhaseTime, State};
use crate::sample::{End, Phase};

/// Phases below this share of the time are not worth a sentence.
const WORTH_SAYING: f64 = 0.25;

pub(super) fn of(model: &Model) -> String {
    match model.state {
        State::Merging => where_the_time_goes(model, &model.phases.last_minute),
        State::Scheduled => {
            "The volume is in use: LVM begins the merge at its next activation.".to_owned()
        }
        State::Stalled | State::Suspended => stalled(model),
        State::DoneNotFinished | State::Finished => {
            let time = &model.phases.since_start;
            format!("All is merged. {}", where_the_time_goes(model, time)).trim_end().to_owned()
        }
        State::Failed => failed(model),
        State::Invalid => {
            "The exception store is invalid: what was not merged yet cannot be merged.".to_owned()
        }
        State::Gone => {
            "The origin carries no merge any more, and nobody saw the merge end.".to_owned()
        }
        State::Unknown => "The kernel's status cannot be read.".to_owned(),
    }
}

fn stalled(model: &Model) -> String {
    match model.stalls.back().filter(|stall| stall.ended_ns.is_none()) {
        Some(stall) => {
            let seconds = stall.duration_ns(model.now_ns) as f64 / 1e9;
            format!("Stalled for {seconds:.0} s: {}.", stall.detail)
        }
        None => "The origin is suspended: neither the merge nor applications go on.".to_owned(),
    }
}

fn failed(model: &Model) -> String {
    let how = match &model.end {
        Some(End::Failed { phase: Some(phase), old_chunk, chunks, .. }) => format!(
            "The kernel gave up in the {} of the run at chunk {old_chunk} ({chunks} chunks).",
            phase.name()
        ),
        _ => "The kernel gave up on the merge after an I/O error.".to_owned(),
    };
    format!("{how} Do not suspend or resume the origin: deactivate it fully, then merge again.")
}

/// The phase, or the pair of them, that takes most of the time, and what a run costs.
fn where_the_time_goes(model: &Model, time: &PhaseTime) -> String {
    if !model.sees_runs() {
        return "Without kprobes nobody can say where the time goes.".to_owned();
    }
    if model.totals.runs == 0 || time.total_ns() == 0 {
        return match model.state {
            State::Merging => "No run has finished yet.".to_owned(),
            _ => String::new(),
        };
    }
    // A small write each, and both wait for the device to have it on stable storage: to whoever
    // asks why a merge is slow they are one.
    let overhead = time.share(Phase::Flush) + time.share(Phase::Commit);
    let (phase, share) = largest(time);
    let (share, spent_on) = match overhead >= share {
        true => (overhead, "flushing the origin and clearing exceptions"),
        false => (share, spent_on(phase)),
    };
    if share < WORTH_SAYING {
        return format!("The time goes evenly into all phases: {}.", runs(model));
    }
    format!("{:.0} % of the time is {spent_on}: {}.", share * 100.0, runs(model))
}

/// How many runs, how large, and what each takes.
fn runs(model: &Model) -> String {
    let runs = model.totals.runs as f64;
    let chunks = model.totals.chunks as f64 / runs;
    let run_ms = model.phases.since_start.total_ns() as f64 / 1e6 / runs;
    format!("{runs} runs of {chunks:.1} chunks on average, {run_ms:.1} ms each")
}

fn largest(time: &PhaseTime) -> (Phase, f64) {
    Phase::ALL
        .map(|phase| (phase, time.share(phase)))
        .into_iter()
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .unwrap_or((Phase::Copy, 0.0))
}

const fn spent_on(phase: Phase) -> &'static str {
    match phase {
        Phase::Metadata => "reading metadata from the COW device",
        Phase::Siblings => "waiting for copies into sibling snapshots",
        Phase::Drain => "waiting for application writes in flight",
        Phase::Copy => "copying data to the origin",
        Phase::Flush => "flushing the origin's device",
        Phase::Commit => "clearing exceptions on the COW device",
    }
}
