//! What waited for too long, and for what.

use std::collections::VecDeque;

use super::{Model, State, Writes, writers};
use crate::human;
use crate::offline::meter::Stage;
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

/// The stalls of one cause since the first sample, also those that the list does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StallCount {
    /// What waited.
    pub cause: StallCause,
    /// How many have begun.
    pub stalls: u64,
    /// How long they have lasted together, one that still lasts included.
    pub ns: u64,
}

/// What a stall waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StallCause {
    /// A run stays in this phase.
    Phase(Phase),
    /// An offline merge stays in this stage, and its figures as they are.
    Stage(Stage),
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
            Self::Stage(stage) => stage.name(),
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
    /// By cause, in the order in which they came; without the one that lasts.
    ended: Vec<StallCount>,
}

impl StallWatch {
    pub(super) fn new(after_ns: u64, now_ns: u64) -> Self {
        Self { after_ns, last_progress_ns: now_ns, ..Self::default() }
    }

    /// What waits now, and since when, whether or not for long enough to be a stall.
    fn waiting(&mut self, model: &Model) -> Option<(StallCause, u64)> {
        if model.state == State::Suspended {
            let since_ns = *self.suspended_since_ns.get_or_insert(model.now_ns);
            return Some((StallCause::Suspended, since_ns));
        }
        self.suspended_since_ns = None;
        if let Some(offline) = &model.offline {
            let since_ns = self.last_progress_ns;
            let works = model.state == State::Merging;
            return works.then_some((StallCause::Stage(offline.stage), since_ns));
        }
        match &model.current {
            _ if model.state != State::Merging => None,
            Some(run) => Some((StallCause::Phase(run.phase), run.phase_started_ns)),
            None => Some((StallCause::NoProgress, self.last_progress_ns)),
        }
    }

    fn count(&mut self, cause: StallCause) -> &mut StallCount {
        let known = self.ended.iter().position(|count| count.cause == cause);
        let place = known.unwrap_or_else(|| {
            self.ended.push(StallCount { cause, stalls: 0, ns: 0 });
            self.ended.len() - 1
        });
        &mut self.ended[place]
    }

    /// All stalls by cause, with the one that lasts.
    pub(super) fn counts(&self, last: Option<&Stall>, now_ns: u64) -> Vec<StallCount> {
        let mut counts = self.ended.clone();
        if let Some(open) = last.filter(|stall| stall.ended_ns.is_none())
            && let Some(count) = counts.iter_mut().find(|count| count.cause == open.cause)
        {
            count.ns += open.duration_ns(now_ns);
        }
        counts
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
            self.count(open.cause).ns += open.duration_ns(now_ns);
        }
        let Some((cause, started_ns)) = stalled else { return false };
        self.count(cause).stalls += 1;
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
    if let StallCause::Stage(stage) = cause {
        return stage_detail(stage, &model.identity.origin_label, &model.identity.cow_label);
    }
    if let Some(label) = suspended_below(model) {
        return format!("{label} is suspended: nothing goes on until it is resumed");
    }
    match (cause, &model.current) {
        (StallCause::Suspended, _) => {
            "the origin is suspended: neither the merge nor applications go on".to_owned()
        }
        (StallCause::Phase(phase), Some(run)) => phase_detail(phase, run, model),
        _ => unseen_detail(model),
    }
}

/// For what an offline merge waits in a stage.
fn stage_detail(stage: Stage, origin: &str, cow: &str) -> String {
    match stage {
        Stage::Reading => format!("waiting for reads of the exceptions on {cow}"),
        Stage::Copying => format!("waiting for reads of {cow} or writes to {origin}"),
        Stage::Verifying => format!("waiting for reads of {cow} or {origin}"),
        Stage::Flushing => format!("waiting until {origin} has all on stable storage"),
        Stage::Clearing => format!("waiting for writes of metadata to {cow}"),
        Stage::Done => "waiting for nothing: all is merged".to_owned(),
    }
}

/// The device below that is suspended: a run then stays in whatever phase it is in.
fn suspended_below(model: &Model) -> Option<&str> {
    let disks = model.disks?.last_minute;
    match (disks.cow.suspended, disks.real.suspended) {
        (true, _) => Some(&model.identity.cow_label),
        (_, true) => Some(&model.identity.real_label),
        _ => None,
    }
}

/// What can be said where no run is seen: of one that began before we came, or of all where no probe
/// sees them.
fn unseen_detail(model: &Model) -> String {
    let why = if model.sees_runs() {
        "its run began before the probes were attached"
    } else {
        "no probe can say why"
    };
    format!("nothing was merged, and {why}{}", in_flight(model))
}

/// Where the I/O is that the run may wait for, where that is on one of the two devices.
fn in_flight(model: &Model) -> String {
    let Some(disks) = model.disks else { return String::new() };
    let (cow, real) = (disks.last_minute.cow.in_flight, disks.last_minute.real.in_flight);
    let (label, count) = match (cow, real) {
        (1.., 0) => (&model.identity.cow_label, cow),
        (0, 1..) => (&model.identity.real_label, real),
        _ => return String::new(),
    };
    format!("; {} in flight on {label}", human::counted(count, "I/O"))
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

#[cfg(test)]
mod tests {
    use super::super::tests::{identity, sample};
    use super::*;
    use crate::sample::{DiskFacts, DiskOps, Disks, Owner, ProbeTier, Sample};
    use crate::units::Sectors;

    const S: u64 = 1_000_000_000;

    fn disk(in_flight: u64, suspended: bool) -> DiskFacts {
        let none = || DiskOps { completed: 0, length: Sectors(0), ms: 0 };
        DiskFacts { reads: none(), writes: none(), in_flight, suspended }
    }

    fn with_disks(at_s: u64, cow: DiskFacts, real: DiskFacts) -> Sample {
        Sample { disks: Some(Disks { cow, real }), ..sample(at_s, 9) }
    }

    fn stalled(tier: ProbeTier, last: &Sample) -> Model {
        let identity = identity(Owner::Lvm, tier);
        let model = Model::first(identity, &sample(0, 9), DEFAULT_STALL_AFTER_NS).next(last);
        assert_eq!(model.state, State::Stalled);
        model
    }

    #[test]
    fn stalls_are_counted_also_where_the_list_keeps_them_no_more() {
        let identity = identity(Owner::Lvm, ProbeTier::None);
        let mut model = Model::first(identity, &sample(0, 1_000), DEFAULT_STALL_AFTER_NS);
        assert_eq!(model.stall_counts, []);
        for round in 0..100 {
            model.advance(&sample(round * 10 + 6, 1_000 - round));
            model.advance(&sample(round * 10 + 10, 999 - round));
        }
        let counted = |stalls, ns| [StallCount { cause: StallCause::NoProgress, stalls, ns }];
        assert_eq!(model.stalls.len(), Model::STALLS);
        assert_eq!(model.stall_counts, counted(100, 1_000 * S));
        model.advance(&sample(1_008, 900));
        assert_eq!(model.stall_counts, counted(101, 1_008 * S), "the one that lasts counts too");
    }

    #[test]
    fn a_run_that_nobody_saw_begin_is_looked_for_in_what_is_in_flight() {
        let last = with_disks(6, disk(0, false), disk(3, false));
        let model = stalled(ProbeTier::Full, &last);
        let stall = model.stalls.back().unwrap();
        assert_eq!((stall.cause, stall.started_ns), (StallCause::NoProgress, 0));
        assert!(stall.detail.contains("before the probes were attached"), "{}", stall.detail);
        assert!(stall.detail.ends_with("3 I/Os in flight on vg/data-real"), "{}", stall.detail);
        let model = stalled(ProbeTier::None, &with_disks(6, disk(1, false), disk(1, false)));
        let detail = &model.stalls.back().unwrap().detail;
        assert_eq!(detail, "nothing was merged, and no probe can say why");
    }

    #[test]
    fn a_suspended_device_below_is_named_and_the_stall_goes_on_as_the_same() {
        let last = with_disks(6, disk(0, true), disk(0, false));
        let model = stalled(ProbeTier::None, &last);
        let detail = &model.stalls.back().unwrap().detail;
        assert!(detail.contains("vg/snap-cow is suspended"), "{detail}");
        let later = with_disks(9, disk(2, false), disk(0, false));
        let model = model.next(&later);
        assert_eq!(model.stalls.len(), 1);
        let stall = model.stalls.back().unwrap();
        assert_eq!((stall.ended_ns, stall.duration_ns(model.now_ns)), (None, 9 * S));
        assert!(stall.detail.contains("in flight on vg/snap-cow"), "{}", stall.detail);
    }
}
