//! Which part of the slow writes waits for runs rather than for the device. Pure.
//!
//! How many writes were slow is known exactly, from the histogram; what each waited for only of
//! those that a sample found in flight. A slow write is found the more likely the longer it takes, so
//! the long ones would weigh too much: a write that outlives the time between two samples is counted
//! once, when it has done so, and only what is left of the slow ones is shared out by what was seen
//! of the shorter ones.

use super::evidence::Observation;

/// After so long an observation counts half.
const HALF_LIFE_NS: f64 = 5e9;
/// A write that is older than this was found by some sample.
const LONG_NS: u64 = 250_000_000;
/// Fewer sightings than this say nothing.
const ENOUGH: f64 = 2.0;

/// What the slow writes of the last seconds waited for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Blame {
    slow: f64,
    long: Seen,
    short: Seen,
}

/// Sightings of slow writes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Seen {
    held: f64,
    others: f64,
}

impl Seen {
    fn add(&mut self, held: bool) {
        if held {
            self.held += 1.0;
        } else {
            self.others += 1.0;
        }
    }

    fn all(self) -> f64 {
        self.held + self.others
    }
}

impl Blame {
    /// Takes in what was seen, for writes that are slow after `slow_ns`.
    pub fn take(&mut self, seen: &Observation, slow_ns: u64) {
        let keep = 0.5_f64.powf(seen.span_ns as f64 / HALF_LIFE_NS);
        for figure in [
            &mut self.slow,
            &mut self.long.held,
            &mut self.long.others,
            &mut self.short.held,
            &mut self.short.others,
        ] {
            *figure *= keep;
        }
        self.slow += seen.writes.slower_than(slow_ns);
        let long_ns = LONG_NS.max(slow_ns);
        for write in seen.in_flight.iter().filter(|write| write.age_ns >= slow_ns) {
            match write.age_ns {
                age if age < long_ns => self.short.add(write.held),
                age if age < long_ns.saturating_add(seen.span_ns) => self.long.add(write.held),
                _ => {}
            }
        }
    }

    /// The share of the slow writes that a run held, from 0 to 1; none where too little was seen.
    pub fn held_share(&self) -> Option<f64> {
        if self.long.all() + self.short.all() < ENOUGH {
            return None;
        }
        let rest = (self.slow - self.long.all()).max(0.0);
        let of_rest = match self.short.all() {
            0.0 => 0.0,
            all => self.short.held / all,
        };
        // Long ones that have not ended are not among the slow ones yet.
        let all = self.slow.max(self.long.all());
        if all > 0.0 {
            Some(((self.long.held + rest * of_rest) / all).clamp(0.0, 1.0))
        } else {
            Some(self.short.held / self.short.all())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::evidence::{Histogram, WriteInFlight};
    use super::*;
    use merge_common::{LATENCY_BUCKETS, latency_bucket};

    const MS: u64 = 1_000_000;

    fn seen(slow: u64, in_flight: &[(u64, bool)]) -> Observation {
        let mut counts = vec![0; LATENCY_BUCKETS];
        counts[latency_bucket(20 * MS)] = slow;
        let write = |(ms, held): &(u64, bool)| WriteInFlight { age_ns: ms * MS, held: *held };
        Observation {
            span_ns: 200 * MS,
            writes: Histogram::new(counts),
            in_flight: in_flight.iter().map(write).collect(),
            ..Observation::default()
        }
    }

    fn share(observations: impl IntoIterator<Item = Observation>) -> Option<f64> {
        let mut blame = Blame::default();
        for seen in observations {
            blame.take(&seen, 5 * MS);
        }
        blame.held_share()
    }

    #[test]
    fn one_write_that_is_held_for_long_is_one_of_many_slow_ones() {
        // Held for two seconds, so found by ten samples, beside ten short slow ones a sample.
        let share = share((1..=10).map(|n| seen(10, &[(n * 200, true), (10, false)]))).unwrap();
        assert!(share < 0.1, "{share}");
    }

    #[test]
    fn where_all_wait_for_runs_that_is_seen() {
        assert!(share((1..=5).map(|_| seen(4, &[(30, true), (300, true)]))).unwrap() > 0.9);
        assert!(share((1..=5).map(|n| seen(0, &[(n * 200, true); 3]))).unwrap() > 0.9);
        assert_eq!(share((1..=5).map(|_| seen(4, &[(30, false)]))), Some(0.0));
    }

    #[test]
    fn nothing_seen_says_nothing() {
        assert_eq!(share([seen(100, &[])]), None);
        assert_eq!(share([seen(100, &[(1, true); 50])]), None, "those are not slow");
        assert_eq!(share([]), None);
    }
}
