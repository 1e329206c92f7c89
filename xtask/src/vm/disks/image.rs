//! What is on a disk, and what is still in its write cache.

use std::ops::{AddAssign, Range};

const SECTOR_BYTES: usize = 512;

/// A medium with a volatile write cache before it.
pub(super) struct Image {
    /// What a read gives: medium and cache.
    now: Vec<u8>,
    /// What is there after a power cut, whatever becomes of the cache.
    medium: Vec<u8>,
    /// The cache: where writes since the last flush went, the oldest first, and what they wrote.
    cache: Vec<(usize, Vec<u8>)>,
}

/// What power cuts did to the caches, in writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// In the caches.
    pub(crate) cached: usize,
    /// Of these, gone.
    pub(crate) gone: usize,
    /// Of these, on the medium in some of their sectors only.
    pub(crate) torn: usize,
}

impl AddAssign for Lost {
    fn add_assign(&mut self, other: Self) {
        self.cached += other.cached;
        self.gone += other.gone;
        self.torn += other.torn;
    }
}

impl Image {
    pub(super) fn new(bytes: usize) -> Self {
        Self { now: vec![0; bytes], medium: vec![0; bytes], cache: Vec::new() }
    }

    pub(super) fn bytes(&self) -> usize {
        self.now.len()
    }

    /// All that a read gives.
    pub(super) fn content(&self) -> &[u8] {
        &self.now
    }

    /// Puts back what was there, durably.
    pub(super) fn put_back(&mut self, content: &[u8]) {
        self.cache.clear();
        self.now.copy_from_slice(content);
        self.medium.copy_from_slice(content);
    }

    /// What is at a place; none where that is not on the disk.
    pub(super) fn read(&self, place: Range<usize>) -> Option<&[u8]> {
        self.now.get(place)
    }

    /// Writes into the cache; whether the place is on the disk.
    pub(super) fn write(&mut self, at: usize, bytes: Vec<u8>) -> bool {
        let place = at.checked_add(bytes.len()).and_then(|end| self.now.get_mut(at..end));
        let Some(place) = place else { return false };
        place.copy_from_slice(&bytes);
        self.cache.push((at, bytes));
        true
    }

    /// Makes durable what was written so far.
    pub(super) fn flush(&mut self) {
        for (at, bytes) in self.cache.drain(..) {
            self.medium[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    }

    /// The power was cut: some of the cache reached the medium, in any order, the rest is gone.
    pub(super) fn lose(&mut self, random: &mut Random) -> Lost {
        let mut lost = Lost { cached: self.cache.len(), ..Lost::default() };
        // Disks differ: one kept nothing, one nearly all.
        let kept_of_4 = random.below(5);
        for (at, bytes) in std::mem::take(&mut self.cache) {
            let torn = random.below(8) == 0 && bytes.len() > SECTOR_BYTES;
            match (random.below(4) < kept_of_4, torn) {
                (_, true) => {
                    lost.torn += 1;
                    self.keep_some_sectors(at, &bytes, random);
                }
                (true, false) => self.keep(at, &bytes),
                (false, false) => lost.gone += 1,
            }
        }
        self.now.copy_from_slice(&self.medium);
        lost
    }

    fn keep(&mut self, at: usize, bytes: &[u8]) {
        self.medium[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn keep_some_sectors(&mut self, at: usize, bytes: &[u8], random: &mut Random) {
        for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            if random.below(2) == 0 {
                self.keep(at + number * SECTOR_BYTES, sector);
            }
        }
    }
}

/// Numbers from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `end`, which must not be 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_flushed_is_never_lost_and_the_rest_is_old_or_new_by_the_sector() {
        let mut seen = Lost::default();
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut image = Image::new(16 * SECTOR_BYTES);
            assert!(image.write(0, vec![1; 8 * SECTOR_BYTES]));
            image.flush();
            for sector in 0..8 {
                assert!(image.write(4 * SECTOR_BYTES + sector * 512, vec![2; 1024]));
            }
            let now = image.read(0..16 * SECTOR_BYTES).unwrap();
            assert_eq!((now[0], now[4096], now[9 * SECTOR_BYTES + 511]), (1, 2, 2));
            seen += image.lose(&mut random);
            let after = image.read(0..16 * SECTOR_BYTES).unwrap();
            assert!(after[..4 * SECTOR_BYTES].iter().all(|byte| *byte == 1));
            for (number, sector) in after.chunks(SECTOR_BYTES).enumerate() {
                let old = u8::from(number < 8);
                assert!(sector.iter().all(|byte| *byte == sector[0]));
                assert!([old, 2].contains(&sector[0]), "sector {number} is {}", sector[0]);
            }
        }
        assert_eq!(seen.cached, 1600);
        assert!(seen.gone > 400 && seen.torn > 100 && seen.gone < 1200, "{seen:?}");
    }

    #[test]
    fn nothing_is_written_behind_the_end() {
        let mut image = Image::new(1024);
        assert!(!image.write(512, vec![1; 1024]));
        assert!(!image.write(usize::MAX, vec![1; 2]));
        assert_eq!(image.read(512..1025), None);
        assert_eq!(image.lose(&mut Random::new(0)), Lost::default());
    }
}
