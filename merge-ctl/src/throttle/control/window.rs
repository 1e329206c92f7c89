//! What happens to the writes for a second or more, and the verdict on it.

use super::S;
use crate::throttle::evidence::Observation;

/// The shortest window.
const WINDOW_NS: u64 = S;
/// A window with few writes is waited for so long.
const LONGEST_WINDOW_NS: u64 = 3 * S;
/// Of the target: what is faster leaves room for the merge.
const MARGIN: f64 = 0.8;
/// Of the slow writes that may be: where fewer are slow there is room for the merge.
const ROOM: f64 = 0.5;

/// How a window was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Too many slow writes.
    Bad {
        /// The share of them.
        share: f64,
    },
    /// Not too many.
    Good {
        /// So few that the merge may have more.
        room: bool,
        /// There were no writes at all.
        quiet: bool,
    },
}

/// What is being gathered for the next verdict.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    pub(super) span_ns: u64,
    /// What is left of the time that is not judged.
    pub(super) settle_ns: u64,
    pub(super) writes: u64,
    pub(super) slow: f64,
    /// Those that are beyond the margin; the slow ones are among them.
    pub(super) nearly_slow: f64,
    /// Writes in flight at the last look that are slow already.
    pub(super) stuck: u64,
    pub(super) merged_bytes: u64,
    pub(super) runs: Option<u64>,
    pub(super) copy_ns: u64,
    pub(super) let_through_ns: u64,
}

impl Window {
    pub(super) fn begin(&mut self) {
        *self = Self { settle_ns: self.settle_ns, ..Self::default() };
    }

    pub(super) fn take(&mut self, seen: &Observation, limit_ns: u64, lets_through: bool) {
        if self.settle_ns > 0 {
            self.settle_ns = self.settle_ns.saturating_sub(seen.span_ns);
            return;
        }
        self.span_ns += seen.span_ns;
        self.writes += seen.writes.count();
        self.slow += seen.writes.slower_than(limit_ns);
        self.nearly_slow += seen.writes.slower_than((limit_ns as f64 * MARGIN) as u64);
        let stuck = seen.in_flight.iter().filter(|write| write.age_ns >= limit_ns).count();
        self.stuck = stuck as u64;
        self.merged_bytes += seen.merged_bytes;
        if let Some(runs) = seen.runs {
            *self.runs.get_or_insert(0) += runs.runs;
            self.copy_ns += runs.copy_ns.min(runs.ns);
        }
        if lets_through {
            self.let_through_ns += seen.span_ns;
        }
    }

    /// The verdict, once there is enough for one. `allowed`: the share of writes that may be slow.
    pub(super) fn verdict(&self, allowed: f64) -> Option<Verdict> {
        if self.span_ns < WINDOW_NS {
            return None;
        }
        let writes = (self.writes + self.stuck) as f64;
        let slow = self.slow + self.stuck as f64;
        // Of few writes a single one may be slow: it says nothing about a percentile.
        let may_be_slow = (writes * allowed).max(1.0);
        if slow > may_be_slow {
            return Some(Verdict::Bad { share: slow / writes });
        }
        let quiet = writes == 0.0;
        if !quiet && writes < (0.5 / allowed).min(200.0) && self.span_ns < LONGEST_WINDOW_NS {
            return None;
        }
        let nearly_slow = self.nearly_slow + self.stuck as f64;
        Some(Verdict::Good { room: nearly_slow <= ROOM * may_be_slow, quiet })
    }
}
