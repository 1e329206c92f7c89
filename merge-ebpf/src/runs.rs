//! The phases of a run, from probes on the functions of dm-snapshot that mark them.
//!
//! The kernel works on a merge in one thread at a time, but not always in the same one: the first
//! run begins in the thread that resumed the device, each later one in whatever worker completed
//! the copy before. So a run belongs to its merge ([`MERGES`], by snapshot); a thread is known to be
//! at work on a merge ([`CALLS`]) only inside one chain of calls:
//!
//! ```text
//! merge_callback ─► persistent_commit_merge ─► persistent_prepare_merge ─► … ─► dm_kcopyd_copy
//! ```
//!
//! `persistent_prepare_merge` begins a run, and `dm_kcopyd_copy` with `merge_callback` as its
//! completion function ends the chain. User space attaches these probes from the last to the first:
//! a run that is seen to begin is seen to its end. A run that was under way before is counted, and
//! not guessed at. So is one of which a probe missed too much: the kernel keeps room for the returns
//! of so many calls at once (the larger of 10 and twice the CPUs), and each merge takes one while it
//! commits. So with many merges the returns cannot be relied on: a run whose commit was not seen to
//! return ends, at the latest, where the next begins.
#![expect(unsafe_code, reason = "a value of a map is a pointer")]

use core::sync::atomic::{Ordering, compiler_fence};

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_ebpf::macros::{kprobe, kretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use aya_log_ebpf::{info, warn};
use merge_common::{RunInProgress, RunRecord, dropped, event, failure, phase};

use crate::kernel;
use crate::maps::{CALLS, Call, EVENTS, MERGES, count_dropped};

/// `persistent_prepare_merge(store, &last_old, &last_new)`: a run begins.
#[kprobe]
pub(crate) fn prepare_merge(ctx: ProbeContext) -> u32 {
    begin_run(&ctx);
    0
}

/// `persistent_prepare_merge` returns the run's length, 0 where nothing is left, or an error.
#[kretprobe]
pub(crate) fn prepare_merge_return(ctx: RetProbeContext) -> u32 {
    publish_run(&ctx);
    0
}

/// `__origin_write(snapshots, sector, bio)`: the siblings are asked whether they lack a chunk.
#[kprobe]
pub(crate) fn origin_write(ctx: ProbeContext) -> u32 {
    ask_siblings(&ctx);
    0
}

/// `__origin_write` returns 0 (`DM_MAPIO_SUBMITTED`) where a sibling has to copy first.
#[kretprobe]
pub(crate) fn origin_write_return(ctx: RetProbeContext) -> u32 {
    hear_siblings(&ctx);
    0
}

/// `dm_kcopyd_copy(client, from, count, to, flags, function, context)`: a run's copy begins.
#[kprobe]
pub(crate) fn kcopyd_copy(ctx: ProbeContext) -> u32 {
    begin_copy(&ctx);
    0
}

/// `merge_callback(read_error, write_errors, snapshot)`: the copy is over, a flush follows.
#[kprobe]
pub(crate) fn copied(ctx: ProbeContext) -> u32 {
    end_copy(&ctx);
    0
}

/// `merge_callback` returns: what it began is done, or the merge has stopped.
#[kretprobe]
pub(crate) fn copied_return(ctx: RetProbeContext) -> u32 {
    end_callback(&ctx);
    0
}

/// `persistent_commit_merge(store, chunks)`: the flush is over.
#[kprobe]
pub(crate) fn commit_merge(_ctx: ProbeContext) -> u32 {
    begin_commit();
    0
}

/// `persistent_commit_merge` returns 0, or an error.
#[kretprobe]
pub(crate) fn commit_merge_return(ctx: RetProbeContext) -> u32 {
    end_commit(&ctx);
    0
}

#[inline(always)]
fn begin_run(ctx: &ProbeContext) -> Option<()> {
    let snapshot = kernel::snapshot_of(ctx.arg(0)?)?;
    let call = Call { snapshot, last_old: ctx.arg(1)?, last_new: ctx.arg(2)? };
    let now = now();
    if CALLS.insert(thread(), call, 0).is_err() {
        count_dropped(dropped::MERGES_FULL);
        return None;
    }
    match MERGES.get_ptr_mut(snapshot) {
        Some(run) => begin_next(run, now),
        None => begin_merge(ctx, snapshot, now),
    }
    Some(())
}

/// A merge goes on to its next run. Had the last one's commit failed, it would not: where only the
/// return from the commit was missed, that run is whole all the same.
#[inline(always)]
fn begin_next(run: *mut RunInProgress, now: u64) {
    // SAFETY: a map value.
    match unsafe { (*run).phase } {
        phase::IDLE => {}
        phase::COMMIT => finish_run(run, now),
        _ => count_dropped(dropped::RUN_HALF_SEEN),
    }
    change(run, |run| renew(run, now));
}

#[inline(always)]
fn begin_merge(ctx: &ProbeContext, snapshot: u64, now: u64) {
    let mut run = RunInProgress::default();
    run.run.snapshot = snapshot;
    run.run.cow_dev = kernel::cow_dev(snapshot);
    run.run.real_dev = kernel::real_dev(snapshot);
    run.run.started_ns = now;
    run.phase = phase::METADATA;
    run.phase_started_ns = now;
    if MERGES.insert(snapshot, run, 0).is_err() {
        count_dropped(dropped::MERGES_FULL);
        warn!(ctx, "no room for the merge of snapshot {:x}", snapshot);
        return;
    }
    info!(ctx, "first run seen of the merge of snapshot {:x}", snapshot);
}

/// Makes a merge's record that of a new run.
#[inline(always)]
fn renew(run: &mut RunInProgress, now: u64) {
    run.run.old_chunk = 0;
    run.run.new_chunk = 0;
    run.run.chunks = 0;
    run.run.started_ns = now;
    run.run.phase_ns = [0; phase::COUNT];
    run.phase = phase::METADATA;
    run.phase_started_ns = now;
    run.sibling_pending = 0;
    run.siblings_asked_ns = 0;
    run.siblings_asked_sector = 0;
}

#[inline(always)]
fn publish_run(ctx: &RetProbeContext) -> Option<()> {
    let call = call()?;
    let run = run_in(call.snapshot, phase::METADATA)?;
    let result: i32 = ctx.ret();
    if result <= 0 {
        end_merge(ctx, run, result);
        return None;
    }
    // The out parameters name the highest chunk of the run.
    let before_first = u64::from(result as u32) - 1;
    let old_chunk = kernel::chunk(call.last_old)? - before_first;
    let new_chunk = kernel::chunk(call.last_new)? - before_first;
    let now = now();
    change(run, |run| {
        run.run.old_chunk = old_chunk;
        run.run.new_chunk = new_chunk;
        run.run.chunks = result as u32;
        pass(run, phase::METADATA, phase::DRAIN, now);
    });
    Some(())
}

/// No run was found: because all are merged, or because of an error.
#[inline(always)]
fn end_merge(ctx: &RetProbeContext, run: *mut RunInProgress, result: i32) {
    if result < 0 {
        fail(ctx, run, failure::METADATA_READ_COW, result);
        return;
    }
    let snapshot = emit(run, event::MERGE_ENDED, failure::NONE, 0);
    info!(ctx, "the merge of snapshot {:x} has ended", snapshot);
    forget(snapshot);
}

#[inline(always)]
fn ask_siblings(ctx: &ProbeContext) -> Option<()> {
    let run = run_in(call()?.snapshot, phase::DRAIN)?;
    let sector: u64 = ctx.arg(1)?;
    change(run, |run| {
        // The kernel asks about chunk after chunk, and begins again after each wait.
        if sector <= run.siblings_asked_sector {
            run.sibling_pending = 0;
        }
        run.siblings_asked_sector = sector;
    });
    Some(())
}

#[inline(always)]
fn hear_siblings(ctx: &RetProbeContext) -> Option<()> {
    let run = run_in(call()?.snapshot, phase::DRAIN)?;
    let answer: i32 = ctx.ret();
    let now = now();
    change(run, |run| {
        run.siblings_asked_ns = now;
        if answer == 0 {
            run.sibling_pending = 1;
        }
    });
    Some(())
}

#[inline(always)]
fn begin_copy(ctx: &ProbeContext) -> Option<()> {
    // First of all: kcopyd copies for every snapshot and mirror of the host.
    if !kernel::is_merge_callback(ctx.arg(5)?) {
        return None;
    }
    let run = run_in(call()?.snapshot, phase::DRAIN)?;
    let cow_dev = kernel::region_dev(ctx.arg(1)?);
    let real_dev = kernel::region_dev(ctx.arg(3)?);
    let now = now();
    change(run, |run| {
        run.run.cow_dev = cow_dev;
        run.run.real_dev = real_dev;
        let waited_ns = now - run.phase_started_ns;
        let siblings_ns = run.siblings_asked_ns.saturating_sub(run.phase_started_ns);
        run.run.phase_ns[phase::SIBLINGS as usize - 1] = siblings_ns;
        run.run.phase_ns[phase::DRAIN as usize - 1] = waited_ns - siblings_ns;
        run.phase = phase::COPY;
        run.phase_started_ns = now;
        run.sibling_pending = 0;
    });
    end_call();
    Some(())
}

#[inline(always)]
fn end_copy(ctx: &ProbeContext) -> Option<()> {
    let (read_error, write_errors): (i32, u64) = (ctx.arg(0)?, ctx.arg(1)?);
    let snapshot: u64 = ctx.arg(2)?;
    let Some(run) = run_in(snapshot, phase::COPY) else {
        count_dropped(dropped::RUN_HALF_SEEN);
        info!(ctx, "a run of snapshot {:x} was under way before the probes", snapshot);
        forget(snapshot);
        return None;
    };
    // In the order in which the kernel asks. Neither is an errno: 1, and a set of destinations.
    if read_error != 0 {
        fail(ctx, run, failure::COPY_READ_COW, 0);
        return None;
    }
    if write_errors != 0 {
        fail(ctx, run, failure::COPY_WRITE_ORIGIN, 0);
        return None;
    }
    let now = now();
    change(run, |run| pass(run, phase::COPY, phase::FLUSH, now));
    if CALLS.insert(thread(), Call { snapshot, last_old: 0, last_new: 0 }, 0).is_err() {
        count_dropped(dropped::MERGES_FULL);
    }
    Some(())
}

#[inline(always)]
fn begin_commit() -> Option<()> {
    let run = run_in(call()?.snapshot, phase::FLUSH)?;
    let now = now();
    change(run, |run| pass(run, phase::FLUSH, phase::COMMIT, now));
    Some(())
}

#[inline(always)]
fn end_commit(ctx: &RetProbeContext) -> Option<()> {
    let run = run_in(call()?.snapshot, phase::COMMIT)?;
    let result: i32 = ctx.ret();
    if result < 0 {
        fail(ctx, run, failure::COMMIT_COW, result);
        return None;
    }
    finish_run(run, now());
    Some(())
}

#[inline(always)]
fn finish_run(run: *mut RunInProgress, now: u64) {
    change(run, |run| pass(run, phase::COMMIT, phase::IDLE, now));
    emit(run, event::RUN_FINISHED, failure::NONE, 0);
}

/// What a finished `merge_callback` has left: another run under way (then this thread has no call
/// any more), or a merge that stopped because the flush failed or the device was suspended.
#[inline(always)]
fn end_callback(ctx: &RetProbeContext) -> Option<()> {
    let snapshot = call()?.snapshot;
    if let Some(run) = run_in(snapshot, phase::FLUSH) {
        fail(ctx, run, failure::FLUSH_ORIGIN, 0);
        return None;
    }
    if run_in(snapshot, phase::COMMIT).is_some() {
        count_dropped(dropped::RUN_HALF_SEEN);
    }
    forget(snapshot);
    Some(())
}

/// Tells that a merge has failed, and forgets it.
#[inline(always)]
fn fail(ctx: &impl aya_ebpf::EbpfContext, run: *mut RunInProgress, failed: u32, errno: i32) {
    let now = now();
    // SAFETY: a map value.
    let phase = unsafe { (*run).phase };
    change(run, |run| pass(run, phase, phase::IDLE, now));
    let snapshot = emit(run, event::MERGE_FAILED, failed, errno);
    warn!(ctx, "the merge of snapshot {:x} failed, cause {}: {}", snapshot, failed, errno);
    forget(snapshot);
}

/// Ends a phase and begins the next.
#[inline(always)]
fn pass(run: &mut RunInProgress, from: u32, to: u32, now: u64) {
    // Every phase has its place; but a check that can fail in the compiler's eyes brings in a panic,
    // and that the verifier does not load.
    if let Some(phase_ns) = run.run.phase_ns.get_mut(from as usize - 1) {
        *phase_ns = now - run.phase_started_ns;
    }
    run.phase = to;
    run.phase_started_ns = now;
}

/// Changes a record so that a reader can tell that it is being changed.
#[inline(always)]
fn change(run: *mut RunInProgress, edit: impl FnOnce(&mut RunInProgress)) {
    // SAFETY: a map value, and only this thread works on its merge.
    unsafe {
        let number = (*run).begun + 1;
        (&raw mut (*run).begun).write_volatile(number);
        compiler_fence(Ordering::SeqCst);
        edit(&mut *run);
        compiler_fence(Ordering::SeqCst);
        (&raw mut (*run).written).write_volatile(number);
    }
}

/// Sends a record to user space; gives the snapshot back.
#[inline(always)]
fn emit(run: *mut RunInProgress, event: u32, failure: u32, errno: i32) -> u64 {
    // SAFETY: a map value, and only this thread works on its merge.
    let run = unsafe { &*run };
    // The last change to a record that is told was its end.
    let finished_ns = if event == event::MERGE_ENDED { now() } else { run.phase_started_ns };
    match EVENTS.reserve::<RunRecord>(0) {
        Some(mut entry) => {
            entry.write(RunRecord { event, failure, errno, finished_ns, ..run.run });
            entry.submit(0);
        }
        None => count_dropped(dropped::RING_FULL),
    }
    run.run.snapshot
}

/// The run of a merge, where it is in the phase in which it has to be.
#[inline(always)]
fn run_in(snapshot: u64, phase: u32) -> Option<*mut RunInProgress> {
    let run = MERGES.get_ptr_mut(snapshot)?;
    // SAFETY: a map value.
    (unsafe { (*run).phase } == phase).then_some(run)
}

/// What this thread is at work on.
#[inline(always)]
fn call() -> Option<Call> {
    // SAFETY: only this thread stores under its own number.
    unsafe { CALLS.get(thread()) }.copied()
}

/// Forgets what this thread was at work on. It may have no call: then there is nothing to forget.
#[inline(always)]
fn end_call() {
    _ = CALLS.remove(thread());
}

/// Forgets a merge, and that this thread was at work on it. Either may be unknown already.
#[inline(always)]
fn forget(snapshot: u64) {
    _ = MERGES.remove(snapshot);
    end_call();
}

#[inline(always)]
fn thread() -> u64 {
    bpf_get_current_pid_tgid()
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_ns() }
}
