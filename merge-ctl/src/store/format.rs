//! The bytes of a persistent exception store, and the arithmetic of its areas.
//!
//! Pure functions over numbers: nothing is read here, and nothing is trusted. Every number on disk
//! is little-endian. The source of all of it is `drivers/md/dm-snap-persistent.c`.

use serde::{Deserialize, Serialize};

use crate::units::{ChunkSize, Sectors};

/// The first four bytes of a store that is in use: "SnAp" (`SNAP_MAGIC`).
pub const MAGIC: u32 = 0x7041_6e53;
/// The only version there is (`SNAPSHOT_DISK_VERSION`).
pub const VERSION: u32 = 1;
/// Bytes of the header at the start of chunk 0 (`struct disk_header`).
pub const HEADER_BYTES: usize = 16;
/// Bytes of an exception (`struct disk_exception`).
pub const EXCEPTION_BYTES: usize = 16;
/// Chunks before the first area (`NUM_SNAPSHOT_HDR_CHUNKS`).
pub const HEADER_CHUNKS: u64 = 1;
/// The kernel takes no larger chunk: its size in bytes must fit a C `int`
/// (`drivers/md/dm-exception-store.c`, `dm_exception_store_set_chunk_size`).
pub const MAX_CHUNK_SECTORS: u32 = 1 << 21;
/// No block device is larger: offsets in bytes are signed 64-bit numbers.
pub const MAX_DEVICE: Sectors = Sectors(i64::MAX as u64 / crate::units::SECTOR_BYTES);

/// The header as it stands on disk, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// [`MAGIC`], or 0 where the store is new.
    pub magic: u32,
    /// 0 once the snapshot was invalidated.
    pub valid: u32,
    /// [`VERSION`].
    pub version: u32,
    /// The chunk size in sectors. It overrides the one in the device-mapper table.
    pub chunk_sectors: u32,
}

impl Header {
    /// Reads a header.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Self {
        let [m0, m1, m2, m3, a0, a1, a2, a3, v0, v1, v2, v3, c0, c1, c2, c3] = *bytes;
        Self {
            magic: u32::from_le_bytes([m0, m1, m2, m3]),
            valid: u32::from_le_bytes([a0, a1, a2, a3]),
            version: u32::from_le_bytes([v0, v1, v2, v3]),
            chunk_sectors: u32::from_le_bytes([c0, c1, c2, c3]),
        }
    }
}

/// One chunk of the origin, and the chunk of the COW device that stands in for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exception {
    /// The chunk of the origin. 0 is as good as any.
    pub old_chunk: u64,
    /// The chunk of the COW device. 0 is no exception but the end of all of them.
    pub new_chunk: u64,
}

impl Exception {
    /// Reads an exception.
    pub fn decode(bytes: &[u8; EXCEPTION_BYTES]) -> Self {
        // The number holds both halves: its low 64 bits come first on disk.
        let both = u128::from_le_bytes(*bytes);
        Self { old_chunk: both as u64, new_chunk: (both >> 64) as u64 }
    }

    /// Whether this entry ends the store: nothing after it counts, in this area or any other.
    pub const fn is_end(self) -> bool {
        self.new_chunk == 0
    }
}

/// Where an entry stands in the metadata.
///
/// As the end of the store it is the first free entry, and then the same pair that the kernel
/// keeps in `current_area` and `current_committed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The area, from 0.
    pub area: u64,
    /// The entry in the area, from 0.
    pub entry: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "area {}, entry {}", self.area, self.entry)
    }
}

/// An exception and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where it stands.
    pub place: Place,
    /// What it says.
    pub exception: Exception,
}

/// What a status line of a snapshot tells about its COW device (`persistent_usage`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Everything below the next free chunk, metadata included.
    pub allocated: Sectors,
    /// The header and the areas.
    pub metadata: Sectors,
}

impl Usage {
    /// How many exceptions are left to merge.
    ///
    /// Exact from the first commit of a merge on, when the kernel sets its next free chunk by the
    /// number of entries (`persistent_commit_merge`). Before, chunks that were allocated and never
    /// committed (a crash) count as well.
    pub const fn exceptions_left(self, chunk_size: ChunkSize) -> u64 {
        self.allocated.saturating_sub(self.metadata).0 / chunk_size.sectors()
    }
}

/// How a chunk size lays the store out.
///
/// Chunk 0 is the header. Then follow, over and over, one chunk of metadata (an area) and as many
/// data chunks as the area has entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    chunk_size: ChunkSize,
}

impl Layout {
    /// The layout that a chunk size gives; none above [`MAX_CHUNK_SECTORS`].
    pub const fn new(chunk_size: ChunkSize) -> Option<Self> {
        if chunk_size.sectors() > MAX_CHUNK_SECTORS as u64 {
            return None;
        }
        Some(Self { chunk_size })
    }

    /// The chunk size.
    pub const fn chunk_size(self) -> ChunkSize {
        self.chunk_size
    }

    /// How many entries an area has: 32 at least.
    pub const fn exceptions_per_area(self) -> u32 {
        // At most 2^30 bytes over 16: fits.
        (self.chunk_size.bytes() / EXCEPTION_BYTES as u64) as u32
    }

    /// From one area to the next, in chunks.
    pub const fn stride(self) -> u64 {
        self.exceptions_per_area() as u64 + 1
    }

    /// The chunk that holds an area (`area_location`); none where no 64-bit number names it.
    pub const fn area_chunk(self, area: u64) -> Option<u64> {
        match self.stride().checked_mul(area) {
            Some(chunks) => chunks.checked_add(HEADER_CHUNKS),
            None => None,
        }
    }

    /// Whether a chunk is the header or an area, so that no data can be there.
    pub const fn is_metadata(self, chunk: u64) -> bool {
        chunk < HEADER_CHUNKS || (chunk - HEADER_CHUNKS).is_multiple_of(self.stride())
    }

    /// The number of a data chunk among the data chunks, from 0; none for metadata.
    pub const fn data_index(self, chunk: u64) -> Option<u64> {
        if self.is_metadata(chunk) {
            return None;
        }
        let (area, within) =
            ((chunk - HEADER_CHUNKS) / self.stride(), (chunk - HEADER_CHUNKS) % self.stride());
        Some(area * self.exceptions_per_area() as u64 + within - 1)
    }

    /// The entry after this one: in the next area after the last of an area.
    pub const fn after(self, place: Place) -> Place {
        if place.entry < self.exceptions_per_area() - 1 {
            Place { area: place.area, entry: place.entry + 1 }
        } else {
            Place { area: place.area + 1, entry: 0 }
        }
    }

    /// The entry before this one; none before the first.
    pub const fn before(self, place: Place) -> Option<Place> {
        match (place.area, place.entry) {
            (0, 0) => None,
            (area, 0) => Some(Place { area: area - 1, entry: self.exceptions_per_area() - 1 }),
            (area, entry) => Some(Place { area, entry: entry - 1 }),
        }
    }

    /// How many entries stand before a place.
    pub const fn entries_before(self, place: Place) -> u64 {
        place.area * self.exceptions_per_area() as u64 + place.entry as u64
    }

    /// The first chunk from `next_free` on that can hold data (`skip_metadata`).
    pub const fn skip_metadata(self, next_free: u64) -> u64 {
        if self.is_metadata(next_free) { next_free + 1 } else { next_free }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(sectors: u32) -> Layout {
        Layout::new(ChunkSize::from_sectors(sectors).unwrap()).unwrap()
    }

    #[test]
    fn a_header_is_four_little_endian_numbers() {
        let header = Header::decode(b"SnAp\x01\0\0\0\x01\0\0\0\x20\x01\0\0");
        let expected = Header { magic: MAGIC, valid: 1, version: VERSION, chunk_sectors: 0x120 };
        assert_eq!(header, expected);
    }

    #[test]
    fn an_exception_is_old_then_new() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        let exception = Exception::decode(&bytes);
        assert_eq!(exception.old_chunk, 0x0807_0605_0403_0201);
        assert_eq!(exception.new_chunk, 0x100f_0e0d_0c0b_0a09);
    }

    #[test]
    fn areas_lie_between_their_data() {
        let layout = layout(8);
        assert_eq!(layout.exceptions_per_area(), 256);
        assert_eq!([0, 1, 2].map(|area| layout.area_chunk(area).unwrap()), [1, 258, 515]);
        assert_eq!(layout.area_chunk(u64::MAX), None);
        let metadata: Vec<u64> = (0..600).filter(|chunk| layout.is_metadata(*chunk)).collect();
        assert_eq!(metadata, [0, 1, 258, 515]);
        let indices: Vec<u64> = (0..600).filter_map(|chunk| layout.data_index(chunk)).collect();
        assert_eq!(indices, (0..596).collect::<Vec<u64>>());
        assert_eq!((layout.skip_metadata(258), layout.skip_metadata(259)), (259, 259));
    }

    #[test]
    fn places_follow_each_other_across_areas() {
        let layout = layout(1);
        let last = Place { area: 0, entry: 31 };
        let first = Place { area: 1, entry: 0 };
        assert_eq!(layout.after(last), first);
        assert_eq!(layout.before(first), Some(last));
        assert_eq!(layout.before(Place::default()), None);
        assert_eq!(layout.entries_before(first), 32);
    }

    #[test]
    fn the_largest_chunk_is_the_kernels() {
        assert_eq!(layout(MAX_CHUNK_SECTORS).exceptions_per_area(), 1 << 26);
        assert_eq!(Layout::new(ChunkSize::from_sectors(MAX_CHUNK_SECTORS * 2).unwrap()), None);
    }
}
