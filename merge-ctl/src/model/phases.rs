//! Where the time goes, by phase.

use std::collections::VecDeque;

use crate::sample::{CurrentRun, Phase, PhaseNs, Run};

/// Where the time goes, by phase.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Phases {
    /// Over the last minute, the run in progress included.
    pub last_minute: PhaseTime,
    /// Since the first sample, the run in progress included.
    pub since_start: PhaseTime,
    /// The runs that finished in the last minute.
    pub last_minute_runs: RunCount,
    /// Of the finished runs since the first sample. Never less than it was, as what is told of a run
    /// in progress may be for a moment.
    pub finished: PhaseTime,
}

/// How many runs, and how many chunks they had together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCount {
    /// Runs.
    pub runs: u64,
    /// Their chunks.
    pub chunks: u64,
}

impl RunCount {
    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.chunks += other.chunks;
    }
}

/// Time by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseTime {
    /// In the order of `Phase::ALL`.
    pub ns: PhaseNs,
    /// Between runs.
    pub between_ns: u64,
}

impl PhaseTime {
    /// All of it.
    pub fn total_ns(&self) -> u64 {
        self.ns.iter().sum::<u64>() + self.between_ns
    }

    /// The share of one phase, from 0 to 1; 0 where nothing was measured.
    pub fn share(&self, phase: Phase) -> f64 {
        match self.total_ns() {
            0 => 0.0,
            total => self.ns[phase as usize] as f64 / total as f64,
        }
    }

    fn add(&mut self, other: &Self) {
        for (sum, ns) in self.ns.iter_mut().zip(other.ns) {
            *sum += ns;
        }
        self.between_ns += other.between_ns;
    }
}

const NS_PER_S: u64 = 1_000_000_000;
const MINUTE_S: u64 = 60;

/// Finished runs, summed by the second in which they finished.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PhaseLog {
    finished: PhaseTime,
    by_second: VecDeque<(u64, PhaseTime, RunCount)>,
    last_finished_ns: Option<u64>,
}

impl PhaseLog {
    /// Takes in a finished run.
    pub(super) fn push(&mut self, run: &Run) {
        let between_ns =
            self.last_finished_ns.map_or(0, |last_ns| run.started_ns.saturating_sub(last_ns));
        let time = PhaseTime { ns: run.phase_ns, between_ns };
        self.last_finished_ns = Some(run.finished_ns);
        self.finished.add(&time);
        let second = run.finished_ns / NS_PER_S;
        let count = RunCount { runs: 1, chunks: u64::from(run.chunks) };
        match self.by_second.back_mut() {
            Some((last, sum, runs)) if *last == second => {
                sum.add(&time);
                runs.add(count);
            }
            _ => self.by_second.push_back((second, time, count)),
        }
    }

    /// The phases at `now_ns`, with the run in progress.
    pub(super) fn at(&mut self, now_ns: u64, current: Option<&CurrentRun>) -> Phases {
        let oldest = (now_ns / NS_PER_S).saturating_sub(MINUTE_S);
        while self.by_second.front().is_some_and(|(second, ..)| *second < oldest) {
            self.by_second.pop_front();
        }
        let running = current.map(|run| self.so_far(now_ns, run)).unwrap_or_default();
        let mut phases = Phases { last_minute: running, since_start: running, ..Phases::default() };
        phases.since_start.add(&self.finished);
        phases.finished = self.finished;
        for (_, time, runs) in &self.by_second {
            phases.last_minute.add(time);
            phases.last_minute_runs.add(*runs);
        }
        phases
    }

    fn so_far(&self, now_ns: u64, run: &CurrentRun) -> PhaseTime {
        let mut ns = run.phase_ns;
        ns[run.phase as usize] += now_ns.saturating_sub(run.phase_started_ns);
        let between_ns =
            self.last_finished_ns.map_or(0, |last_ns| run.started_ns.saturating_sub(last_ns));
        PhaseTime { ns, between_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(started_ns: u64, copy_ns: u64) -> Run {
        Run {
            old_chunk: 0,
            new_chunk: 2,
            chunks: 1,
            started_ns,
            finished_ns: started_ns + copy_ns,
            phase_ns: [0, 0, 0, copy_ns, 0, 0],
        }
    }

    #[test]
    fn what_a_run_in_progress_has_taken_is_not_finished() {
        let mut log = PhaseLog::default();
        log.push(&run(0, 5));
        let current = CurrentRun {
            old_chunk: 0,
            new_chunk: 2,
            chunks: 1,
            phase: Phase::Copy,
            started_ns: 5,
            phase_started_ns: 5,
            phase_ns: [0; 6],
        };
        let copied = |time: PhaseTime| time.ns[Phase::Copy as usize];
        let phases = log.at(15, Some(&current));
        assert_eq!((copied(phases.finished), copied(phases.since_start)), (5, 15));
        let phases = log.at(15, None);
        assert_eq!((copied(phases.finished), copied(phases.since_start)), (5, 5));
    }

    #[test]
    fn the_last_minute_forgets_and_the_start_does_not() {
        let mut log = PhaseLog::default();
        log.push(&run(0, 10));
        log.push(&run(100 * NS_PER_S, 30));
        let current = CurrentRun {
            old_chunk: 0,
            new_chunk: 0,
            chunks: 0,
            phase: Phase::Metadata,
            started_ns: 100 * NS_PER_S + 50,
            phase_started_ns: 100 * NS_PER_S + 50,
            phase_ns: [0; 6],
        };
        let phases = log.at(100 * NS_PER_S + 57, Some(&current));
        assert_eq!(phases.since_start.ns, [7, 0, 0, 40, 0, 0]);
        assert_eq!(phases.last_minute.ns, [7, 0, 0, 30, 0, 0]);
        assert_eq!(phases.since_start.between_ns, 100 * NS_PER_S - 10 + 20);
        assert!(phases.last_minute.share(Phase::Copy) < 1.0);
    }
}
