//! How many pieces of the origin the chunks to copy make, once they are sorted.

use super::chunks::Chunks;
use crate::store::duplicates::Seen;

/// Counts pieces without sorting: the chunks and their successors together are as many as the
/// chunks, and one more for each piece.
#[derive(Debug)]
pub struct Extents {
    with_successors: Chunks,
    chunks: u64,
    together: u64,
    unknown: bool,
}

impl Extents {
    /// A count that may use so much memory.
    pub fn within(bytes: u64) -> Self {
        let with_successors = Chunks::within(bytes);
        Self { with_successors, chunks: 0, together: 0, unknown: false }
    }

    /// Counts chunks that were not there yet.
    pub fn add_all(&mut self, chunks: &[u64]) {
        self.with_successors.touch(chunks.iter().copied());
        for chunk in chunks {
            self.add(*chunk);
        }
    }

    /// Counts a chunk that was not there yet.
    pub fn add(&mut self, chunk: u64) {
        self.chunks += 1;
        for chunk in [chunk, chunk.saturating_add(1)] {
            match self.with_successors.add(chunk) {
                Seen::New => self.together += 1,
                Seen::Again => {}
                Seen::Unknown => self.unknown = true,
            }
        }
    }

    /// The number of pieces; none where memory did not suffice.
    pub const fn count(&self) -> Option<u64> {
        if self.unknown { None } else { Some(self.together.saturating_sub(self.chunks)) }
    }
}
