//! The store at every instant of a clearing, whatever part of the writes under way reached the disk.

use super::*;
use crate::store::Exception;
use crate::store::image::Image;
use crate::units::ChunkSize;

const SECTOR: usize = 512;
/// So few sectors are tried in every combination, of more some combinations are.
const ALL_BELOW: usize = 8;
const SOME: usize = 60;

/// A disk whose cache reaches it sector by sector.
struct Recorder {
    /// What is on the disk.
    disk: Image,
    /// The whole store, as it was.
    before: Vec<Exception>,
    entries: usize,
    /// Sectors that are zeroes in the cache.
    cached: Vec<usize>,
    flushes: usize,
    chance: u64,
}

impl Recorder {
    /// A store with so many exceptions; what stands behind its end is not zero.
    fn new(chunk_sectors: u32, exceptions: u64, garbage: bool) -> Self {
        let old_chunks: Vec<_> = (0..exceptions).map(|old| old + 1).collect();
        let mut disk = Image::written(chunk_sectors, &old_chunks, |_| false);
        let entries = chunk_sectors as usize * 32;
        let (area, end) = (exceptions as usize / entries, exceptions as usize % entries);
        if garbage {
            (end + 1..entries).for_each(|entry| disk.put((area, entry), 999, 999));
        }
        let before = disk.exceptions();
        assert_eq!(before.len() as u64, exceptions);
        Self {
            disk,
            before,
            entries,
            cached: Vec::new(),
            flushes: 0,
            chance: 88_172_645_463_325_252,
        }
    }

    fn with(&self, sectors: impl Iterator<Item = usize>) -> Image {
        let mut disk = self.disk.clone();
        for sector in sectors {
            disk.bytes[sector * SECTOR..][..SECTOR].fill(0);
        }
        disk
    }

    /// Tries what a power cut would leave now.
    fn cut_power(&mut self) {
        let cached = self.cached.clone();
        if cached.len() <= ALL_BELOW {
            for chosen in 0..1_u32 << cached.len() {
                let sectors = (0..cached.len()).filter(|bit| chosen & 1 << bit != 0);
                self.judge(&self.with(sectors.map(|bit| cached[bit])));
            }
            return;
        }
        for _ in 0..SOME {
            let mut chosen = cached.clone();
            chosen.retain(|_| self.coin());
            self.judge(&self.with(chosen.into_iter()));
        }
    }

    fn coin(&mut self) -> bool {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance & 1 != 0
    }

    /// Whether a disk may be left like this.
    fn judge(&self, disk: &Image) {
        let left = disk.exceptions();
        assert_eq!(left, self.before[..left.len()], "no longer some of the first exceptions");
        let was_in_first_area = self.disk.exceptions().len() <= self.entries;
        if left.is_empty() || (was_in_first_area && self.has_begun_first_area()) {
            let bytes = &self.disk_area(disk)[left.len().min(self.entries) * 16..];
            assert!(bytes.iter().all(|byte| *byte == 0), "leftovers behind {} entries", left.len());
        }
    }

    fn disk_area<'a>(&self, disk: &'a Image) -> &'a [u8] {
        &disk.bytes[self.entries * 16..][..self.entries * 16]
    }

    /// Whether what stood behind the end of the first area is gone from the disk.
    fn has_begun_first_area(&self) -> bool {
        let entries = self.disk.exceptions().len().min(self.entries);
        self.disk_area(&self.disk)[entries * 16..].iter().all(|byte| *byte == 0)
    }
}

impl Wipe for Recorder {
    fn wipe(
        &mut self,
        ranges: &mut (dyn Iterator<Item = Range<u64>> + Send),
    ) -> Result<(), OfflineError> {
        for range in ranges {
            assert!(range.start % SECTOR as u64 == 0 && range.end % SECTOR as u64 == 0);
            self.cached.extend(range.start as usize / SECTOR..range.end as usize / SECTOR);
        }
        self.cut_power();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), OfflineError> {
        self.disk = self.with(self.cached.iter().copied());
        self.cached.clear();
        self.flushes += 1;
        self.judge(&self.disk);
        Ok(())
    }
}

fn cleared(chunk_sectors: u32, exceptions: u64, garbage: bool) -> Recorder {
    let mut recorder = Recorder::new(chunk_sectors, exceptions, garbage);
    let layout = Layout::new(ChunkSize::from_sectors(chunk_sectors).unwrap()).unwrap();
    let entries = recorder.entries as u64;
    let end = Place { area: exceptions / entries, entry: (exceptions % entries) as u32 };
    let meter = Meter::default();
    let areas = clear(&mut recorder, layout, end, SECTOR as u32, &meter).unwrap();
    assert_eq!(areas, exceptions.div_ceil(entries));
    assert!(recorder.cached.is_empty(), "the last write was not flushed");
    assert!(recorder.disk.exceptions().is_empty());
    assert_eq!(meter.read().cleared_exceptions, exceptions);
    recorder
}

#[test]
fn a_power_cut_at_any_write_leaves_some_of_the_first_exceptions_and_no_leftovers_in_the_first_area()
{
    for chunk_sectors in [1, 2, 4] {
        let entries = u64::from(chunk_sectors) * 32;
        for exceptions in [0, 1, 31, 32, 33, entries - 1, entries, entries + 1, 3 * entries + 5] {
            cleared(chunk_sectors, exceptions, false);
        }
    }
}

#[test]
fn what_stood_behind_the_end_is_gone_before_the_store_reads_as_empty() {
    for exceptions in [1, 20, 32, 40, 100, 250] {
        let recorder = cleared(8, exceptions, true);
        let area = recorder.disk_area(&recorder.disk);
        assert!(area.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_large_store_takes_few_flushes() {
    // 1000 areas of one sector.
    assert_eq!(cleared(1, 32_000, false).flushes, 4 + 1);
    assert_eq!(cleared(8, 700, false).flushes, 1 + 8);
}

/// The recorder sees what it is there to see.
#[test]
#[should_panic(expected = "leftovers")]
fn an_area_in_one_write_would_be_seen() {
    let mut recorder = Recorder::new(8, 256, false);
    recorder.wipe(&mut std::iter::once(4096..8192)).unwrap();
}

#[test]
#[should_panic(expected = "leftovers")]
fn a_front_that_is_cleared_first_would_be_seen() {
    let mut recorder = Recorder::new(8, 256, false);
    recorder.wipe(&mut std::iter::once(4096..4608)).unwrap();
}
