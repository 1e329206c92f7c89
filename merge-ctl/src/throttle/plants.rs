//! Merges and applications that do not exist: what the law is tried on.
//!
//! A plant lives in steps of a fifth of a second, as a live command looks. It knows what the kernel's
//! throttle is like: it works on the share of time that copies take, with some delay, and not at all
//! above the share that they take by themselves.

use merge_common::{LATENCY_BUCKETS, latency_bucket};

use super::control::{Control, Decision};
use super::evidence::{Histogram, Observation, RunsSeen, SLEEP_NS, WriteInFlight};

pub(super) const MS: u64 = 1_000_000;
/// A step.
pub(super) const STEP_NS: u64 = 200 * MS;

/// Numbers that look random, the same each time.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A merge, its disk, and an application.
#[derive(Clone, Debug)]
pub(super) struct Plant {
    /// The share of time that copies take when nothing slows them.
    pub(super) copy_share: f64,
    /// Whether the throttle works.
    pub(super) works: bool,
    /// Writes a second.
    pub(super) writes_per_s: f64,
    /// The chance of a write to be slow, for each part of the time that copies take.
    pub(super) contention: f64,
    /// The chance of a write to be slow whatever the merge does.
    pub(super) noise: f64,
    /// Writes a second that fall into the run in progress.
    pub(super) into_runs_per_s: f64,
    /// How long a run takes when nothing slows it.
    pub(super) run_ms: f64,
    /// How long a slow write takes that nothing holds.
    pub(super) slow_ms: u64,
}

impl Default for Plant {
    fn default() -> Self {
        Self {
            copy_share: 0.6,
            works: true,
            writes_per_s: 100.0,
            contention: 0.0,
            noise: 0.0,
            into_runs_per_s: 0.0,
            run_ms: 20.0,
            slow_ms: 30,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    pub(super) decisions: Vec<Decision>,
    /// The merge's speed in each step, of that without a throttle.
    pub(super) speed: Vec<f64>,
    /// The share of slow writes in each second.
    pub(super) slow_share: Vec<f64>,
}

impl Story {
    pub(super) fn mean_speed(&self, from_s: usize) -> f64 {
        mean(&self.speed[from_s * 5..])
    }

    pub(super) fn mean_slow(&self, from_s: usize) -> f64 {
        mean(&self.slow_share[from_s..])
    }
}

pub(super) fn mean(figures: &[f64]) -> f64 {
    figures.iter().sum::<f64>() / figures.len().max(1) as f64
}

/// A plant at work.
pub(super) struct Running {
    pub(super) plant: Plant,
    dice: Dice,
    now_ns: u64,
    /// The share of time that copies take at the moment: follows the setting with a delay.
    share: f64,
    run_left_ms: f64,
    /// How long the run in progress has taken.
    run_age_ms: f64,
    held_since_ms: Vec<f64>,
    second: (f64, f64),
}

impl Running {
    pub(super) fn new(plant: Plant, seed: u64) -> Self {
        let share = plant.copy_share;
        Self {
            plant,
            dice: Dice(seed),
            now_ns: 0,
            share,
            run_left_ms: 0.0,
            run_age_ms: 0.0,
            held_since_ms: Vec::new(),
            second: (0.0, 0.0),
        }
    }

    /// One step under a setting.
    pub(super) fn step(&mut self, percent: u32, story: &mut Story) -> Observation {
        self.now_ns += STEP_NS;
        let wanted = if self.plant.works {
            self.plant.copy_share.min(f64::from(percent) / 100.0)
        } else {
            self.plant.copy_share
        };
        // The kernel looks back over about a second, and ends a sleep at once where it may.
        self.share = wanted.max(f64::midpoint(self.share, wanted));
        let speed = self.share / self.plant.copy_share;
        let mut writes = vec![0; LATENCY_BUCKETS];
        let runs = self.merge(speed, &mut writes);
        let slow = self.write(&mut writes);
        let observation = Observation {
            now_ns: self.now_ns,
            span_ns: STEP_NS,
            writes: Histogram::new(writes),
            in_flight: self.in_flight(slow),
            merged_bytes: (speed * 1e6) as u64,
            runs: Some(runs),
        };
        self.tell(&observation, speed, story);
        observation
    }

    /// The run in progress goes on, and others after it; whoever waits for one is let go.
    fn merge(&mut self, speed: f64, writes: &mut [u64]) -> RunsSeen {
        let mut seen = RunsSeen::default();
        let mut left_ms = STEP_NS as f64 / 1e6;
        while left_ms > 0.0 {
            if self.run_left_ms <= 0.0 {
                (self.run_left_ms, self.run_age_ms) = (self.plant.run_ms, 0.0);
            }
            let takes_ms = self.run_left_ms / speed.max(0.001);
            let passes_ms = takes_ms.min(left_ms);
            self.hold(passes_ms);
            self.run_left_ms -= passes_ms * speed;
            self.run_age_ms += passes_ms;
            left_ms -= passes_ms;
            if takes_ms <= passes_ms {
                self.run_left_ms = 0.0;
                for waited_ms in self.held_since_ms.drain(..) {
                    writes[latency_bucket((waited_ms * 1e6) as u64)] += 1;
                }
                seen.runs += 1;
                seen.ns += (self.run_age_ms * 1e6) as u64;
                let other_ms = self.plant.run_ms * (1.0 - self.plant.copy_share);
                let copy_ns = ((self.run_age_ms - other_ms).max(0.0) * 1e6) as u64;
                seen.copy_ns += copy_ns;
                seen.may_have_slept += u64::from(copy_ns >= SLEEP_NS);
            }
        }
        seen
    }

    fn hold(&mut self, ms: f64) {
        for waited_ms in &mut self.held_since_ms {
            *waited_ms += ms;
        }
        let come = self.times(self.plant.into_runs_per_s * ms / 1e3);
        for _ in 0..come {
            let waited_ms = self.dice.unit() * ms;
            self.held_since_ms.push(waited_ms);
        }
    }

    fn write(&mut self, writes: &mut [u64]) -> u64 {
        let chance = (self.plant.contention * self.share + self.plant.noise).min(1.0);
        let come = self.times(self.plant.writes_per_s * STEP_NS as f64 / 1e9);
        let mut slow = 0;
        for _ in 0..come {
            let is_slow = self.dice.unit() < chance;
            slow += u64::from(is_slow);
            let ms = if is_slow { self.plant.slow_ms } else { 1 };
            writes[latency_bucket(ms * MS)] += 1;
        }
        slow
    }

    /// Of the slow ones of a step, those that are in flight when it ends.
    fn in_flight(&mut self, slow: u64) -> Vec<WriteInFlight> {
        let caught = slow as f64 * self.plant.slow_ms as f64 * MS as f64 / STEP_NS as f64;
        let mut listed = Vec::new();
        for _ in 0..self.times(caught) {
            let age_ns = (self.dice.unit() * (self.plant.slow_ms * MS) as f64) as u64;
            listed.push(WriteInFlight { age_ns, held: false });
        }
        let held = |ms: &f64| WriteInFlight { age_ns: (ms * 1e6) as u64, held: true };
        listed.extend(self.held_since_ms.iter().map(held));
        listed
    }

    /// A whole number with this mean.
    fn times(&mut self, mean: f64) -> u64 {
        mean.floor() as u64 + u64::from(self.dice.unit() < mean.fract())
    }

    fn tell(&mut self, seen: &Observation, speed: f64, story: &mut Story) {
        story.speed.push(speed);
        self.second.0 += seen.writes.slower_than(10 * MS);
        self.second.1 += seen.writes.count() as f64;
        if self.now_ns.is_multiple_of(1_000 * MS) {
            let (slow, all) = std::mem::take(&mut self.second);
            story.slow_share.push(if all > 0.0 { slow / all } else { 0.0 });
        }
    }
}

/// Lets a law control a plant for so many seconds.
pub(super) fn run(control: &mut Control, running: &mut Running, seconds: usize) -> Story {
    let mut story = Story::default();
    let mut percent = 100;
    for _ in 0..seconds * 5 {
        let seen = running.step(percent, &mut story);
        let decision = control.step(&seen);
        percent = decision.percent;
        story.decisions.push(decision);
    }
    story
}
