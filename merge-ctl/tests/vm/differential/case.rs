//! A snapshot to be made, all of it from one seed.

use std::collections::HashSet;

use super::random::Random;
use super::writers::{self, Write};
use crate::testbed::SECTOR;

/// Bytes of an entry of the exception store.
const ENTRY_BYTES: u64 = 16;

/// What its writers are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Sequential,
    Scattered,
    Descending,
    Interleaved,
    Overwriting,
    /// Several areas are filled.
    Areas,
    /// Around chunk 0 of the origin.
    FirstChunk,
    /// Around the last, partial chunk of the origin.
    PartialChunk,
    /// All but a few chunks of the COW device are used.
    NearlyFull,
    /// Several threads.
    Concurrent,
    /// Writers of several kinds, one after the other.
    Mixed,
    /// No writers: the store is written by hand, with gaps and in orders that writers do not leave.
    Crafted,
}

impl Kind {
    pub(crate) const ALL: [Self; 12] = [
        Self::Sequential,
        Self::Scattered,
        Self::Descending,
        Self::Interleaved,
        Self::Overwriting,
        Self::Areas,
        Self::FirstChunk,
        Self::PartialChunk,
        Self::NearlyFull,
        Self::Concurrent,
        Self::Mixed,
        Self::Crafted,
    ];
}

/// How its merge begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// The active snapshot's exceptions are handed over.
    HandedOver,
    /// As above, after the snapshot was deactivated and read from disk again.
    Reloaded,
    /// No snapshot is active; the merge itself reads the exceptions from disk.
    Inactive,
    /// As above; then the origin is removed while the merge runs, and the merge loaded again.
    Interrupted,
}

impl Way {
    pub(crate) const ALL: [Self; 4] =
        [Self::HandedOver, Self::Reloaded, Self::Inactive, Self::Interrupted];
}

/// Chunk sizes in sectors: down to the smallest the kernel takes, whose areas are small, up to 64 KiB.
pub(crate) const CHUNK_SECTORS: [u64; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// An entry as it stands in the store: the chunk of the origin, the chunk of the COW device.
pub(crate) type Entry = (u64, u64);

/// How the store comes to be.
#[derive(Debug)]
pub(crate) enum Filling {
    /// One row of writes a thread.
    Written(Vec<Vec<Write>>),
    /// These entries, written to the COW device.
    Crafted(Vec<Entry>),
}

/// A snapshot to be made and merged.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) kind: Kind,
    pub(crate) way: Way,
    pub(crate) chunk_sectors: u64,
    /// The last chunk may be partial.
    pub(crate) origin_sectors: u64,
    pub(crate) cow_sectors: u64,
    pub(crate) filling: Filling,
}

impl Case {
    /// The snapshot of a seed: always the same.
    pub(crate) fn of(seed: u64) -> Self {
        // Seeds are small and near each other; what comes of them must not be.
        let mut random = Random::new(crate::testbed::mix(seed.wrapping_add(1)));
        let kind = random.pick(&Kind::ALL);
        let way = random.pick(&Way::ALL);
        let chunk_sectors = match kind {
            // 16 MiB and more are needed to fill an area of larger ones.
            Kind::Areas => random.pick(&CHUNK_SECTORS[..6]),
            Kind::PartialChunk => random.pick(&CHUNK_SECTORS[1..]),
            _ => random.pick(&CHUNK_SECTORS),
        };
        let chunks = origin_chunks(&mut random, kind, chunk_sectors);
        let filling = filling(&mut random, kind, chunk_sectors, chunks);
        let cow_sectors = cow_sectors(&mut random, kind, chunk_sectors, &filling);
        let origin_sectors = origin_sectors(&mut random, kind, chunk_sectors, chunks);
        Self { seed, kind, way, chunk_sectors, origin_sectors, cow_sectors, filling }
    }

    pub(crate) const fn origin_chunks(&self) -> u64 {
        self.origin_sectors.div_ceil(self.chunk_sectors)
    }

    pub(crate) const fn has_partial_chunk(&self) -> bool {
        !self.origin_sectors.is_multiple_of(self.chunk_sectors)
    }
}

/// Entries in an area of the store.
pub(crate) const fn entries_per_area(chunk_sectors: u64) -> u64 {
    chunk_sectors * SECTOR / ENTRY_BYTES
}

/// Says which chunks are written, and in which order.
type Order = fn(&mut Random, u64, u64) -> Vec<u64>;

fn origin_chunks(random: &mut Random, kind: Kind, chunk_sectors: u64) -> u64 {
    if kind == Kind::Areas {
        let area = entries_per_area(chunk_sectors);
        let areas = match area {
            ..=128 => random.within(3, 9),
            256 => random.within(2, 5),
            512 => 2,
            _ => 1,
        };
        return areas * area + random.within(1, area / 2);
    }
    match chunk_sectors {
        ..=8 => random.within(100, 800),
        16..=32 => random.within(80, 300),
        _ => random.within(24, 100),
    }
}

fn origin_sectors(random: &mut Random, kind: Kind, chunk_sectors: u64, chunks: u64) -> u64 {
    let partial = kind == Kind::PartialChunk || random.once_in(3);
    match partial && chunk_sectors > 1 {
        true => (chunks - 1) * chunk_sectors + random.within(1, chunk_sectors),
        false => chunks * chunk_sectors,
    }
}

fn filling(random: &mut Random, kind: Kind, chunk_sectors: u64, chunks: u64) -> Filling {
    let chunk_bytes = chunk_sectors * SECTOR;
    if kind == Kind::Crafted {
        return Filling::Crafted(crafted(random, chunk_sectors, chunks));
    }
    let parts = match kind {
        Kind::Mixed | Kind::Concurrent => random.within(2, 5),
        _ => 1,
    };
    let rows = (0..parts).map(|_| {
        let order = order(random, kind, chunks, chunk_sectors, parts);
        writers::writes(random, &order, chunk_bytes)
    });
    let rows: Vec<_> = rows.collect();
    match kind {
        Kind::Concurrent => Filling::Written(rows),
        _ => Filling::Written(vec![rows.concat()]),
    }
}

fn order(random: &mut Random, kind: Kind, chunks: u64, chunk_sectors: u64, parts: u64) -> Vec<u64> {
    let wanted = random.within(chunks / 4, chunks) / parts;
    match kind {
        Kind::Sequential => writers::sequential(random, chunks, wanted),
        Kind::Scattered => writers::scattered(random, chunks, wanted),
        Kind::Descending => writers::descending(random, chunks, wanted),
        Kind::Interleaved => writers::interleaved(random, chunks, wanted),
        Kind::Overwriting => writers::overwriting(random, chunks, wanted),
        Kind::Areas => {
            let area = entries_per_area(chunk_sectors);
            // Now and then the last area is just full, and an empty one follows it.
            let wanted = if random.once_in(4) { chunks - chunks % area } else { chunks };
            writers::stretches(random, chunks, wanted, area * 3 / 2)
        }
        Kind::FirstChunk => writers::around_chunk_0(random, chunks, wanted),
        Kind::PartialChunk => writers::around_last_chunk(random, chunks, wanted),
        Kind::NearlyFull => writers::stretches(random, chunks, wanted, 24),
        Kind::Concurrent | Kind::Mixed | Kind::Crafted => {
            let all: [Order; 5] = [
                writers::sequential,
                writers::scattered,
                writers::descending,
                writers::interleaved,
                writers::overwriting,
            ];
            random.pick(&all)(random, chunks, wanted)
        }
    }
}

/// A COW device on which the exceptions find room.
fn cow_sectors(random: &mut Random, kind: Kind, chunk_sectors: u64, filling: &Filling) -> u64 {
    let area = entries_per_area(chunk_sectors);
    let exceptions = match filling {
        Filling::Written(rows) => {
            let chunks = rows.iter().flatten().flat_map(|w| w.chunk..w.chunk + w.chunks);
            chunks.collect::<HashSet<_>>().len() as u64
        }
        // What a new exception would get if all places up to the highest were taken.
        Filling::Crafted(entries) => {
            entries.iter().map(|(_, new)| *new).max().unwrap_or(0) + entries.len() as u64 / area
        }
    };
    // The header, the areas with the one that follows a full one, and the data.
    let needed = 1 + exceptions / area + 1 + exceptions;
    let spare = match kind {
        Kind::NearlyFull => random.within(0, 4),
        _ => random.within(4, 200),
    };
    // A rest below a chunk is of no use to the kernel.
    (needed + spare) * chunk_sectors + random.within(0, chunk_sectors)
}

/// Entries as no writer leaves them: gaps between the new chunks, and stretches in which the old
/// chunks, the new chunks, or both run the wrong way.
fn crafted(random: &mut Random, chunk_sectors: u64, chunks: u64) -> Vec<Entry> {
    let wanted = random.within(chunks / 4, chunks);
    let old = writers::stretches(random, chunks, wanted, 16);
    let area = entries_per_area(chunk_sectors);
    let mut next = 0;
    let mut new: Vec<u64> = Vec::new();
    for _ in &old {
        if random.once_in(12) {
            next += random.within(1, 4);
        }
        // The data chunk with this number: the header and the areas are left out.
        new.push(2 + next + next / area);
        next += 1;
    }
    for stretch in new.chunks_mut(random.within(3, 20) as usize) {
        match random.within(0, 8) {
            0 => stretch.reverse(),
            1 => random.shuffle(stretch),
            _ => {}
        }
    }
    old.into_iter().zip(new).collect()
}
