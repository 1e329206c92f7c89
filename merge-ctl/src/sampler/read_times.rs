//! How long reads of a device take: a few, one after the other, at chunks that a merge will touch.
//!
//! It is the only thing known of the devices before the first run has finished, and without probes
//! the only thing that tells what a run costs apart from its length. Nothing is written.

use std::time::Instant;

use crate::sample::ReadTimes;
use crate::store::Source;
use crate::store::aligned::AlignedBuffer;
use crate::units::ChunkSize;

/// How often each length is read.
const READS: usize = 5;
/// A large read, unless a chunk is larger: twice what kcopyd copies in one piece.
const LARGE_BYTES: u64 = 1 << 20;

/// The times of reads at the last of these chunks; none where not one succeeds.
pub(super) fn measure(source: &impl Source, chunk: ChunkSize, chunks: &[u64]) -> Option<ReadTimes> {
    let small_bytes = chunk.bytes().min(LARGE_BYTES);
    let places = || chunks.iter().rev().take(READS).map(|at| at * chunk.bytes());
    Some(ReadTimes {
        small_bytes,
        small_ns: median_ns(source, places(), small_bytes)?,
        large_bytes: LARGE_BYTES,
        large_ns: median_ns(source, places(), LARGE_BYTES)?,
    })
}

fn median_ns(source: &impl Source, places: impl Iterator<Item = u64>, bytes: u64) -> Option<u64> {
    let mut buffer = AlignedBuffer::new(bytes as usize);
    let last = source.size().bytes().checked_sub(bytes)?;
    let align = bytes.min(u64::from(source.block_bytes()));
    let mut times: Vec<u64> = places
        .filter_map(|at| {
            let began = Instant::now();
            let at = at.min(last) / align * align;
            source.read_at(at, buffer.as_mut_slice()).ok()?;
            u64::try_from(began.elapsed().as_nanos()).ok()
        })
        .collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemorySource;

    #[test]
    fn reads_stay_inside_the_device() {
        let chunk = ChunkSize::from_sectors(8).unwrap();
        let source = MemorySource::new(vec![0; (LARGE_BYTES + 8192) as usize]);
        let times = measure(&source, chunk, &[0, 100, u64::MAX / 8192]).unwrap();
        assert_eq!((times.small_bytes, times.large_bytes), (4096, LARGE_BYTES));
        assert_eq!(measure(&source, chunk, &[]), None);
        assert_eq!(measure(&MemorySource::new(vec![0; 512]), chunk, &[0]), None);
    }
}
