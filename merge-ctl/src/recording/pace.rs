//! Where a replay is, and how fast it goes. Pure: the time that passes comes in.

use std::fmt;
use std::time::Duration;

use crate::units::nanoseconds;

/// How many times as fast as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// So many times.
    Times(u32),
    /// As fast as it can be shown.
    Max,
}

impl Speed {
    /// The speeds that keys choose from.
    const CHOICE: [u32; 10] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

    /// `10`, `10x` or `max`.
    ///
    /// # Errors
    /// What is to be given instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.strip_suffix('x').unwrap_or(text).parse() {
            Ok(times @ 1..=1000) => Ok(Self::Times(times)),
            _ => Err("give a number from 1 to 1000, or max".to_owned()),
        }
    }

    /// The next higher one.
    #[must_use]
    pub fn faster(self) -> Self {
        match self {
            Self::Times(now) => {
                Self::CHOICE.into_iter().find(|times| *times > now).map_or(Self::Max, Self::Times)
            }
            Self::Max => Self::Max,
        }
    }

    /// The next lower one.
    #[must_use]
    pub fn slower(self) -> Self {
        let below = |now| Self::CHOICE.into_iter().rev().find(|times| *times < now);
        match self {
            Self::Times(now) => Self::Times(below(now).unwrap_or(1)),
            Self::Max => Self::Times(1000),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(times) => write!(f, "×{times}"),
            Self::Max => write!(f, "max"),
        }
    }
}

/// The clock of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The time of the first sample.
    pub first_ns: u64,
    /// The time of the last.
    pub last_ns: u64,
    /// The time that is shown, between these two.
    pub at_ns: u64,
    /// How fast it goes.
    pub speed: Speed,
    /// Whether it stands.
    pub paused: bool,
}

impl Pace {
    /// At the beginning.
    pub const fn new(first_ns: u64, last_ns: u64, speed: Speed) -> Self {
        Self { first_ns, last_ns, at_ns: first_ns, speed, paused: false }
    }

    /// So much time has passed for whoever watches.
    pub fn pass(&mut self, elapsed: Duration) {
        if self.paused {
            return;
        }
        let elapsed_ns = nanoseconds(elapsed);
        self.at_ns = match self.speed {
            Speed::Times(times) => {
                self.at_ns.saturating_add(elapsed_ns.saturating_mul(times.into()))
            }
            Speed::Max => self.last_ns,
        }
        .min(self.last_ns);
    }

    /// Stands, or goes on.
    pub const fn pause(&mut self) {
        self.paused = !self.paused;
    }

    /// Goes by so many seconds, back where they are negative.
    pub fn go_by(&mut self, seconds: i64) {
        let ns = seconds.unsigned_abs().saturating_mul(1_000_000_000);
        let to_ns = match seconds < 0 {
            true => self.at_ns.saturating_sub(ns),
            false => self.at_ns.saturating_add(ns),
        };
        self.go_to(to_ns);
    }

    /// Goes to a time, as far as there is something.
    pub fn go_to(&mut self, at_ns: u64) {
        self.at_ns = at_ns.min(self.last_ns).max(self.first_ns);
    }

    /// Whether there is nothing behind it.
    pub const fn is_at_end(&self) -> bool {
        self.at_ns >= self.last_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_chosen_one_after_the_other() {
        let mut speed = Speed::Times(1);
        let mut seen = vec![speed.to_string()];
        while speed != Speed::Max {
            speed = speed.faster();
            seen.push(speed.to_string());
        }
        assert_eq!(seen.first().map(String::as_str), Some("×1"));
        assert_eq!(&seen[9..], ["×1000", "max"]);
        assert_eq!((speed.faster(), speed.slower()), (Speed::Max, Speed::Times(1000)));
        assert_eq!(Speed::Times(7).slower(), Speed::Times(5));
        assert_eq!(Speed::Times(1).slower(), Speed::Times(1));
        assert_eq!(Speed::parse("10x"), Ok(Speed::Times(10)));
        assert_eq!(Speed::parse("max"), Ok(Speed::Max));
        for nonsense in ["0", "1001", "-1", "fast", ""] {
            assert!(Speed::parse(nonsense).is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn time_passes_at_its_speed_and_stays_within_the_recording() {
        const S: u64 = 1_000_000_000;
        let mut pace = Pace::new(100 * S, 200 * S, Speed::Times(10));
        pace.pass(Duration::from_secs(2));
        assert_eq!(pace.at_ns, 120 * S);
        pace.pause();
        pace.pass(Duration::from_secs(2));
        assert_eq!(pace.at_ns, 120 * S);
        pace.go_by(-60);
        assert_eq!(pace.at_ns, 100 * S);
        pace.go_by(10);
        assert_eq!(pace.at_ns, 110 * S);
        pace.go_by(i64::MAX);
        assert!(pace.is_at_end());
        pace.go_to(0);
        pace.pause();
        pace.speed = Speed::Max;
        pace.pass(Duration::from_millis(1));
        assert!(pace.is_at_end());
        // What a damaged file says does no harm.
        let mut pace = Pace::new(u64::MAX, 0, Speed::Times(1));
        pace.go_by(-1);
        pace.pass(Duration::from_secs(1));
    }
}
