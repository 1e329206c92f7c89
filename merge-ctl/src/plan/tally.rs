//! Counting runs as the exceptions come.

use super::Work;
use crate::model::RunSizes;
use crate::store::{ForwardRuns, Placed, Run};

/// The counts so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    forward: ForwardRuns,
    sizes: RunSizes,
    largest: Option<Run>,
    chunks: u64,
    runs: u64,
    areas: u64,
    /// Stretches in which each old chunk is the one after the old chunk before, across areas.
    streaks: u64,
    last_old: Option<u64>,
    highest_old: Option<u64>,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tallied {
    /// Runs by size, without time.
    pub sizes: RunSizes,
    /// Of the largest runs the one that is merged first.
    pub largest: Option<Run>,
    /// All exceptions.
    pub chunks: u64,
    /// All runs.
    pub runs: u64,
    /// Areas with exceptions in them.
    pub areas: u64,
    /// Stretches of old chunks that rise by one, not ended by an area's end.
    pub streaks: u64,
    /// The highest chunk of the origin.
    pub highest_old: Option<u64>,
}

impl Tally {
    /// Counts the exception that was committed next.
    pub fn add(&mut self, placed: Placed) {
        let old_chunk = placed.exception.old_chunk;
        self.chunks += 1;
        self.areas = placed.place.area + 1;
        let follows = self.last_old.and_then(|last| last.checked_add(1)) == Some(old_chunk);
        self.streaks += u64::from(!follows);
        self.last_old = Some(old_chunk);
        self.highest_old = self.highest_old.max(Some(old_chunk));
        if let Some(finished) = self.forward.add(placed) {
            self.finished(finished.run);
        }
    }

    fn finished(&mut self, run: Run) {
        self.runs += 1;
        self.sizes.add(run.chunks, 0);
        // What was committed later is merged earlier.
        if self.largest.is_none_or(|largest| run.chunks >= largest.chunks) {
            self.largest = Some(run);
        }
    }

    /// The counts, once the store is at its end.
    pub fn finish(mut self) -> Tallied {
        let forward = std::mem::take(&mut self.forward);
        if let Some(last) = forward.finish() {
            self.finished(last.run);
        }
        Tallied {
            sizes: self.sizes,
            largest: self.largest,
            chunks: self.chunks,
            runs: self.runs,
            areas: self.areas,
            streaks: self.streaks,
            highest_old: self.highest_old,
        }
    }
}

impl Tallied {
    /// The work of the merge.
    pub const fn work(&self, chunk_bytes: u64) -> Work {
        Work {
            chunks: self.chunks,
            bytes: self.chunks.saturating_mul(chunk_bytes),
            runs: self.runs,
            areas: self.areas,
            chunk_bytes,
        }
    }
}
