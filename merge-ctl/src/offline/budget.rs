//! How the memory that was promised is shared out: pure.
//!
//! Half of it holds exceptions, half is for buffers. Exceptions are searched for duplicates before
//! there are any buffers, so that search has the second half for itself. A walk over the metadata
//! takes a fixed part, so there is a least memory, below which no promise is made.

use super::options::Options;

/// Reading the metadata ahead: its pieces, its threads, and the tables of the search for duplicates.
const WALK_BYTES: u64 = 8 << 20;
/// With less than this nothing is begun; what is below counts as this.
pub const LEAST_MEMORY_BYTES: u64 = 16 << 20;
/// The largest request. Beyond it, devices gain nothing and a stop takes longer.
const LARGEST_PIECE_BYTES: u64 = 1 << 20;
/// The smallest buffer: below it, requests are so small that their number is what counts.
const SMALLEST_PIECE_BYTES: u64 = 64 << 10;
/// Bytes of an exception in memory.
const EXCEPTION_BYTES: u64 = size_of::<crate::store::Exception>() as u64;

/// What one merge may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// How many exceptions may be held at once.
    pub(super) exceptions: usize,
    /// What the search for duplicates may use, before there are buffers.
    pub(super) duplicates_bytes: usize,
    /// For all buffers together.
    pub(super) buffers_bytes: u64,
    /// How many requests may be under way.
    pub(super) requests: usize,
}

/// The buffers of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slots {
    /// How many.
    pub(super) count: usize,
    /// How long each is: a multiple of 64 KiB.
    pub(super) bytes: usize,
}

impl Budget {
    pub(super) fn of(options: &Options) -> Self {
        let memory = options.memory_bytes.max(LEAST_MEMORY_BYTES) - WALK_BYTES;
        let half = memory / 2;
        let length = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            exceptions: length(half / EXCEPTION_BYTES),
            duplicates_bytes: length(half),
            buffers_bytes: half,
            requests: options.requests.clamp(1, 4096) as usize,
        }
    }

    /// Buffers for so much data. A small merge has small ones, so that it has many.
    pub(super) fn slots(&self, data_bytes: u64) -> Slots {
        let affordable = self.buffers_bytes / SMALLEST_PIECE_BYTES;
        let count = (self.requests as u64).min(affordable).max(1);
        let wanted = data_bytes.div_ceil(count).next_multiple_of(SMALLEST_PIECE_BYTES);
        let share = self.buffers_bytes / count / SMALLEST_PIECE_BYTES * SMALLEST_PIECE_BYTES;
        let bytes = wanted.min(share).clamp(SMALLEST_PIECE_BYTES, LARGEST_PIECE_BYTES);
        Slots { count: count as usize, bytes: bytes as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(memory_bytes: u64, requests: u32) -> Budget {
        Budget::of(&Options { memory_bytes, requests, ..Options::default() })
    }

    #[test]
    fn no_more_is_shared_out_than_was_promised() {
        for memory_bytes in [LEAST_MEMORY_BYTES, 20 << 20, 256 << 20, 1 << 40] {
            for requests in [1, 7, 64, 4096] {
                let budget = budget(memory_bytes, requests);
                let held = budget.exceptions as u64 * EXCEPTION_BYTES + WALK_BYTES;
                assert!(held + budget.duplicates_bytes as u64 <= memory_bytes);
                for data_bytes in [0, 1 << 20, 1 << 40] {
                    let slots = budget.slots(data_bytes);
                    assert!(slots.count <= requests as usize);
                    assert!(held + (slots.count * slots.bytes) as u64 <= memory_bytes);
                    assert!(slots.bytes.is_multiple_of(64 << 10) && slots.bytes > 0);
                }
            }
        }
    }

    #[test]
    fn the_usual_merge_has_a_large_buffer_for_each_request_and_a_small_one_many() {
        let budget = budget(256 << 20, 64);
        assert_eq!(budget.slots(1 << 40), Slots { count: 64, bytes: 1 << 20 });
        assert_eq!(budget.slots(8 << 20), Slots { count: 64, bytes: 128 << 10 });
        assert!(budget.exceptions > 7_000_000);
    }
}
