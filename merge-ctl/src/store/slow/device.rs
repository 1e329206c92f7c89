//! A COW device in memory, of any size: only sectors that were written take room.

use std::collections::{BTreeMap, HashSet};
use std::io;

use crate::store::Source;
use crate::units::Sectors;

const SECTOR: u64 = 512;
/// "SnAp", little-endian.
const MAGIC: u32 = 0x7041_6e53;

/// See the module.
#[derive(Debug)]
pub(crate) struct Device {
    /// What stands in sectors that were written; the others read as zeroes.
    sectors: BTreeMap<u64, [u8; SECTOR as usize]>,
    /// In sectors.
    pub(crate) size: u64,
    pub(crate) block_bytes: u32,
}

impl Device {
    /// A device of zeroes.
    pub(crate) fn blank(size_sectors: u64, block_bytes: u32) -> Self {
        Self { sectors: BTreeMap::new(), size: size_sectors, block_bytes }
    }

    /// A device with these bytes. A last part of less than a sector is dropped.
    #[cfg_attr(test, expect(dead_code, reason = "for the fuzz targets"))]
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let sectors: BTreeMap<_, _> = (0..).zip(bytes.as_chunks().0.iter().copied()).collect();
        let size = sectors.len() as u64;
        Self { sectors, ..Self::blank(size, SECTOR as u32) }
    }

    /// A store of these old chunks, allocated and committed in this order, as
    /// `persistent_prepare_exception` and `persistent_commit_exception` do it; the first write to
    /// a chunk counts. Chunks of which `lost` says so are allocated and never committed, as in a
    /// crash. The device has room for an area more than are in use.
    pub(crate) fn written(
        chunk_sectors: u32,
        old_chunks: impl IntoIterator<Item = u64>,
        mut lost: impl FnMut(usize) -> bool,
    ) -> Self {
        let mut device = Self::blank(0, SECTOR as u32);
        for (field, value) in (0..).zip([MAGIC, 1, 1, chunk_sectors]) {
            device.put(field * 4, &value.to_le_bytes());
        }
        let epa = u64::from(chunk_sectors) * 32;
        let (mut next_free, mut committed, mut seen) = (2, 0, HashSet::new());
        let fresh = old_chunks.into_iter().filter(|chunk| seen.insert(*chunk));
        for (index, old_chunk) in fresh.enumerate() {
            if !lost(index) {
                device.put_entry(chunk_sectors, committed, old_chunk, next_free);
                committed += 1;
            }
            next_free += 1;
            if next_free % (epa + 1) == 1 {
                next_free += 1;
            }
        }
        let areas = next_free / (epa + 1) + 2;
        device.size = (1 + areas * (epa + 1)) * u64::from(chunk_sectors);
        device
    }

    /// Where the entry with this number, counted over all areas, stands.
    pub(crate) fn entry_at(chunk_sectors: u32, entry: u64) -> u64 {
        let epa = u64::from(chunk_sectors) * 32;
        let chunk = 1 + entry / epa * (epa + 1);
        chunk * u64::from(chunk_sectors) * SECTOR + entry % epa * 16
    }

    fn put_entry(&mut self, chunk_sectors: u32, entry: u64, old_chunk: u64, new_chunk: u64) {
        let both = u128::from(new_chunk) << 64 | u128::from(old_chunk);
        self.put(Self::entry_at(chunk_sectors, entry), &both.to_le_bytes());
    }

    /// Writes bytes, none of them in another sector than the first. It may lie behind the end.
    pub(crate) fn put(&mut self, at_bytes: u64, bytes: &[u8]) {
        let sector = self.sectors.entry(at_bytes / SECTOR).or_insert([0; SECTOR as usize]);
        sector[(at_bytes % SECTOR) as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    /// How many bytes were written, in whole sectors.
    #[cfg_attr(test, expect(dead_code, reason = "for the fuzz targets"))]
    pub(crate) fn written_bytes(&self) -> u64 {
        self.sectors.len() as u64 * SECTOR
    }

    /// The little-endian number of eight bytes. `at_bytes` is a multiple of 8.
    pub(crate) fn number_at(&self, at_bytes: u64) -> u64 {
        let sector = self.sectors.get(&(at_bytes / SECTOR)).unwrap_or(&[0; SECTOR as usize]);
        let start = (at_bytes % SECTOR) as usize;
        u64::from_le_bytes(sector[start..start + 8].try_into().expect("eight bytes"))
    }
}

impl Source for Device {
    fn size(&self) -> Sectors {
        Sectors(self.size)
    }

    fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        let (first, count) = (at_bytes / SECTOR, into.len() as u64 / SECTOR);
        into.fill(0);
        for (number, sector) in self.sectors.range(first..first + count) {
            let start = ((number - first) * SECTOR) as usize;
            into[start..start + SECTOR as usize].copy_from_slice(sector);
        }
        Ok(())
    }
}
