//! Pieces of work: from exceptions in the order of the origin, the requests that copy them. Pure.
//!
//! A batch is a piece of the origin without gaps that one write fills, and the reads that bring its
//! data, neighbours on the COW device in one. Where many old neighbours lie scattered on the COW
//! device, as after a writer that went backwards, a batch has many small reads and one large write.

use crate::store::Exception;
use crate::store::format::EXCEPTION_BYTES;
use crate::units::ChunkSize;

/// One read for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// Where on the COW device, in bytes.
    pub(super) at_bytes: u64,
    /// Where in the batch's buffer it goes, in bytes.
    pub(super) into: usize,
    /// How many bytes.
    pub(super) length: usize,
}

/// A piece of the origin without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// Where on the origin, in bytes.
    pub(super) at_bytes: u64,
    /// How many bytes.
    pub(super) length: usize,
    /// What fills it, in the order of the buffer, without gaps.
    pub(super) reads: Vec<Read>,
}

impl Batch {
    /// The place on the origin where it ends, in bytes.
    pub(super) const fn end_bytes(&self) -> u64 {
        self.at_bytes + self.length as u64
    }
}

/// A chunk, or what is left of one: the bytes from `cow_bytes` on belong at `origin_bytes`.
#[derive(Clone, Copy)]
struct Extent {
    origin_bytes: u64,
    cow_bytes: u64,
    length: u64,
}

/// The batches of exceptions that are sorted by old chunk.
pub(super) struct Batches<'a> {
    exceptions: std::slice::Iter<'a, Exception>,
    chunk_bytes: u64,
    /// The last chunk of an origin may be a part of one.
    origin_bytes: u64,
    most_bytes: u64,
    /// What did not go into the batch before.
    left: Option<Extent>,
}

impl<'a> Batches<'a> {
    /// Batches of at most `most_bytes`, a multiple of a block, in an origin of `origin_bytes`.
    pub(super) fn new(
        exceptions: &'a [Exception],
        chunk_size: ChunkSize,
        origin_bytes: u64,
        most_bytes: usize,
    ) -> Self {
        Self {
            exceptions: exceptions.iter(),
            chunk_bytes: chunk_size.bytes(),
            origin_bytes,
            most_bytes: most_bytes as u64,
            left: None,
        }
    }

    fn next_extent(&mut self) -> Option<Extent> {
        self.left.take().or_else(|| {
            let Exception { old_chunk, new_chunk } = *self.exceptions.next()?;
            let origin_bytes = old_chunk * self.chunk_bytes;
            Some(Extent {
                origin_bytes,
                cow_bytes: new_chunk * self.chunk_bytes,
                length: self.chunk_bytes.min(self.origin_bytes.saturating_sub(origin_bytes)),
            })
        })
    }

    /// Adds to `batch` as much as may be of an extent that follows it; the rest is left.
    fn add(&mut self, batch: &mut Batch, extent: Extent) {
        let taken = extent.length.min(self.most_bytes - batch.length as u64);
        match batch.reads.last_mut() {
            Some(read) if read.at_bytes + read.length as u64 == extent.cow_bytes => {
                read.length += taken as usize;
            }
            _ => batch.reads.push(Read {
                at_bytes: extent.cow_bytes,
                into: batch.length,
                length: taken as usize,
            }),
        }
        batch.length += taken as usize;
        if taken < extent.length {
            self.left = Some(Extent {
                origin_bytes: extent.origin_bytes + taken,
                cow_bytes: extent.cow_bytes + taken,
                length: extent.length - taken,
            });
        }
    }

    /// Whether an extent goes into this batch too.
    fn takes(&self, batch: &Batch, extent: Extent) -> bool {
        extent.origin_bytes == batch.end_bytes()
            && (batch.length as u64) < self.most_bytes
            && !self.ends_with_area(batch, extent)
    }

    /// Whether the batch ends where one area's data does. Where areas hold as much as batches, whole
    /// areas are read in one piece then, and not in two each time.
    fn ends_with_area(&self, batch: &Batch, extent: Extent) -> bool {
        let area_bytes = self.chunk_bytes * (self.chunk_bytes / EXCEPTION_BYTES as u64);
        area_bytes >= self.most_bytes / 2
            && matches!(batch.reads[..], [read]
                if read.at_bytes + read.length as u64 + self.chunk_bytes == extent.cow_bytes)
    }
}

impl Iterator for Batches<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let first = self.next_extent()?;
        let mut batch = Batch { at_bytes: first.origin_bytes, ..Batch::default() };
        self.add(&mut batch, first);
        while let Some(extent) = self.next_extent() {
            if !self.takes(&batch, extent) {
                self.left = Some(extent);
                break;
            }
            self.add(&mut batch, extent);
        }
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const SECTOR: u64 = 512;

    fn batches(pairs: &[(u64, u64)], sectors: u32, origin_bytes: u64, most: usize) -> Vec<Batch> {
        let exceptions: Vec<_> = pairs
            .iter()
            .map(|(old_chunk, new_chunk)| Exception {
                old_chunk: *old_chunk,
                new_chunk: *new_chunk,
            })
            .collect();
        let chunk_size = ChunkSize::from_sectors(sectors).unwrap();
        Batches::new(&exceptions, chunk_size, origin_bytes, most).collect()
    }

    fn read(at_bytes: u64, into: usize, length: usize) -> Read {
        Read { at_bytes, into, length }
    }

    #[test]
    fn neighbours_on_both_sides_are_one_read_and_one_write() {
        let found = batches(&[(4, 2), (5, 3), (6, 4)], 8, 1 << 20, 1 << 20);
        let reads = vec![read(8192, 0, 12288)];
        assert_eq!(found, [Batch { at_bytes: 16384, length: 12288, reads }]);
    }

    #[test]
    fn a_descending_writer_gives_many_reads_and_one_write() {
        let found = batches(&[(4, 4), (5, 3), (6, 2)], 8, 1 << 20, 1 << 20);
        let reads = vec![read(16384, 0, 4096), read(12288, 4096, 4096), read(8192, 8192, 4096)];
        assert_eq!(found, [Batch { at_bytes: 16384, length: 12288, reads }]);
    }

    #[test]
    fn an_area_in_between_does_not_end_a_batch_but_a_gap_in_the_origin_does() {
        let found = batches(&[(0, 33), (1, 35), (3, 36)], 1, 1 << 20, 1 << 20);
        let [first, second] = &found[..] else { panic!("{found:?}") };
        assert_eq!(first.reads, [read(33 * SECTOR, 0, 512), read(35 * SECTOR, 512, 512)]);
        assert_eq!((second.at_bytes, second.length), (3 * SECTOR, 512));
    }

    #[test]
    fn a_run_that_areas_interrupt_is_read_in_whole_areas() {
        let pairs: Vec<_> = (0..80).map(|index| (index, 20 + index + (index + 20) / 32)).collect();
        let found = batches(&pairs, 1, 1 << 20, 32 * 512);
        let shapes = found.iter().map(|batch| (batch.reads.len(), batch.length / 512));
        assert_eq!(shapes.collect::<Vec<_>>(), [(1, 12), (1, 32), (1, 32), (1, 4)]);
    }

    #[test]
    fn the_last_chunk_of_an_origin_may_be_a_part_of_one() {
        let found = batches(&[(1, 2)], 8, 4096 + 1536, 1 << 20);
        assert_eq!(
            found,
            [Batch { at_bytes: 4096, length: 1536, reads: vec![read(8192, 0, 1536)] }]
        );
    }

    proptest! {
        /// Each sector of each exception is copied once, from where it lies, in the origin's order.
        #[test]
        fn batches_copy_what_a_naive_copy_does(
            old_chunks in prop::collection::btree_set(0_u64..64, 0..64),
            seed in prop::collection::vec(any::<u32>(), 64),
            sectors_log2 in 0_u32..4,
            most_sectors in 1_usize..40,
            missing in 0_u64..8,
        ) {
            let sectors = 1 << sectors_log2;
            let mut new_chunks: Vec<u64> = (2..2 + old_chunks.len() as u64).collect();
            // Runs of some length in an order that is anything.
            new_chunks.chunks_mut(5).zip(&seed).for_each(|(run, word)| if word % 2 == 0 { run.reverse() });
            new_chunks.rotate_left(seed[0] as usize % (old_chunks.len().max(1)));
            let pairs: Vec<_> = old_chunks.iter().copied().zip(new_chunks).collect();
            let chunk = u64::from(sectors);
            let origin_sectors = (64 * chunk).saturating_sub(missing.min(chunk - 1));
            let found = batches(&pairs, sectors, origin_sectors * SECTOR, most_sectors * 512);

            let mut naive = BTreeMap::new();
            for (old, new) in &pairs {
                for sector in (0..chunk).filter(|sector| old * chunk + sector < origin_sectors) {
                    naive.insert(old * chunk + sector, new * chunk + sector);
                }
            }
            let mut copied = BTreeMap::new();
            let mut end = 0;
            for batch in &found {
                prop_assert!(batch.length > 0 && batch.length <= most_sectors * 512);
                prop_assert!(batch.at_bytes >= end);
                end = batch.end_bytes();
                let mut filled = 0;
                for read in &batch.reads {
                    prop_assert_eq!(read.into, filled);
                    filled += read.length;
                    for sector in 0..read.length as u64 / SECTOR {
                        let to = (batch.at_bytes + read.into as u64) / SECTOR + sector;
                        prop_assert!(copied.insert(to, read.at_bytes / SECTOR + sector).is_none());
                    }
                }
                prop_assert_eq!(filled, batch.length);
                // Nothing that could be one read is two.
                let apart = |two: &[Read]| two[0].at_bytes + two[0].length as u64 != two[1].at_bytes;
                prop_assert!(batch.reads.windows(2).all(apart));
            }
            prop_assert_eq!(copied, naive);
        }
    }
}
