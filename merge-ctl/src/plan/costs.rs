//! What the work of a merge costs in time: from reads that were timed, or from what was given.
//!
//! A run is a row of I/Os that wait for each other: a read of the COW device, a write of the
//! origin, a flush of the origin, and the metadata write with a flush before it and one behind
//! (`snapshot_merge_next_chunks` to `persistent_commit_merge`). A device without a volatile write
//! cache completes flushes at once, so three I/Os are left there.
//!
//! Only reads are timed: nothing may be written before the merge. So time is a range. Its low end
//! takes a write for half a read, and flushes for nothing; its high end takes every I/O, flushes
//! included, for four thirds of a read. On devices faster than that the threads that pass a run on
//! count, so what it takes one to wake another is in both. A device whose flushes take longer still (a disk with a
//! large cache, a cheap SSD) is beyond what reads can tell: give the cost of a run then.

use super::Work;
use crate::cost::{RunCost, TimeRange};
use crate::units::ChunkSize;

/// Bytes of the small reads that are timed.
pub const SMALL_BYTES: u64 = 4 << 10;
/// Bytes of the large reads that are timed.
pub const LARGE_BYTES: u64 = 1 << 20;
/// A write at its cheapest, in reads.
const CHEAP_WRITE: f64 = 0.5;
/// An I/O at its dearest, in reads.
const DEAR: f64 = 4.0 / 3.0;
/// What a copy has under way at once, at most: eight sub-jobs of 512 KiB (`SPLIT_COUNT` and the
/// default of `kcopyd_subjob_size_kb` in `drivers/md/dm-kcopyd.c`).
const COPY_WINDOW_BYTES: f64 = (8 * (512 << 10)) as f64;
/// How often a run waits for one thread to wake another, beyond what the timed reads have in them:
/// kcopyd's worker between its steps, and the thread that writes metadata (`persistent_commit_merge`
/// hands its write to a workqueue). The fewest, and the most.
const WAKE_UPS: (f64, f64) = (2.0, 12.0);
/// I/Os of a run: the fewest, and the most.
const RUN_IOS: (f64, f64) = (3.0, 6.0);

/// The timed reads of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timed {
    /// How long each small read took, in nanoseconds.
    pub small_ns: Vec<u64>,
    /// How long each large read took.
    pub large_ns: Vec<u64>,
    /// Whether the device has a volatile write cache, so that a flush is work; none where nobody
    /// tells.
    pub write_cache: Option<bool>,
}

/// What the reads of one device say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeviceCost {
    /// A small read, waited for: mean or median, whichever is lower.
    pub read_low_ns: f64,
    /// The same, whichever is higher.
    pub read_high_ns: f64,
    /// A byte of a large read, its wait included.
    pub byte_ns: f64,
    /// A byte beyond those of a small read, without the wait.
    pub more_byte_ns: f64,
    /// As [`Timed::write_cache`].
    pub write_cache: Option<bool>,
}

impl Timed {
    /// What the reads say; none without at least one of each size.
    pub fn cost(&self) -> Option<DeviceCost> {
        let (small_low, small_high) = middle(&self.small_ns)?;
        let (_, large) = middle(&self.large_ns)?;
        Some(DeviceCost {
            read_low_ns: small_low,
            read_high_ns: small_high,
            byte_ns: large / LARGE_BYTES as f64,
            more_byte_ns: (large - small_low).max(0.0) / (LARGE_BYTES - SMALL_BYTES) as f64,
            write_cache: self.write_cache,
        })
    }
}

/// Mean and median, the lower one first.
fn middle(samples_ns: &[u64]) -> Option<(f64, f64)> {
    let mut sorted = samples_ns.to_vec();
    sorted.sort_unstable();
    let median = *sorted.get(sorted.len() / 2)? as f64;
    let mean = sorted.iter().map(|ns| *ns as f64).sum::<f64>() / sorted.len() as f64;
    Some((mean.min(median), mean.max(median)))
}

/// One end of the range, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Costs {
    /// A run, without the bytes that it copies and without those of its commit.
    pub run_ns: f64,
    /// A byte that is copied.
    pub byte_ns: f64,
    /// A byte of metadata, read or written.
    pub metadata_byte_ns: f64,
    /// The read of an area, without its bytes.
    pub area_ns: f64,
    /// A read that is waited for.
    pub read_ns: f64,
    /// A write that is waited for.
    pub write_ns: f64,
}

impl Costs {
    /// What a run costs at a chunk size.
    pub const fn run_cost(&self, chunk_bytes: u64) -> RunCost {
        let fixed_ns = self.run_ns + self.metadata_byte_ns * chunk_bytes as f64;
        RunCost { fixed_ns, byte_ns: self.byte_ns }
    }

    fn of(&self, work: Work) -> f64 {
        let areas = self.area_ns + self.metadata_byte_ns * work.chunk_bytes as f64;
        self.run_cost(work.chunk_bytes).of(work.runs, work.bytes) + areas * work.areas as f64
    }
}

/// Where costs come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CostSource {
    /// From the user.
    Given,
    /// From timed reads of the COW device and of the one with the origin's data.
    Measured {
        /// The COW device.
        cow: DeviceCost,
        /// The device with the origin's data.
        real: DeviceCost,
        /// Reads that were timed.
        reads: u64,
        /// How long it takes one thread to wake another, in nanoseconds.
        wake_up_ns: u64,
    },
}

/// Costs as a range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MergeCosts {
    /// If it goes well.
    pub low: Costs,
    /// If it does not.
    pub high: Costs,
    /// How it was made.
    pub source: CostSource,
}

impl MergeCosts {
    /// From timed reads, and from how long it takes one thread to wake another; none where a
    /// device was not read.
    pub fn measured(cow: &Timed, real: &Timed, wake_up_ns: u64) -> Option<Self> {
        let reads = [&cow.small_ns, &cow.large_ns, &real.small_ns, &real.large_ns];
        let reads = reads.iter().map(|samples| samples.len() as u64).sum();
        let (cow, real) = (cow.cost()?, real.cost()?);
        let source = CostSource::Measured { cow, real, reads, wake_up_ns };
        let (fewest, most) = WAKE_UPS;
        let waking = |costs: Costs, wake_ups: f64| Costs {
            run_ns: costs.run_ns + wake_ups * wake_up_ns as f64,
            ..costs
        };
        let (low, high) = (waking(low(&cow, &real), fewest), waking(high(&cow, &real), most));
        Some(Self { low, high, source })
    }

    /// From the cost of a run and of a byte, as seen in another merge with such chunks.
    pub fn given(run_ns: f64, byte_ns: f64, chunk_bytes: u64) -> Self {
        let (fewest, most) = RUN_IOS;
        let end = |io_ns: f64, area_ns: f64| Costs {
            run_ns: (run_ns - byte_ns * chunk_bytes as f64).max(0.0),
            byte_ns,
            metadata_byte_ns: byte_ns,
            area_ns,
            read_ns: io_ns,
            write_ns: io_ns,
        };
        let (low, high) = (end(run_ns / most, 0.0), end(run_ns / fewest, run_ns / fewest));
        Self { low, high, source: CostSource::Given }
    }

    /// How long the work takes.
    pub fn time(&self, work: Work) -> TimeRange {
        range(self.low.of(work), self.high.of(work))
    }

    /// How long one run of so many bytes takes.
    pub fn time_of_run(&self, bytes: u64, chunk_bytes: u64) -> TimeRange {
        let of = |costs: &Costs| costs.run_cost(chunk_bytes).of(1, bytes);
        range(of(&self.low), of(&self.high))
    }

    /// How much longer it may take because other snapshots copy first. At most every run waits for
    /// a copy and its commit, which are the I/Os of a run once more.
    pub fn waiting_for_siblings_ns(&self, runs: u64, copies: u64, copy_bytes: u64) -> f64 {
        let chunk_bytes = copy_bytes.checked_div(copies).unwrap_or(0);
        self.high.run_cost(chunk_bytes).of(copies.min(runs), copy_bytes)
    }
}

/// A range in seconds, of two figures in nanoseconds.
pub(super) const fn range(low_ns: f64, high_ns: f64) -> TimeRange {
    TimeRange { low_s: low_ns.min(high_ns) / 1e9, high_s: low_ns.max(high_ns) / 1e9 }
}

fn low(cow: &DeviceCost, real: &DeviceCost) -> Costs {
    let (read_ns, cow_write_ns) = (cow.read_low_ns, cow.read_low_ns * CHEAP_WRITE);
    let real_write_ns = real.read_low_ns * CHEAP_WRITE;
    let window_ns = (read_ns + real_write_ns) / COPY_WINDOW_BYTES;
    Costs {
        run_ns: read_ns + real_write_ns + cow_write_ns,
        // Reading and writing may overlap, but not beyond the window.
        byte_ns: cow.more_byte_ns.max(real.more_byte_ns).max(window_ns),
        metadata_byte_ns: cow.more_byte_ns * CHEAP_WRITE,
        area_ns: read_ns,
        read_ns,
        write_ns: real_write_ns,
    }
}

fn high(cow: &DeviceCost, real: &DeviceCost) -> Costs {
    let (cow_io_ns, real_io_ns) = (cow.read_high_ns * DEAR, real.read_high_ns * DEAR);
    let flushes = |cost: &DeviceCost, count: f64| match cost.write_cache {
        Some(false) => 0.0,
        _ => count,
    };
    Costs {
        run_ns: cow_io_ns * (2.0 + flushes(cow, 2.0)) + real_io_ns * (1.0 + flushes(real, 1.0)),
        byte_ns: cow.byte_ns + real.byte_ns,
        metadata_byte_ns: cow.more_byte_ns * DEAR,
        area_ns: cow_io_ns,
        read_ns: cow_io_ns,
        write_ns: real_io_ns,
    }
}

/// The middle of a range, in whole nanoseconds.
pub(crate) fn middle_ns(range: &TimeRange) -> u64 {
    // A float beyond u64 saturates.
    (f64::midpoint(range.low_s, range.high_s) * 1e9) as u64
}

/// Work at a chunk size that is not the store's.
pub(super) fn work_at(chunk_size: ChunkSize, chunks: u64, runs: u64) -> Work {
    let chunk_bytes = chunk_size.bytes();
    let areas = chunks.div_ceil((chunk_bytes / 16).max(1));
    Work { chunks, bytes: chunks.saturating_mul(chunk_bytes), runs, areas, chunk_bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(small_ms: u64, large_ms: u64, write_cache: bool) -> Timed {
        Timed {
            small_ns: vec![small_ms * 1_000_000; 5],
            large_ns: vec![large_ms * 1_000_000; 3],
            write_cache: Some(write_cache),
        }
    }

    fn work(runs: u64, chunks: u64) -> Work {
        Work { chunks, bytes: chunks * 4096, runs, areas: 1, chunk_bytes: 4096 }
    }

    #[test]
    fn three_ios_a_run_lie_in_the_range_where_nothing_is_cached() {
        let device = timed(8, 9, false);
        let costs = MergeCosts::measured(&device, &device, 5_000).unwrap();
        let time = costs.time(work(1000, 1000));
        assert!(time.low_s < 24.0 && 24.0 < time.high_s, "{time:?}");
        assert!(time.low_s > 15.0 && time.high_s < 35.0, "too wide: {time:?}");
    }

    #[test]
    fn flushes_count_where_there_is_a_cache() {
        let (cached, plain) = (timed(8, 9, true), timed(8, 9, false));
        let with = MergeCosts::measured(&cached, &cached, 0).unwrap().time(work(1000, 1000));
        let without = MergeCosts::measured(&plain, &plain, 0).unwrap().time(work(1000, 1000));
        assert_eq!(with.low_s, without.low_s);
        assert!(with.high_s > 1.9 * without.high_s);
    }

    #[test]
    fn no_reads_no_costs() {
        assert_eq!(MergeCosts::measured(&Timed::default(), &timed(1, 2, true), 0), None);
    }

    #[test]
    fn on_devices_that_take_no_time_the_threads_still_do() {
        let device = timed(0, 0, false);
        let time = MergeCosts::measured(&device, &device, 10_000).unwrap().time(work(1000, 1000));
        assert_eq!((time.low_s, time.high_s), (0.02, 0.12));
    }

    #[test]
    fn what_is_given_is_taken_as_given() {
        let costs = MergeCosts::given(25e6, 10.0, 4096);
        let time = costs.time(Work { areas: 0, ..work(100, 1000) });
        let expected = (25e6 * 100.0 + 10.0 * 4096.0 * 1000.0) / 1e9;
        assert!((time.low_s - expected).abs() < 1e-9 && (time.high_s - expected).abs() < 1e-9);
        assert!(costs.time(work(100, 1000)).high_s > expected, "areas are read as well");
    }

    #[test]
    fn the_middle_of_samples_is_between_mean_and_median() {
        assert_eq!(middle(&[1, 1, 10]), Some((1.0, 4.0)));
        assert_eq!(middle(&[]), None);
    }
}
