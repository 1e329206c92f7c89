//! Takes the exceptions off the store, once all of them are on stable storage on the origin.
//!
//! By then no exception is needed any more, so what matters is only how the store reads after a crash
//! in the middle. The first entry with new chunk 0 ends it, in whatever area. So, whichever of the
//! writes below reached the disk, it reads as some of the first exceptions: whoever merges them once
//! more writes what is there already.
//!
//! **Areas after the first** are cleared from the last to the second, many at once, with a flush after
//! each group: on the disk the cleared part begins at most a group before the place where it is whole.
//! What a crash leaves behind the end of the store in later areas does no harm. The kernel wipes an
//! area before it begins to use it (`zero_disk_area` in `persistent_commit_exception`), and a merge
//! (`persistent_prepare_merge`) goes from the end to the front and never looks behind it.
//!
//! **The first area** is another matter. The kernel does not wipe it when a store that became empty is
//! used again: it reads the whole area into memory (`read_exceptions`), adds entries at its beginning,
//! and writes all of it back, with whatever stood behind them. Leftovers there would come back as
//! exceptions. Only a single block is written whole in a power cut. So the first area is cleared block
//! by block from its last used one to its first, each on stable storage before the next: at every
//! instant nothing stands behind the end in it, so also when the kernel merges the rest of it, and when
//! it reads as empty. For chunks of 4 KiB that is eight small writes. In areas above
//! [`STEPS`] blocks (chunks above 512 KiB, which LVM does not make) some blocks are cleared together.

use std::ops::Range;

use super::OfflineError;
use super::meter::Meter;
use crate::store::format::{EXCEPTION_BYTES, Layout, Place};

/// The first area is cleared in no more steps than this.
const STEPS: u64 = 1024;
/// How many groups the other areas make, and how large a group is at least.
const GROUPS: u64 = 16;
const LEAST_GROUP: u64 = 256;

/// What has the store on it.
pub(super) trait Wipe {
    /// Makes these bytes zeroes, in any order, many at once.
    fn wipe(&mut self, ranges: &mut dyn Iterator<Item = Range<u64>>) -> Result<(), OfflineError>;

    /// Returns when all that was wiped is on stable storage.
    fn flush(&mut self) -> Result<(), OfflineError>;
}

/// Clears all areas up to `end`, the first free entry; how many. `block_bytes` are written whole.
pub(super) fn clear(
    cow: &mut dyn Wipe,
    layout: Layout,
    end: Place,
    block_bytes: u32,
    meter: &Meter,
) -> Result<u64, OfflineError> {
    let exceptions = layout.entries_before(end);
    let areas = exceptions.div_ceil(u64::from(layout.exceptions_per_area()));
    if areas == 0 {
        return Ok(0);
    }
    let left = clear_later_areas(cow, layout, areas, exceptions, meter)?;
    clear_first_area(cow, layout, left, u64::from(block_bytes), meter)?;
    Ok(areas)
}

/// Clears all areas but the first; how many exceptions are left in that.
fn clear_later_areas(
    cow: &mut dyn Wipe,
    layout: Layout,
    areas: u64,
    exceptions: u64,
    meter: &Meter,
) -> Result<u64, OfflineError> {
    let group = areas.div_ceil(GROUPS).max(LEAST_GROUP);
    let (mut left_areas, mut left) = (areas, exceptions);
    while left_areas > 1 {
        let first = left_areas.saturating_sub(group).max(1);
        // The reader has read them from there, so there are such chunks.
        let area = |area| area_bytes(layout, area);
        cow.wipe(&mut (first..left_areas).rev().filter_map(area))?;
        cow.flush()?;
        let before = layout.entries_before(Place { area: first, entry: 0 });
        meter.cleared(left - before);
        (left_areas, left) = (first, before);
    }
    Ok(left)
}

/// Clears the first area, which holds so many exceptions.
fn clear_first_area(
    cow: &mut dyn Wipe,
    layout: Layout,
    mut left: u64,
    block_bytes: u64,
    meter: &Meter,
) -> Result<(), OfflineError> {
    let Some(area) = area_bytes(layout, 0) else { return Ok(()) };
    let area_bytes = area.end - area.start;
    let step = block_bytes.max(area_bytes / STEPS).min(area_bytes);
    let entry_bytes = EXCEPTION_BYTES as u64;
    let mut end = (left * entry_bytes).next_multiple_of(step);
    if end < area_bytes {
        // Behind the end: whatever stands there.
        cow.wipe(&mut std::iter::once(area.start + end..area.end))?;
        cow.flush()?;
    }
    while end > 0 {
        let start = end - step;
        cow.wipe(&mut std::iter::once(area.start + start..area.start + end))?;
        cow.flush()?;
        meter.cleared(left - start / entry_bytes);
        (end, left) = (start, start / entry_bytes);
    }
    Ok(())
}

/// Where an area is.
fn area_bytes(layout: Layout, area: u64) -> Option<Range<u64>> {
    let chunk_bytes = layout.chunk_size().bytes();
    let start = layout.area_chunk(area)? * chunk_bytes;
    Some(start..start + chunk_bytes)
}

#[cfg(test)]
mod tests;
