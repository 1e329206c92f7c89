//! One sentence that says where the time goes, or what is wrong.

use super::{Model, PhaseTime, State};
use crate::sample::{End, Owner, Phase};

/// Phases below this share of the time are not worth a sentence.
const WORTH_SAYING: f64 = 0.25;

pub(super) fn of(model: &Model) -> String {
    match model.state {
        State::Merging => where_the_time_goes(model),
        State::Scheduled => {
            "The volume is in use: LVM begins the merge at its next activation.".to_owned()
        }
        State::Stalled | State::Suspended => stalled(model),
        State::DoneNotFinished => match model.identity.owner {
            Owner::Lvm => "All is merged; lvm2 has yet to drop the snapshot.".to_owned(),
            Owner::DeviceMapper => {
                "All is merged; the origin still carries the merge target.".to_owned()
            }
        },
        State::Finished => "All is merged, and the origin is a plain device again.".to_owned(),
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

fn where_the_time_goes(model: &Model) -> String {
    if !model.sees_runs() {
        return "Without kprobes nobody can say where the time goes.".to_owned();
    }
    let time = &model.phases.last_minute;
    if model.totals.runs == 0 || time.total_ns() == 0 {
        return "No run has finished yet.".to_owned();
    }
    let overhead = time.share(Phase::Flush) + time.share(Phase::Commit);
    let (phase, share) = largest(time);
    if overhead >= WORTH_SAYING && overhead >= share {
        return format!(
            "{:.0} % of the time is flush and commit: runs have {:.1} chunks on average and take \
             {:.1} ms each.",
            overhead * 100.0,
            model.totals.chunks as f64 / model.totals.runs as f64,
            model.phases.since_start.total_ns() as f64 / 1e6 / model.totals.runs as f64,
        );
    }
    if share < WORTH_SAYING {
        return "The time goes evenly into all phases.".to_owned();
    }
    format!("{:.0} % of the time {}.", share * 100.0, spent_on(phase))
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
        Phase::Metadata => "goes into reading metadata from the COW device",
        Phase::Siblings => "the merge waits for copies into sibling snapshots",
        Phase::Drain => "the merge waits for application writes in flight",
        Phase::Copy => "goes into copying data to the origin",
        Phase::Flush => "goes into flushing the origin's device",
        Phase::Commit => "goes into clearing exceptions on the COW device",
    }
}
