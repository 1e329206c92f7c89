//! The figures from which on something is blamed. `docs/causes.md` has the same table; a test
//! compares the two.

/// A cause that accounts for less of the time is not worth a finding: without it the merge would
/// hardly be faster.
pub const WORTH_SAYING: f64 = 0.25;

/// Fewer runs are no pattern, unless [`ENOUGH_TIME_NS`] have been measured.
pub const ENOUGH_RUNS: u64 = 10;

/// So much measured time is evidence even where it holds few runs.
pub const ENOUGH_TIME_NS: u64 = 4_000_000_000;

/// Runs are short where they have less than this part of the longest possible one on average.
pub const SHORT_RUN: f64 = 0.25;

/// A copy of this length is bound by the devices' speed, and not by what each I/O costs: it is one
/// job of kcopyd's (`kcopyd_subjob_size_kb`). Of a shorter copy, time counts as data in
/// proportion.
pub const LONG_COPY_BYTES: u64 = 512 << 10;

/// Flush and commit of one run are dear from here on: two I/Os that a device with a protected write
/// cache answers in well under a millisecond each.
pub const DEAR_FLUSH_NS: u64 = 4_000_000;

/// Flush and commit are dear in themselves only where they take so many times as long as the copy of
/// the same run.
pub const FLUSH_OVER_COPY: f64 = 2.0;

/// A device is the slow one where its mean latency is so many times the other's. Devices of one make
/// differ by less between reads and writes.
pub const SLOWER: f64 = 3.0;

/// No device is slow that answers faster than this.
pub const SLOW_NS: u64 = 2_000_000;

/// Fewer I/Os on each device say nothing of their latency: the kernel counts in ticks of some
/// milliseconds.
pub const ENOUGH_IOS: u64 = 8;

/// I/Os that took so long together are evidence even where they are few: a tick is nothing to them.
pub const ENOUGH_IO_NS: u64 = 1_000_000_000;

/// Runs were written at random, or backwards, where so large a part of the last ones is of one
/// chunk or two.
pub const SCATTERED: f64 = 0.9;

/// The throttle sleeps for so long at a time (`io_job_start` in `drivers/md/dm-kcopyd.c`): where no
/// copy took that long, it has not slept.
pub const THROTTLE_SLEEP_NS: u64 = 100_000_000;
