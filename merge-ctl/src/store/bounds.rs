//! What a store's numbers are judged by: the layout, and the sizes of both devices.

use super::error::EntryFault;
use super::format::{Exception, Layout, MAX_DEVICE};
use crate::units::Sectors;

/// The bounds of one store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) layout: Layout,
    /// Whole chunks of the COW device.
    pub(super) cow_chunks: u64,
    /// Chunks of the origin, or of the largest device there can be.
    pub(super) origin_chunks: u64,
}

impl Bounds {
    /// On a COW device of this size. Without the origin's size an old chunk behind its end is not
    /// noticed.
    pub(super) fn new(layout: Layout, cow: Sectors, origin: Option<Sectors>) -> Self {
        let chunk = layout.chunk_size();
        Self {
            layout,
            cow_chunks: cow.0 / chunk.sectors(),
            origin_chunks: chunk.chunks_in(origin.unwrap_or(MAX_DEVICE).min(MAX_DEVICE)),
        }
    }

    /// Where an area begins, in bytes; none if it is outside the device.
    pub(super) fn area_bytes(&self, area: u64) -> Option<u64> {
        let chunk = self.layout.area_chunk(area).filter(|chunk| *chunk < self.cow_chunks)?;
        // Inside the device, so the product does not overflow.
        Some(chunk * self.layout.chunk_size().bytes())
    }

    /// All that can be wrong with an entry alone.
    #[inline]
    pub(super) fn fault_of(&self, exception: Exception) -> Option<EntryFault> {
        let Self { layout, cow_chunks, origin_chunks } = *self;
        if exception.new_chunk >= cow_chunks {
            Some(EntryFault::NewOutside { cow_chunks })
        } else if layout.is_metadata(exception.new_chunk) {
            Some(EntryFault::NewIsMetadata)
        } else if exception.old_chunk >= origin_chunks {
            Some(EntryFault::OldOutside { origin_chunks })
        } else {
            None
        }
    }
}
