//! What the exception store holds, as a sample tells it.

use serde::{Deserialize, Serialize};

use crate::store::{self, Segment};

/// What became of reading the exception store, once, from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum StoreView {
    /// A later sample brings it.
    Reading,
    /// It was read.
    Read(StorePicture),
    /// It was not.
    Unread {
        /// Why, in words for an operator.
        why: String,
    },
}

/// What the exception store held when its end was read, in a form of bounded length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorePicture {
    /// When the end of the store was read.
    pub read_ns: u64,
    /// How many chunks of the origin a cell covers; the last may cover fewer.
    pub chunks_per_cell: u64,
    /// Chunks to merge by cell of the origin, at most [`StorePicture::MAX_CELLS`].
    pub cells: Vec<u32>,
    /// The runs to merge, in the order of the merge, at most [`StorePicture::MAX_SEGMENTS`].
    pub segments: Vec<Segment>,
    /// The first of these runs, one by one.
    #[serde(default)]
    pub next_runs: NextRuns,
    /// How long reads of the COW device take.
    pub cow_reads: Option<ReadTimes>,
    /// How long reads of the device below the origin take.
    pub real_reads: Option<ReadTimes>,
}

impl StorePicture {
    /// How many cells there are at most.
    pub const MAX_CELLS: u64 = 8192;
    /// How many segments there are at most.
    pub const MAX_SEGMENTS: usize = 4096;

    /// How many chunks a cell covers on an origin with so many.
    pub fn chunks_per_cell(origin_chunks: u64) -> u64 {
        origin_chunks.div_ceil(Self::MAX_CELLS).max(1)
    }
}

/// Runs that a merge takes next, as they stand in the exception store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextRuns {
    /// How many exceptions the store holds up to the first of these runs, with it. So many are left
    /// when the merge comes to it.
    pub exceptions: u64,
    /// The runs, in the order of the merge, without a gap.
    pub runs: Vec<store::Run>,
}

impl NextRuns {
    /// How many exceptions are left when all these runs are merged.
    pub fn exceptions_behind(&self) -> u64 {
        let chunks: u64 = self.runs.iter().map(|run| u64::from(run.chunks)).sum();
        self.exceptions.saturating_sub(chunks)
    }
}

/// How long direct reads of a device took, one after the other: the median of a few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadTimes {
    /// The length of a small one: a chunk.
    pub small_bytes: u64,
    /// How long it took.
    pub small_ns: u64,
    /// The length of a large one.
    pub large_bytes: u64,
    /// How long it took.
    pub large_ns: u64,
}
