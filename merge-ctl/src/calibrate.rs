//! How fast two devices answer, found by reading them for about a second; and how fast this host
//! switches from one thread to another, which is what a merge on very fast devices waits for.
//!
//! What always holds: devices are opened for reading only, nothing is written, reads go past the
//! page cache. It refuses to guess: what cannot be read gives an error, not a figure. What the
//! figures mean for a merge is in [`crate::plan::costs`].

use std::fs;
use std::io;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::plan::costs::{LARGE_BYTES, SMALL_BYTES, Timed};
use crate::store::aligned::AlignedBuffer;
use crate::store::{FileSource, Source, StoreError};
use crate::units::{DeviceNumber, SECTOR_BYTES, Sectors, nanoseconds};

/// How long reads of one size on one device may go on; a read that has begun is waited for.
const BUDGET: Duration = Duration::from_millis(250);
/// Reads of one size, at most, and at least.
const READS: (usize, usize) = (64, 3);
/// Round trips between two threads.
const ROUND_TRIPS: usize = 101;
/// Places are taken from this much of the device at least: less would be read from a cache.
const LEAST_REACH_BYTES: u64 = 64 << 20;

/// Times reads of a block device, small and large, at random places below `used`: blocks that were
/// never written may answer faster than any that hold data.
///
/// # Errors
/// [`StoreError::Open`], [`StoreError::Read`]; [`StoreError::TooSmall`] where not even a small
/// block fits.
pub fn time_reads(
    dev: DeviceNumber,
    path: &std::path::Path,
    used: Sectors,
) -> Result<Timed, StoreError> {
    let device = FileSource::open(path)?;
    let block_bytes = u64::from(device.block_bytes()).max(SECTOR_BYTES);
    let small_bytes = SMALL_BYTES.max(block_bytes);
    if device.size().bytes() < small_bytes {
        let needed = Sectors(small_bytes / SECTOR_BYTES);
        return Err(StoreError::TooSmall { size: device.size(), needed });
    }
    let reach_bytes = used.bytes().max(LEAST_REACH_BYTES).min(device.size().bytes());
    let large_bytes = LARGE_BYTES.min(reach_bytes / small_bytes * small_bytes);
    let mut places = Places { state: seed(), reach_bytes };
    let small_ns = time(&device, small_bytes, &mut places)?;
    let large_ns = time(&device, large_bytes, &mut places)?;
    // A device below 1 MiB is read as a whole, and counted up.
    let scale = |ns: u64| (ns as f64 * (LARGE_BYTES as f64 / large_bytes as f64)) as u64;
    Ok(Timed {
        small_ns,
        large_ns: large_ns.into_iter().map(scale).collect(),
        write_cache: write_cache(dev),
    })
}

/// How long it takes a thread to wake another that waits for it, in nanoseconds: the median of
/// some round trips, halved.
///
/// # Errors
/// Where there can be no second thread.
pub fn time_wake_ups() -> io::Result<u64> {
    let (there, arrived) = sync_channel::<()>(0);
    let (back, returned) = sync_channel::<()>(0);
    let echo = thread::Builder::new().spawn(move || {
        for () in arrived {
            if back.send(()).is_err() {
                return;
            }
        }
    })?;
    let mut round_trips_ns: Vec<u64> = (0..ROUND_TRIPS)
        .map_while(|_| {
            let begun = Instant::now();
            there.send(()).ok()?;
            returned.recv().ok()?;
            u64::try_from(begun.elapsed().as_nanos()).ok()
        })
        .collect();
    drop(there);
    // It has nothing to say, and what it did was counted.
    let _ = echo.join();
    round_trips_ns.sort_unstable();
    Ok(round_trips_ns.get(round_trips_ns.len() / 2).map_or(0, |ns| ns / 2))
}

fn time(device: &FileSource, bytes: u64, places: &mut Places) -> Result<Vec<u64>, StoreError> {
    let mut buffer = AlignedBuffer::new(bytes as usize);
    let mut read = |at_bytes: u64| {
        let begun = Instant::now();
        let read = device.read_at(at_bytes, buffer.as_mut_slice());
        read.map(|()| begun.elapsed()).map_err(|source| StoreError::Read {
            at_bytes,
            bytes: bytes as usize,
            source,
        })
    };
    // The first one may wake a device up.
    read(places.next(bytes))?;
    let (begun, (most, least)) = (Instant::now(), READS);
    let mut times_ns = Vec::with_capacity(most);
    while times_ns.len() < least || (times_ns.len() < most && begun.elapsed() < BUDGET) {
        let took = read(places.next(bytes))?;
        times_ns.push(nanoseconds(took));
    }
    Ok(times_ns)
}

/// Random places on a device.
struct Places {
    state: u64,
    reach_bytes: u64,
}

impl Places {
    /// A place for so many bytes, a multiple of them.
    fn next(&mut self, bytes: u64) -> u64 {
        // Weyl's sequence, mixed: even enough for places.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let slots = (self.reach_bytes / bytes).max(1);
        ((mixed ^ (mixed >> 32)) % slots) * bytes
    }
}

/// Another row of places each time, so that no cache knows them from the last time.
fn seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64)
}

/// Whether a device has a volatile write cache, as sysfs tells; a partition has its disk's.
fn write_cache(dev: DeviceNumber) -> Option<bool> {
    let device = format!("/sys/dev/block/{dev}");
    let told = ["queue", "../queue"]
        .iter()
        .find_map(|queue| fs::read_to_string(format!("{device}/{queue}/write_cache")).ok())?;
    match told.trim() {
        "write back" => Some(true),
        "write through" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_aligned_and_within_reach() {
        let mut places = Places { state: 7, reach_bytes: 10 << 20 };
        let seen: Vec<u64> = (0..200).map(|_| places.next(LARGE_BYTES)).collect();
        assert!(seen.iter().all(|at| at % LARGE_BYTES == 0 && at + LARGE_BYTES <= 10 << 20));
        let distinct: std::collections::HashSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), 10);
        assert_eq!(Places { state: 7, reach_bytes: 4096 }.next(4096), 0);
    }

    #[test]
    fn waking_a_thread_takes_time_and_not_long() {
        let ns = time_wake_ups().unwrap();
        assert!((1..1_000_000_000).contains(&ns), "{ns}");
    }

    #[test]
    fn a_file_can_be_timed_like_a_device() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 << 20).unwrap();
        let dev = DeviceNumber { major: 0, minor: 0 };
        let timed = time_reads(dev, file.path(), Sectors(8)).unwrap();
        let (most, least) = READS;
        for reads in [timed.small_ns.len(), timed.large_ns.len()] {
            assert!((least..=most).contains(&reads), "{reads}");
        }
        assert_eq!(timed.write_cache, None);
        file.as_file().set_len(512).unwrap();
        let refused = time_reads(dev, file.path(), Sectors(8)).unwrap_err();
        assert!(matches!(refused, StoreError::TooSmall { .. }), "{refused}");
    }
}
