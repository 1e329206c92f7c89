//! Raw facts about one merge at one instant. Readers make them, the model alone interprets them.
//!
//! Nothing here is computed from two instants: counters are cumulative as they were read. A
//! recorded stream of samples, replayed, gives the same model bit for bit.

mod end;
mod identity;
mod io;
mod offline;
mod run;
mod store;

use serde::{Deserialize, Serialize};

use crate::throttle::Throttling;
use crate::units::Sectors;

pub use end::{Below, End, Fault, ToldBy};
pub use identity::{MergeIdentity, Owner, ProbeReport, ProbeTier};
pub use io::{DiskFacts, DiskOps, Disks, InFlightWrite, IoSample, IoTotals, KernelInFlight};
pub use offline::{OfflineEnd, OfflineFacts, OfflineFault, OfflineTerms};
pub use run::{CurrentRun, Phase, PhaseNs, Run};
pub use store::{NextRuns, ReadTimes, StorePicture, StoreView};

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
