//! The maps: all memory that the programs have. User space knows them by these names.
#![expect(unsafe_code, reason = "a value of a map is a pointer")]

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, RingBuf};
use merge_common::{
    IN_FLIGHT_SLOTS, InFlightIo, IoCounters, MAX_WATCHED, RunInProgress, WATCH_SLOTS, WatchSlot,
    dropped,
};

/// How many merges can be followed at once.
const MAX_MERGES: u32 = 256;

/// The merges of this host, by the address of the merging snapshot.
#[map]
pub(crate) static MERGES: HashMap<u64, RunInProgress> = HashMap::with_max_entries(MAX_MERGES, 0);

/// Which merge a thread is at work on, by `pid_tgid`; see [`Call`].
#[map]
pub(crate) static CALLS: HashMap<u64, Call> = HashMap::with_max_entries(4 * MAX_MERGES, 0);

/// Finished runs, and ends of merges: room for some 9,000, that is a good while of a merge in memory
/// whose runs are all of one chunk.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(1024 * 1024, 0);

/// Which devices are watched, by the low bits of their minor numbers.
#[map]
pub(crate) static WATCHED: Array<WatchSlot> = Array::with_max_entries(WATCH_SLOTS as u32, 0);

/// The I/O in flight on the watched devices. User space maps it into its own memory.
#[map]
pub(crate) static IN_FLIGHT: Array<InFlightIo> =
    Array::with_max_entries(IN_FLIGHT_SLOTS as u32, BPF_F_MMAPABLE);

/// Two records a watched device: its reads, then its writes.
#[map]
pub(crate) static IO: PerCpuArray<IoCounters> =
    PerCpuArray::with_max_entries(2 * MAX_WATCHED as u32, 0);

#[map]
static DROPPED: PerCpuArray<u64> = PerCpuArray::with_max_entries(dropped::COUNT, 0);

/// What a thread is doing between two probes of the same call chain.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// The merging snapshot.
    pub(crate) snapshot: u64,
    /// Where `persistent_prepare_merge` will store the run's last old chunk.
    pub(crate) last_old: u64,
    /// Where it will store the run's last new chunk.
    pub(crate) last_new: u64,
}

/// Counts something that was not seen; `why` is one of [`dropped`].
#[inline(always)]
pub(crate) fn count_dropped(why: u32) {
    if let Some(count) = DROPPED.get_ptr_mut(why) {
        // SAFETY: the map's own memory of this CPU, valid while the program runs.
        unsafe { *count += 1 };
    }
}
