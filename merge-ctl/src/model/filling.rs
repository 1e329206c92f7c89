//! When a snapshot that fills up will be full.
//!
//! A straight line through the fill of the recent past, by least squares: applications write in bursts,
//! and two looks alone would tell the burst. Pure: time comes in with each look.
//!
//! What always holds: nothing is told of a snapshot that does not grow, of one that was looked at too
//! few times or for too short, and of one that has been grown or made anew since.

use std::collections::VecDeque;

/// The span that counts as recent.
const SPAN_NS: u64 = 30 * 60 * NS_PER_S;
/// A shorter one tells nothing.
const SHORTEST_NS: u64 = 60 * NS_PER_S;
/// Nor do fewer looks.
const FEWEST: usize = 3;
/// How many looks are kept; more often than this is not looked.
const KEPT: usize = 180;
const NS_PER_S: u64 = 1_000_000_000;
/// What takes longer than this does not fill up.
const LONGEST_S: f64 = 10.0 * 365.0 * 86_400.0;

/// One look at a COW device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    at_ns: u64,
    used_bytes: u64,
}

/// The recent fill of one COW device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filling {
    looks: VecDeque<Look>,
    size_bytes: u64,
}

impl Filling {
    /// Takes in a look. `used_bytes` of `size_bytes` hold metadata or exceptions at `at_ns`.
    pub fn look(&mut self, at_ns: u64, used_bytes: u64, size_bytes: u64) {
        // A snapshot never gets emptier: it is another one.
        if self.looks.back().is_some_and(|last| used_bytes < last.used_bytes) {
            self.looks.clear();
        }
        self.size_bytes = size_bytes;
        let apart_ns = SPAN_NS / KEPT as u64;
        let before = self.looks.len().checked_sub(2).map(|place| self.looks[place].at_ns);
        if before.is_some_and(|before| at_ns.saturating_sub(before) < apart_ns) {
            // The newest look always counts; those behind it keep their distance.
            self.looks.pop_back();
        }
        self.looks.push_back(Look { at_ns, used_bytes });
        while self.looks.front().is_some_and(|first| first.at_ns + SPAN_NS < at_ns) {
            self.looks.pop_front();
        }
    }

    /// How fast it grows, in bytes a second; none where it does not.
    pub fn bytes_per_s(&self) -> Option<f64> {
        let (first, last) = (self.looks.front()?, self.looks.back()?);
        let is_short = last.at_ns - first.at_ns < SHORTEST_NS || self.looks.len() < FEWEST;
        if is_short || last.used_bytes <= first.used_bytes {
            return None;
        }
        // From the first look on, so that no precision goes into what all have in common.
        let points = self.looks.iter().map(|look| {
            let seconds = (look.at_ns - first.at_ns) as f64 / NS_PER_S as f64;
            (seconds, (look.used_bytes - first.used_bytes) as f64)
        });
        let count = self.looks.len() as f64;
        let (sum_x, sum_y) = points.clone().fold((0.0, 0.0), |(x, y), (px, py)| (x + px, y + py));
        let (mean_x, mean_y) = (sum_x / count, sum_y / count);
        let (mut covariance, mut variance) = (0.0, 0.0);
        for (x, y) in points {
            covariance += (x - mean_x) * (y - mean_y);
            variance += (x - mean_x) * (x - mean_x);
        }
        Some(covariance / variance).filter(|slope| slope.is_finite() && *slope > 0.0)
    }

    /// Seconds until it is full if it goes on so, 0 where it is; none where it does not grow.
    pub fn full_in_s(&self) -> Option<f64> {
        let last = self.looks.back()?;
        let room = self.size_bytes.saturating_sub(last.used_bytes);
        if room == 0 {
            return Some(0.0);
        }
        Some(room as f64 / self.bytes_per_s()?).filter(|seconds| *seconds <= LONGEST_S)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn looked(every_s: u64, fills: impl IntoIterator<Item = u64>) -> Filling {
        let mut filling = Filling::default();
        for (number, used) in (0..).zip(fills) {
            filling.look((7 + number * every_s) * NS_PER_S, used, 1000 * MIB);
        }
        filling
    }

    #[test]
    fn an_even_growth_goes_on() {
        let filling = looked(15, (0..20).map(|look| (100 + look * 15) * MIB));
        assert_eq!(filling.bytes_per_s(), Some(MIB as f64));
        assert_eq!(filling.full_in_s(), Some(1000.0 - 385.0));
    }

    #[test]
    fn a_burst_between_two_looks_is_not_taken_for_the_pace() {
        // Every tenth look finds 10 MiB more.
        let filling = looked(15, (0..100).map(|look| look / 10 * 10 * MIB));
        let pace = filling.bytes_per_s().unwrap() / MIB as f64;
        assert!((pace - 10.0 / 150.0).abs() < 0.005, "{pace}");
    }

    #[test]
    fn what_does_not_grow_is_never_full() {
        assert_eq!(looked(15, [500 * MIB; 50]).full_in_s(), None);
        assert_eq!(looked(15, [1, 2]).full_in_s(), None, "two looks are no pattern");
        assert_eq!(looked(1, (0..10).map(|look| look * MIB)).full_in_s(), None, "too short");
        // It grew, and has not for half an hour.
        let then_still = (0..10).map(|look| look * MIB).chain([10 * MIB; 130]);
        assert_eq!(looked(15, then_still).full_in_s(), None);
        assert_eq!(Filling::default().full_in_s(), None);
    }

    #[test]
    fn a_full_one_is_full_now_and_another_one_begins_anew() {
        assert_eq!(looked(15, [1000 * MIB]).full_in_s(), Some(0.0));
        let again = looked(15, (0..9).map(|look| look * MIB).chain([2, 3]));
        assert_eq!(again.full_in_s(), None, "the growth was another snapshot's");
    }

    #[test]
    fn one_that_was_made_larger_has_more_time() {
        let mut filling = looked(15, (0..20).map(|look| look * MIB));
        let before = filling.full_in_s().unwrap();
        filling.look((7 + 20 * 15) * NS_PER_S, 20 * MIB, 2000 * MIB);
        assert!(filling.full_in_s().unwrap() > before * 1.9);
    }

    proptest! {
        #[test]
        fn it_stays_small_and_tells_no_nonsense(
            looks in prop::collection::vec((0u64..200, 0u64..1000), 0..600)
        ) {
            let (mut filling, mut at_ns) = (Filling::default(), 0);
            for (seconds, used) in looks {
                at_ns += seconds * NS_PER_S;
                filling.look(at_ns, used, 1000);
                prop_assert!(filling.looks.len() <= KEPT + 3);
                if let Some(seconds) = filling.full_in_s() {
                    prop_assert!((0.0..=LONGEST_S).contains(&seconds));
                }
            }
        }
    }
}
