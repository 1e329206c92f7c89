//! An offline merge: what the engine's figures mean.
//!
//! Nothing comes off the store until all is copied, compared where that was asked for, and on stable
//! storage. So bytes count as merged when the work on them is done, with `--verify` half of them when
//! they are copied and half when they are compared; and the last chunk counts only once the store is
//! empty, so that all is merged never before it is.

use crate::cost::TimeRange;
use crate::offline::meter::{Reading, Stage};
use crate::sample::{OfflineEnd, OfflineFacts, OfflineTerms};
use crate::units::nanoseconds;

/// An estimate from less than this would be noise.
const MIN_ESTIMATE_NS: u64 = 1_000_000_000;
/// How far an estimate's ends lie from the slower and the faster rate: up and down.
const WIDENED: (f64, f64) = (1.25, 1.1);
/// Comparing takes as long as copying, byte by byte: at the least, and at the most.
const VERIFY_OVER_COPY: (f64, f64) = (0.4, 1.5);

/// What the engine does and has done.
#[derive(Clone, Debug, PartialEq)]
pub struct Offline {
    /// What it does.
    pub stage: Stage,
    /// Whether somebody has asked it to stop.
    pub stopping: bool,
    /// How it ended; none while it works.
    pub end: Option<OfflineEnd>,
    /// How many exceptions were read so far, in all walks over the store.
    pub walked_exceptions: u64,
    /// How many requests are under way.
    pub requests_under_way: u64,
    /// Their data.
    pub bytes_under_way: u64,
    /// How many exceptions there are; 0 before they are counted.
    pub exceptions: u64,
    /// Their data.
    pub total_bytes: u64,
    /// How much of it is on the origin, though perhaps not on stable storage yet.
    pub copied_bytes: u64,
    /// How much of it was compared.
    pub verified_bytes: u64,
    /// How many exceptions are off the store.
    pub cleared_exceptions: u64,
    /// All chunks of the origin before this place are copied.
    pub frontier_bytes: u64,
    /// The stages, in their order.
    pub stages: [StageTime; Stage::ALL.len()],
}

/// How long a stage took, and what it did in that time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageTime {
    /// Which.
    pub stage: Stage,
    /// How long it took so far.
    pub ns: u64,
    /// Of the time of all of them, from 0 to 1.
    pub share: f64,
    /// Bytes a second of data, where the stage moves data and has moved any.
    pub bytes_per_s: Option<f64>,
}

impl Offline {
    /// What these facts mean.
    pub fn of(facts: &OfflineFacts) -> Self {
        let reading = &facts.reading;
        Self {
            stage: reading.stage,
            stopping: facts.stopping,
            end: facts.end.clone(),
            walked_exceptions: reading.walked_exceptions,
            requests_under_way: reading.requests_under_way,
            bytes_under_way: reading.bytes_under_way,
            exceptions: reading.exceptions,
            total_bytes: reading.total_bytes,
            copied_bytes: reading.copied_bytes.min(reading.total_bytes),
            verified_bytes: reading.verified_bytes.min(reading.total_bytes),
            cleared_exceptions: reading.cleared_exceptions,
            frontier_bytes: reading.frontier_bytes,
            stages: stages(reading),
        }
    }

    /// One of the stages.
    pub fn of_stage(&self, stage: Stage) -> Option<&StageTime> {
        self.stages.iter().find(|time| time.stage == stage)
    }

    /// What was read from one device and written to, or compared with, the other.
    pub const fn moved_bytes(&self) -> u64 {
        self.copied_bytes.saturating_add(self.verified_bytes)
    }

    /// Everything that moves while it works.
    pub(super) const fn figures(&self) -> [u64; 6] {
        [
            // Also between two parts of what is copied, where they do not fit into memory.
            self.walked_exceptions,
            self.exceptions,
            self.copied_bytes,
            self.verified_bytes,
            self.cleared_exceptions,
            self.frontier_bytes,
        ]
    }

    /// How long it still takes; none where that cannot be told: nothing tells how long a flush takes.
    /// `recent` is the rate of the last half minute, in bytes a second.
    pub(super) fn time_left(&self, terms: Option<OfflineTerms>, recent: f64) -> Option<TimeRange> {
        let verify = terms.is_some_and(|terms| terms.verify);
        let left = |done: u64| self.total_bytes.saturating_sub(done);
        match self.stage {
            Stage::Copying => {
                let copy = self.range(Stage::Copying, left(self.copied_bytes), recent)?;
                let unverified = if verify { left(self.verified_bytes) } else { 0 };
                let as_copied = self.range(Stage::Copying, unverified, recent)?;
                Some(TimeRange {
                    low_s: copy.low_s + as_copied.low_s * VERIFY_OVER_COPY.0,
                    high_s: copy.high_s + as_copied.high_s * VERIFY_OVER_COPY.1,
                })
            }
            Stage::Verifying => self.range(Stage::Verifying, left(self.verified_bytes), recent),
            _ => None,
        }
    }

    /// How long so many bytes take in this stage: around what its own rate so far and the recent one
    /// promise.
    fn range(&self, stage: Stage, bytes: u64, recent: f64) -> Option<TimeRange> {
        let time = self.of_stage(stage).filter(|time| time.ns >= MIN_ESTIMATE_NS)?;
        let overall = time.bytes_per_s.filter(|rate| *rate > 0.0)?;
        // A window that reaches into the stage before tells of that too.
        let recent = if recent > 0.0 { recent } else { overall };
        let bytes = bytes as f64;
        Some(TimeRange {
            low_s: bytes / recent.max(overall) / WIDENED.1,
            high_s: bytes / recent.min(overall) * WIDENED.0,
        })
    }
}

/// The work that is left, in bytes of exceptions; none before they are counted. 0 only once the
/// store is empty. Of a merge that has ended before: what the store still holds.
pub(super) fn left_bytes(facts: &OfflineFacts, terms: Option<OfflineTerms>) -> Option<u64> {
    let (reading, total) = (&facts.reading, facts.reading.total_bytes);
    if reading.stage == Stage::Done {
        return Some(0);
    }
    let chunk_bytes = total.checked_div(reading.exceptions)?;
    if facts.end.is_some() {
        let left = reading.exceptions.saturating_sub(reading.cleared_exceptions);
        // The origin's last chunk may be a part of one.
        return Some(left.saturating_mul(total.div_ceil(reading.exceptions)).min(total));
    }
    let copied = reading.copied_bytes.min(total);
    let done = if terms.is_some_and(|terms| terms.verify) {
        copied / 2 + reading.verified_bytes.min(copied) / 2
    } else {
        copied
    };
    Some((total - done).max(chunk_bytes))
}

fn stages(reading: &Reading) -> [StageTime; Stage::ALL.len()] {
    let ns = reading.times.map(nanoseconds);
    let all: f64 = ns.iter().map(|ns| *ns as f64).sum();
    std::array::from_fn(|place| {
        let (stage, ns) = (Stage::ALL[place], ns[place]);
        let bytes = match stage {
            Stage::Copying => reading.copied_bytes,
            Stage::Verifying => reading.verified_bytes,
            _ => 0,
        };
        StageTime {
            stage,
            ns,
            share: if all > 0.0 { ns as f64 / all } else { 0.0 },
            bytes_per_s: (bytes > 0 && ns > 0).then(|| bytes as f64 / (ns as f64 / 1e9)),
        }
    })
}

#[cfg(test)]
mod tests;
