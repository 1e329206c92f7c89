//! Takes the exceptions off the store, once all of them are on stable storage on the origin.

use super::meter::Meter;
use super::{OfflineError, Target};
use crate::store::aligned::AlignedBuffer;
use crate::store::format::{Layout, Place};

/// Clears all areas up to `end`, the first free entry, from the last to the first; how many.
pub(super) fn clear(
    cow: &Target,
    layout: Layout,
    end: Place,
    meter: &Meter,
) -> Result<u64, OfflineError> {
    let chunk_bytes = layout.chunk_size().bytes();
    let zeroes = AlignedBuffer::new(chunk_bytes as usize);
    let mut left = layout.entries_before(end);
    let areas = left.div_ceil(u64::from(layout.exceptions_per_area()));
    for area in (0..areas).rev() {
        // The reader has read it from there, so there is such a chunk.
        let Some(chunk) = layout.area_chunk(area) else { continue };
        cow.write(chunk * chunk_bytes, zeroes.as_slice())?;
        cow.flush()?;
        let before = layout.entries_before(Place { area, entry: 0 });
        meter.cleared(left - before);
        left = before;
    }
    Ok(areas)
}
