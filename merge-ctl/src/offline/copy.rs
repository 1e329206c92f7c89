//! What is done with the exceptions in the order of the origin: copying them, and comparing the copy
//! with its source.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::batch::{Batch, Batches, Read};
use super::limit::Limit;
use super::meter::Meter;
use super::pump::{Job, Next, Tasks};
use super::queue::{Request, Side, Way};
use crate::units::SECTOR_BYTES;

/// The batches that are still to be begun, no sooner than the bandwidth allows.
pub(super) struct Source<'a> {
    batches: std::iter::Peekable<Batches<'a>>,
    limit: Option<&'a mut Limit>,
}

impl<'a> Source<'a> {
    pub(super) fn new(batches: Batches<'a>, limit: Option<&'a mut Limit>) -> Self {
        Self { batches: batches.peekable(), limit }
    }

    /// The next batch, or how long to wait for it.
    fn next(&mut self) -> Result<Option<Batch>, Duration> {
        let Some(batch) = self.batches.peek() else { return Ok(None) };
        if let Some(limit) = &mut self.limit {
            let pause = limit.wait(Instant::now());
            if pause > Duration::ZERO {
                return Err(pause);
            }
            limit.take(batch.length as u64);
        }
        Ok(self.batches.next())
    }
}

fn next_job(next: Result<Option<Batch>, Duration>, job: impl FnOnce(Batch) -> Job) -> Next {
    match next {
        Ok(Some(batch)) => Next::Job(job(batch)),
        Ok(None) => Next::End,
        Err(pause) => Next::Pause(pause),
    }
}

fn reads(batch: &Batch) -> impl Iterator<Item = Request> + '_ {
    batch.reads.iter().map(|&Read { at_bytes, into, length }| Request {
        side: Side::Cow,
        way: Way::Read,
        at_bytes,
        slot: 0,
        from: into,
        length,
    })
}

/// Reads a batch, writes it.
pub(super) struct Copying<'a> {
    source: Source<'a>,
    frontier: Frontier,
    meter: &'a Meter,
}

impl<'a> Copying<'a> {
    pub(super) const fn new(source: Source<'a>, meter: &'a Meter) -> Self {
        Self { source, frontier: Frontier { open: VecDeque::new() }, meter }
    }
}

impl Tasks for Copying<'_> {
    fn next(&mut self) -> Next {
        let frontier = &mut self.frontier;
        next_job(self.source.next(), |batch| {
            frontier.begun(batch.at_bytes, batch.end_bytes());
            let (at_bytes, length) = (batch.at_bytes, batch.length);
            let (side, way) = (Side::Origin, Way::Write);
            let then = Some(Request { side, way, at_bytes, slot: 0, from: 0, length });
            Job { first: reads(&batch).collect(), then, at_bytes, length }
        })
    }

    fn ended(&mut self, job: &Job, _: &[u8]) -> Result<(), u64> {
        self.meter.copied(job.length as u64);
        if let Some(reached) = self.frontier.ended(job.at_bytes) {
            self.meter.reached(reached);
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.meter.is_stopped()
    }
}

/// Up to where all is copied, while batches end in any order.
struct Frontier {
    /// Begin, end, and whether it has ended, from the first that has not.
    open: VecDeque<(u64, u64, bool)>,
}

impl Frontier {
    fn begun(&mut self, start: u64, end: u64) {
        self.open.push_back((start, end, false));
    }

    /// The batch that begins there has ended; where the frontier is now, if it moved.
    fn ended(&mut self, start: u64) -> Option<u64> {
        let at = self.open.partition_point(|(begin, ..)| *begin < start);
        if let Some(open) = self.open.get_mut(at) {
            open.2 = true;
        }
        let mut reached = None;
        while let Some((_, end, true)) = self.open.front() {
            reached = Some(*end);
            self.open.pop_front();
        }
        reached
    }
}

/// Reads both sides of a batch into the two halves of a buffer, and compares them.
pub(super) struct Comparing<'a> {
    source: Source<'a>,
    /// Where the origin's half begins.
    half: usize,
    meter: &'a Meter,
}

impl<'a> Comparing<'a> {
    /// No batch is longer than `half`.
    pub(super) const fn new(source: Source<'a>, half: usize, meter: &'a Meter) -> Self {
        Self { source, half, meter }
    }
}

impl Tasks for Comparing<'_> {
    fn next(&mut self) -> Next {
        let from = self.half;
        next_job(self.source.next(), |batch| {
            let (at_bytes, length) = (batch.at_bytes, batch.length);
            let (side, way) = (Side::Origin, Way::Read);
            let copy = Request { side, way, at_bytes, slot: 0, from, length };
            Job { first: reads(&batch).chain([copy]).collect(), then: None, at_bytes, length }
        })
    }

    fn ended(&mut self, job: &Job, buffer: &[u8]) -> Result<(), u64> {
        let (source, copy) = (&buffer[..job.length], &buffer[self.half..][..job.length]);
        if let Some(byte) = first_difference(source, copy) {
            return Err(job.at_bytes + byte / SECTOR_BYTES * SECTOR_BYTES);
        }
        self.meter.verified(job.length as u64);
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.meter.is_stopped()
    }
}

fn first_difference(one: &[u8], other: &[u8]) -> Option<u64> {
    if one == other {
        return None;
    }
    one.iter().zip(other).position(|(one, other)| one != other).map(|byte| byte as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frontier_waits_for_the_slowest() {
        let mut frontier = Frontier { open: VecDeque::new() };
        for start in [0, 10, 30] {
            frontier.begun(start, start + 10);
        }
        assert_eq!(frontier.ended(10), None);
        assert_eq!(frontier.ended(0), Some(20));
        assert_eq!(frontier.ended(30), Some(40));
    }

    #[test]
    fn the_first_difference_is_found() {
        let (one, mut other) = (vec![7; 2000], vec![7; 2000]);
        assert_eq!(first_difference(&one, &other), None);
        (other[1500], other[1900]) = (0, 0);
        assert_eq!(first_difference(&one, &other), Some(1500));
    }
}
