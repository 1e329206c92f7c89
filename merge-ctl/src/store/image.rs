//! Store images for tests: an allocator that fills a COW device as the kernel does, and a slow,
//! separate model of what is right in an image and of how a merge eats it.
//!
//! Nothing of the reader, the layout or the run finder is used here: what they are tested
//! against must not share their mistakes.

use super::format::{Exception, MAGIC, Place};
use super::reader::{Opened, Store};
use super::runs::Run;
use super::source::MemorySource;
use crate::units::Sectors;

/// A COW device in memory.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
    chunk_bytes: usize,
}

impl Image {
    /// A valid store without exceptions.
    pub(crate) fn empty(chunk_sectors: u32, cow_chunks: usize) -> Self {
        let chunk_bytes = chunk_sectors as usize * 512;
        let mut bytes = vec![0; cow_chunks * chunk_bytes];
        for (field, value) in [MAGIC, 1, 1, chunk_sectors].into_iter().enumerate() {
            bytes[field * 4..][..4].copy_from_slice(&value.to_le_bytes());
        }
        Self { bytes, chunk_bytes }
    }

    /// A store whose exceptions have these old chunks, allocated and committed in this order, as
    /// `persistent_prepare_exception` and `persistent_commit_exception` do it. Chunks of which
    /// `lost` says so are allocated and never committed, as in a crash.
    pub(crate) fn written(
        chunk_sectors: u32,
        old_chunks: &[u64],
        mut lost: impl FnMut(usize) -> bool,
    ) -> Self {
        let epa = chunk_sectors as usize * 32;
        let areas = old_chunks.len() / epa + 2;
        let mut image = Self::empty(chunk_sectors, 1 + areas * (epa + 1));
        let (mut next_free, mut place) = (2, (0, 0));
        for (index, old_chunk) in old_chunks.iter().enumerate() {
            let new_chunk = next_free;
            next_free += 1;
            if (next_free as usize) % (epa + 1) == 1 {
                next_free += 1;
            }
            if lost(index) {
                continue;
            }
            image.put(place, *old_chunk, new_chunk);
            place = if place.1 + 1 == epa { (place.0 + 1, 0) } else { (place.0, place.1 + 1) };
        }
        image
    }

    fn offset(&self, (area, entry): (usize, usize)) -> usize {
        (1 + area * (self.epa() + 1)) * self.chunk_bytes + entry * 16
    }

    fn epa(&self) -> usize {
        self.chunk_bytes / 16
    }

    /// Writes an entry.
    pub(crate) fn put(&mut self, place: (usize, usize), old_chunk: u64, new_chunk: u64) {
        let at = self.offset(place);
        self.bytes[at..at + 8].copy_from_slice(&old_chunk.to_le_bytes());
        self.bytes[at + 8..at + 16].copy_from_slice(&new_chunk.to_le_bytes());
    }

    fn get(&self, place: (usize, usize)) -> (u64, u64) {
        let at = self.offset(place);
        let number = |at: usize| u64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap());
        (number(at), number(at + 8))
    }

    /// The first entry whose new chunk is 0; none where areas run out of the device.
    pub(crate) fn end(&self) -> Option<(usize, usize)> {
        for area in 0.. {
            if self.offset((area + 1, 0)) - self.epa() * self.chunk_bytes > self.bytes.len() {
                return None;
            }
            for entry in 0..self.epa() {
                if self.get((area, entry)).1 == 0 {
                    return Some((area, entry));
                }
            }
        }
        None
    }

    /// All exceptions in the order of commit.
    pub(crate) fn exceptions(&self) -> Vec<Exception> {
        let Some((last_area, last_entry)) = self.end() else { return Vec::new() };
        let mut found = Vec::new();
        for area in 0..=last_area {
            for entry in 0..if area == last_area { last_entry } else { self.epa() } {
                let (old_chunk, new_chunk) = self.get((area, entry));
                found.push(Exception { old_chunk, new_chunk });
            }
        }
        found
    }

    /// Whether every exception is possible, each on its own and all together.
    pub(crate) fn is_sound(&self, origin_chunks: u64) -> bool {
        use std::collections::HashSet;
        let exceptions = self.exceptions();
        let (mut old, mut new) = (HashSet::new(), HashSet::new());
        self.end().is_some()
            && exceptions.iter().all(|exception| {
                let place = exception.new_chunk;
                place < (self.bytes.len() / self.chunk_bytes) as u64
                    && place % (self.epa() as u64 + 1) != 1
                    && exception.old_chunk < origin_chunks
                    && old.insert(exception.old_chunk)
                    && new.insert(place)
            })
    }

    /// Merges the image to the end, in the two steps of the kernel and with its two variables,
    /// and tells each run. The image is empty afterwards.
    pub(crate) fn merge(&mut self) -> Vec<Run> {
        let (mut area, mut committed) = self.end().unwrap();
        let mut runs = Vec::new();
        loop {
            if committed == 0 {
                if area == 0 {
                    return runs;
                }
                area -= 1;
                committed = self.epa();
            }
            let (last_old, last_new) = self.get((area, committed - 1));
            let mut chunks = 1;
            while chunks < committed {
                let (old, new) = self.get((area, committed - 1 - chunks));
                if old != last_old.wrapping_sub(chunks as u64) || new != last_new - chunks as u64 {
                    break;
                }
                chunks += 1;
            }
            for back in 0..chunks {
                self.put((area, committed - 1 - back), 0, 0);
            }
            committed -= chunks;
            let below = chunks as u64 - 1;
            runs.push(Run {
                old_chunk: last_old - below,
                new_chunk: last_new - below,
                chunks: chunks as u32,
            });
        }
    }

    /// Opens the image.
    pub(crate) fn open(&self, origin_chunks: Option<u64>) -> Store<MemorySource> {
        let origin = origin_chunks.map(|chunks| Sectors(chunks * self.chunk_bytes as u64 / 512));
        let source = MemorySource::new(self.bytes.clone());
        match Store::open(source, origin).unwrap() {
            Opened::Usable(store) => store,
            other => panic!("not usable: {other:?}"),
        }
    }
}

/// A place as a pair, as the model counts them.
pub(crate) fn pair(place: Place) -> (usize, usize) {
    (place.area as usize, place.entry as usize)
}
