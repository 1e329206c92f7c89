//! What the samples mean. Every rate, estimate and verdict is made here, once.
//!
//! Pure: no clock, file, ioctl or async. Time comes in with the sample, so that a recorded stream
//! of samples gives the same models again.

pub mod causes;
mod disks;
mod estimate;
pub mod filling;
mod latency;
mod map;
pub mod offline;
mod phases;
mod progress;
mod rate;
mod sizes;
mod stalls;
mod state;
pub mod upcoming;
mod writers;
mod writes;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub use causes::{Cause, Finding};
pub use disks::{DiskPair, DiskTimes, DiskUse, OpUse};
pub use estimate::Ahead;
pub use latency::{Latencies, Latency};
pub use map::{MapCell, OriginMap};
pub use offline::{Offline, StageTime};
pub use phases::{PhaseTime, Phases, RunCount};
pub use progress::{Fill, Progress};
pub use rate::Rate;
pub use sizes::{RunSizeBucket, RunSizes};
pub use stalls::{DEFAULT_STALL_AFTER_NS, Stall, StallCause, StallCount};
pub use state::State;
pub use upcoming::{Announcement, Upcoming, UpcomingRun};
pub use writers::Writer;
pub use writes::{Relation, Write, Writes};

use crate::cost::TimeRange;
use crate::offline::meter::Stage;
use crate::sample::{
    CurrentRun, Dropped, End, MergeIdentity, ProbeTier, Run, Sample, StorePicture, StoreView,
};
use crate::throttle::Throttling;
use disks::DiskLog;
use estimate::{Estimator, Now, Seen};
use latency::LatencyLog;
use phases::PhaseLog;
use rate::{Point, Window};
use stalls::StallWatch;
use upcoming::{Announcer, RunQueue};
use writers::WriterLog;
use writes::Comparison;

/// One merge as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What stays the same.
    pub identity: MergeIdentity,
    /// When this was, by `CLOCK_MONOTONIC`.
    pub now_ns: u64,
    /// The same instant as seconds since 1970, UTC.
    pub unix_s: u64,
    /// Time since the first sample, up to the end of the merge.
    pub elapsed_ns: u64,
    /// Where the merge is.
    pub state: State,
    /// How the merge ended, as the probes saw it.
    pub end: Option<End>,
    /// Work done and left.
    pub progress: Progress,
    /// How full the COW device is; none where the kernel does not tell.
    pub fill: Option<Fill>,
    /// How fast it goes.
    pub rate: Rate,
    /// Time left, low and high; none where nothing moves, or nothing is left.
    pub left: Option<TimeRange>,
    /// The runs that lie ahead; none where the exception store was not read.
    pub ahead: Option<Ahead>,
    /// Why the exception store was not read, in words.
    pub store_unread: Option<String>,
    /// Where the time goes.
    pub phases: Phases,
    /// Run sizes since the first sample.
    pub sizes: RunSizes,
    /// The last finished runs, newest last, at most [`Model::RECENT_RUNS`].
    pub recent_runs: VecDeque<Run>,
    /// The run in progress.
    pub current: Option<CurrentRun>,
    /// Stalls, newest last, at most [`Model::STALLS`]. One that has not ended is the last.
    pub stalls: VecDeque<Stall>,
    /// All stalls since the first sample, counted by cause.
    pub stall_counts: Vec<StallCount>,
    /// The runs that come next; none where the exception store was not read.
    pub upcoming: Option<Upcoming>,
    /// What is told in this model and no other: that a run will hold writes.
    pub announcement: Option<Announcement>,
    /// Writes in flight; none without probes.
    pub writes: Option<Writes>,
    /// Latency of application I/O; none without probes.
    pub latency: Option<Latencies>,
    /// The origin, cell by cell.
    pub map: OriginMap,
    /// What the two devices below did; none where the kernel's counters cannot be read.
    pub disks: Option<DiskTimes>,
    /// Whose writes runs waited for in the last minute, the one with the most first.
    pub awaited: Vec<Writer>,
    /// Why it goes as it goes, most important first; never empty.
    pub findings: Vec<Finding>,
    /// Totals since the first sample.
    pub totals: Totals,
    /// `snapshot_copy_throttle`; 100 is unthrottled.
    pub throttle_percent: Option<u32>,
    /// What a merge-ctl that has changed it does with it.
    pub throttling: Option<Throttling>,
    /// What the probes lost.
    pub dropped: Dropped,
    /// What merge-ctl's own engine does; none where the kernel merges.
    pub offline: Option<Offline>,
    /// What is remembered of the samples before, to make rates of.
    pub(crate) memory: Memory,
}

/// Totals since the first sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Runs seen.
    pub runs: u64,
    /// Chunks of these runs.
    pub chunks: u64,
    /// The largest of these runs, in chunks.
    pub largest_run_chunks: u64,
}

/// What the next model needs of the past and nobody else reads.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    start_ns: u64,
    window: Window,
    phases: PhaseLog,
    latency: LatencyLog,
    stalls: StallWatch,
    in_flight: Comparison,
    estimator: Estimator,
    disks: DiskLog,
    writers: WriterLog,
    next_runs: RunQueue,
    announcer: Announcer,
}

impl Model {
    /// How many finished runs are kept.
    pub const RECENT_RUNS: usize = 64;
    /// How many stalls are kept.
    pub const STALLS: usize = 64;
    /// How many seconds of rate are kept.
    pub const RATE_HISTORY: usize = 300;
    /// How many cells the map has at most.
    pub const MAP_CELLS: u64 = StorePicture::MAX_CELLS;

    /// The model at the first sample. What waits for `stall_after_ns` is a stall.
    #[expect(clippy::too_many_lines, reason = "a line a field")]
    pub fn first(identity: MergeIdentity, sample: &Sample, stall_after_ns: u64) -> Self {
        let initial_bytes = progress::left_bytes(sample, &identity).unwrap_or(0);
        let start = Point { at_ns: sample.at_ns, ..Point::default() };
        let memory = Memory {
            start_ns: sample.at_ns,
            window: Window::new(start),
            stalls: StallWatch::new(stall_after_ns, sample.at_ns),
            ..Memory::default()
        };
        let model = Self {
            map: OriginMap::new(&identity),
            now_ns: sample.at_ns,
            unix_s: sample.unix_s,
            elapsed_ns: 0,
            state: State::Unknown,
            end: None,
            progress: Progress { initial_bytes, left_bytes: initial_bytes },
            fill: None,
            rate: Rate::default(),
            left: None,
            ahead: None,
            store_unread: None,
            phases: Phases::default(),
            sizes: RunSizes::default(),
            recent_runs: VecDeque::new(),
            current: None,
            stalls: VecDeque::new(),
            stall_counts: Vec::new(),
            upcoming: None,
            announcement: None,
            writes: None,
            latency: None,
            disks: None,
            awaited: Vec::new(),
            findings: Vec::new(),
            totals: Totals::default(),
            throttle_percent: None,
            throttling: None,
            dropped: Dropped::default(),
            offline: None,
            memory,
            identity,
        };
        model.next(sample)
    }

    /// The model after one more sample.
    #[must_use]
    pub fn next(mut self, sample: &Sample) -> Self {
        self.advance(sample);
        self
    }

    /// The same in place.
    pub fn advance(&mut self, sample: &Sample) {
        let was_over = self.state.is_over();
        let was_done = matches!(self.state, State::DoneNotFinished | State::Finished);
        self.now_ns = sample.at_ns;
        self.unix_s = sample.unix_s;
        self.state = State::at(sample, self.identity.owner, was_done);
        if !was_over {
            self.elapsed_ns = sample.at_ns.saturating_sub(self.memory.start_ns);
        }
        self.throttle_percent = sample.throttle_percent;
        self.throttling = sample.throttling;
        self.dropped = sample.dropped;
        self.fill = progress::fill(sample);
        self.end = sample.end.clone().or(self.end.take());
        self.current = if self.state.is_over() { None } else { sample.current.clone() };
        self.take_engine(sample);
        self.take_store(sample);
        self.take_runs(sample);
        self.take_progress(sample);
        self.phases = self.memory.phases.at(sample.at_ns, self.current.as_ref());
        self.take_upcoming(sample);
        self.take_writes(sample);
        self.latency = self.memory.latency.push(sample);
        self.disks = self.memory.disks.push(sample);
        self.take_stalls();
        let awaited = writers::awaited(self.writes.as_ref());
        self.awaited = self.memory.writers.push(sample.at_ns, awaited);
        self.findings = causes::of(self);
    }

    fn take_engine(&mut self, sample: &Sample) {
        let Some(facts) = &sample.offline else { return };
        let offline = Offline::of(facts);
        let moves = |offline: &Offline| (offline.stage, offline.figures());
        if self.offline.as_ref().map(moves) != Some(moves(&offline)) {
            self.memory.stalls.last_progress_ns = sample.at_ns;
        }
        self.offline = Some(offline);
    }

    fn take_store(&mut self, sample: &Sample) {
        let Some(store) = &sample.store else { return };
        if self.offline.is_none() {
            let seen = Seen { runs: self.totals.runs, recent: &self.recent_runs };
            self.memory.estimator.take_store(store, &seen);
        }
        self.store_unread = match store {
            StoreView::Reading => Some("the exception store is still being read".to_owned()),
            StoreView::Unread { why } => Some(why.clone()),
            StoreView::Read(picture) => {
                self.map.take_store(picture, &self.recent_runs);
                None
            }
        };
    }

    fn take_runs(&mut self, sample: &Sample) {
        for run in &sample.runs {
            self.totals.runs += 1;
            self.totals.chunks += u64::from(run.chunks);
            self.totals.largest_run_chunks =
                self.totals.largest_run_chunks.max(u64::from(run.chunks));
            self.sizes.add(run.chunks, run.finished_ns.saturating_sub(run.started_ns));
            self.map.merged(run);
            self.memory.phases.push(run);
            self.memory.estimator.take_run(run);
        }
        self.recent_runs.extend(sample.runs.iter().cloned());
        let excess = self.recent_runs.len().saturating_sub(Self::RECENT_RUNS);
        self.recent_runs.drain(..excess);
        self.map.merging(self.current.as_ref());
    }

    fn take_progress(&mut self, sample: &Sample) {
        let left_bytes = match (self.state, progress::left_bytes(sample, &self.identity)) {
            (State::DoneNotFinished | State::Finished, _) => 0,
            (_, left_bytes) => left_bytes.unwrap_or(self.progress.left_bytes),
        };
        if left_bytes != self.progress.left_bytes || !sample.runs.is_empty() {
            self.memory.stalls.last_progress_ns = sample.at_ns;
        }
        self.progress.left_bytes = left_bytes;
        if let Some(offline) = &self.offline {
            // How much there is, it learns only once it has read the exceptions.
            self.progress.initial_bytes = offline.total_bytes;
            if offline.stage > Stage::Copying {
                self.map.complete();
            } else {
                self.map.reach(offline.frontier_bytes / self.identity.chunk_size.bytes());
            }
        }
        if left_bytes == 0 && self.offline.is_none() {
            self.map.complete();
        }
        let point = Point {
            at_ns: sample.at_ns,
            merged_bytes: match &self.offline {
                Some(offline) => offline.moved_bytes(),
                None => self.progress.merged_bytes(),
            },
            runs: self.totals.runs,
        };
        let sees_runs = self.sees_runs();
        self.memory.window.push(point, &mut self.rate, sees_runs, Self::RATE_HISTORY);
        self.take_estimate();
    }

    fn take_upcoming(&mut self, sample: &Sample) {
        if self.offline.is_some() {
            return;
        }
        let chunk_bytes = self.identity.chunk_size.bytes();
        let left = self.progress.left_bytes / chunk_bytes;
        let queue = &mut self.memory.next_runs;
        if let Some(StoreView::Read(picture)) = &sample.store {
            queue.take(&picture.next_runs);
        }
        if let Some(next) = &sample.next_runs {
            queue.take(next);
        }
        if self.state.is_over() {
            self.upcoming = None;
            return;
        }
        queue.go_to(left, self.current.as_ref());
        let cost_s = |chunks| self.memory.estimator.run_s(chunks, chunk_bytes);
        let left_of_current_s = self.current.as_ref().map_or(0.0, |run| {
            let age_s = self.now_ns.saturating_sub(run.started_ns) as f64 / 1e9;
            (cost_s(run.chunks).unwrap_or(0.0) - age_s).max(0.0)
        });
        self.upcoming = self.memory.next_runs.upcoming(left, left_of_current_s, cost_s);
    }

    fn take_writes(&mut self, sample: &Sample) {
        let (chunk_size, comparison) = (self.identity.chunk_size, &mut self.memory.in_flight);
        self.writes = Writes::at(sample, chunk_size, comparison, self.upcoming.as_ref());
        if let Some(upcoming) = &mut self.upcoming {
            upcoming.count(self.writes.as_ref());
        }
        self.announcement = self.memory.announcer.at(self.now_ns, self.upcoming.as_ref());
    }

    fn take_estimate(&mut self) {
        if let Some(offline) = &self.offline {
            let left = offline.time_left(self.identity.offline, self.memory.window.recent());
            self.left = left.filter(|_| self.state == State::Merging);
            return;
        }
        let chunk_bytes = self.identity.chunk_size.bytes();
        let now = Now {
            at_ns: self.now_ns,
            elapsed_ns: self.elapsed_ns,
            exceptions_left: self.progress.left_bytes / chunk_bytes,
            chunk_bytes,
        };
        let sees_runs = self.sees_runs();
        let estimator = &mut self.memory.estimator;
        match self.state {
            State::Suspended => estimator.interrupt(),
            _ if !sees_runs => estimator.take_status(now),
            _ => {}
        }
        self.ahead = estimator.ahead(now.exceptions_left);
        self.left = match (self.state, &self.ahead) {
            (State::Merging, Some(_)) => estimator.time_left(now),
            (State::Merging, None) => self.memory.window.time_left(&self.progress),
            _ => None,
        };
    }

    fn take_stalls(&mut self) {
        let mut stalls = std::mem::take(&mut self.stalls);
        let mut watch = std::mem::take(&mut self.memory.stalls);
        let stalled = watch.update(self, &mut stalls);
        self.stall_counts = watch.counts(stalls.back(), self.now_ns);
        self.memory.stalls = watch;
        self.stalls = stalls;
        if stalled && self.state == State::Merging {
            self.state = State::Stalled;
            self.left = None;
        }
    }

    /// In a sentence or two: where the time goes, or what is wrong.
    pub fn verdict(&self) -> String {
        causes::verdict(&self.findings)
    }

    /// What is to blame most.
    pub fn cause(&self) -> Option<Cause> {
        self.findings.first().map(|finding| finding.cause)
    }

    /// Whether the probes see the runs of this merge.
    pub fn sees_runs(&self) -> bool {
        matches!(self.identity.probes.tier, ProbeTier::Full | ProbeTier::NoModuleBtf)
    }
}
