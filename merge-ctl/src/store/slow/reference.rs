//! What stands on a device, worked out in the plainest way: every entry in memory, every number
//! wide enough, no pieces, no bitmaps.
//!
//! The rules are those of `drivers/md/dm-snap-persistent.c`: `read_header`, `read_exceptions`,
//! `persistent_usage`, `persistent_prepare_merge` and `persistent_commit_merge`.

use std::collections::BTreeSet;

use super::device::Device;
use crate::store::{EntryFault, Place, Run};
use crate::units::Sectors;

/// What the header says.
#[derive(Debug, PartialEq)]
pub(crate) enum Header {
    TooSmall,
    NotAStore(u32),
    ChunkSize(u32),
    ChunkBelowBlock(u32),
    UnknownVersion(u32),
    New,
    Invalid,
    Usable { chunk_sectors: u32 },
}

impl Header {
    pub(crate) fn on(device: &Device) -> Self {
        if device.size * 512 < u64::from(device.block_bytes) {
            return Self::TooSmall;
        }
        let (first, second) = (device.number_at(0), device.number_at(8));
        let (magic, valid) = (first as u32, (first >> 32) as u32);
        let (version, chunk_sectors) = (second as u32, (second >> 32) as u32);
        if magic == 0 {
            Self::New
        } else if magic.to_le_bytes() != *b"SnAp" {
            Self::NotAStore(magic)
        } else if chunk_sectors.count_ones() != 1 || chunk_sectors > 1 << 21 {
            Self::ChunkSize(chunk_sectors)
        } else if u64::from(chunk_sectors) * 512 < u64::from(device.block_bytes) {
            Self::ChunkBelowBlock(chunk_sectors)
        } else if version != 1 {
            Self::UnknownVersion(version)
        } else if valid == 0 {
            Self::Invalid
        } else {
            Self::Usable { chunk_sectors }
        }
    }
}

/// Why a walk ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stop {
    /// The first entry that is not in use.
    End,
    /// There is no such area on the device.
    Outside,
    /// An entry that cannot be.
    Fault { old_chunk: u64, new_chunk: u64, fault: EntryFault },
}

/// The entries of a store whose header is right.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    device: &'a Device,
    pub(crate) chunk_sectors: u64,
    pub(crate) cow_chunks: u64,
    origin_chunks: u64,
    /// Old and new chunk of every entry that is right by itself, from the first on.
    pub(crate) entries: Vec<(u64, u64)>,
    /// What comes after these.
    pub(crate) stop: Stop,
    /// The entries that name a chunk of an earlier one: their numbers, and what is wrong.
    pub(crate) twice: Vec<(usize, Stop)>,
}

impl<'a> Contents<'a> {
    pub(crate) fn of(device: &'a Device, chunk_sectors: u32, origin: Option<Sectors>) -> Self {
        let chunk_sectors = u64::from(chunk_sectors);
        // The largest device there can be ends before byte 2^63.
        let largest = (i64::MAX as u64) / 512;
        let origin = origin.map_or(largest, |origin| origin.0.min(largest));
        let mut contents = Self {
            device,
            chunk_sectors,
            cow_chunks: device.size / chunk_sectors,
            origin_chunks: origin.div_ceil(chunk_sectors),
            entries: Vec::new(),
            stop: Stop::End,
            twice: Vec::new(),
        };
        contents.stop = loop {
            match contents.at(contents.entries.len() as u64) {
                Ok(entry) => contents.entries.push(entry),
                Err(stop) => break stop,
            }
        };
        contents.twice = contents.named_again();
        contents
    }

    /// Entries in an area.
    pub(crate) fn epa(&self) -> u64 {
        self.chunk_sectors * 32
    }

    /// The entry with this number, counted over all areas.
    pub(crate) fn at(&self, number: u64) -> Result<(u64, u64), Stop> {
        let (area, entry) = (u128::from(number / self.epa()), number % self.epa());
        let chunk = 1 + area * (u128::from(self.epa()) + 1);
        if chunk >= u128::from(self.cow_chunks) {
            return Err(Stop::Outside);
        }
        let at_bytes = chunk as u64 * self.chunk_sectors * 512 + entry * 16;
        let old_chunk = self.device.number_at(at_bytes);
        let new_chunk = self.device.number_at(at_bytes + 8);
        if new_chunk == 0 {
            return Err(Stop::End);
        }
        let fault = if new_chunk >= self.cow_chunks {
            EntryFault::NewOutside { cow_chunks: self.cow_chunks }
        } else if new_chunk % (self.epa() + 1) == 1 {
            EntryFault::NewIsMetadata
        } else if old_chunk >= self.origin_chunks {
            EntryFault::OldOutside { origin_chunks: self.origin_chunks }
        } else {
            return Ok((old_chunk, new_chunk));
        };
        Err(Stop::Fault { old_chunk, new_chunk, fault })
    }

    fn named_again(&self) -> Vec<(usize, Stop)> {
        let (mut old, mut new) = (BTreeSet::new(), BTreeSet::new());
        let mut again = Vec::new();
        for (number, &(old_chunk, new_chunk)) in self.entries.iter().enumerate() {
            let fault = match (old.insert(old_chunk), new.insert(new_chunk)) {
                (true, true) => continue,
                (false, _) => EntryFault::OldTwice,
                (true, false) => EntryFault::NewTwice,
            };
            again.push((number, Stop::Fault { old_chunk, new_chunk, fault }));
        }
        again
    }

    /// Whether the chunks lie so far apart that the reader may run out of memory for them: it has
    /// enough for 10,000 stretches of 32,768 chunks, however they are shared between the devices.
    pub(crate) fn is_spread_far(&self) -> bool {
        let stretches = |chunk: fn(&(u64, u64)) -> u64| {
            self.entries.iter().map(|entry| chunk(entry) / 32_768).collect::<BTreeSet<_>>().len()
        };
        stretches(|entry| entry.0) + stretches(|entry| entry.1) > 10_000
    }

    pub(crate) fn place(&self, number: u64) -> Place {
        Place { area: number / self.epa(), entry: (number % self.epa()) as u32 }
    }

    /// The number of the entry at a place, counted over all areas.
    pub(crate) fn number(&self, place: Place) -> u64 {
        place.area * self.epa() + u64::from(place.entry)
    }

    /// Allocated and metadata sectors of the status line.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let highest = self.entries.iter().map(|(_, new_chunk)| *new_chunk).max().unwrap_or(1);
        let mut next_free = highest + 1;
        if next_free % (self.epa() + 1) == 1 {
            next_free += 1;
        }
        let areas = self.entries.len() as u64 / self.epa() + 1;
        (next_free * self.chunk_sectors, (1 + areas) * self.chunk_sectors)
    }

    /// Merges the entries, in the two steps of the kernel, and tells each run.
    pub(crate) fn merged(&self) -> Vec<Run> {
        let mut left = self.entries.clone();
        let mut runs = Vec::new();
        while let Some(&(last_old, last_new)) = left.last() {
            let in_area = (left.len() as u64 - 1) % self.epa() + 1;
            let mut chunks = 1;
            while chunks < in_area {
                let (old, new) = left[left.len() - 1 - chunks as usize];
                if (old.checked_add(chunks), new.checked_add(chunks))
                    != (Some(last_old), Some(last_new))
                {
                    break;
                }
                chunks += 1;
            }
            left.truncate(left.len() - chunks as usize);
            let below = chunks - 1;
            runs.push(Run {
                old_chunk: last_old - below,
                new_chunk: last_new - below,
                chunks: chunks as u32,
            });
        }
        runs
    }
}
