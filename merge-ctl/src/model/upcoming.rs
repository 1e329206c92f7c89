//! The runs that a merge takes next, and the application writes that it will meet there.
//!
//! The exception store gives the runs, the status line how many exceptions are left, which tells
//! how far into them the merge is; where the probes show the run in progress, and it is among
//! them, that one counts. Neither depends on every run having been seen.
//!
//! A write in flight in a chunk of a coming run says where an application works. If it is still
//! there when the merge comes, the run waits for the write, and then holds the next ones.

use std::collections::VecDeque;
use std::ops::Range;

use super::writers::{self, Writer};
use super::{Relation, Writes};
use crate::sample::{CurrentRun, InFlightWrite, NextRuns, Phase};
use crate::store::Run;
use crate::units::{ChunkSize, SECTOR_BYTES};

/// The runs that come next, soonest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upcoming {
    /// At most [`Upcoming::MOST`]. The run that writes are being held for is not among them; where
    /// no probe shows it, it is the first.
    pub runs: Vec<UpcomingRun>,
}

/// A run that comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpcomingRun {
    /// Its chunks.
    pub run: Run,
    /// About how long it is until the merge comes to it; none while no run was seen to its end.
    pub begins_in_ns: Option<u64>,
    /// About how long it will take, and hold writes into it.
    pub lasts_ns: Option<u64>,
    /// Writes in flight in its chunks, of those that are listed.
    pub writes: u64,
    /// Whose writes these are, the one with the most first.
    pub writers: Vec<Writer>,
}

impl Upcoming {
    /// How many runs are looked at.
    pub const MOST: usize = 64;

    /// The soonest run that has writes in its chunks now, and how many come before it.
    pub fn first_met(&self) -> Option<(usize, &UpcomingRun)> {
        self.runs.iter().enumerate().find(|(_, coming)| coming.writes > 0)
    }

    /// What a write has to do with these runs.
    pub(super) fn relation(
        &self,
        sector: u64,
        bytes: u32,
        chunk_size: ChunkSize,
    ) -> Option<Relation> {
        let place = self.runs.iter().position(|coming| {
            overlap(&sectors(coming.run.old_chunk, coming.run.chunks, chunk_size), sector, bytes)
        })?;
        Some(Relation::Soon {
            // There are few of them.
            runs: u32::try_from(place).unwrap_or(u32::MAX),
            about_ns: self.runs[place].begins_in_ns,
        })
    }

    /// Notes which of the runs the writes lie in.
    pub(super) fn count(&mut self, writes: Option<&Writes>) {
        for (place, coming) in (0..).zip(&mut self.runs) {
            let soon = |relation: Relation| match relation {
                Relation::Soon { runs, .. } => runs == place,
                _ => false,
            };
            coming.writers = writers::of(writes, soon);
            coming.writes = coming.writers.iter().map(|writer| writer.writes).sum();
        }
    }
}

/// The sectors of a run on the origin. No figure of a store is so large that they do not fit, but
/// one of a recording may be.
pub(super) fn sectors(old_chunk: u64, chunks: u32, chunk_size: ChunkSize) -> Range<u64> {
    let sectors = chunk_size.sectors();
    let end = old_chunk.saturating_add(chunks.into());
    old_chunk.saturating_mul(sectors)..end.saturating_mul(sectors)
}

/// Whether a write touches sectors; a flush touches none.
pub(super) fn overlap(sectors: &Range<u64>, sector: u64, bytes: u32) -> bool {
    let end = sector.saturating_add(u64::from(bytes).div_ceil(SECTOR_BYTES));
    sector < sectors.end && sectors.start < end
}

/// Whether any of these writes touches a run.
pub fn touches_any(run: &Run, chunk_size: ChunkSize, writes: &[InFlightWrite]) -> bool {
    let sectors = sectors(run.old_chunk, run.chunks, chunk_size);
    writes.iter().any(|write| overlap(&sectors, write.sector, write.bytes))
}

/// The runs that are known and not merged yet. Its length is bounded by what a reader hands out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RunQueue {
    runs: VecDeque<Run>,
    /// How many exceptions are left when the merge comes to the first.
    exceptions: u64,
    /// How many there were when the list was read.
    read: u64,
}

impl RunQueue {
    /// Takes in runs that were read: behind those that are known, or else instead of them.
    pub(super) fn take(&mut self, next: &NextRuns) {
        let known: u64 = self.runs.iter().map(|run| u64::from(run.chunks)).sum();
        if self.runs.is_empty() || self.exceptions.checked_sub(known) != Some(next.exceptions) {
            *self = Self { exceptions: next.exceptions, read: next.exceptions, ..Self::default() };
        }
        self.runs.extend(&next.runs);
    }

    /// Goes on to where the merge is: so many exceptions are left, and this run is in progress.
    pub(super) fn go_to(&mut self, exceptions_left: u64, current: Option<&CurrentRun>) {
        while let Some(first) = self.runs.front()
            && self.exceptions.saturating_sub(first.chunks.into()) >= exceptions_left
        {
            self.pop();
        }
        let Some(current) = current.filter(|current| current.chunks > 0) else { return };
        let same =
            |run: &Run| (run.old_chunk, run.new_chunk) == (current.old_chunk, current.new_chunk);
        let Some(place) = self.runs.iter().position(same) else { return };
        // Until the run is published, writes into it go their way.
        let published = usize::from(current.phase >= Phase::Drain);
        for _ in 0..place + published {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(run) = self.runs.pop_front() {
            self.exceptions = self.exceptions.saturating_sub(run.chunks.into());
        }
    }

    /// What comes. `left_of_current_s` is what the run in progress still takes, `cost_s` what a run
    /// of so many chunks does.
    pub(super) fn upcoming(
        &self,
        exceptions_left: u64,
        left_of_current_s: f64,
        cost_s: impl Fn(u32) -> Option<f64>,
    ) -> Option<Upcoming> {
        // With more than were read something lies before them that is not known.
        if self.runs.is_empty() || exceptions_left > self.read {
            return None;
        }
        let mut begins_s = Some(left_of_current_s);
        let runs = self.runs.iter().take(Upcoming::MOST).map(|run| {
            let lasts_s = cost_s(run.chunks);
            let begins_in_ns = lasts_s.and(begins_s).map(nanoseconds);
            begins_s = begins_s.zip(lasts_s).map(|(begins, lasts)| begins + lasts);
            UpcomingRun {
                run: *run,
                begins_in_ns,
                lasts_ns: lasts_s.map(nanoseconds),
                writes: 0,
                writers: Vec::new(),
            }
        });
        Some(Upcoming { runs: runs.collect() })
    }
}

fn nanoseconds(seconds: f64) -> u64 {
    // Saturates, and makes nothing of what is no number.
    (seconds * 1e9) as u64
}

/// Writes that a run will meet and hold long enough to be worth a line of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The run, and who writes there.
    pub coming: UpcomingRun,
    /// How many runs come before it.
    pub runs: u64,
}

/// What is held for less is not worth a line.
const WORTH_A_LINE_NS: u64 = 1_000_000_000;
/// Between two lines.
const PAUSE_NS: u64 = 10_000_000_000;

/// Tells of a run once, and not too often.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Announcer {
    told_ns: Option<u64>,
    told: Option<Run>,
}

impl Announcer {
    /// What is to be told now.
    pub(super) fn at(&mut self, now_ns: u64, upcoming: Option<&Upcoming>) -> Option<Announcement> {
        let worth = |coming: &UpcomingRun| {
            coming.writes > 0
                && coming.lasts_ns.is_some_and(|ns| ns >= WORTH_A_LINE_NS)
                && self.told != Some(coming.run)
        };
        let (runs, coming) = (0..).zip(&upcoming?.runs).find(|(_, coming)| worth(coming))?;
        if self.told_ns.is_some_and(|told_ns| now_ns.saturating_sub(told_ns) < PAUSE_NS) {
            return None;
        }
        (self.told_ns, self.told) = (Some(now_ns), Some(coming.run));
        Some(Announcement { coming: coming.clone(), runs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Write;

    fn run(old_chunk: u64, chunks: u32) -> Run {
        Run { old_chunk, new_chunk: old_chunk + 1000, chunks }
    }

    fn queue(exceptions: u64, runs: &[Run]) -> RunQueue {
        let mut queue = RunQueue::default();
        queue.take(&NextRuns { exceptions, runs: runs.to_vec() });
        queue
    }

    fn current(run: Run, phase: Phase) -> CurrentRun {
        CurrentRun {
            old_chunk: run.old_chunk,
            new_chunk: run.new_chunk,
            chunks: run.chunks,
            phase,
            started_ns: 0,
            phase_started_ns: 0,
            phase_ns: [0; 6],
        }
    }

    fn old_chunks(queue: &RunQueue) -> Vec<u64> {
        queue.runs.iter().map(|run| run.old_chunk).collect()
    }

    const RUNS: [Run; 4] = [
        Run { old_chunk: 90, new_chunk: 1090, chunks: 10 },
        Run { old_chunk: 50, new_chunk: 1050, chunks: 20 },
        Run { old_chunk: 40, new_chunk: 1040, chunks: 1 },
        Run { old_chunk: 0, new_chunk: 1000, chunks: 30 },
    ];

    #[test]
    fn the_status_line_alone_tells_what_is_merged() {
        let mut queue = queue(161, &RUNS);
        queue.go_to(161, None);
        assert_eq!(old_chunks(&queue), [90, 50, 40, 0]);
        queue.go_to(160, None);
        assert_eq!(old_chunks(&queue), [90, 50, 40, 0], "a crash may have lost a chunk");
        queue.go_to(151, None);
        assert_eq!(old_chunks(&queue), [50, 40, 0]);
        queue.go_to(130, None);
        assert_eq!(old_chunks(&queue), [0], "runs that nobody saw are over too");
        queue.go_to(100, None);
        assert!(old_chunks(&queue).is_empty());
    }

    #[test]
    fn the_run_in_progress_counts_where_it_is_known() {
        let mut queue = queue(161, &RUNS);
        queue.go_to(161, Some(&current(RUNS[1], Phase::Siblings)));
        assert_eq!(old_chunks(&queue), [50, 40, 0], "not published yet: its writes are free");
        queue.go_to(161, Some(&current(RUNS[1], Phase::Drain)));
        assert_eq!(old_chunks(&queue), [40, 0]);
        queue.go_to(131, Some(&current(RUNS[1], Phase::Commit)));
        assert_eq!(old_chunks(&queue), [40, 0]);
        queue.go_to(131, Some(&current(run(7777, 3), Phase::Copy)));
        assert_eq!(old_chunks(&queue), [40, 0], "a run that is not known moves nothing");
        let mut unknown = current(RUNS[3], Phase::Metadata);
        unknown.chunks = 0;
        queue.go_to(131, Some(&unknown));
        assert_eq!(old_chunks(&queue), [40, 0]);
    }

    #[test]
    fn runs_that_follow_are_put_behind_and_others_instead() {
        let mut queue = queue(161, &RUNS[..2]);
        queue.go_to(161, Some(&current(RUNS[0], Phase::Copy)));
        queue.take(&NextRuns { exceptions: 131, runs: RUNS[2..].to_vec() });
        assert_eq!(old_chunks(&queue), [50, 40, 0]);
        queue.take(&NextRuns { exceptions: 70, runs: vec![run(7, 1)] });
        assert_eq!(old_chunks(&queue), [7]);
        assert_eq!(queue.upcoming(100, 0.0, |_| None), None, "30 lie before them");
        assert!(queue.upcoming(70, 0.0, |_| None).is_some());
    }

    #[test]
    fn times_add_up_and_without_costs_there_are_none() {
        let queue = queue(161, &RUNS);
        let cost = |chunks: u32| Some(f64::from(chunks) / 10.0);
        let upcoming = queue.upcoming(161, 0.5, cost).unwrap();
        let begins: Vec<_> = upcoming.runs.iter().map(|coming| coming.begins_in_ns).collect();
        assert_eq!(begins, [500_000_000, 1_500_000_000, 3_500_000_000, 3_600_000_000].map(Some));
        assert_eq!(upcoming.runs[3].lasts_ns, Some(3_000_000_000));
        let unknown = queue.upcoming(161, 0.5, |_| None).unwrap();
        assert!(unknown.runs.iter().all(|coming| coming.begins_in_ns.is_none()));
        assert_eq!(unknown.runs.len(), 4);
    }

    fn writes(upcoming: &Upcoming, sectors: &[u64]) -> Writes {
        let chunk_size = ChunkSize::from_sectors(8).unwrap();
        let write = |sector: &u64| Write {
            sector: *sector,
            bytes: 4096,
            age_ns: 0,
            pid: 7,
            comm: "fio".to_owned(),
            relation: upcoming.relation(*sector, 4096, chunk_size).unwrap_or(Relation::Free),
        };
        Writes { listed: sectors.iter().map(write).collect(), ..Writes::default() }
    }

    #[test]
    fn writes_are_of_the_soonest_run_that_they_touch() {
        let mut upcoming = queue(161, &RUNS).upcoming(161, 0.0, |_| Some(1.0)).unwrap();
        // Chunk 45 is in no run; a write that begins in chunk 40 and ends in 41 touches one.
        let writes = writes(&upcoming, &[45 * 8, 40 * 8 + 4, 3 * 8, 4 * 8]);
        let relations: Vec<_> = writes.listed.iter().map(|write| write.relation).collect();
        let soon = |runs, s: u64| Relation::Soon { runs, about_ns: Some(s * 1_000_000_000) };
        assert_eq!(relations, [Relation::Free, soon(2, 2), soon(3, 3), soon(3, 3)]);
        upcoming.count(Some(&writes));
        assert_eq!(upcoming.runs.iter().map(|run| run.writes).collect::<Vec<_>>(), [0, 0, 1, 2]);
        let (place, first) = upcoming.first_met().unwrap();
        assert_eq!((place, first.writers[0].to_string()), (2, "fio[7]".to_owned()));
        upcoming.count(None);
        assert_eq!(upcoming.first_met(), None);
    }

    #[test]
    fn a_run_is_announced_once_and_only_if_it_holds_writes_for_long() {
        let mut announcer = Announcer::default();
        let mut announce = |now_s: u64, cost_s: f64, sectors: &[u64]| {
            let mut upcoming = queue(161, &RUNS).upcoming(161, 0.0, |_| Some(cost_s)).unwrap();
            let writes = writes(&upcoming, sectors);
            upcoming.count(Some(&writes));
            let told = announcer.at(now_s * 1_000_000_000, Some(&upcoming));
            told.map(|told| (told.runs, told.coming.run.old_chunk))
        };
        assert_eq!(announce(0, 0.9, &[3 * 8]), None);
        assert_eq!(announce(1, 1.0, &[3 * 8]), Some((3, 0)));
        assert_eq!(announce(20, 1.0, &[3 * 8]), None, "told already");
        assert_eq!(announce(21, 1.0, &[3 * 8, 40 * 8]), Some((2, 40)));
        assert_eq!(announce(22, 1.0, &[50 * 8]), None, "one has just been told");
        assert_eq!(announce(31, 1.0, &[50 * 8]), Some((1, 50)));
    }
}
