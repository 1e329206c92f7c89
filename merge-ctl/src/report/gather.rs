//! What is kept of the models of a merge, one after the other, to tell of all of it at the end.
//!
//! Pure, and of bounded length however long a merge takes and however many runs it has. Nothing is worked
//! out here: figures are the model's, and kept by their time, with their smallest and largest.

use std::collections::BTreeMap;

use super::extent::Extent;
use super::timeline::{Bin, Timeline};
use crate::model::{Model, PhaseTime, Stall};
use crate::sample::{Phase, Run};

/// How long the bins are at first: the time between two samples.
const FIRST_BIN_NS: u64 = 200_000_000;

/// How much is kept of each merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// How many bins of time.
    pub(super) bins: usize,
    /// How many stalls.
    pub(super) stalls: usize,
}

/// What is kept of a stretch of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Moment {
    /// Progress at its end, from 0 to 1, and in bytes.
    pub(super) merged: Option<(f64, u64)>,
    /// Bytes a second.
    pub(super) rate: Extent,
    /// The chunks of the runs that finished.
    pub(super) run_chunks: Extent,
    /// Time by phase.
    pub(super) phases: PhaseTime,
    /// Latency of writes: the median, the 99th percentile, the slowest, in ns.
    pub(super) latency_ns: [Extent; 3],
    /// Writes in flight.
    pub(super) in_flight: Extent,
    /// Of these, those that the merge keeps waiting.
    pub(super) held: Extent,
}

impl Bin for Moment {
    fn join(&mut self, next: Self) {
        self.merged = next.merged.or(self.merged);
        self.rate.join(next.rate);
        self.run_chunks.join(next.run_chunks);
        add(&mut self.phases, &next.phases);
        for (one, two) in self.latency_ns.iter_mut().zip(next.latency_ns) {
            one.join(two);
        }
        self.in_flight.join(next.in_flight);
        self.held.join(next.held);
    }
}

fn add(sum: &mut PhaseTime, more: &PhaseTime) {
    for (sum, more) in sum.ns.iter_mut().zip(more.ns) {
        *sum = sum.saturating_add(more);
    }
    sum.between_ns = sum.between_ns.saturating_add(more.between_ns);
}

/// What is kept of one merge.
#[derive(Clone, Debug)]
pub(super) struct MergeLog {
    /// When it was seen first.
    pub(super) start_ns: u64,
    /// The same as seconds since 1970, UTC.
    pub(super) start_unix_s: u64,
    /// How many models there were.
    pub(super) samples: u64,
    /// All of it by time.
    pub(super) timeline: Timeline<Moment>,
    /// The most writes in flight and held at once.
    pub(super) in_flight: Extent,
    /// See above.
    pub(super) held: Extent,
    /// `snapshot_copy_throttle`, in percent.
    pub(super) throttle: Extent,
    stalls: BTreeMap<(u64, &'static str), Stall>,
    most_stalls: usize,
    stalls_left_out: u64,
    spent: PhaseTime,
    last_ns: u64,
}

impl MergeLog {
    /// Begins with the first model, and the runs that it has.
    pub(super) fn new(model: &Model, runs: &[Run], room: Room) -> Self {
        let mut log = Self {
            start_ns: model.now_ns,
            start_unix_s: model.unix_s,
            samples: 0,
            timeline: Timeline::new(model.now_ns, FIRST_BIN_NS, room.bins),
            in_flight: Extent::default(),
            held: Extent::default(),
            throttle: Extent::default(),
            stalls: BTreeMap::new(),
            most_stalls: room.stalls.max(1),
            stalls_left_out: 0,
            spent: PhaseTime::default(),
            last_ns: model.now_ns,
        };
        log.take(model, runs);
        log
    }

    /// Takes in the next model, and the runs that it has over the one before.
    pub(super) fn take(&mut self, model: &Model, runs: &[Run]) {
        self.samples += 1;
        for run in runs {
            self.timeline
                .at(run.finished_ns.min(model.now_ns))
                .run_chunks
                .add(f64::from(run.chunks));
        }
        let spent = self.newly_spent(&model.phases.since_start);
        let moment = self.timeline.at(model.now_ns);
        add(&mut moment.phases, &spent);
        let progress = &model.progress;
        if progress.initial_bytes > 0 {
            moment.merged = Some((progress.fraction(), progress.merged_bytes()));
        }
        // What was merged last counts; that nothing is merged afterwards does not.
        let step = model.rate.step_bytes_per_s;
        if let Some(rate) = step.filter(|rate| *rate > 0.0 || !model.state.is_over()) {
            moment.rate.add_for(rate, model.now_ns.saturating_sub(self.last_ns) as f64);
        }
        if let Some(now) = model.latency.as_ref().map(|all| all.writes_now)
            && now.count > 0
        {
            let figures = [now.p50_ns, now.p99_ns, now.max_ns];
            for (extent, ns) in moment.latency_ns.iter_mut().zip(figures) {
                extent.add(ns as f64);
            }
        }
        if let Some(writes) = &model.writes {
            for extent in [&mut moment.in_flight, &mut self.in_flight] {
                extent.add(writes.in_flight as f64);
            }
            for extent in [&mut moment.held, &mut self.held] {
                extent.add(writes.held as f64);
            }
        }
        if let Some(percent) = model.throttle_percent {
            self.throttle.add(f64::from(percent));
        }
        self.last_ns = model.now_ns;
        self.take_stalls(model);
    }

    /// What was spent since the last time. What a run in progress was thought to take may turn out to
    /// be less; then nothing is new until it is reached again.
    fn newly_spent(&mut self, now: &PhaseTime) -> PhaseTime {
        let mut new = PhaseTime::default();
        for phase in Phase::ALL {
            let place = phase as usize;
            new.ns[place] = now.ns[place].saturating_sub(self.spent.ns[place]);
        }
        new.between_ns = now.between_ns.saturating_sub(self.spent.between_ns);
        add(&mut self.spent, &new);
        new
    }

    fn take_stalls(&mut self, model: &Model) {
        for stall in &model.stalls {
            let key = (stall.started_ns, stall.cause.name());
            if self.stalls.get(&key) != Some(stall) {
                self.stalls.insert(key, stall.clone());
            }
        }
        while self.stalls.len() > self.most_stalls {
            let length = |stall: &Stall| stall.duration_ns(model.now_ns);
            let shortest = self.stalls.iter().min_by_key(|(_, stall)| length(stall));
            let Some(key) = shortest.map(|(key, _)| *key) else { return };
            // The model shows it for a while longer: it must not be counted again.
            if model.stalls.iter().any(|stall| (stall.started_ns, stall.cause.name()) == key) {
                return;
            }
            self.stalls.remove(&key);
            self.stalls_left_out += 1;
        }
    }

    /// Keeps less, once all is taken in.
    pub(super) fn shrink(&mut self, room: Room) {
        self.timeline = self.timeline.coarse(room.bins);
        while self.stalls.len() > room.stalls {
            let length = |stall: &Stall| stall.ended_ns.map_or(u64::MAX, |_| stall.duration_ns(0));
            let shortest = self.stalls.iter().min_by_key(|(_, stall)| length(stall));
            let Some(key) = shortest.map(|(key, _)| *key) else { return };
            self.stalls.remove(&key);
            self.stalls_left_out += 1;
        }
    }

    /// The stalls in their order.
    pub(super) fn stalls(&self) -> impl Iterator<Item = &Stall> {
        self.stalls.values()
    }

    /// How many stalls are not among them; they were shorter than all that are.
    pub(super) const fn stalls_left_out(&self) -> u64 {
        self.stalls_left_out
    }
}
