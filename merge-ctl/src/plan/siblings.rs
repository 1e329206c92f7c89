//! What a merge does to the other snapshots of its origin.
//!
//! Before a run is copied, every other snapshot must have its own copy of what the run overwrites
//! (`origin_write_extent`, `__origin_write` in `drivers/md/dm-snap.c`): each of *its* chunks that the
//! run touches and that it has no exception for is copied to its COW device. Where that is full, the
//! snapshot is invalidated, and the merge goes on.

use super::chunks::Chunks;
use crate::store::duplicates::Seen;
use crate::units::{ChunkSize, Sectors};

/// What is known of a sibling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiblingFacts {
    /// What people call it.
    pub label: String,
    /// Its chunk size.
    pub chunk_size: ChunkSize,
    /// Its size: what lies behind its end is not copied.
    pub size: Sectors,
    /// Whether its exceptions are not read: a transient snapshot has them in memory only.
    pub unread: bool,
    /// Whether it is lost already.
    pub lost: bool,
}

/// What becomes of a sibling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has room for all that it copies.
    Kept,
    /// It overflows, and becomes invalid.
    Overflows,
    /// It depends on what cannot be known.
    Unclear,
    /// It is invalid now.
    LostAlready,
}

/// What a merge does to one sibling. Low and high are the same where it is exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiblingPlan {
    /// What people call it.
    pub label: String,
    /// Its chunk size in bytes.
    pub chunk_bytes: u64,
    /// Its chunks that have to be copied, at least.
    pub copies_low: u64,
    /// Its chunks that have to be copied, at most.
    pub copies_high: u64,
    /// How many more chunks its COW device takes; none where that is not known.
    pub room: Option<u64>,
    /// What becomes of it.
    pub fate: Fate,
}

impl SiblingPlan {
    /// Chunks that are copied for certain, or at most: no more than there is room for.
    pub fn copied_high(&self) -> u64 {
        match self.fate {
            Fate::LostAlready => 0,
            _ => self.copies_high.min(self.room.unwrap_or(u64::MAX)),
        }
    }
}

/// The count for one sibling.
#[derive(Debug)]
pub struct SiblingCount {
    facts: SiblingFacts,
    merged: ChunkSize,
    /// What the sibling has, and what it gets.
    covered: Chunks,
    last: Option<u64>,
    has: u64,
    needs: u64,
    unknown: u64,
}

/// Chunks of a sibling that a device of so many chunks has.
pub fn sibling_chunks(merged: ChunkSize, sibling: ChunkSize, origin_chunks: u64) -> u64 {
    origin_chunks.saturating_mul(merged.sectors()).div_ceil(sibling.sectors())
}

impl SiblingCount {
    /// A count for a merge of chunks of this size that may use so much memory.
    pub fn within(facts: SiblingFacts, merged: ChunkSize, bytes: u64) -> Self {
        let covered = Chunks::within(bytes);
        Self { facts, merged, covered, last: None, has: 0, needs: 0, unknown: 0 }
    }

    /// Takes an exception that the sibling has. All of these come first.
    pub fn has(&mut self, old_chunk: u64) {
        self.has += 1;
        if self.covered.add(old_chunk) == Seen::Unknown {
            self.unknown += 1;
        }
    }

    /// Takes a chunk that is merged.
    pub fn merged(&mut self, old_chunk: u64) {
        let (merged, own) = (self.merged.sectors(), self.facts.chunk_size.sectors());
        let first_sector = old_chunk.saturating_mul(merged);
        let end = first_sector.saturating_add(merged).div_ceil(own);
        let end = end.min(self.facts.size.0.div_ceil(own));
        for chunk in first_sector / own..end {
            self.overwritten(chunk);
        }
    }

    fn overwritten(&mut self, chunk: u64) {
        if self.last == Some(chunk) {
            return;
        }
        self.last = Some(chunk);
        match self.covered.add(chunk) {
            Seen::New => self.needs += 1,
            Seen::Again => {}
            Seen::Unknown => self.unknown += 1,
        }
    }

    /// How many exceptions it had.
    pub const fn exceptions(&self) -> u64 {
        self.has
    }

    /// The result. `allocated` is how many exceptions an unread sibling has, as far as its status
    /// tells, and `room` how many more its COW device takes.
    pub fn finish(self, allocated: Option<u64>, room: Option<u64>) -> SiblingPlan {
        let touched = self.needs.saturating_add(self.unknown);
        let (low, high) = if self.facts.unread {
            // Which chunks it has is not known, only how many.
            (self.needs.saturating_sub(allocated.unwrap_or(self.needs)), touched)
        } else {
            (self.needs.saturating_sub(self.unknown), touched)
        };
        let fate = match room {
            _ if self.facts.lost => Fate::LostAlready,
            Some(room) if high <= room => Fate::Kept,
            Some(room) if low > room => Fate::Overflows,
            _ if high == 0 => Fate::Kept,
            _ => Fate::Unclear,
        };
        SiblingPlan {
            label: self.facts.label,
            chunk_bytes: self.facts.chunk_size.bytes(),
            copies_low: low,
            copies_high: high,
            room,
            fate,
        }
    }
}
