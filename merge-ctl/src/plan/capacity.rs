//! How much more a COW device can take before its snapshot is lost.
//!
//! `persistent_prepare_exception` refuses a chunk that does not lie on the device as a whole. And
//! when an area becomes full, `persistent_commit_exception` zeroes the next one at once: where the
//! device ends before it, that write fails, and the snapshot is lost as well, with the exception
//! that filled the area. (Both in `drivers/md/dm-snap-persistent.c`.)

use crate::store::Layout;
use crate::units::{ChunkSize, Sectors};

/// How many more exceptions a persistent store takes.
///
/// `next_free` is the chunk that the next exception gets, `entries` how many exceptions there are.
pub fn room(layout: Layout, cow: Sectors, next_free: u64, entries: u64) -> u64 {
    let cow_chunks = cow.0 / layout.chunk_size().sectors();
    let free = data_chunks_below(layout, cow_chunks)
        .saturating_sub(data_chunks_below(layout, layout.skip_metadata(next_free)));
    free.min(entries_below_the_last_zeroing(layout, cow_chunks).saturating_sub(entries))
}

/// How many exceptions an empty persistent store takes.
pub fn room_of_new(chunk_size: ChunkSize, cow: Sectors) -> u64 {
    Layout::new(chunk_size).map_or(0, |layout| room(layout, cow, 2, 0))
}

/// How many more exceptions a transient store takes (`transient_prepare_exception` in
/// `drivers/md/dm-snap-transient.c`): it has no metadata.
pub const fn transient_room(chunk_size: ChunkSize, cow: Sectors, allocated: Sectors) -> u64 {
    cow.saturating_sub(allocated).0 / chunk_size.sectors()
}

/// Chunks below this one that can hold data.
fn data_chunks_below(layout: Layout, chunk: u64) -> u64 {
    // The header, and each area that begins below.
    chunk.saturating_sub(1 + areas_below(layout, chunk))
}

/// Areas that begin below a chunk.
fn areas_below(layout: Layout, chunk: u64) -> u64 {
    chunk.saturating_sub(1).div_ceil(u64::from(layout.exceptions_per_area()) + 1)
}

/// The most entries before an area is full whose successor does not lie on the device.
fn entries_below_the_last_zeroing(layout: Layout, cow_chunks: u64) -> u64 {
    let areas = areas_below(layout, cow_chunks);
    areas.saturating_mul(u64::from(layout.exceptions_per_area())).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The kernel's steps, one exception after the other, to the one that is fatal.
    fn simulated(epa: u64, cow_chunks: u64, mut next_free: u64, mut entries: u64) -> u64 {
        let mut taken = 0;
        loop {
            if cow_chunks < next_free + 1 {
                return taken;
            }
            next_free += 1;
            if next_free % (epa + 1) == 1 {
                next_free += 1;
            }
            entries += 1;
            if entries.is_multiple_of(epa) && 1 + (epa + 1) * (entries / epa) >= cow_chunks {
                return taken;
            }
            taken += 1;
        }
    }

    proptest! {
        #[test]
        fn room_is_what_the_kernel_takes(
            cow_chunks in 2..400_u64, used in 0..300_u64, lost in 0..40_u64, cut in 0..2_u64,
        ) {
            let chunk_size = ChunkSize::from_sectors(2).unwrap();
            let layout = Layout::new(chunk_size).unwrap();
            let epa = u64::from(layout.exceptions_per_area());
            let mut next_free = 2;
            for _ in 0..used {
                next_free = layout.skip_metadata(next_free + 1);
            }
            let entries = used.saturating_sub(lost);
            let cow = Sectors(cow_chunks * 2 + cut);
            prop_assert_eq!(
                room(layout, cow, next_free, entries),
                simulated(epa, cow_chunks, next_free, entries)
            );
        }
    }

    #[test]
    fn the_exception_that_fills_the_last_area_is_fatal() {
        let chunk_size = ChunkSize::from_sectors(8).unwrap();
        let chunks = |chunks: u64| Sectors(chunks * 8);
        assert_eq!(room_of_new(chunk_size, chunks(2)), 0);
        assert_eq!(room_of_new(chunk_size, chunks(3)), 1);
        assert_eq!(room_of_new(chunk_size, chunks(257)), 255);
        assert_eq!(room_of_new(chunk_size, chunks(258)), 255, "its successor lies outside");
        assert_eq!(room_of_new(chunk_size, chunks(259)), 256);
        assert_eq!(transient_room(chunk_size, Sectors(39), Sectors(16)), 2);
    }
}
