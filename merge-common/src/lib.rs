//! The records that the eBPF programs write and user space reads. Nothing else.
//!
//! Every record is `repr(C)`, has no padding (an assertion at the end holds that) and only fields
//! whose every bit pattern is valid, so that a map's bytes can be read as one. Times are
//! `bpf_ktime_get_ns`, that is `CLOCK_MONOTONIC`, in nanoseconds. Device numbers are the kernel's
//! own `dev_t` (major << 20 | minor), not the user space encoding.

#![no_std]

/// The steps of one run, in the order in which the kernel takes them (`drivers/md/dm-snap.c`,
/// `snapshot_merge_next_chunks` and `merge_callback`).
pub mod phase {
    /// Between two runs: nothing is under way.
    pub const IDLE: u32 = 0;
    /// `persistent_prepare_merge`: find the next run, now and then read an area of metadata.
    pub const METADATA: u32 = 1;
    /// Wait until every sibling snapshot has its own copy of the run's old data.
    pub const SIBLINGS: u32 = 2;
    /// The run is published; wait for application writes into it that began before.
    pub const DRAIN: u32 = 3;
    /// kcopyd copies the run from the COW device to the origin.
    pub const COPY: u32 = 4;
    /// Flush the origin's write cache.
    pub const FLUSH: u32 = 5;
    /// `persistent_commit_merge`: clear the run's exceptions on the COW device.
    pub const COMMIT: u32 = 6;
    /// How many phases a run has, `IDLE` not counted.
    pub const COUNT: usize = 6;
}

/// What a [`RunRecord`] in the ring buffer tells.
pub mod event {
    /// A run was copied and committed.
    pub const RUN_FINISHED: u32 = 1;
    /// No exception is left: the merge is done.
    pub const MERGE_ENDED: u32 = 2;
    /// The merge has stopped for good; the record's `failure` tells why.
    pub const MERGE_FAILED: u32 = 3;
}

/// What made a merge fail: which step, and on which of the two devices (`drivers/md/dm-snap.c`,
/// `snapshot_merge_next_chunks` and `merge_callback`).
pub mod failure {
    /// Nothing failed.
    pub const NONE: u32 = 0;
    /// `persistent_prepare_merge` could not read an area of metadata from the COW device.
    pub const METADATA_READ_COW: u32 = 1;
    /// kcopyd could not read the run from the COW device.
    pub const COPY_READ_COW: u32 = 2;
    /// kcopyd could not write the run to the origin.
    pub const COPY_WRITE_ORIGIN: u32 = 3;
    /// The origin's write cache could not be flushed.
    pub const FLUSH_ORIGIN: u32 = 4;
    /// `persistent_commit_merge` could not write metadata to the COW device.
    pub const COMMIT_COW: u32 = 5;
}

/// One run of a merge: finished, as an event in the ring buffer.
///
/// For `MERGE_ENDED` only `snapshot`, the devices and the times are set; for `MERGE_FAILED` the
/// fields tell the run that failed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunRecord {
    /// One of [`event`].
    pub event: u32,
    /// What failed, one of [`failure`].
    pub failure: u32,
    /// Tells merges apart; opaque (the kernel's address of the merging snapshot).
    pub snapshot: u64,
    /// The COW device, or 0 where it is not known yet.
    pub cow_dev: u32,
    /// The device below the origin that receives the data, or 0 where it is not known yet.
    pub real_dev: u32,
    /// The run's lowest chunk on the origin.
    pub old_chunk: u64,
    /// The run's lowest chunk on the COW device.
    pub new_chunk: u64,
    /// How many chunks the run has.
    pub chunks: u32,
    /// A negative errno where the kernel told one, else 0. A failed copy and a failed flush tell only
    /// that they failed.
    pub errno: i32,
    /// When the metadata phase began.
    pub started_ns: u64,
    /// When the commit returned, or the merge ended or failed.
    pub finished_ns: u64,
    /// Time spent in each phase, [`phase::METADATA`] first.
    pub phase_ns: [u64; phase::COUNT],
}

/// The run in progress of one merge, readable at any moment while the programs change it.
///
/// A reader copies the whole record, lowest address first, and trusts it only when
/// [`RunInProgress::is_whole`]: the programs raise `begun` before they touch a record and set
/// `written` to the same number when they are through.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunInProgress {
    /// Number of the last finished change to this record.
    pub written: u64,
    /// The run so far. `phase_ns` holds the phases already behind it.
    pub run: RunRecord,
    /// One of [`phase`], but never [`phase::SIBLINGS`]: the programs call that wait
    /// [`phase::DRAIN`] too, and `sibling_pending` tells the two apart.
    pub phase: u32,
    /// Not zero while a sibling still lacks a chunk of the run. Always zero where the programs on
    /// `__origin_write` are not attached.
    pub sibling_pending: u32,
    /// When this phase began.
    pub phase_started_ns: u64,
    /// When the kernel last asked the siblings about a chunk of this run; 0 where it did not.
    pub siblings_asked_ns: u64,
    /// The lowest sector of the chunk that it asked about last.
    pub siblings_asked_sector: u64,
    /// Number of the last change to this record that was begun.
    pub begun: u64,
}

impl RunInProgress {
    /// Whether the copy in hand was not taken in the middle of a change.
    pub const fn is_whole(&self) -> bool {
        self.written == self.begun
    }
}

/// How many merging origins can have their I/O watched at the same time.
pub const MAX_WATCHED: usize = 16;
/// Slots of the table that says whether a device is watched: by the low bits of its minor number.
pub const WATCH_SLOTS: usize = 4096;
/// Slots of the table of I/O in flight. A power of two.
pub const IN_FLIGHT_SLOTS: usize = 8192;
/// How many neighbouring slots one bio may land in.
pub const IN_FLIGHT_WAYS: usize = 4;

/// One slot of the watch table: all zero where no device with that minor is watched.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchSlot {
    /// The watched device.
    pub dev: u32,
    /// Its place in the per-CPU arrays, below [`MAX_WATCHED`].
    pub index: u32,
}

/// One application I/O on a watched origin, from its queueing to its completion.
///
/// A reader of the shared table takes `bio` and `queued_ns` before the rest and again after it:
/// the copy is good where both are the same and `bio` is not 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlightIo {
    /// The kernel's address of the bio; 0 where the slot is free. Opaque.
    pub bio: u64,
    /// When it was queued.
    pub queued_ns: u64,
    /// Its first sector on the origin.
    pub sector: u64,
    /// Its length; 0 for a flush that carries no data.
    pub bytes: u32,
    /// The origin.
    pub dev: u32,
    /// The operation and its flags, `bio.bi_opf`.
    pub opf: u32,
    /// The process (thread group) that submitted it. 0 for a read: only a write's submitter is
    /// told.
    pub pid: u32,
    /// The thread that submitted it. As above.
    pub tid: u32,
    /// The origin's [`WatchSlot::index`].
    pub index: u32,
}

/// Buckets of a latency histogram: one below 1,024 ns, then four to a power of two, up to 18 min.
pub const LATENCY_BUCKETS: usize = 121;

/// What was counted on one CPU about the reads, or the writes, of one watched origin.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoCounters {
    /// I/Os queued.
    pub queued: u64,
    /// I/Os completed whose queueing was seen.
    pub completed: u64,
    /// Bytes of the completed ones.
    pub bytes: u64,
    /// Sum of the completed ones' latencies.
    pub latency_ns: u64,
    /// For the programs' own use: the bio that is being queued. See `merge-ebpf/src/kernel.rs`.
    pub queueing_bio: u64,
    /// As above: the bio that is being completed.
    pub completing_bio: u64,
    /// The completed ones by latency; see [`latency_bucket`].
    pub latency: [u64; LATENCY_BUCKETS],
}

impl Default for IoCounters {
    fn default() -> Self {
        Self {
            queued: 0,
            completed: 0,
            bytes: 0,
            latency_ns: 0,
            queueing_bio: 0,
            completing_bio: 0,
            latency: [0; LATENCY_BUCKETS],
        }
    }
}

/// The bucket of a latency: bucket 0 holds all below 1,024 ns, each power of two above has four.
#[expect(clippy::inline_always, reason = "the programs call no functions")]
#[inline(always)]
pub const fn latency_bucket(latency_ns: u64) -> usize {
    // In units of 256 ns, in 32 bits: what lasts longer than 18 minutes shares the last bucket.
    let units = latency_ns >> 8;
    let units = if units > u32::MAX as u64 { u32::MAX } else { units as u32 };
    if units < 4 {
        return 0;
    }
    let log2 = units.ilog2();
    let quarter = (units >> (log2 - 2)) & 3;
    ((log2 - 2) * 4 + quarter + 1) as usize
}

/// The lowest latency, in nanoseconds, that falls into a bucket.
pub const fn latency_bucket_floor_ns(bucket: usize) -> u64 {
    if bucket == 0 {
        return 0;
    }
    let (octave, quarter) = ((bucket as u64 - 1) / 4, (bucket as u64 - 1) % 4);
    (4 + quarter) << octave << 8
}

/// Why something was not seen. One counter each, per CPU.
pub mod dropped {
    /// The ring buffer was full: a finished run was not told.
    pub const RING_FULL: u32 = 0;
    /// The in-flight table had no free slot near the bio's place: an older entry was overwritten.
    pub const IN_FLIGHT_FULL: u32 = 1;
    /// More merges at once than the table of merges holds.
    pub const MERGES_FULL: u32 = 2;
    /// A run of which only a part was seen: it was under way when the programs were attached, or
    /// the kernel passed over one of the probes (more merges at once than a kretprobe has room for).
    pub const RUN_HALF_SEEN: u32 = 3;
    /// How many counters there are.
    pub const COUNT: u32 = 4;
}

const _: () = {
    assert!(size_of::<RunRecord>() == 4 * 2 + 8 + 4 * 2 + 8 * 2 + 4 * 2 + 8 * 2 + 8 * 6);
    assert!(size_of::<RunInProgress>() == size_of::<RunRecord>() + 8 * 5 + 4 * 2);
    assert!(size_of::<InFlightIo>() == 8 * 3 + 4 * 6);
    assert!(size_of::<IoCounters>() == 8 * (6 + LATENCY_BUCKETS));
    assert!(latency_bucket(u64::MAX) == LATENCY_BUCKETS - 1);
};

#[cfg(feature = "user")]
mod user {
    //! Leave to read the records out of map memory, for aya and for us.
    #![expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]

    impl super::RunRecord {
        /// The record that an entry of the ring buffer holds; nothing where it is too short.
        pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
            let bytes = bytes.get(..size_of::<Self>())?;
            // SAFETY: as long as a record, and every bit pattern is one; no alignment is asked for.
            Some(unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
        }
    }

    // SAFETY: each is repr(C), without padding, and valid for every bit pattern.
    unsafe impl aya::Pod for super::RunRecord {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::RunInProgress {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::WatchSlot {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::InFlightIo {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::IoCounters {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_rise_and_their_floors_fall_into_them() {
        for bucket in 1..LATENCY_BUCKETS {
            let floor = latency_bucket_floor_ns(bucket);
            assert_eq!(latency_bucket(floor), bucket, "floor {floor} of bucket {bucket}");
            assert_eq!(latency_bucket(floor - 1), bucket - 1);
        }
        assert_eq!(latency_bucket(0), 0);
        assert_eq!(latency_bucket(1023), 0);
        assert_eq!(latency_bucket(u64::MAX), LATENCY_BUCKETS - 1);
    }
}
