//! The time that findings are about, split as far as the figures allow.

use super::thresholds::{ENOUGH_IO_NS, ENOUGH_IOS, ENOUGH_RUNS, ENOUGH_TIME_NS, LONG_COPY_BYTES};
use crate::model::{DiskPair, Model, PhaseTime, RunCount};
use crate::sample::Phase;

/// One span of a merge.
pub(super) struct Measured<'a> {
    pub(super) model: &'a Model,
    pub(super) time: PhaseTime,
    pub(super) runs: RunCount,
    pub(super) disks: Option<DiskPair>,
}

impl<'a> Measured<'a> {
    /// The last minute.
    pub(super) fn last_minute(model: &'a Model) -> Self {
        Self {
            model,
            time: model.phases.last_minute,
            runs: model.phases.last_minute_runs,
            disks: model.disks.map(|disks| disks.last_minute),
        }
    }

    /// All that was seen.
    pub(super) fn since_start(model: &'a Model) -> Self {
        let runs = RunCount { runs: model.totals.runs, chunks: model.totals.chunks };
        let disks = model.disks.map(|disks| disks.since_start);
        Self { model, time: model.phases.since_start, runs, disks }
    }

    /// Time in one phase, in nanoseconds.
    pub(super) fn ns(&self, phase: Phase) -> f64 {
        self.time.ns[phase as usize] as f64
    }

    /// Time in flush and commit: a small write each, and both wait for the device to have it on
    /// stable storage. To whoever asks why a merge is slow they are one.
    pub(super) fn flush_and_commit_ns(&self) -> f64 {
        self.ns(Phase::Flush) + self.ns(Phase::Commit)
    }

    /// As a part of all the time.
    pub(super) fn share(&self, ns: f64) -> f64 {
        match self.time.total_ns() {
            0 => 0.0,
            total => (ns / total as f64).clamp(0.0, 1.0),
        }
    }

    /// So much for each run.
    pub(super) fn per_run_ns(&self, ns: f64) -> u64 {
        (ns / self.runs.runs.max(1) as f64) as u64
    }

    /// Whether enough was seen to blame anything.
    pub(super) fn is_enough(&self) -> bool {
        let ns = self.time.total_ns();
        ns > 0 && (self.runs.runs >= ENOUGH_RUNS || ns >= ENOUGH_TIME_NS)
    }

    /// How many chunks a run has on average; the one in progress where none has finished.
    pub(super) fn mean_chunks(&self) -> f64 {
        match (self.runs.runs, &self.model.current) {
            (0, Some(run)) => f64::from(run.chunks),
            (runs, _) => self.runs.chunks as f64 / runs.max(1) as f64,
        }
    }

    /// The same in bytes.
    pub(super) fn mean_bytes(&self) -> f64 {
        self.mean_chunks() * self.model.identity.chunk_size.bytes() as f64
    }

    /// How many chunks a run can have at the most: an area's entries
    /// (`drivers/md/dm-snap-persistent.c`, `persistent_prepare_merge`).
    pub(super) fn longest_chunks(&self) -> u64 {
        longest_chunks(self.model.identity.chunk_size.bytes())
    }

    /// Time in the copy in which neither device had anything to do for it: the least that can have
    /// been spent asleep. None where the devices' figures are not there.
    pub(super) fn idle_copy_ns(&self) -> Option<f64> {
        let disks = self.disks?;
        let busy = disks.cow.reads.ns as f64 + disks.real.writes.ns as f64;
        Some((self.ns(Phase::Copy) - busy).max(0.0))
    }

    /// Whether the throttle allows itself to sleep at all.
    pub(super) fn is_throttled(&self) -> bool {
        self.model.throttle_percent.is_some_and(|percent| percent < 100)
    }

    /// Time in the copy, without what the throttle slept.
    pub(super) fn awake_copy_ns(&self) -> f64 {
        let asleep = if self.is_throttled() { self.idle_copy_ns().unwrap_or(0.0) } else { 0.0 };
        self.ns(Phase::Copy) - asleep
    }

    /// What of a copy is data, from 0 to 1; the rest is what each I/O costs, however short.
    pub(super) fn data_part(&self) -> f64 {
        (self.mean_bytes() / LONG_COPY_BYTES as f64).min(1.0)
    }

    /// Mean latencies of what a copy does; none where too few I/Os were counted.
    pub(super) fn latencies(&self) -> Option<Latencies> {
        let disks = self.disks?;
        let (reads, writes) = (disks.cow.reads, disks.real.writes);
        let fewest = reads.count.min(writes.count);
        let took_long = reads.ns.saturating_add(writes.ns) >= ENOUGH_IO_NS;
        if fewest < if took_long { 2 } else { ENOUGH_IOS } {
            return None;
        }
        let without_flushes = (writes.ns as f64 - self.ns(Phase::Flush)).max(0.0);
        Some(Latencies {
            read_ns: reads.ns as f64 / reads.count as f64,
            write_min_ns: without_flushes / writes.count as f64,
            write_max_ns: writes.ns as f64 / writes.count as f64,
        })
    }
}

/// Mean latencies of the reads on the COW device and the writes on the origin's.
///
/// Whether the kernel counts a flush as a write depends on the device: it does for one of
/// device-mapper with a write cache, it does not for a disk. So the truth about the writes lies
/// between two bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latencies {
    pub(super) read_ns: f64,
    pub(super) write_min_ns: f64,
    pub(super) write_max_ns: f64,
}

/// The longest run with chunks of this size: one area's entries of 16 bytes.
pub(super) const fn longest_chunks(chunk_bytes: u64) -> u64 {
    chunk_bytes / crate::store::format::EXCEPTION_BYTES as u64
}
