//! The two lists of a sample that are long: finished runs, and writes in flight.
//!
//! Both are told by what is to be expected of them: a merge takes the exceptions from the last to the
//! first, and so goes down on both devices; a run begins where the one before ended; its phases fill it.
//! Differences wrap, so that any figures come back as they were.

use super::container::delta;
use super::container::numbers::{self, NotNumbers};
use crate::sample::{InFlightWrite, IoSample, PhaseNs, Run};

/// The longest name of a thread that a table takes; the kernel's have 15 bytes.
pub(super) const MAX_COMM_BYTES: usize = 64;
/// Columns of a run beside its phases.
const RUN_COLUMNS: usize = 5;

const NO_RUN: Run =
    Run { old_chunk: 0, new_chunk: 0, chunks: 0, started_ns: 0, finished_ns: 0, phase_ns: [0; 6] };

/// Adds runs; `last`: the one before them.
pub(super) fn put_runs(bytes: &mut Vec<u8>, last: Option<&Run>, runs: &[Run]) {
    numbers::put(bytes, runs.len() as u64);
    let pairs = || last.or(Some(&NO_RUN)).into_iter().chain(runs).zip(runs);
    for run in runs {
        numbers::put(bytes, run.chunks.into());
    }
    for (before, run) in pairs() {
        numbers::put_change(bytes, next_below(before.new_chunk, run.chunks), run.new_chunk);
    }
    for (before, run) in pairs() {
        numbers::put_change(bytes, next_below(before.old_chunk, run.chunks), run.old_chunk);
    }
    for (before, run) in pairs() {
        numbers::put_change(bytes, before.finished_ns, run.started_ns);
    }
    for run in runs {
        numbers::put_change(bytes, end_of(run.started_ns, &run.phase_ns), run.finished_ns);
    }
    for phase in 0..NO_RUN.phase_ns.len() {
        for run in runs {
            numbers::put(bytes, run.phase_ns[phase]);
        }
    }
}

/// Takes runs; `last`: the one before them.
pub(super) fn take_runs(bytes: &mut &[u8], last: Option<&Run>) -> Result<Vec<Run>, NotNumbers> {
    let count = numbers::take_count(bytes, RUN_COLUMNS + NO_RUN.phase_ns.len())?;
    let mut runs = vec![NO_RUN; count];
    for run in &mut runs {
        run.chunks = u32::try_from(numbers::take(bytes)?).map_err(|_| NotNumbers)?;
    }
    let last = last.unwrap_or(&NO_RUN);
    let (mut new, mut old) = (last.new_chunk, last.old_chunk);
    for run in &mut runs {
        new = numbers::take_change(bytes, next_below(new, run.chunks))?;
        run.new_chunk = new;
    }
    for run in &mut runs {
        old = numbers::take_change(bytes, next_below(old, run.chunks))?;
        run.old_chunk = old;
    }
    // Where one ended is known only once its phases are.
    let mut begins = Vec::with_capacity(count);
    for _ in 0..count {
        begins.push(numbers::take(bytes)?);
    }
    let mut ends = Vec::with_capacity(count);
    for _ in 0..count {
        ends.push(numbers::take(bytes)?);
    }
    for phase in 0..NO_RUN.phase_ns.len() {
        for run in &mut runs {
            run.phase_ns[phase] = numbers::take(bytes)?;
        }
    }
    let mut before_ns = last.finished_ns;
    for ((run, begin), end) in runs.iter_mut().zip(begins).zip(ends) {
        run.started_ns = numbers::changed(before_ns, begin);
        run.finished_ns = numbers::changed(end_of(run.started_ns, &run.phase_ns), end);
        before_ns = run.finished_ns;
    }
    Ok(runs)
}

fn next_below(chunk: u64, chunks: u32) -> u64 {
    chunk.wrapping_sub(chunks.into())
}

fn end_of(started_ns: u64, phase_ns: &PhaseNs) -> u64 {
    phase_ns.iter().fold(started_ns, |sum, ns| sum.wrapping_add(*ns))
}

/// Whether a table can hold these writes.
pub(super) fn fits(writes: &[InFlightWrite]) -> bool {
    writes.len() <= IoSample::MAX_LISTED
        && writes.iter().all(|write| write.comm.len() <= MAX_COMM_BYTES)
}

/// Adds writes that [fit](fits); `before`: those of the sample before.
pub(super) fn put_writes(bytes: &mut Vec<u8>, before: &[InFlightWrite], writes: &[InFlightWrite]) {
    let new = delta::put(bytes, before, writes);
    let mut writers: Vec<(u32, &str)> = Vec::new();
    let mut writer_of = Vec::with_capacity(new.len());
    for write in &new {
        let writer = (write.pid, &*write.comm);
        let known = writers.iter().position(|known| *known == writer);
        writer_of.push(known.unwrap_or(writers.len()));
        if known.is_none() {
            writers.push(writer);
        }
    }
    numbers::put(bytes, writers.len() as u64);
    for (pid, name) in writers {
        numbers::put(bytes, pid.into());
        numbers::put(bytes, name.len() as u64);
        bytes.extend_from_slice(name.as_bytes());
    }
    for writer in writer_of {
        numbers::put(bytes, writer as u64);
    }
    for write in &new {
        numbers::put(bytes, write.bytes.into());
    }
    let (mut queued_ns, mut sector) = (0, 0);
    for write in &new {
        numbers::put_change(bytes, queued_ns, write.queued_ns);
        queued_ns = write.queued_ns;
    }
    for write in &new {
        numbers::put_change(bytes, sector, write.sector);
        sector = write.sector;
    }
}

/// Takes writes; `before`: those of the sample before.
pub(super) fn take_writes(
    bytes: &mut &[u8],
    before: &[InFlightWrite],
) -> Result<Vec<InFlightWrite>, NotNumbers> {
    let places = delta::take(bytes, before.len(), IoSample::MAX_LISTED)?;
    let new = take_new_writes(bytes, places.iter().filter(|place| place.is_none()).count())?;
    let mut new = new.into_iter();
    let row = |place: Option<usize>| match place {
        Some(place) => before.get(place).cloned(),
        None => new.next(),
    };
    places.into_iter().map(row).collect::<Option<_>>().ok_or(NotNumbers)
}

fn take_new_writes(bytes: &mut &[u8], count: usize) -> Result<Vec<InFlightWrite>, NotNumbers> {
    let narrow = |number| u32::try_from(number).map_err(|_| NotNumbers);
    let mut writers = Vec::new();
    for _ in 0..numbers::take_count(bytes, 2)? {
        let pid = narrow(numbers::take(bytes)?)?;
        let length = numbers::take(bytes)?;
        let name = numbers::take_bytes(bytes, length)?;
        let name = std::str::from_utf8(name).ok().filter(|name| name.len() <= MAX_COMM_BYTES);
        writers.push((pid, name.ok_or(NotNumbers)?));
    }
    let mut writes = Vec::with_capacity(count);
    for _ in 0..count {
        let writer = usize::try_from(numbers::take(bytes)?).ok();
        let &(pid, comm) = writer.and_then(|at| writers.get(at)).ok_or(NotNumbers)?;
        let comm = comm.to_owned();
        writes.push(InFlightWrite { sector: 0, bytes: 0, queued_ns: 0, pid, comm });
    }
    for write in &mut writes {
        write.bytes = narrow(numbers::take(bytes)?)?;
    }
    let (mut queued_ns, mut sector) = (0, 0);
    for write in &mut writes {
        queued_ns = numbers::take_change(bytes, queued_ns)?;
        write.queued_ns = queued_ns;
    }
    for write in &mut writes {
        sector = numbers::take_change(bytes, sector)?;
        write.sector = sector;
    }
    Ok(writes)
}
