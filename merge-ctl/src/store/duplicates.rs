//! The search for chunks that two exceptions name, in bounded memory.
//!
//! A set of chunks is a bitmap in pages of 32,768 chunks, made where a chunk is first seen and
//! thrown away again once it is full: a full page needs no bits. So a COW device, which the kernel
//! fills from one end to the other, costs next to nothing, and an origin costs at most a bit a
//! chunk: 32 MiB for 1 TiB in chunks of 4 KiB. Both sets share [`MEMORY_BYTES`]. When that is used up
//! (origins far above 1 TiB in small chunks, written all over), chunks in new pages are not
//! searched for any more, and are counted: nothing is passed over in silence.

use std::collections::BTreeMap;

/// What both sets together may use.
pub(super) const MEMORY_BYTES: usize = 48 << 20;

const PAGE_CHUNKS: u64 = 32_768;
const PAGE_WORDS: usize = PAGE_CHUNKS as usize / 64;
const PAGE_BYTES: usize = PAGE_WORDS * 8;
/// A page's share of the map that finds it, rounded up.
const ENTRY_BYTES: usize = 64;

/// What is known of a chunk that was added to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
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
    /// Empty sets that may use this much memory together.
    pub(super) fn within(memory_bytes: usize) -> Self {
        Self { old: ChunkSet::default(), new: ChunkSet::default(), left_bytes: memory_bytes }
    }

    /// Adds a chunk of the origin.
    pub(super) fn add_old(&mut self, chunk: u64) -> Seen {
        self.old.add(chunk, &mut self.left_bytes)
    }

    /// Adds a data chunk of the COW device, by its number among the data chunks: the places of
    /// metadata between them would keep pages from ever becoming full.
    pub(super) fn add_new(&mut self, data_index: u64) -> Seen {
        self.new.add(data_index, &mut self.left_bytes)
    }
}

#[derive(Default)]
struct ChunkSet {
    pages: BTreeMap<u64, Page>,
}

enum Page {
    Full,
    Bits { words: Box<[u64; PAGE_WORDS]>, set: u64 },
}

impl ChunkSet {
    fn add(&mut self, chunk: u64, left_bytes: &mut usize) -> Seen {
        let (number, bit) = (chunk / PAGE_CHUNKS, (chunk % PAGE_CHUNKS) as usize);
        let Some(page) = self.page(number, left_bytes) else { return Seen::Unknown };
        let Page::Bits { words, set } = page else { return Seen::Again };
        let (word, mask) = (&mut words[bit / 64], 1 << (bit % 64));
        if *word & mask != 0 {
            return Seen::Again;
        }
        *word |= mask;
        *set += 1;
        if *set == PAGE_CHUNKS {
            *page = Page::Full;
            *left_bytes += PAGE_BYTES;
        }
        Seen::New
    }

    /// The page with this number, made if memory is left for it.
    fn page(&mut self, number: u64, left_bytes: &mut usize) -> Option<&mut Page> {
        use std::collections::btree_map::Entry;
        match self.pages.entry(number) {
            Entry::Occupied(page) => Some(page.into_mut()),
            Entry::Vacant(place) => {
                *left_bytes = left_bytes.checked_sub(PAGE_BYTES + ENTRY_BYTES)?;
                Some(place.insert(Page::Bits { words: Box::new([0; PAGE_WORDS]), set: 0 }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_time_is_told() {
        let mut seen = Duplicates::within(MEMORY_BYTES);
        for chunk in [0, 63, 64, 32_767, 32_768, u64::MAX] {
            assert_eq!(seen.add_old(chunk), Seen::New, "{chunk}");
            assert_eq!(seen.add_old(chunk), Seen::Again, "{chunk}");
            assert_eq!(seen.add_new(chunk), Seen::New, "{chunk}");
        }
    }

    #[test]
    fn a_full_page_gives_its_memory_back_and_still_tells() {
        let mut seen = Duplicates::within(PAGE_BYTES + 4 * ENTRY_BYTES);
        for chunk in 0..2 * PAGE_CHUNKS {
            assert_eq!(seen.add_new(chunk), Seen::New, "{chunk}");
        }
        assert_eq!(seen.left_bytes, PAGE_BYTES + 2 * ENTRY_BYTES);
        assert_eq!(seen.add_new(5), Seen::Again);
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
