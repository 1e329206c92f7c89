//! How fast it goes, and how long it may still take.

use std::collections::VecDeque;

use super::Progress;
use crate::cost::TimeRange;

/// How fast it goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rate {
    /// Bytes a second, over the last few seconds.
    pub bytes_per_s: f64,
    /// Bytes a second since the sample before; none at the first.
    pub step_bytes_per_s: Option<f64>,
    /// Runs a second, over the last few seconds; none without probes.
    pub runs_per_s: Option<f64>,
    /// Bytes a second in each whole second, newest last, at most `Model::RATE_HISTORY`.
    pub history: VecDeque<f64>,
}

/// A point of the past.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    pub(super) at_ns: u64,
    pub(super) merged_bytes: u64,
    pub(super) runs: u64,
}

impl Point {
    /// Bytes a second from here to there; none where no time lies between.
    fn bytes_per_s_until(self, later: Self) -> Option<f64> {
        let seconds = later.at_ns.saturating_sub(self.at_ns) as f64 / NS_PER_S as f64;
        let bytes = later.merged_bytes.saturating_sub(self.merged_bytes) as f64;
        (seconds > 0.0).then_some(bytes / seconds)
    }
}

/// The points that the rates are made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Window {
    start_ns: u64,
    points: VecDeque<Point>,
    /// Bytes merged in the second that is not whole yet.
    open_second_bytes: f64,
    whole_seconds: u64,
}

const NS_PER_S: u64 = 1_000_000_000;
/// The span of "now" for a rate.
const NOW_NS: u64 = 5 * NS_PER_S;
/// The span of the recent rate that an estimate weighs against the rate of the whole merge.
const RECENT_NS: u64 = 30 * NS_PER_S;
/// An estimate from less than this would be noise.
const MIN_ESTIMATE_NS: u64 = 2 * NS_PER_S;
/// How much farther than the two rates an estimate's ends lie. Bytes a second say little about what
/// is left where the runs ahead are not known: the same bytes may be one run or thousands.
const WIDENED: f64 = 2.0;

impl Window {
    pub(super) fn new(first: Point) -> Self {
        Self { start_ns: first.at_ns, points: VecDeque::from([first]), ..Self::default() }
    }

    /// Takes one more point in and brings the rate up to date.
    pub(super) fn push(&mut self, point: Point, rate: &mut Rate, with_runs: bool, keep: usize) {
        let last = self.points.back().copied().unwrap_or(point);
        self.push_seconds(last, point, rate, keep);
        rate.step_bytes_per_s = last.bytes_per_s_until(point);
        self.points.push_back(point);
        while self.points.len() > 2 && self.points[1].at_ns + RECENT_NS <= point.at_ns {
            self.points.pop_front();
        }
        let (bytes_per_s, runs_per_s) = self.rate_over(NOW_NS);
        rate.bytes_per_s = bytes_per_s;
        rate.runs_per_s = with_runs.then_some(runs_per_s);
    }

    /// Spreads what was merged since the last point evenly over the seconds between.
    fn push_seconds(&mut self, last: Point, point: Point, rate: &mut Rate, keep: usize) {
        let span_ns = point.at_ns.saturating_sub(last.at_ns);
        if span_ns == 0 {
            return;
        }
        let bytes_per_ns =
            point.merged_bytes.saturating_sub(last.merged_bytes) as f64 / span_ns as f64;
        let mut from_ns = last.at_ns;
        while from_ns < point.at_ns {
            let second_ends_ns = self.start_ns + (self.whole_seconds + 1) * NS_PER_S;
            let to_ns = point.at_ns.min(second_ends_ns);
            self.open_second_bytes += bytes_per_ns * to_ns.saturating_sub(from_ns) as f64;
            if to_ns == second_ends_ns {
                rate.history.push_back(std::mem::take(&mut self.open_second_bytes));
                self.whole_seconds += 1;
                if rate.history.len() > keep {
                    rate.history.pop_front();
                }
            }
            from_ns = to_ns;
        }
    }

    /// Bytes and runs a second over the last `span_ns`.
    fn rate_over(&self, span_ns: u64) -> (f64, f64) {
        let Some(last) = self.points.back() else { return (0.0, 0.0) };
        let first = self
            .points
            .iter()
            .rev()
            .take_while(|point| point.at_ns + span_ns >= last.at_ns)
            .last()
            .unwrap_or(last);
        let seconds = last.at_ns.saturating_sub(first.at_ns) as f64 / NS_PER_S as f64;
        if seconds == 0.0 {
            return (0.0, 0.0);
        }
        let bytes = last.merged_bytes.saturating_sub(first.merged_bytes) as f64;
        let runs = last.runs.saturating_sub(first.runs) as f64;
        (bytes / seconds, runs / seconds)
    }

    /// Bytes a second over the last half minute; 0 where nothing is known.
    pub(super) fn recent(&self) -> f64 {
        self.rate_over(RECENT_NS).0
    }

    /// Time left where the run list is not known: around what the recent rate and what the rate of
    /// the whole merge promise.
    pub(super) fn time_left(&self, progress: &Progress) -> Option<TimeRange> {
        let last = self.points.back()?;
        let elapsed_ns = last.at_ns.saturating_sub(self.start_ns);
        if progress.left_bytes == 0 || elapsed_ns < MIN_ESTIMATE_NS {
            return None;
        }
        let overall = progress.merged_bytes() as f64 / (elapsed_ns as f64 / NS_PER_S as f64);
        let (recent, _) = self.rate_over(RECENT_NS);
        if recent <= 0.0 || overall <= 0.0 {
            return None;
        }
        let left = progress.left_bytes as f64;
        Some(TimeRange {
            low_s: left / recent.max(overall) / WIDENED,
            high_s: left / recent.min(overall) * WIDENED,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at_s: f64, merged_bytes: u64) -> Point {
        Point { at_ns: (at_s * 1e9) as u64, merged_bytes, runs: merged_bytes / 10 }
    }

    #[test]
    fn a_second_without_samples_still_has_its_place() {
        let mut window = Window::new(point(10.0, 0));
        let mut rate = Rate::default();
        window.push(point(10.5, 50), &mut rate, true, 300);
        assert!(rate.history.is_empty(), "no second is whole yet");
        window.push(point(13.5, 350), &mut rate, true, 300);
        assert_eq!(rate.history, [100.0, 100.0, 100.0]);
        assert_eq!(rate.bytes_per_s, 100.0);
        assert_eq!(rate.runs_per_s, Some(10.0));
        assert_eq!(rate.step_bytes_per_s, Some(100.0));
        window.push(point(13.7, 350), &mut rate, true, 300);
        assert_eq!(rate.step_bytes_per_s, Some(0.0));
        window.push(point(13.7, 380), &mut rate, true, 300);
        assert_eq!(rate.step_bytes_per_s, None, "no time has passed");
    }

    #[test]
    fn the_rate_forgets_what_is_older_than_five_seconds() {
        let mut window = Window::new(point(0.0, 0));
        let mut rate = Rate::default();
        for second in 1..=20 {
            window.push(point(f64::from(second), 1000), &mut rate, false, 10);
        }
        assert_eq!((rate.bytes_per_s, rate.runs_per_s), (0.0, None));
        assert_eq!(rate.history.len(), 10);
    }

    #[test]
    fn an_estimate_lies_around_the_recent_and_the_overall_rate() {
        let mut window = Window::new(point(0.0, 0));
        let mut rate = Rate::default();
        for second in 1..=40_u32 {
            let merged = if second <= 10 { second * 100 } else { 1000 + (second - 10) * 10 };
            window.push(point(f64::from(second), u64::from(merged)), &mut rate, false, 300);
        }
        let progress = Progress { initial_bytes: 1300 + 1000, left_bytes: 1000 };
        let left = window.time_left(&progress).unwrap();
        assert!((left.low_s - 1000.0 / 32.5 / WIDENED).abs() < 0.1, "{left:?}");
        assert!((left.high_s - 100.0 * WIDENED).abs() < 0.1, "{left:?}");
    }
}
