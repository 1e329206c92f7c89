//! Runs, and the phases that each goes through.

use serde::{Deserialize, Serialize};

/// The phases of a run. See `merge_common::phase` for the kernel's functions behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Find the next run; now and then read an area of metadata.
    Metadata,
    /// Wait for copies of the old data into sibling snapshots.
    Siblings,
    /// Wait for application writes in flight in the run.
    Drain,
    /// Copy from the COW device to the origin.
    Copy,
    /// Flush the origin's write cache.
    Flush,
    /// Clear the run's exceptions on the COW device.
    Commit,
}

impl Phase {
    /// All, in the order in which a run takes them.
    pub const ALL: [Self; merge_common::phase::COUNT] =
        [Self::Metadata, Self::Siblings, Self::Drain, Self::Copy, Self::Flush, Self::Commit];

    /// The phase's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Siblings => "siblings",
            Self::Drain => "drain",
            Self::Copy => "copy",
            Self::Flush => "flush",
            Self::Commit => "commit",
        }
    }

    /// The phase of a number of `merge_common::phase`; none for `IDLE`.
    pub fn from_record(number: u32) -> Option<Self> {
        Self::ALL.get((number as usize).checked_sub(1)?).copied()
    }
}

/// Nanoseconds by phase, in the order of [`Phase::ALL`].
pub type PhaseNs = [u64; Phase::ALL.len()];

/// A finished run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its lowest chunk on the origin.
    pub old_chunk: u64,
    /// Its lowest chunk on the COW device.
    pub new_chunk: u64,
    /// How many chunks it has.
    pub chunks: u32,
    /// When its first phase began.
    pub started_ns: u64,
    /// When its commit returned.
    pub finished_ns: u64,
    /// Time spent in each phase.
    pub phase_ns: PhaseNs,
}

/// The run in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentRun {
    /// Its lowest chunk on the origin. Not yet known, and 0, in [`Phase::Metadata`].
    pub old_chunk: u64,
    /// Its lowest chunk on the COW device. As above.
    pub new_chunk: u64,
    /// How many chunks it has; 0 while that is not known.
    pub chunks: u32,
    /// Where it is.
    pub phase: Phase,
    /// When its first phase began.
    pub started_ns: u64,
    /// When the present phase began.
    pub phase_started_ns: u64,
    /// Time spent in the phases behind it.
    pub phase_ns: PhaseNs,
}
