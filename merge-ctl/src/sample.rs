//! Raw facts about one merge at one instant. Readers make them, the model alone interprets them.
//!
//! Nothing here is computed from two instants: counters are cumulative as they were read. A
//! recorded stream of samples, replayed, gives the same model bit for bit.

mod offline;

use serde::{Deserialize, Serialize};

use crate::store::{self, Segment};
use crate::throttle::Throttling;
use crate::units::{ChunkSize, DeviceNumber, Sectors};

pub use offline::{OfflineEnd, OfflineFacts, OfflineFault, OfflineTerms};

/// What stays the same while a merge is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeIdentity {
    /// The device-mapper name of the merging origin.
    pub origin: String,
    /// The same as its users call it: `vg/lv` for a logical volume, else the name.
    pub origin_label: String,
    /// The snapshot that is merged, as its users call it, where that is known.
    pub snapshot_label: Option<String>,
    /// The merging origin: what users mount.
    pub origin_dev: DeviceNumber,
    /// The device below it, which holds its data.
    pub real_dev: DeviceNumber,
    /// The device that holds the exceptions.
    pub cow_dev: DeviceNumber,
    /// What `real_dev` is called.
    #[serde(default)]
    pub real_label: String,
    /// What `cow_dev` is called.
    #[serde(default)]
    pub cow_label: String,
    /// Who has to finish the merge.
    pub owner: Owner,
    /// Whether the merge-ctl that takes the samples finishes it as soon as it is done.
    pub finished_here: bool,
    /// Another process of merge-ctl that drives it, where there was one when that was looked for last.
    #[serde(default)]
    pub driven_by: Option<u32>,
    /// The snapshot's chunk size.
    pub chunk_size: ChunkSize,
    /// The origin's size.
    pub size: Sectors,
    /// Other snapshots of the same origin.
    pub siblings: Vec<String>,
    /// The running kernel's release.
    pub kernel: String,
    /// What the probes can see here.
    pub probes: ProbeReport,
    /// What was agreed for an offline merge; none where the kernel merges.
    #[serde(default)]
    pub offline: Option<OfflineTerms>,
}

/// Who owns a volume, and so who has to finish its merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// Nobody: plain device-mapper; merge-ctl finishes it.
    DeviceMapper,
    /// LVM: lvm2 finishes it.
    Lvm,
}

impl MergeIdentity {
    /// Who owns the volume, in a word that never changes; `image` where there is no device-mapper
    /// around it.
    pub fn owner_code(&self) -> &'static str {
        match (self.owner, &self.offline) {
            (_, Some(OfflineTerms { images: true, .. })) => "image",
            (Owner::Lvm, _) => "lvm",
            (Owner::DeviceMapper, _) => "devicemapper",
        }
    }
}

/// How much of a merge the probes can see, from all to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeTier {
    /// Runs and their phases, and the I/O in flight on the origin.
    Full,
    /// As `Full`, but a run's merge is known only once its copy began (no BTF of dm-snapshot).
    NoModuleBtf,
    /// I/O in flight on the origin only: no kprobes.
    BlockOnly,
    /// Nothing: the kernel's status line alone.
    None,
}

/// The tier that was reached, and why it is not a better one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// What can be seen.
    pub tier: ProbeTier,
    /// What is missing, in words for an operator, one sentence each; empty for `Full`.
    pub missing: Vec<String>,
}

/// Everything that was read about one merge at one instant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When, by `CLOCK_MONOTONIC`: the clock of all times here.
    pub at_ns: u64,
    /// The same instant as seconds since 1970, UTC.
    pub unix_s: u64,
    /// What the kernel says of the merging origin.
    pub kernel: KernelView,
    /// What became of reading the exception store: in the first sample, and once more where that
    /// one said [`StoreView::Reading`].
    pub store: Option<StoreView>,
    /// The runs behind those that were told before, where more of them were read from the store.
    #[serde(default)]
    pub next_runs: Option<NextRuns>,
    /// Runs that finished since the sample before, in their order.
    pub runs: Vec<Run>,
    /// The run in progress, where probes see it.
    pub current: Option<CurrentRun>,
    /// What the probes, or the kernel log, said of the merge's end.
    pub end: Option<End>,
    /// Application I/O on the origin, where probes see it.
    pub io: Option<IoSample>,
    /// Reads and writes in flight by the kernel's own count (`/sys/block/dm-N/inflight`).
    pub kernel_in_flight: Option<KernelInFlight>,
    /// `snapshot_copy_throttle`: the percentage of time that copying may take; 100 is unthrottled.
    pub throttle_percent: Option<u32>,
    /// What a merge-ctl that has changed it does with it; none where no such process lives.
    #[serde(default)]
    pub throttling: Option<Throttling>,
    /// What the kernel counts of the two devices below; none where it cannot be read.
    #[serde(default)]
    pub disks: Option<Disks>,
    /// What the probes lost since they were attached.
    pub dropped: Dropped,
    /// What merge-ctl's own engine says; none where the kernel merges.
    #[serde(default)]
    pub offline: Option<OfflineFacts>,
}

impl Sample {
    /// One in which nothing but this is known.
    pub fn of(at_ns: u64, unix_s: u64, kernel: KernelView) -> Self {
        Self {
            at_ns,
            unix_s,
            kernel,
            store: None,
            next_runs: None,
            runs: Vec::new(),
            current: None,
            end: None,
            io: None,
            kernel_in_flight: None,
            throttle_percent: None,
            throttling: None,
            disks: None,
            dropped: Dropped::default(),
            offline: None,
        }
    }
}

/// What became of reading the exception store, once, from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum StoreView {
    /// A later sample brings it.
    Reading,
    /// It was read.
    Read(StorePicture),
    /// It was not.
    Unread {
        /// Why, in words for an operator.
        why: String,
    },
}

/// What the exception store held when its end was read, in a form of bounded length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorePicture {
    /// When the end of the store was read.
    pub read_ns: u64,
    /// How many chunks of the origin a cell covers; the last may cover fewer.
    pub chunks_per_cell: u64,
    /// Chunks to merge by cell of the origin, at most [`StorePicture::MAX_CELLS`].
    pub cells: Vec<u32>,
    /// The runs to merge, in the order of the merge, at most [`StorePicture::MAX_SEGMENTS`].
    pub segments: Vec<Segment>,
    /// The first of these runs, one by one.
    #[serde(default)]
    pub next_runs: NextRuns,
    /// How long reads of the COW device take.
    pub cow_reads: Option<ReadTimes>,
    /// How long reads of the device below the origin take.
    pub real_reads: Option<ReadTimes>,
}

impl StorePicture {
    /// How many cells there are at most.
    pub const MAX_CELLS: u64 = 8192;
    /// How many segments there are at most.
    pub const MAX_SEGMENTS: usize = 4096;

    /// How many chunks a cell covers on an origin with so many.
    pub fn chunks_per_cell(origin_chunks: u64) -> u64 {
        origin_chunks.div_ceil(Self::MAX_CELLS).max(1)
    }
}

/// Runs that a merge takes next, as they stand in the exception store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextRuns {
    /// How many exceptions the store holds up to the first of these runs, with it. So many are left
    /// when the merge comes to it.
    pub exceptions: u64,
    /// The runs, in the order of the merge, without a gap.
    pub runs: Vec<store::Run>,
}

impl NextRuns {
    /// How many exceptions are left when all these runs are merged.
    pub fn exceptions_behind(&self) -> u64 {
        let chunks: u64 = self.runs.iter().map(|run| u64::from(run.chunks)).sum();
        self.exceptions.saturating_sub(chunks)
    }
}

/// How long direct reads of a device took, one after the other: the median of a few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadTimes {
    /// The length of a small one: a chunk.
    pub small_bytes: u64,
    /// How long it took.
    pub small_ns: u64,
    /// The length of a large one.
    pub large_bytes: u64,
    /// How long it took.
    pub large_ns: u64,
}

/// The state of the merging origin as device-mapper tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum KernelView {
    /// The merge target is live.
    Merging {
        /// Sectors of the COW device that hold metadata and exceptions.
        allocated: Sectors,
        /// Sectors of the COW device.
        total: Sectors,
        /// Sectors of the COW device that hold metadata.
        metadata: Sectors,
        /// Whether the device is suspended, so that neither merge nor applications go on.
        suspended: bool,
    },
    /// `Merge failed`: the merge has stopped for good until the device is deactivated.
    MergeFailed,
    /// `Invalid`: the exception store cannot be used any more.
    Invalid,
    /// LVM has recorded the merge and begins it at the next activation of the volume.
    Scheduled,
    /// It is not asked: merge-ctl's own engine merges, offline.
    NotAsked,
    /// The device carries another target now, or is gone.
    NotMerging {
        /// The kind of target that it carries; none where the device is gone.
        target: Option<String>,
    },
    /// The status could not be read, or was none that we know.
    Unknown {
        /// What was read, or the error.
        text: String,
    },
}

/// The phases of a run. See `merge_common::phase` for the kernel's functions behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Find the next run; now and then read an area of metadata.
    Metadata,
    /// Wait for copies of the old data into sibling snapshots.
    Siblings,
    /// Wait for application writes in flight in the run.
    Drain,
    /// Copy from the COW device to the origin.
    Copy,
    /// Flush the origin's write cache.
    Flush,
    /// Clear the run's exceptions on the COW device.
    Commit,
}

impl Phase {
    /// All, in the order in which a run takes them.
    pub const ALL: [Self; merge_common::phase::COUNT] =
        [Self::Metadata, Self::Siblings, Self::Drain, Self::Copy, Self::Flush, Self::Commit];

    /// The phase's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Siblings => "siblings",
            Self::Drain => "drain",
            Self::Copy => "copy",
            Self::Flush => "flush",
            Self::Commit => "commit",
        }
    }

    /// The phase of a number of `merge_common::phase`; none for `IDLE`.
    pub fn from_record(number: u32) -> Option<Self> {
        Self::ALL.get((number as usize).checked_sub(1)?).copied()
    }
}

/// Nanoseconds by phase, in the order of [`Phase::ALL`].
pub type PhaseNs = [u64; Phase::ALL.len()];

/// A finished run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its lowest chunk on the origin.
    pub old_chunk: u64,
    /// Its lowest chunk on the COW device.
    pub new_chunk: u64,
    /// How many chunks it has.
    pub chunks: u32,
    /// When its first phase began.
    pub started_ns: u64,
    /// When its commit returned.
    pub finished_ns: u64,
    /// Time spent in each phase.
    pub phase_ns: PhaseNs,
}

/// The run in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentRun {
    /// Its lowest chunk on the origin. Not yet known, and 0, in [`Phase::Metadata`].
    pub old_chunk: u64,
    /// Its lowest chunk on the COW device. As above.
    pub new_chunk: u64,
    /// How many chunks it has; 0 while that is not known.
    pub chunks: u32,
    /// Where it is.
    pub phase: Phase,
    /// When its first phase began.
    pub started_ns: u64,
    /// When the present phase began.
    pub phase_started_ns: u64,
    /// Time spent in the phases behind it.
    pub phase_ns: PhaseNs,
}

/// How a merge ended, as the probes saw it or the kernel log tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum End {
    /// The last run is committed; the store is empty.
    Done {
        /// When.
        at_ns: u64,
    },
    /// The kernel gave up.
    Failed {
        /// When.
        at_ns: u64,
        /// What failed; none where nobody tells.
        fault: Option<Fault>,
        /// How it is known.
        #[serde(default)]
        told_by: ToldBy,
        /// The negative errno, or 0 where the kernel tells none.
        errno: i32,
        /// The failed run's lowest chunk on the origin.
        old_chunk: u64,
        /// How many chunks it had; 0 where the run is not known, or there was none yet.
        chunks: u32,
    },
}

/// How an end is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToldBy {
    /// The probes saw it happen, to this merge.
    #[default]
    Probes,
    /// The kernel log's last word on a merge that failed. It names no device.
    KernelLog,
}

/// What made a merge fail: a step of the kernel's on one of the two devices. One code a cause; the
/// names are those of `merge_common::failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// An area of metadata could not be read from the COW device.
    MetadataReadCow,
    /// A run could not be read from the COW device.
    CopyReadCow,
    /// A run could not be written to the origin's device.
    CopyWriteOrigin,
    /// The write cache of the origin's device could not be flushed.
    FlushOrigin,
    /// The metadata could not be written to the COW device.
    CommitCow,
}

/// One of the two devices below a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// The device that holds the exceptions.
    Cow,
    /// The device that holds the origin's data.
    Real,
}

impl Fault {
    /// All, in the order in which a run takes its steps.
    pub const ALL: [Self; 5] = [
        Self::MetadataReadCow,
        Self::CopyReadCow,
        Self::CopyWriteOrigin,
        Self::FlushOrigin,
        Self::CommitCow,
    ];

    /// The stable code, as in JSON.
    pub const fn code(self) -> &'static str {
        match self {
            Self::MetadataReadCow => "metadata-read-cow",
            Self::CopyReadCow => "copy-read-cow",
            Self::CopyWriteOrigin => "copy-write-origin",
            Self::FlushOrigin => "flush-origin",
            Self::CommitCow => "commit-cow",
        }
    }

    /// The phase of the run that failed.
    pub const fn phase(self) -> Phase {
        match self {
            Self::MetadataReadCow => Phase::Metadata,
            Self::CopyReadCow | Self::CopyWriteOrigin => Phase::Copy,
            Self::FlushOrigin => Phase::Flush,
            Self::CommitCow => Phase::Commit,
        }
    }

    /// The device that answered with an error.
    pub const fn below(self) -> Below {
        match self {
            Self::MetadataReadCow | Self::CopyReadCow | Self::CommitCow => Below::Cow,
            Self::CopyWriteOrigin | Self::FlushOrigin => Below::Real,
        }
    }

    /// The fault of a number of `merge_common::failure`.
    pub fn from_record(number: u32) -> Option<Self> {
        Self::ALL.get((number as usize).checked_sub(1)?).copied()
    }
}

/// Application I/O on the merging origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoSample {
    /// Writes, cumulative.
    pub writes: IoTotals,
    /// Reads, cumulative.
    pub reads: IoTotals,
    /// Writes in flight, all of them counted, the oldest listed.
    pub writes_in_flight: u64,
    /// Reads in flight.
    pub reads_in_flight: u64,
    /// The writes in flight, oldest first, at most [`IoSample::MAX_LISTED`].
    pub in_flight: Vec<InFlightWrite>,
}

impl IoSample {
    /// How many writes in flight a sample lists at most.
    pub const MAX_LISTED: usize = 1024;
}

/// Cumulative figures of the reads, or the writes, of an origin since the probes were attached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoTotals {
    /// I/Os queued.
    pub queued: u64,
    /// I/Os completed.
    pub completed: u64,
    /// Bytes of the completed ones.
    pub bytes: u64,
    /// Sum of their latencies.
    pub latency_ns: u64,
    /// The completed ones by latency; the buckets of `merge_common::latency_bucket`, trailing
    /// empty ones left out.
    pub latency: Vec<u64>,
}

/// One application write in flight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlightWrite {
    /// Its first sector on the origin.
    pub sector: u64,
    /// Its length; 0 for a flush.
    pub bytes: u32,
    /// When it was queued.
    pub queued_ns: u64,
    /// The process that submitted it.
    pub pid: u32,
    /// The name of the thread that submitted it.
    pub comm: String,
}

/// I/O in flight by the kernel's own count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelInFlight {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// The devices that a merge reads and writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disks {
    /// The device that holds the exceptions.
    pub cow: DiskFacts,
    /// The device that holds the origin's data.
    pub real: DiskFacts,
}

/// What the kernel counts of a block device, whoever uses it (`/sys/dev/block/M:m/stat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFacts {
    /// Reads, cumulative.
    pub reads: DiskOps,
    /// Writes, cumulative; flushes are among them.
    pub writes: DiskOps,
    /// I/Os in flight.
    pub in_flight: u64,
    /// Whether device-mapper has suspended it: then nothing on it goes on.
    pub suspended: bool,
}

/// The completed I/Os of one kind, cumulative since the device was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskOps {
    /// How many.
    pub completed: u64,
    /// How long they were together.
    pub length: Sectors,
    /// How many milliseconds they took together, each counted by itself.
    pub ms: u64,
}

/// What the probes could not tell, cumulative. See `merge_common::dropped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Finished runs that found the ring buffer full.
    pub runs: u64,
    /// Entries of I/O in flight that were overwritten.
    pub in_flight: u64,
    /// Merges that found no place.
    pub merges: u64,
    /// Runs that were under way when the probes were attached.
    pub half_seen: u64,
    /// Calls of the programs that the kernel left out; each may stand for a run or an I/O that was
    /// not seen. 0 also where the kernel does not count them.
    #[serde(default)]
    pub missed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_the_numbers_and_the_codes_that_others_know_them_by() {
        use merge_common::failure;
        let numbers = [
            failure::METADATA_READ_COW,
            failure::COPY_READ_COW,
            failure::COPY_WRITE_ORIGIN,
            failure::FLUSH_ORIGIN,
            failure::COMMIT_COW,
        ];
        for (number, fault) in numbers.into_iter().zip(Fault::ALL) {
            assert_eq!(Fault::from_record(number), Some(fault));
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.code());
        }
        assert_eq!(Fault::from_record(failure::NONE), None);
        assert_eq!(Fault::from_record(99), None);
    }
}
