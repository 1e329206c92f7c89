//! I/O in flight on the watched devices, from queueing to completion.
//!
//! These programs run on every bio of the host: for a device that is not watched they compare its
//! number once and return. For a watched one they take a slot in a table that is indexed by a hash
//! of the bio's address, so that nothing is allocated, locked or searched.
//!
//! What was stored at the queueing counts, not what the bio says at its end: the kernel advances a
//! bio's place and length on its way. A completion without an entry is ignored: it may be a part
//! that was split off, or have been queued before the programs were there. An entry without a
//! completion stays until its bio is queued again: from Linux 6.2 on the kernel does not run a
//! program inside itself, so a completion in an interrupt that hits another completion is missed.
#![expect(unsafe_code, reason = "a value of a map is a pointer")]

use core::hint::black_box;

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use merge_common::{
    IN_FLIGHT_SLOTS, IN_FLIGHT_WAYS, InFlightIo, IoCounters, LATENCY_BUCKETS, WATCH_SLOTS, dropped,
    latency_bucket,
};

use crate::kernel::Bio;
use crate::maps::{IN_FLIGHT, IO, WATCHED, count_dropped};

/// The lowest bit of an operation says whether it writes (`op_is_write`, `linux/blk_types.h`).
const WRITES: u32 = 1;

/// `block_bio_queue(bio)`.
#[btf_tracepoint(function = "block_bio_queue")]
pub(crate) fn bio_queue(ctx: BtfTracePointContext) -> i32 {
    queued(Bio::new(ctx.arg(0)));
    0
}

/// `block_bio_queue(queue, bio)`, as it was below Linux 5.12.
#[btf_tracepoint(function = "block_bio_queue")]
pub(crate) fn bio_queue_of_queue(ctx: BtfTracePointContext) -> i32 {
    queued(Bio::new(ctx.arg(1)));
    0
}

/// `block_bio_complete(queue, bio)`.
#[btf_tracepoint(function = "block_bio_complete")]
pub(crate) fn bio_complete(ctx: BtfTracePointContext) -> i32 {
    completed(Bio::new(ctx.arg(1)));
    0
}

#[inline(always)]
fn queued(bio: Bio) -> Option<()> {
    let dev = bio.dev();
    let index = watched(dev)?;
    let opf = bio.opf();
    let counters = counters(index, opf)?;
    // SAFETY: a value of this CPU in a map, valid while the program runs; nothing else on this CPU
    // stores to these two fields but this program.
    let address = unsafe {
        (*counters).queued += 1;
        bio.address(&raw mut (*counters).queueing_bio)
    };
    let slot = slot_for(address)?;
    // Its name costs as much as all the rest here (some 40 ns): user space looks it up.
    let submitter = if opf & WRITES == 0 { 0 } else { bpf_get_current_pid_tgid() };
    // SAFETY: a value of an array map. Another CPU may store to the same slot at the same time:
    // then one of the two entries is lost, and its completion finds none.
    unsafe {
        (&raw mut (*slot).bio).write_volatile(0);
        (&raw mut (*slot).queued_ns).write_volatile(bpf_ktime_get_ns());
        (*slot).sector = bio.sector();
        (*slot).bytes = bio.bytes();
        (*slot).dev = dev;
        (*slot).opf = opf;
        (*slot).index = index;
        (*slot).pid = (submitter >> 32) as u32;
        (*slot).tid = submitter as u32;
        (&raw mut (*slot).bio).write_volatile(address);
    }
    Some(())
}

#[inline(always)]
fn completed(bio: Bio) -> Option<()> {
    let index = watched(bio.dev())?;
    let counters = counters(index, bio.opf())?;
    // SAFETY: as in `queued`.
    let address = unsafe { bio.address(&raw mut (*counters).completing_bio) };
    let slot = slot_of(address)?;
    // SAFETY: as in `queued`.
    unsafe {
        let latency_ns = bpf_ktime_get_ns() - (*slot).queued_ns;
        (*counters).completed += 1;
        (*counters).bytes += u64::from((*slot).bytes);
        (*counters).latency_ns += latency_ns;
        (&raw mut (*slot).bio).write_volatile(0);
        count_latency(counters, latency_ns);
    }
    Some(())
}

/// The index of a watched device.
#[inline(always)]
fn watched(dev: u32) -> Option<u32> {
    let slot = WATCHED.get(dev & (WATCH_SLOTS as u32 - 1))?;
    (slot.dev == dev).then_some(slot.index)
}

/// This CPU's counters of a watched device's reads or writes.
#[inline(always)]
fn counters(index: u32, opf: u32) -> Option<*mut IoCounters> {
    IO.get_ptr_mut(index * 2 + (opf & WRITES))
}

/// The slot for a bio that is queued: its own, or a free one, or else somebody's.
#[inline(always)]
fn slot_for(bio: u64) -> Option<*mut InFlightIo> {
    let home = home(bio);
    for way in 0..IN_FLIGHT_WAYS as u32 {
        let slot = slot(home + way)?;
        // SAFETY: a value of an array map.
        let owner = unsafe { (&raw const (*slot).bio).read_volatile() };
        if owner == 0 || owner == bio {
            return Some(slot);
        }
    }
    count_dropped(dropped::IN_FLIGHT_FULL);
    slot(home)
}

/// The slot of a bio that completes.
#[inline(always)]
fn slot_of(bio: u64) -> Option<*mut InFlightIo> {
    let home = home(bio);
    for way in 0..IN_FLIGHT_WAYS as u32 {
        let slot = slot(home + way)?;
        // SAFETY: a value of an array map.
        if unsafe { (&raw const (*slot).bio).read_volatile() } == bio {
            return Some(slot);
        }
    }
    None
}

#[inline(always)]
fn slot(index: u32) -> Option<*mut InFlightIo> {
    IN_FLIGHT.get_ptr_mut(index & (IN_FLIGHT_SLOTS as u32 - 1))
}

/// Where a bio belongs: Fibonacci hashing, whose high bits are the good ones.
#[inline(always)]
fn home(bio: u64) -> u32 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    (bio.wrapping_mul(GOLDEN) >> (64 - IN_FLIGHT_SLOTS.ilog2())) as u32
}

/// # Safety
/// `counters` is a value of a map.
#[inline(always)]
unsafe fn count_latency(counters: *mut IoCounters, latency_ns: u64) {
    // The compiler can prove the bound and would leave the check out; the verifier cannot.
    let bucket = black_box(latency_bucket(latency_ns));
    if bucket < LATENCY_BUCKETS {
        // SAFETY: by this function's contract, and inside the array.
        unsafe { *(&raw mut (*counters).latency).cast::<u64>().add(bucket) += 1 };
    }
}
