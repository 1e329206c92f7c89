//! Sets of chunks within a fixed amount of memory.

use crate::store::duplicates::{ChunkSet, ENTRY_BYTES, PAGE_BYTES, PAGE_CHUNKS, Seen};

/// Memory that all sets of one walk may use together. With the program itself and the buffers it
/// stays below 64 MiB, and it is enough for an origin of 1 TiB in chunks of 4 KiB.
pub(crate) const WALK_BYTES: u64 = 44 << 20;

/// What a set of chunks below `chunks` needs at the most.
pub const fn set_bytes(chunks: u64) -> u64 {
    chunks.div_ceil(PAGE_CHUNKS).saturating_mul((PAGE_BYTES + ENTRY_BYTES) as u64)
}

/// A set of chunks that knows its limit.
#[derive(Default)]
pub(super) struct Chunks {
    set: ChunkSet,
    left_bytes: usize,
}

impl Chunks {
    pub(super) fn within(bytes: u64) -> Self {
        let left_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        Self { set: ChunkSet::default(), left_bytes }
    }

    /// Makes it quick to add these chunks.
    pub(super) fn touch(&self, chunks: impl Iterator<Item = u64>) {
        self.set.touch(chunks);
    }

    pub(super) fn add(&mut self, chunk: u64) -> Seen {
        self.set.add(chunk, &mut self.left_bytes)
    }
}

impl std::fmt::Debug for Chunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunks").field("left_bytes", &self.left_bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_it_was_given_memory_for() {
        let chunks = 40 * PAGE_CHUNKS + 1;
        let mut set = Chunks::within(set_bytes(chunks));
        for chunk in (0..chunks).step_by(1000) {
            assert_eq!(set.add(chunk), Seen::New);
        }
        assert_eq!(set.add(2000), Seen::Again);
        assert_eq!(Chunks::within(set_bytes(1) - 1).add(0), Seen::Unknown);
    }

    #[test]
    fn a_tebibyte_in_small_chunks_fits() {
        assert!(set_bytes(1 << 28) <= WALK_BYTES);
    }
}
