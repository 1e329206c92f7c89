//! What a merge of a store will do, worked out before it is done.
//!
//! Pure: exceptions and costs come in, figures come out. No clock, no file, no device. Each part
//! takes the exceptions one by one, in the order in which they were committed, and keeps no list
//! of them: [`tally`] counts the runs, [`density`] draws the origin, [`replay`] tries other chunk
//! sizes, [`siblings`] counts what other snapshots have to copy, [`extents`] what an offline merge
//! would write. [`costs`] turns counts into time, always as a range.
//!
//! What always holds: a figure that memory does not suffice for is a bound or absent, never a
//! guess; and where the time of an I/O is not known, no time is told.

pub mod capacity;
mod chunks;
pub mod costs;
pub mod density;
pub mod extents;
pub mod offline;
pub mod replay;
pub mod siblings;
pub mod tally;

#[cfg(test)]
mod tests;

pub(crate) use chunks::WALK_BYTES;
pub use chunks::set_bytes;

use crate::cost::TimeRange;
use crate::model::RunSizes;
use crate::store::Run;
use costs::MergeCosts;
use density::Density;
use offline::Offline;
use replay::ChunkSizeRow;
use siblings::SiblingPlan;

/// What is known of a store besides its exceptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What people call it.
    pub label: String,
    /// What it is merged into, where that is known.
    pub origin: Option<String>,
    /// Whether it is being merged already: then the plan is for what is left.
    pub merging: bool,
    /// The size of the origin; none where only the exceptions are there.
    pub origin_bytes: Option<u64>,
    /// The size of the COW device.
    pub cow_bytes: u64,
    /// Bytes in a chunk; none in a new store of which no device is known.
    pub chunk_bytes: Option<u64>,
}

/// What a merge will do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What is merged.
    pub subject: Subject,
    /// The work of the merge.
    pub work: Work,
    /// Runs by size, with the time that they will take: the middle of the range, 0 where unknown.
    pub sizes: RunSizes,
    /// The first of the largest runs, in merge order.
    pub largest: Option<Largest>,
    /// How long it will take; none where the costs are not known.
    pub time: Option<TimeRange>,
    /// How long it would take one chunk at a time.
    pub single_time: Option<TimeRange>,
    /// What time was made of, or why there is none.
    pub costs: Result<MergeCosts, String>,
    /// What becomes of the other snapshots of the origin.
    pub siblings: Vec<SiblingPlan>,
    /// The same merge while nobody uses the origin, in the origin's order; none where there is
    /// nothing to merge.
    pub offline: Option<Offline>,
    /// The same writes at other chunk sizes, smallest first; empty where there is nothing to merge.
    pub chunk_sizes: Vec<ChunkSizeRow>,
    /// Where on the origin the chunks lie.
    pub density: Density,
    /// Exceptions that could not be searched for duplicates, for want of memory.
    pub not_searched: u64,
}

/// The work of a merge, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Chunks to copy back.
    pub chunks: u64,
    /// Their bytes. The origin's last chunk counts as a whole one.
    pub bytes: u64,
    /// Runs: the kernel copies, flushes and commits once for each.
    pub runs: u64,
    /// Areas that are read: the kernel has the last one in memory while the snapshot is active,
    /// and reads it where the merge begins with an activation, so this may be one too many.
    pub areas: u64,
    /// Bytes in a chunk.
    pub chunk_bytes: u64,
}

impl Work {
    /// Writes of metadata: one a run (`persistent_commit_merge`).
    pub const fn commits(&self) -> u64 {
        self.runs
    }

    /// Bytes of metadata written: a whole area, that is a chunk, for each commit (`area_io`).
    pub const fn commit_bytes(&self) -> u64 {
        self.runs.saturating_mul(self.chunk_bytes)
    }

    /// Flushes that are asked for: of the origin after the copy (`merge_callback`), and of the COW
    /// device with the commit, which carries `PREFLUSH` and `FUA` (`persistent_commit_merge`).
    pub const fn flushes(&self) -> u64 {
        self.runs.saturating_mul(2)
    }

    /// The same work, one chunk at a time.
    pub const fn single(self) -> Self {
        Self { runs: self.chunks, ..self }
    }
}

/// The largest run: while it is merged, an application write into it waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Largest {
    /// The run.
    pub run: Run,
    /// How long it will take.
    pub time: Option<TimeRange>,
}
