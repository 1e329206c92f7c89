//! The law of the closed loop: from what happened to the writes, the next percentage. Pure.
//!
//! It judges windows of a second or more: how many writes were slower than the target, beside how
//! many may be. Too many: it lowers the setting at once, in proportion. Few: it raises it again, quickly
//! up to where the writes became slow the last time, then with care. In between it holds. That is
//! AIMD with a memory.
//!
//! What it knows beyond that:
//!
//! * **A write that a run holds waits for the end of the run, and the throttle sleeps inside the run.**
//!   While such a write waits, the setting is open, so that the run ends as soon as it can. Where most
//!   slow writes are of that kind, slowing down is the wrong answer, and the setting rises.
//! * **The slow writes may not be the merge's fault.** What they are with and without the throttle is
//!   compared; where it does not help, the merge is let go and another attempt made later, each time
//!   after a longer while.
//! * **Above the share of time that copies take by themselves the setting does nothing**, so the way
//!   down begins there.
//! * **The kernel averages over about a second and may sleep for one**: the second after a step down is
//!   not judged.
//! * **A merge never starves**: there is a floor, and it is higher where a merge of many short runs would
//!   do less than one a second.

mod level;
mod window;

use super::blame::Blame;
use super::evidence::Observation;
use super::goal::{Doing, Target, Useless};
use level::Level;
use window::{Verdict, Window};

const S: u64 = 1_000_000_000;
/// After a step down the kernel needs so long to follow.
const SETTLE_NS: u64 = S;
/// Where a step down aims at, as a part of the slow writes that may be.
const AIM: f64 = 0.7;
/// The largest and the smallest step down.
const STEP_DOWN: (f64, f64) = (0.4, 0.8);
/// A step up well below the knee, and with no writer at all.
const STEP_UP: f64 = 1.3;
const STEP_UP_QUIET: f64 = 2.0;
/// Beyond this part of the knee steps up are careful: so much more, and more with each.
const NEAR_KNEE: f64 = 0.8;
const CAREFUL: (f64, f64) = (1.04, 0.02);
/// With a throttle the slow writes must be fewer than this part of those without, or it is useless.
const HELPS: f64 = 0.7;
/// A merge with more than this part of its speed was not slowed down.
const AS_FAST: f64 = 0.8;
/// So long must a throttle have been in force to be judged.
const TRIAL_NS: u64 = 6 * S;
/// The time to the next attempt after a useless one, at first and at last.
const BACKOFF_NS: (u64, u64) = (30 * S, 120 * S);
/// After so long a throttle is opened for a moment to see what it would be without, at first and at
/// last.
const RECHECK_NS: (u64, u64) = (30 * S, 480 * S);
/// For so many windows.
const RECHECK_WINDOWS: u32 = 2;
/// A merge that does so many runs a second does one at the least.
const MANY_RUNS_PER_S: f64 = 10.0;

/// What is to be set, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The setting, from the floor to the ceiling.
    pub percent: u32,
    /// What it is for.
    pub doing: Doing,
}

/// The loop's state.
#[derive(Clone, Debug)]
pub struct Control {
    target: Target,
    floor: f64,
    ceiling: f64,
    percent: f64,
    mode: Mode,
    window: Window,
    blame: Blame,
    /// What is remembered of the time at the ceiling.
    open: Level,
    /// What happened since the loop began to slow down.
    slowed: Level,
    slowing_since_ns: u64,
    /// The setting at which the writes were too slow the last time.
    knee: f64,
    steps_up: u32,
    good_windows: u32,
    backoff_ns: u64,
    recheck_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// At the ceiling, and all is well.
    Free,
    /// Below it.
    Slowing {
        /// As low as may be, and the last window was bad.
        stuck: bool,
    },
    /// At the ceiling for a moment, to see what it is like.
    Rechecking {
        /// So many windows more.
        windows: u32,
    },
    /// At the ceiling, since lower would not help.
    Useless {
        why: Useless,
        /// The next attempt.
        until_ns: u64,
    },
}

impl Control {
    /// For a target; the setting never rises above `ceiling_percent`.
    pub fn new(target: Target, ceiling_percent: u32) -> Self {
        let floor = f64::from(target.floor_percent.min(100));
        let ceiling = f64::from(ceiling_percent.min(100)).max(floor);
        Self {
            target,
            floor,
            ceiling,
            percent: ceiling,
            mode: Mode::Free,
            window: Window::default(),
            blame: Blame::default(),
            open: Level::default(),
            slowed: Level::default(),
            slowing_since_ns: 0,
            knee: ceiling,
            steps_up: 0,
            good_windows: 0,
            backoff_ns: BACKOFF_NS.0,
            recheck_ns: RECHECK_NS.0,
        }
    }

    /// What to do after what was seen.
    pub fn step(&mut self, seen: &Observation) -> Decision {
        let limit_ns = self.target.latency_ns;
        self.blame.take(seen, limit_ns);
        let lets_through = self.percent < self.ceiling && self.holds(seen);
        self.window.take(seen, limit_ns, lets_through);
        if let Some(verdict) = self.window.verdict(self.target.percentile.allowed_share()) {
            self.judge(verdict, seen.now_ns);
            self.window.begin();
        }
        let lets_through = lets_through && self.percent < self.ceiling;
        Decision {
            percent: (if lets_through { self.ceiling } else { self.percent }).round() as u32,
            doing: if lets_through { Doing::LettingThrough } else { self.doing() },
        }
    }

    /// Whether the run in progress keeps a write waiting that has no time left for it.
    fn holds(&self, seen: &Observation) -> bool {
        let patience_ns = self.target.latency_ns / 2;
        seen.in_flight.iter().any(|write| write.held && write.age_ns >= patience_ns)
    }

    fn doing(&self) -> Doing {
        match self.mode {
            Mode::Free | Mode::Rechecking { .. } => Doing::Free,
            Mode::Slowing { stuck: false } => Doing::Slowing,
            Mode::Slowing { stuck: true } => Doing::AtTheFloor,
            Mode::Useless { why, .. } => Doing::Useless { why },
        }
    }

    fn judge(&mut self, verdict: Verdict, now_ns: u64) {
        let open = self.percent >= self.ceiling;
        if open { &mut self.open } else { &mut self.slowed }.take(&self.window);
        match verdict {
            Verdict::Bad { share } => {
                self.good_windows = 0;
                self.bad(share, now_ns);
            }
            Verdict::Good { room, quiet } => {
                self.good_windows += 1;
                self.good(room, quiet, now_ns);
            }
        }
        self.recheck(now_ns);
    }

    fn bad(&mut self, share: f64, now_ns: u64) {
        let held_share = self.blame.held_share().unwrap_or(0.0);
        if held_share > 0.5 {
            self.release(now_ns);
            return;
        }
        match self.mode {
            Mode::Useless { why, until_ns } if why != Useless::HeldByRuns && now_ns < until_ns => {}
            Mode::Rechecking { .. } => {}
            Mode::Slowing { .. } if self.is_useless() => self.give_up(now_ns),
            // Without the held ones it would be good enough.
            _ if share * (1.0 - held_share) <= self.target.percentile.allowed_share() => {}
            _ => self.lower(share * (1.0 - held_share), now_ns),
        }
    }

    /// The writes wait for runs: these are to be over soon.
    fn release(&mut self, now_ns: u64) {
        self.set(self.percent * STEP_UP_QUIET, now_ns);
        if self.percent >= self.ceiling {
            self.mode = Mode::Useless { why: Useless::HeldByRuns, until_ns: now_ns };
        }
    }

    fn lower(&mut self, share: f64, now_ns: u64) {
        if self.percent >= self.ceiling {
            self.slowed = Level::default();
            self.slowing_since_ns = now_ns;
        }
        let from = self.percent.min(self.natural_percent());
        self.knee = from;
        self.steps_up = 0;
        let factor = AIM * self.target.percentile.allowed_share() / share;
        let before = self.percent;
        self.percent = (from * factor.clamp(STEP_DOWN.0, STEP_DOWN.1)).max(self.lowest_percent());
        self.mode = Mode::Slowing { stuck: self.percent >= before };
        self.window.settle_ns = SETTLE_NS;
    }

    fn good(&mut self, room: bool, quiet: bool, now_ns: u64) {
        match self.mode {
            Mode::Useless { until_ns, .. } if now_ns >= until_ns => self.mode = Mode::Free,
            Mode::Slowing { .. } => {
                self.mode = Mode::Slowing { stuck: false };
                if quiet {
                    self.set(self.percent * STEP_UP_QUIET, now_ns);
                } else if room {
                    self.climb(now_ns);
                }
            }
            _ => {}
        }
    }

    fn climb(&mut self, now_ns: u64) {
        let careful = CAREFUL.0 + CAREFUL.1 * f64::from(self.steps_up);
        let factor = if self.percent < NEAR_KNEE * self.knee { STEP_UP } else { careful };
        self.steps_up += 1;
        self.set((self.percent * factor.min(STEP_UP)).max(self.percent + 1.0), now_ns);
    }

    /// A higher setting. From where copies take no more time by themselves it is the ceiling.
    fn set(&mut self, percent: f64, now_ns: u64) {
        let all = percent >= self.ceiling || percent > self.natural_percent() * 1.1;
        self.percent = if all { self.ceiling } else { percent };
        if !all {
            self.mode = Mode::Slowing { stuck: false };
        } else if matches!(self.mode, Mode::Slowing { .. }) {
            self.mode = Mode::Free;
            self.slowing_since_ns = now_ns;
        }
    }

    /// The share of time that copies take at the ceiling, in percent: below this a setting begins to
    /// do something. The ceiling where it is not known.
    fn natural_percent(&self) -> f64 {
        let share = self.open.copy_share();
        share.map_or(self.ceiling, |share| (share * 100.0).clamp(self.floor, self.ceiling))
    }

    /// The lowest setting. A merge is about as fast as the time that its copies are left.
    fn lowest_percent(&self) -> f64 {
        let many = self.open.runs_per_s().filter(|runs| *runs >= MANY_RUNS_PER_S);
        many.map_or(self.floor, |runs| self.floor.max(self.natural_percent() / runs))
    }

    fn is_useless(&self) -> bool {
        self.slowed.lasted_ns >= TRIAL_NS
            && self.percent <= self.natural_percent().max(self.lowest_percent() * 2.0) / 2.0
            && self.slowed.slow_share() > HELPS * self.open.slow_share()
    }

    fn give_up(&mut self, now_ns: u64) {
        let speed = self.slowed.bytes_per_s() / self.open.bytes_per_s().max(1.0);
        let why = if self.slowed.let_through_share() > 0.5 {
            Useless::HeldByRuns
        } else if speed > AS_FAST {
            Useless::NoEffect
        } else {
            Useless::NotTheMerge
        };
        self.percent = self.ceiling;
        self.mode = Mode::Useless { why, until_ns: now_ns + self.backoff_ns };
        self.backoff_ns = (self.backoff_ns * 2).min(BACKOFF_NS.1);
    }

    /// Now and then a look at what it would be like without a throttle.
    fn recheck(&mut self, now_ns: u64) {
        match self.mode {
            Mode::Slowing { .. }
                if now_ns.saturating_sub(self.slowing_since_ns) >= self.recheck_ns =>
            {
                self.recheck_ns = (self.recheck_ns * 2).min(RECHECK_NS.1);
                self.percent = self.ceiling;
                self.mode = Mode::Rechecking { windows: RECHECK_WINDOWS };
            }
            Mode::Rechecking { windows: 0 | 1 } => {
                self.slowing_since_ns = now_ns;
                self.mode = Mode::Free;
                if self.good_windows == 0 {
                    // As before: back to where it was good.
                    self.backoff_ns = BACKOFF_NS.0;
                    self.percent = (self.knee * NEAR_KNEE).max(self.lowest_percent());
                    self.mode = Mode::Slowing { stuck: false };
                    self.slowed = Level::default();
                    self.window.settle_ns = SETTLE_NS;
                } else {
                    self.recheck_ns = RECHECK_NS.0;
                }
            }
            Mode::Rechecking { windows } => self.mode = Mode::Rechecking { windows: windows - 1 },
            Mode::Free => self.slowing_since_ns = now_ns,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
