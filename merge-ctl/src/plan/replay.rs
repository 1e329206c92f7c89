//! The same writes at other chunk sizes: which runs there would have been.
//!
//! Exceptions stand in the store in the order in which their chunks were first written. At a
//! larger chunk size the first of the chunks that share a larger one makes the exception, and the
//! others none: so the list follows exactly. At a smaller chunk size it does not: nobody knows which
//! parts of a chunk were written, and when. There are bounds: each chunk gives one smaller one at
//! least, and at most all that fit into it; and a run cannot go where the old chunks of the store
//! do not follow each other, since it would have to cross a chunk that was written before.

use super::chunks::{Chunks, set_bytes};
use super::costs::{MergeCosts, work_at};
use super::tally::Tallied;
use super::{capacity, costs};
use crate::cost::TimeRange;
use crate::store::Layout;
use crate::store::duplicates::Seen;
use crate::units::{ChunkSize, Sectors};

/// The chunk sizes that are tried, as sectors: 4 KiB to 512 KiB, which is what LVM takes.
const SIZES_SECTORS: [u32; 8] = [8, 16, 32, 64, 128, 256, 512, 1024];

/// What a chunk size would have given. Low and high are the same where it is exact.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkSizeRow {
    /// The chunk size in bytes.
    pub chunk_bytes: u64,
    /// Whether it is the store's own.
    pub own: bool,
    /// What is known of it; none where memory did not suffice.
    pub counts: Option<Counts>,
    /// How long the merge would take, from the low counts to the high ones.
    pub time: Option<TimeRange>,
    /// Whether the COW device would have been large enough; none where it depends.
    pub fits: Option<bool>,
}

/// Chunks and runs as ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Chunks at least.
    pub chunks_low: u64,
    /// Chunks at most.
    pub chunks_high: u64,
    /// Runs at least.
    pub runs_low: u64,
    /// Runs at most.
    pub runs_high: u64,
}

impl Counts {
    const fn exact(chunks: u64, runs: u64) -> Self {
        Self { chunks_low: chunks, chunks_high: chunks, runs_low: runs, runs_high: runs }
    }

    /// Whether nothing is left open.
    pub const fn is_exact(&self) -> bool {
        self.chunks_low == self.chunks_high && self.runs_low == self.runs_high
    }
}

/// A replay at all the larger chunk sizes at once.
#[derive(Debug)]
pub struct Replay {
    own: ChunkSize,
    /// From the next larger one up.
    levels: Vec<Level>,
}

/// A replay at one chunk size.
#[derive(Debug)]
struct Level {
    chunk_size: ChunkSize,
    /// Chunks of the store in one of these, as a power of two.
    shift: u32,
    seen: Chunks,
    last: Option<u64>,
    /// The entry in the area that the next exception gets.
    entry: u64,
    chunks: u64,
    runs: u64,
    /// Whether memory did not suffice: then nothing is known.
    unknown: bool,
}

/// What the replay of an origin of so many chunks needs at most, all sizes together.
pub fn replay_bytes(own: ChunkSize, origin_chunks: u64) -> u64 {
    shifts(own).map(|(_, shift)| set_bytes(chunks_at(origin_chunks, shift))).sum()
}

fn chunks_at(origin_chunks: u64, shift: u32) -> u64 {
    (origin_chunks >> shift).saturating_add(1)
}

/// The larger chunk sizes, and how many times larger.
fn shifts(own: ChunkSize) -> impl DoubleEndedIterator<Item = (ChunkSize, u32)> {
    let own_shift = own.sectors().ilog2();
    SIZES_SECTORS
        .iter()
        .filter_map(|sectors| ChunkSize::from_sectors(*sectors))
        .filter(move |size| size.sectors() > own.sectors())
        .map(move |size| (size, size.sectors().ilog2() - own_shift))
}

impl Replay {
    /// A replay of a store with these chunks that may use so much memory. Where that is not enough,
    /// the largest sizes are known and the others are not.
    pub fn within(own: ChunkSize, origin_chunks: u64, bytes: u64) -> Self {
        let mut left = bytes;
        let mut levels: Vec<Level> = shifts(own)
            .rev()
            .map(|(chunk_size, shift)| {
                let share = set_bytes(chunks_at(origin_chunks, shift)).min(left);
                left -= share;
                Level::within(chunk_size, shift, share)
            })
            .collect();
        levels.reverse();
        Self { own, levels }
    }

    /// Takes the exceptions that were committed next.
    pub fn add_all(&mut self, mut old_chunks: Vec<u64>) {
        // One size after the other: the processor's waits for memory then overlap.
        for level in &mut self.levels {
            level.seen.touch(old_chunks.iter().map(|chunk| chunk >> level.shift));
            // What was seen at one size was seen at all larger ones.
            old_chunks.retain(|chunk| level.add(*chunk) != Seen::Again);
        }
    }

    /// The table of all chunk sizes.
    pub fn rows(
        &self,
        tallied: &Tallied,
        cow: Sectors,
        costs: Option<&MergeCosts>,
    ) -> Vec<ChunkSizeRow> {
        let smaller = SIZES_SECTORS
            .iter()
            .filter_map(|sectors| ChunkSize::from_sectors(*sectors))
            .filter(|size| size.sectors() < self.own.sectors())
            .map(|size| (size, Some(self.smaller(size, tallied))));
        let own = (self.own, Some(Counts::exact(tallied.chunks, tallied.runs)));
        let larger = self.levels.iter().map(|level| (level.chunk_size, level.counts()));
        smaller
            .chain([own])
            .chain(larger)
            .map(|(chunk_size, counts)| self.row(chunk_size, counts, cow, costs))
            .collect()
    }

    fn row(
        &self,
        chunk_size: ChunkSize,
        counts: Option<Counts>,
        cow: Sectors,
        costs: Option<&MergeCosts>,
    ) -> ChunkSizeRow {
        let own = chunk_size == self.own;
        let time = counts.zip(costs).map(|(counts, costs)| time(chunk_size, &counts, costs));
        let room = capacity::room_of_new(chunk_size, cow);
        let fits = match counts {
            // It is there, so it fits.
            _ if own => Some(true),
            Some(counts) if counts.chunks_high <= room => Some(true),
            Some(counts) if counts.chunks_low > room => Some(false),
            _ => None,
        };
        ChunkSizeRow { chunk_bytes: chunk_size.bytes(), own, counts, time, fits }
    }

    fn smaller(&self, size: ChunkSize, tallied: &Tallied) -> Counts {
        let parts = self.own.sectors() / size.sectors();
        let entries = Layout::new(size).map_or(1, |layout| u64::from(layout.exceptions_per_area()));
        let chunks_high = tallied.chunks.saturating_mul(parts);
        Counts {
            chunks_low: tallied.chunks,
            chunks_high,
            runs_low: tallied.streaks.max(tallied.chunks.div_ceil(entries)),
            runs_high: chunks_high,
        }
    }
}

fn time(chunk_size: ChunkSize, counts: &Counts, costs: &MergeCosts) -> TimeRange {
    let low = costs.time(work_at(chunk_size, counts.chunks_low, counts.runs_low));
    let high = costs.time(work_at(chunk_size, counts.chunks_high, counts.runs_high));
    costs::range(low.low_s * 1e9, high.high_s * 1e9)
}

impl Level {
    fn within(chunk_size: ChunkSize, shift: u32, bytes: u64) -> Self {
        Self {
            chunk_size,
            shift,
            seen: Chunks::within(bytes),
            last: None,
            entry: 0,
            chunks: 0,
            runs: 0,
            unknown: false,
        }
    }

    fn add(&mut self, old_chunk: u64) -> Seen {
        let chunk = old_chunk >> self.shift;
        if self.unknown {
            return Seen::Unknown;
        }
        if self.last == Some(chunk) {
            return Seen::Again;
        }
        let seen = self.seen.add(chunk);
        match seen {
            Seen::New => self.count(chunk),
            Seen::Again => {}
            Seen::Unknown => self.unknown = true,
        }
        seen
    }

    fn count(&mut self, chunk: u64) {
        let follows = self.last.and_then(|last| last.checked_add(1)) == Some(chunk);
        self.chunks += 1;
        self.runs += u64::from(!follows || self.entry == 0);
        self.last = Some(chunk);
        self.entry = (self.entry + 1) % (self.chunk_size.bytes() / 16);
    }

    const fn counts(&self) -> Option<Counts> {
        if self.unknown { None } else { Some(Counts::exact(self.chunks, self.runs)) }
    }
}
