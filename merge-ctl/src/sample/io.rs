//! I/O on the merging origin, and what the kernel counts of the devices below it.

use serde::{Deserialize, Serialize};

use crate::units::Sectors;

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
