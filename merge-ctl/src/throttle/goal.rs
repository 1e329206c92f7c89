//! What is wanted of a throttle, and what it does at the moment: plain data.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::effect::Effect;
use crate::human;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Goal {
    /// This percentage, whatever it does.
    Fixed {
        /// Of the time, in which copies may be under way; 100 is no throttle.
        percent: u32,
    },
    /// Application writes on the origin faster than a target.
    WriteLatency(Target),
}

/// A limit for the latency of application writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The longest that a write may take.
    pub latency_ns: u64,
    /// How many of the writes must keep to it.
    pub percentile: Percentile,
    /// The lowest setting that the loop may use, in percent.
    pub floor_percent: u32,
}

/// A percentile, in tenths of a percent, from 500 (the median) to 999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Percentile(u32);

impl Percentile {
    /// 99 of 100.
    pub const P99: Self = Self(990);
    /// 95 of 100.
    pub const P95: Self = Self(950);

    /// Of a number of percent; none below 50 and above 99.9.
    pub fn of_percent(percent: f64) -> Option<Self> {
        let tenths = (percent * 10.0).round();
        (500.0..=999.0).contains(&tenths).then_some(Self(tenths as u32))
    }

    /// The percent.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 10.0
    }

    /// The share of writes that may be slower than the target.
    pub fn allowed_share(self) -> f64 {
        1.0 - f64::from(self.0) / 1000.0
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.percent())
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { percent } => write!(f, "{percent} %"),
            Self::WriteLatency(target) => write!(
                f,
                "{} of the writes below {}, never under {} %",
                target.percentile,
                human::duration(target.latency_ns),
                target.floor_percent
            ),
        }
    }
}

/// The lowest setting of a loop where nobody names one, in percent.
///
/// A piece of a copy takes at most a second of sleep before its read and one before its write,
/// whatever the setting: at 5 % a merge of short runs still does about one a second or more.
pub const DEFAULT_FLOOR_PERCENT: u32 = 5;

/// A named goal. The figures are documented in `docs/throttle.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// The applications come first.
    Gentle,
    /// Both have their share.
    Balanced,
    /// The merge comes first.
    Fast,
}

impl Profile {
    /// All.
    pub const ALL: [Self; 3] = [Self::Gentle, Self::Balanced, Self::Fast];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gentle => "gentle",
            Self::Balanced => "balanced",
            Self::Fast => "fast",
        }
    }

    /// What it stands for.
    pub const fn target(self) -> Target {
        const MS: u64 = 1_000_000;
        match self {
            Self::Gentle => {
                Target { latency_ns: 10 * MS, percentile: Percentile::P99, floor_percent: 3 }
            }
            Self::Balanced => {
                Target { latency_ns: 30 * MS, percentile: Percentile::P99, floor_percent: 10 }
            }
            Self::Fast => {
                Target { latency_ns: 100 * MS, percentile: Percentile::P95, floor_percent: 30 }
            }
        }
    }
}

/// Why a loop does not slow the merge down although writes are slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Useless {
    /// The setting does not slow this merge down.
    NoEffect,
    /// The merge was slower, the writes were not faster.
    NotTheMerge,
    /// The writes wait for the run they fall into, and a slower run keeps them longer.
    HeldByRuns,
}

/// What a throttler does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Doing {
    /// It measures what is there before it changes anything.
    Watching,
    /// It keeps the percentage that was asked for.
    Fixed,
    /// The writes are fast enough: the merge has all.
    Free,
    /// It slows the merge down.
    Slowing,
    /// It slows the merge down as far as it may, and the writes are still too slow.
    AtTheFloor,
    /// It lets the run in progress through, because writes wait for its end.
    LettingThrough,
    /// It does not slow the merge down, because that would not help.
    Useless {
        /// Why.
        why: Useless,
    },
    /// Somebody else has changed the setting: it keeps its hands off.
    Yielded,
}

impl Doing {
    /// In a word or a few.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Watching => "measures first",
            Self::Fixed => "fixed",
            Self::Free => "the merge has all",
            Self::Slowing => "slows the merge",
            Self::AtTheFloor => "at the floor, writes still too slow",
            Self::LettingThrough => "lets a run through that holds writes",
            Self::Useless { why: Useless::NoEffect } => "off: it does not slow this merge",
            Self::Useless { why: Useless::NotTheMerge } => "off: slow writes are not the merge's",
            Self::Useless { why: Useless::HeldByRuns } => "off: writes wait for runs",
            Self::Yielded => "hands off: changed by somebody else",
        }
    }

    /// The code, for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Watching => "watching",
            Self::Fixed => "fixed",
            Self::Free => "free",
            Self::Slowing => "slowing",
            Self::AtTheFloor => "at-the-floor",
            Self::LettingThrough => "letting-through",
            Self::Useless { why: Useless::NoEffect } => "no-effect",
            Self::Useless { why: Useless::NotTheMerge } => "not-the-merge",
            Self::Useless { why: Useless::HeldByRuns } => "held-by-runs",
            Self::Yielded => "yielded",
        }
    }
}

/// A throttler as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttling {
    /// What is wanted.
    pub goal: Goal,
    /// The name of the goal, where it has one.
    pub profile: Option<Profile>,
    /// What it does at the moment.
    pub doing: Doing,
    /// What it has been seen to do to the merge.
    pub effect: Effect,
    /// The process that does it.
    pub pid: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_upper_half() {
        assert_eq!(Percentile::of_percent(99.0), Some(Percentile::P99));
        assert_eq!(Percentile::of_percent(99.9).unwrap().to_string(), "99.9 %");
        for nonsense in [0.0, 49.9, 99.96, 100.0, f64::NAN, -1.0] {
            assert_eq!(Percentile::of_percent(nonsense), None, "{nonsense}");
        }
        assert!((Percentile::P99.allowed_share() - 0.01).abs() < 1e-9);
    }

    #[test]
    fn a_goal_is_told_in_words() {
        let goal = Goal::WriteLatency(Profile::Gentle.target());
        assert_eq!(goal.to_string(), "99 % of the writes below 10 ms, never under 3 %");
        assert_eq!(Goal::Fixed { percent: 30 }.to_string(), "30 %");
    }

    #[test]
    fn what_it_does_survives_a_file() {
        for doing in [Doing::Free, Doing::Useless { why: Useless::HeldByRuns }] {
            let text = serde_json::to_string(&doing).unwrap();
            assert_eq!(serde_json::from_str::<Doing>(&text).unwrap(), doing);
        }
    }
}
