//! What the samples mean. Every rate, estimate and verdict is made here, once.
//!
//! Pure: no clock, file, ioctl or async. Time comes in with the sample.

use std::collections::VecDeque;

use crate::sample::{
    CurrentRun, Dropped, KernelInFlight, MergeIdentity, Phase, PhaseNs, Run, Sample,
};

/// One merge as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What stays the same.
    pub identity: MergeIdentity,
    /// When this was, by `CLOCK_MONOTONIC`.
    pub now_ns: u64,
    /// The same instant as seconds since 1970, UTC.
    pub unix_s: u64,
    /// Time since the first sample.
    pub elapsed_ns: u64,
    /// Where the merge is.
    pub state: State,
    /// Work done and left.
    pub progress: Progress,
    /// How fast it goes.
    pub rate: Rate,
    /// Time left, low and high; none where nothing moves, or nothing is left.
    pub left: Option<TimeLeft>,
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
    /// Writes in flight; none without probes.
    pub writes: Option<Writes>,
    /// Latency of application I/O; none without probes.
    pub latency: Option<Latencies>,
    /// The origin, cell by cell.
    pub map: OriginMap,
    /// In one sentence: where the time goes, or what is wrong.
    pub verdict: String,
    /// Totals since the first sample.
    pub totals: Totals,
    /// `snapshot_copy_throttle`; 100 is unthrottled.
    pub throttle_percent: Option<u32>,
    /// What the probes lost.
    pub dropped: Dropped,
}

/// Where a merge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The kernel works on it.
    Merging,
    /// It has made no progress for longer than the threshold.
    Stalled,
    /// The origin is suspended: nothing moves until it is resumed.
    Suspended,
    /// All is merged, and the merge target still in place.
    DoneNotFinished,
    /// All is merged, and the origin is a plain device again.
    Finished,
    /// The kernel gave up.
    Failed,
    /// The exception store is invalid.
    Invalid,
    /// The device is gone, or carries something else, before the merge was seen to be done.
    Gone,
    /// The status cannot be read.
    Unknown,
}

impl State {
    /// The state's word, for people and for JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Merging => "merging",
            Self::Stalled => "stalled",
            Self::Suspended => "suspended",
            Self::DoneNotFinished => "done-not-finished",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Invalid => "invalid",
            Self::Gone => "gone",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the kernel has nothing more to do for it.
    pub const fn is_over(self) -> bool {
        matches!(
            self,
            Self::DoneNotFinished | Self::Finished | Self::Failed | Self::Invalid | Self::Gone
        )
    }
}

/// Work done and left, in bytes of exceptions. Not the COW's fill, which counts metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Left at the first sample.
    pub initial_bytes: u64,
    /// Left now.
    pub left_bytes: u64,
}

impl Progress {
    /// Merged since the first sample.
    pub const fn merged_bytes(&self) -> u64 {
        self.initial_bytes.saturating_sub(self.left_bytes)
    }

    /// Done, from 0 to 1; 1 where there was nothing to do.
    pub fn fraction(&self) -> f64 {
        if self.initial_bytes == 0 {
            1.0
        } else {
            self.merged_bytes() as f64 / self.initial_bytes as f64
        }
    }
}

/// How fast it goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rate {
    /// Bytes a second, over the last few seconds.
    pub bytes_per_s: f64,
    /// Runs a second, over the last few seconds; none without probes.
    pub runs_per_s: Option<f64>,
    /// Bytes a second in each whole second, newest last, at most [`Model::RATE_HISTORY`].
    pub history: VecDeque<f64>,
}

/// Time left as a range, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeLeft {
    /// If it goes well.
    pub low_s: f64,
    /// If it does not.
    pub high_s: f64,
}

/// Where the time goes, by phase.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Phases {
    /// Over the last minute, the run in progress included.
    pub last_minute: PhaseTime,
    /// Since the first sample, the run in progress included.
    pub since_start: PhaseTime,
}

/// Time by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseTime {
    /// In the order of `Phase::ALL`.
    pub ns: PhaseNs,
    /// Between runs.
    pub between_ns: u64,
}

impl PhaseTime {
    /// All of it.
    pub fn total_ns(&self) -> u64 {
        self.ns.iter().sum::<u64>() + self.between_ns
    }

    /// The share of one phase, from 0 to 1; 0 where nothing was measured.
    pub fn share(&self, phase: Phase) -> f64 {
        match self.total_ns() {
            0 => 0.0,
            total => self.ns[phase as usize] as f64 / total as f64,
        }
    }
}

/// Runs by size: one bucket for each power of two of chunks, `1`, `2-3`, `4-7` and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunSizes {
    /// The buckets, up to the largest run seen.
    pub buckets: Vec<RunSizeBucket>,
}

/// The runs of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunSizeBucket {
    /// How many runs.
    pub runs: u64,
    /// How many chunks they had together.
    pub chunks: u64,
    /// How long they took together.
    pub ns: u64,
}

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

/// Application writes in flight on the origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// How many.
    pub in_flight: u64,
    /// How many of the listed ones the merge keeps waiting.
    pub held: u64,
    /// How many of the listed ones the merge waits for.
    pub awaited: u64,
    /// The kernel's own count, to check ours by.
    pub kernel: Option<KernelInFlight>,
    /// Oldest first.
    pub listed: Vec<Write>,
}

/// One application write in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its first sector on the origin.
    pub sector: u64,
    /// Its length; 0 for a flush.
    pub bytes: u32,
    /// How long it has been in flight.
    pub age_ns: u64,
    /// The process that submitted it.
    pub pid: u32,
    /// The name of the thread that submitted it.
    pub comm: String,
    /// What it has to do with the run in progress.
    pub relation: Relation,
}

/// What a write in flight has to do with the run in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Nothing: it goes its way.
    Free,
    /// It falls into the run, and the merge keeps it waiting until the run is committed.
    Held,
    /// It falls into the run and began before: the merge waits for it.
    Awaited,
}

/// Latency of application I/O.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies {
    /// Writes completed in the last few seconds.
    pub writes_now: Latency,
    /// Reads completed in the last few seconds.
    pub reads_now: Latency,
    /// Writes since the first sample.
    pub writes: Latency,
    /// Reads since the first sample.
    pub reads: Latency,
}

/// A latency distribution in a few figures. Upper bounds of histogram buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    /// How many I/Os.
    pub count: u64,
    /// I/Os a second.
    pub per_s: f64,
    /// Bytes a second.
    pub bytes_per_s: f64,
    /// Half were faster.
    pub p50_ns: u64,
    /// 99 of 100 were faster.
    pub p99_ns: u64,
    /// The slowest.
    pub max_ns: u64,
}

/// The origin as a row of cells of equal size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginMap {
    /// How many chunks a cell covers; the last may cover fewer.
    pub chunks_per_cell: u64,
    /// The cells, at most [`Model::MAP_CELLS`].
    pub cells: Vec<MapCell>,
}

/// What is known of the chunks of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapCell {
    /// Chunks that were seen to be merged.
    pub merged: u32,
    /// Chunks of the run in progress.
    pub merging: u32,
    /// Chunks that are still to merge; none where the exception store was not read.
    pub to_do: Option<u32>,
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

impl Model {
    /// How many finished runs are kept.
    pub const RECENT_RUNS: usize = 64;
    /// How many stalls are kept.
    pub const STALLS: usize = 64;
    /// How many seconds of rate are kept.
    pub const RATE_HISTORY: usize = 300;
    /// How many cells the map has at most.
    pub const MAP_CELLS: u64 = 8192;

    /// The model after one more sample.
    #[must_use]
    pub fn next(self, _sample: &Sample) -> Self {
        self
    }
}
