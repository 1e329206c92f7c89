//! The search for chunks that two exceptions name, in bounded memory.
//!
//! A set of chunks is a bitmap in pages of 32,768 chunks, made where a chunk is first seen and
//! thrown away again once it is full: a full page needs no bits. So a COW device, which the kernel
//! fills from one end to the other, costs next to nothing, and an origin costs at most a bit a
//! chunk: 32 MiB for 1 TiB in chunks of 4 KiB. The pages of both sets share [`PAGES_BYTES`]. When
//! that is used up (origins far above 1 TiB in small chunks, written all over), chunks in new pages
//! are not searched for any more, and are counted: nothing is passed over in silence.
//!
//! Pages are found in a table; only those of chunks so high that no table should be that long, in
//! a map. An origin that was written in no order makes each look-up miss the processor's caches,
//! so [`ChunkSet::touch`] lets the misses of many chunks overlap before they are added.

use std::collections::BTreeMap;

/// What the pages of both sets may use together. The tables may take another 2 MiB, so that the
/// search has at most 48 MiB.
pub(super) const PAGES_BYTES: usize = 46 << 20;

/// Chunks of a set that share a page.
pub(crate) const PAGE_CHUNKS: u64 = 32_768;
const PAGE_WORDS: usize = PAGE_CHUNKS as usize / 64;
pub(crate) const PAGE_BYTES: usize = PAGE_WORDS * 8;
/// A page's share of the map that finds it, rounded up.
pub(crate) const ENTRY_BYTES: usize = 64;
/// The table is no longer than this, 1 MiB: enough for 8 TiB in chunks of 4 KiB.
const TABLE_PAGES: u64 = 65_536;

/// What is known of a chunk that was added to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It was not there.
    New,
    /// It was there.
    Again,
    /// There is no memory to tell.
    Unknown,
}

/// The chunks seen so far on both devices.
pub(super) struct Duplicates {
    old: ChunkSet,
    new: ChunkSet,
    left_bytes: usize,
}

impl Duplicates {
    /// Empty sets whose pages may use this much memory together.
    pub(super) fn within(pages_bytes: usize) -> Self {
        Self { old: ChunkSet::default(), new: ChunkSet::default(), left_bytes: pages_bytes }
    }

    /// Brings the bits of chunks of the origin close to the processor. Changes nothing.
    pub(super) fn touch(&self, old_chunks: impl Iterator<Item = u64>) {
        self.old.touch(old_chunks);
    }

    /// Adds a chunk of the origin.
    #[inline]
    pub(super) fn add_old(&mut self, chunk: u64) -> Seen {
        self.old.add(chunk, &mut self.left_bytes)
    }

    /// Adds a data chunk of the COW device, by its number among the data chunks: the places of
    /// metadata between them would keep pages from ever becoming full.
    #[inline]
    pub(super) fn add_new(&mut self, data_index: u64) -> Seen {
        self.new.add(data_index, &mut self.left_bytes)
    }
}

#[derive(Default)]
pub(crate) struct ChunkSet {
    table: Vec<Page>,
    beyond: BTreeMap<u64, Page>,
}

/// Bits of [`PAGE_CHUNKS`] chunks. Without words it has all of them or none.
struct Page {
    words: Option<Box<[u64; PAGE_WORDS]>>,
    missing: u32,
}

impl Default for Page {
    fn default() -> Self {
        Self { words: None, missing: PAGE_CHUNKS as u32 }
    }
}

impl ChunkSet {
    #[inline]
    pub(crate) fn add(&mut self, chunk: u64, left_bytes: &mut usize) -> Seen {
        let number = chunk / PAGE_CHUNKS;
        if number < self.table.len() as u64 {
            return self.table[number as usize].add(chunk, left_bytes);
        }
        self.add_outside(chunk, left_bytes)
    }

    /// Adds a chunk whose page is not in the table, or not yet.
    #[cold]
    fn add_outside(&mut self, chunk: u64, left_bytes: &mut usize) -> Seen {
        let number = chunk / PAGE_CHUNKS;
        if number >= TABLE_PAGES {
            // A page that gets no memory leaves no trace in the map either.
            let page = self.beyond.remove(&number);
            let mut page = page.unwrap_or_default();
            let seen = page.add(chunk, left_bytes);
            if seen != Seen::Unknown {
                self.beyond.insert(number, page);
            }
            return seen;
        }
        let pages = (number + 1).next_power_of_two().min(TABLE_PAGES) as usize;
        self.table.reserve_exact(pages - self.table.len());
        self.table.resize_with(pages, Page::default);
        self.table[number as usize].add(chunk, left_bytes)
    }

    /// Brings the bits of chunks close to the processor. Changes nothing.
    #[inline]
    pub(crate) fn touch(&self, chunks: impl Iterator<Item = u64>) {
        // The loads do not depend on each other, so the processor waits for many at once.
        let words = chunks.fold(0, |words, chunk| words ^ self.word(chunk));
        std::hint::black_box(words);
    }

    /// The word that has a chunk's bit, where the table has it.
    #[inline]
    fn word(&self, chunk: u64) -> u64 {
        let page = usize::try_from(chunk / PAGE_CHUNKS).ok().and_then(|page| self.table.get(page));
        let words = page.and_then(|page| page.words.as_ref());
        words.map_or(0, |words| words[word_of(chunk)])
    }
}

/// Which word of its page has a chunk's bit.
const fn word_of(chunk: u64) -> usize {
    (chunk % PAGE_CHUNKS) as usize / 64
}

impl Page {
    #[inline]
    fn add(&mut self, chunk: u64, left_bytes: &mut usize) -> Seen {
        let Some(words) = &mut self.words else { return self.add_first(chunk, left_bytes) };
        let (word, mask) = (&mut words[word_of(chunk)], 1 << (chunk % 64));
        if *word & mask != 0 {
            return Seen::Again;
        }
        *word |= mask;
        self.missing -= 1;
        if self.missing == 0 {
            self.words = None;
            *left_bytes += PAGE_BYTES;
        }
        Seen::New
    }

    /// Adds a chunk to a page without words: it is full, or it is made if memory is left for it.
    #[cold]
    fn add_first(&mut self, chunk: u64, left_bytes: &mut usize) -> Seen {
        if self.missing == 0 {
            return Seen::Again;
        }
        let Some(left) = left_bytes.checked_sub(PAGE_BYTES + ENTRY_BYTES) else {
            return Seen::Unknown;
        };
        *left_bytes = left;
        let words = self.words.insert(Box::new([0; PAGE_WORDS]));
        words[word_of(chunk)] = 1 << (chunk % 64);
        self.missing -= 1;
        Seen::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first chunk beyond the table.
    const FAR: u64 = TABLE_PAGES * PAGE_CHUNKS;

    #[test]
    fn the_second_time_is_told() {
        let mut seen = Duplicates::within(PAGES_BYTES);
        for chunk in [0, 63, 64, 32_767, 32_768, FAR - 1, FAR, u64::MAX] {
            assert_eq!(seen.add_old(chunk), Seen::New, "{chunk}");
            assert_eq!(seen.add_old(chunk), Seen::Again, "{chunk}");
            assert_eq!(seen.add_new(chunk), Seen::New, "{chunk}");
        }
    }

    #[test]
    fn a_full_page_gives_its_memory_back_and_still_tells() {
        for first in [0, FAR - PAGE_CHUNKS, FAR] {
            let mut seen = Duplicates::within(PAGE_BYTES + 4 * ENTRY_BYTES);
            for chunk in first..first + 2 * PAGE_CHUNKS {
                assert_eq!(seen.add_new(chunk), Seen::New, "{chunk}");
            }
            assert_eq!(seen.left_bytes, PAGE_BYTES + 2 * ENTRY_BYTES);
            assert_eq!(seen.add_new(first + 5), Seen::Again);
        }
    }

    #[test]
    fn the_tables_take_what_the_pages_leave_of_48_mib() {
        let mut seen = Duplicates::within(0);
        for chunk in [0, FAR / 3, FAR - 1, FAR, u64::MAX] {
            seen.touch([chunk].into_iter());
            assert_eq!(seen.add_old(chunk), Seen::Unknown);
            assert_eq!(seen.add_new(chunk), Seen::Unknown);
        }
        let tables = [&seen.old, &seen.new].map(|set| set.table.capacity() * size_of::<Page>());
        assert!(tables.iter().sum::<usize>() + PAGES_BYTES <= 48 << 20, "{tables:?}");
        assert!(seen.old.beyond.is_empty());
    }

    #[test]
    fn without_memory_it_says_so() {
        let mut seen = Duplicates::within(PAGE_BYTES + ENTRY_BYTES);
        assert_eq!(seen.add_old(1), Seen::New);
        assert_eq!(seen.add_old(PAGE_CHUNKS), Seen::Unknown);
        assert_eq!(seen.add_old(2), Seen::New);
        assert_eq!(seen.add_old(1), Seen::Again);
    }
}
