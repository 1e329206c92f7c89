//! What waited for too long, and for what.

use std::collections::VecDeque;

use super::{Model, State, Writes, writers};
use crate::sample::{CurrentRun, Phase};

/// Something that waited for longer than the threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// When it began.
    pub started_ns: u64,
    /// The same as seconds since 1970, UTC.
    pub started_unix_s: u64,
    /// When it ended; none while it lasts.
    pub ended_ns: Option<u64>,
    /// What waited: a phase of a run, or the whole device.
    pub cause: StallCause,
    /// For what, in words: processes, sizes, chunks.
    pub detail: String,
}

impl Stall {
    /// How long it has lasted.
    pub fn duration_ns(&self, now_ns: u64) -> u64 {
        self.ended_ns.unwrap_or(now_ns).saturating_sub(self.started_ns)
    }
}

/// What a stall waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StallCause {
    /// A run stays in this phase.
    Phase(Phase),
    /// The origin is suspended.
    Suspended,
    /// Nothing is merged, and no probe can say why.
    NoProgress,
}

impl StallCause {
    /// The cause's word, for people and for JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Phase(phase) => phase.name(),
            Self::Suspended => "suspended",
            Self::NoProgress => "no-progress",
        }
    }
}

/// How long something must wait to be called a stall.
pub const DEFAULT_STALL_AFTER_NS: u64 = 5_000_000_000;

/// What is needed to tell since when nothing has moved.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StallWatch {
    pub(super) after_ns: u64,
    pub(super) last_progress_ns: u64,
    suspended_since_ns: Option<u64>,
}

impl StallWatch {
    pub(super) fn new(after_ns: u64, now_ns: u64) -> Self {
        Self { after_ns, last_progress_ns: now_ns, suspended_since_ns: None }
    }

    /// What waits now, and since when, whether or not for long enough to be a stall.
    fn waiting(&mut self, model: &Model) -> Option<(StallCause, u64)> {
        if model.state == State::Suspended {
            let since_ns = *self.suspended_since_ns.get_or_insert(model.now_ns);
            return Some((StallCause::Suspended, since_ns));
        }
        self.suspended_since_ns = None;
        match &model.current {
            _ if model.state != State::Merging => None,
            Some(run) => Some((StallCause::Phase(run.phase), run.phase_started_ns)),
            None => Some((StallCause::NoProgress, self.last_progress_ns)),
        }
    }

    /// Brings the list of stalls up to date; true while one lasts.
    pub(super) fn update(&mut self, model: &Model, stalls: &mut VecDeque<Stall>) -> bool {
        let now_ns = model.now_ns;
        let stalled = self
            .waiting(model)
            .filter(|(_, since_ns)| now_ns.saturating_sub(*since_ns) >= self.after_ns);
        if let Some(open) = stalls.back_mut().filter(|stall| stall.ended_ns.is_none()) {
            if stalled == Some((open.cause, open.started_ns)) {
                open.detail = detail(open.cause, model);
                return true;
            }
            open.ended_ns = Some(now_ns);
        }
        let Some((cause, started_ns)) = stalled else { return false };
        let age_s = now_ns.saturating_sub(started_ns) / 1_000_000_000;
        stalls.push_back(Stall {
            started_ns,
            started_unix_s: model.unix_s.saturating_sub(age_s),
            ended_ns: None,
            cause,
            detail: detail(cause, model),
        });
        if stalls.len() > Model::STALLS {
            stalls.pop_front();
        }
        true
    }
}

fn detail(cause: StallCause, model: &Model) -> String {
    match (cause, &model.current) {
        (StallCause::Suspended, _) => {
            "the origin is suspended: neither the merge nor applications go on".to_owned()
        }
        (StallCause::Phase(phase), Some(run)) => phase_detail(phase, run, model),
        _ => "nothing was merged, and no probe can say why".to_owned(),
    }
}

fn phase_detail(phase: Phase, run: &CurrentRun, model: &Model) -> String {
    let size_kib = model.identity.chunk_size.bytes() * u64::from(run.chunks) / 1024;
    match phase {
        Phase::Metadata => "reading an area of metadata from the COW device".to_owned(),
        Phase::Siblings if model.identity.siblings.is_empty() => {
            "waiting for copies into sibling snapshots".to_owned()
        }
        Phase::Siblings => {
            format!(
                "waiting for copies into sibling snapshots: {}",
                model.identity.siblings.join(", ")
            )
        }
        Phase::Drain => awaited_writers(model.writes.as_ref()),
        Phase::Copy => format!(
            "copying {size_kib} KiB at chunk {} from the COW device to the origin",
            run.old_chunk
        ),
        Phase::Flush => "flushing the cache of the origin's device".to_owned(),
        Phase::Commit => "writing one metadata chunk to the COW device".to_owned(),
    }
}

/// Whose writes the merge waits for: processes by how many writes they have in the run.
fn awaited_writers(writes: Option<&Writes>) -> String {
    let writers = writers::awaited(writes);
    if writers.is_empty() {
        return "waiting for application writes in flight in the run".to_owned();
    }
    let named: Vec<_> =
        writers.iter().take(3).map(|writer| format!("{} of {writer}", writer.writes)).collect();
    let more = if writers.len() > 3 { " and others" } else { "" };
    format!("waiting for application writes in the run: {}{more}", named.join(", "))
}
