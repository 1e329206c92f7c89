//! What a merge costs in time: the one formula behind the plan before a merge and the estimate
//! while it goes on.
//!
//! The kernel merges run after run, one at a time (`drivers/md/dm-snap.c`,
//! `snapshot_merge_next_chunks`), and pays for each a row of I/Os that wait for each other: copy,
//! flush, metadata write. So a run costs something fixed, and something more for each byte.

use serde::{Deserialize, Serialize};

/// What a run costs: a fixed part, whatever its length, and a part for each byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunCost {
    /// Nanoseconds a run, before its first byte.
    pub fixed_ns: f64,
    /// Nanoseconds a byte.
    pub byte_ns: f64,
}

impl RunCost {
    /// Nanoseconds for so many runs with so many bytes together.
    pub fn of(&self, runs: u64, bytes: u64) -> f64 {
        self.fixed_ns * runs as f64 + self.byte_ns * bytes as f64
    }
}

/// A span of time as a range, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeRange {
    /// If it goes well.
    pub low_s: f64,
    /// If it does not.
    pub high_s: f64,
}

impl TimeRange {
    /// The best guess: as many times longer than the low end as the high end is longer than it.
    pub fn middle_s(&self) -> f64 {
        (self.low_s * self.high_s).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_runs_cost_more_than_one_of_the_same_bytes() {
        let cost = RunCost { fixed_ns: 1_000.0, byte_ns: 2.0 };
        assert_eq!(cost.of(1, 100), 1_200.0);
        assert_eq!(cost.of(10, 100), 10_200.0);
        assert_eq!(cost.of(0, 0), 0.0);
    }

    #[test]
    fn the_middle_of_a_range_is_a_matter_of_factors() {
        assert_eq!(TimeRange { low_s: 10.0, high_s: 40.0 }.middle_s(), 20.0);
    }
}
