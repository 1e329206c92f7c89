//! What a throttle has done to the merge and to the writes, measured: with it, beside without. Pure.

use serde::{Deserialize, Serialize};

use super::evidence::{Histogram, Observation, SLEEP_NS};

/// Nothing is said of an effect before the merge was throttled for so long.
const ENOUGH_NS: u64 = 5_000_000_000;
/// Without it the merge must have been seen for so long to be compared with.
const ENOUGH_BEFORE_NS: u64 = 1_000_000_000;
/// Less sleep than this share of the time is none: now and then a copy takes long for other reasons.
const NO_SLEEP: f64 = 0.02;
/// Above this share of its speed a merge is as fast as before.
const AS_FAST: f64 = 0.9;

/// What was seen of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Too little yet.
    #[default]
    NotKnown,
    /// It slows the merge down.
    Slows,
    /// Some copies took long enough to have slept, and the merge is about as fast as before.
    Little,
    /// It does nothing: hardly a copy was long enough to contain a sleep.
    None,
}

impl Effect {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NotKnown => "effect not known yet",
            Self::Slows => "it slows the merge",
            Self::Little => "hardly any effect",
            Self::None => "no effect on this merge",
        }
    }

    /// The code, for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotKnown => "not-known",
            Self::Slows => "slows",
            Self::Little => "little",
            Self::None => "none",
        }
    }
}

/// What happened while a merge was throttled, or while it was not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Side {
    /// For how long.
    pub span_ns: u64,
    /// Bytes merged.
    pub merged_bytes: u64,
    /// Runs merged; 0 where they are not seen.
    pub runs: u64,
    /// Copies that were long enough to have slept.
    pub may_have_slept: u64,
    /// Writes by latency.
    pub writes: Histogram,
}

impl Side {
    pub(super) fn take(&mut self, seen: &Observation) {
        self.span_ns += seen.span_ns;
        self.merged_bytes += seen.merged_bytes;
        self.writes.add(&seen.writes);
        if let Some(runs) = seen.runs {
            self.runs += runs.runs;
            self.may_have_slept += runs.may_have_slept;
        }
    }

    /// The most of the time, from 0 to 1, that copies can have slept once each.
    fn slept_share(&self) -> f64 {
        (self.may_have_slept * SLEEP_NS) as f64 / self.span_ns.max(1) as f64
    }

    /// Bytes a second; none where nothing was seen.
    pub fn bytes_per_s(&self) -> Option<f64> {
        (self.span_ns > 0).then(|| self.merged_bytes as f64 * 1e9 / self.span_ns as f64)
    }
}

/// Both sides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EffectLog {
    /// Without a throttle, or with the one that was there before.
    pub free: Side,
    /// With it.
    pub throttled: Side,
    sees_runs: bool,
}

impl EffectLog {
    /// Takes in what happened while the throttle was in force, or was not.
    pub fn take(&mut self, seen: &Observation, throttled: bool) {
        self.sees_runs = seen.runs.is_some();
        if throttled { &mut self.throttled } else { &mut self.free }.take(seen);
    }

    /// What is to be said of it.
    ///
    /// Where the runs are seen, "nothing" is well founded: the kernel sleeps a tenth of a second at
    /// the least, so a shorter copy has not slept. That a merge is slower may have other reasons.
    pub fn effect(&self) -> Effect {
        if self.throttled.span_ns < ENOUGH_NS {
            return Effect::NotKnown;
        }
        let ratio = self.speed_kept();
        if self.sees_runs && self.throttled.slept_share() < NO_SLEEP {
            return if self.throttled.runs > 0 { Effect::None } else { Effect::NotKnown };
        }
        match ratio {
            Some(ratio) if ratio >= AS_FAST && !self.sees_runs => Effect::None,
            Some(ratio) if ratio >= AS_FAST => Effect::Little,
            Some(_) => Effect::Slows,
            None if self.sees_runs => Effect::Slows,
            None => Effect::NotKnown,
        }
    }

    /// The merge's speed with it, relative to that without it; none where either is not known.
    pub fn speed_kept(&self) -> Option<f64> {
        let before = self.free.bytes_per_s().filter(|_| self.free.span_ns >= ENOUGH_BEFORE_NS)?;
        let with = self.throttled.bytes_per_s()?;
        (before > 0.0).then(|| with / before)
    }
}

#[cfg(test)]
mod tests {
    use super::super::evidence::RunsSeen;
    use super::*;

    fn second(merged_bytes: u64, may_have_slept: Option<u64>) -> Observation {
        Observation {
            span_ns: 1_000_000_000,
            merged_bytes,
            runs: may_have_slept.map(|may_have_slept| RunsSeen {
                runs: 10,
                may_have_slept,
                ..RunsSeen::default()
            }),
            ..Observation::default()
        }
    }

    fn effect(before: &Observation, with: &Observation, seconds: usize) -> Effect {
        let mut log = EffectLog::default();
        log.take(before, false);
        log.take(before, false);
        for _ in 0..seconds {
            log.take(with, true);
        }
        log.effect()
    }

    #[test]
    fn copies_too_short_for_a_sleep_prove_that_there_is_no_effect() {
        assert_eq!(effect(&second(100, Some(0)), &second(40, Some(0)), 6), Effect::None);
        assert_eq!(effect(&second(100, Some(0)), &second(40, Some(1)), 6), Effect::Slows);
        assert_eq!(effect(&second(100, Some(3)), &second(95, Some(3)), 6), Effect::Little);
        assert_eq!(effect(&second(100, Some(3)), &second(95, Some(1)), 6), Effect::Little);
        assert_eq!(effect(&second(100, Some(0)), &second(40, Some(1)), 4), Effect::NotKnown);
    }

    #[test]
    fn without_runs_the_speed_alone_must_do() {
        assert_eq!(effect(&second(100, None), &second(99, None), 6), Effect::None);
        assert_eq!(effect(&second(100, None), &second(30, None), 6), Effect::Slows);
        assert_eq!(effect(&second(0, None), &second(30, None), 6), Effect::NotKnown);
    }
}
