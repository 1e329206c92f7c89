//! Latency of application I/O, from cumulative histograms.

use std::collections::VecDeque;

use merge_common::{LATENCY_BUCKETS, latency_bucket_floor_ns};

use crate::sample::{IoSample, IoTotals, Sample};

/// Latency of application I/O.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies {
    /// Writes completed in the last few seconds.
    pub writes_now: Latency,
    /// Reads completed in the last few seconds.
    pub reads_now: Latency,
    /// Writes since the first sample.
    pub writes: Latency,
    /// Reads since the first sample.
    pub reads: Latency,
    /// Writes completed since the probes were attached, by latency: the buckets of
    /// `merge_common::latency_bucket`.
    pub write_counts: Vec<u64>,
    /// How long these writes took together.
    pub write_ns: u64,
}

/// A latency distribution in a few figures. Upper bounds of histogram buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    /// How many I/Os.
    pub count: u64,
    /// I/Os a second.
    pub per_s: f64,
    /// Bytes a second.
    pub bytes_per_s: f64,
    /// Half were faster.
    pub p50_ns: u64,
    /// 99 of 100 were faster.
    pub p99_ns: u64,
    /// The slowest.
    pub max_ns: u64,
}

/// The span of "now".
const NOW_NS: u64 = 5_000_000_000;

/// Cumulative totals of the last few seconds, and the first ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LatencyLog {
    first: Option<Totals>,
    recent: VecDeque<Totals>,
}

#[derive(Clone, Debug, PartialEq)]
struct Totals {
    at_ns: u64,
    writes: IoTotals,
    reads: IoTotals,
}

impl Totals {
    fn of(at_ns: u64, io: &IoSample) -> Self {
        Self { at_ns, writes: io.writes.clone(), reads: io.reads.clone() }
    }
}

impl LatencyLog {
    /// Takes in a sample; none where it has no I/O.
    pub(super) fn push(&mut self, sample: &Sample) -> Option<Latencies> {
        let now = Totals::of(sample.at_ns, sample.io.as_ref()?);
        self.recent.push_back(now.clone());
        while self.recent.len() > 2 && self.recent[1].at_ns + NOW_NS <= now.at_ns {
            self.recent.pop_front();
        }
        let first = self.first.get_or_insert_with(|| now.clone());
        let recent = self.recent.front().unwrap_or(&now);
        Some(Latencies {
            writes_now: Latency::between(&recent.writes, &now.writes, now.at_ns - recent.at_ns),
            reads_now: Latency::between(&recent.reads, &now.reads, now.at_ns - recent.at_ns),
            writes: Latency::between(&first.writes, &now.writes, now.at_ns - first.at_ns),
            reads: Latency::between(&first.reads, &now.reads, now.at_ns - first.at_ns),
            write_ns: now.writes.latency_ns,
            write_counts: now.writes.latency,
        })
    }
}

impl Latency {
    fn between(before: &IoTotals, after: &IoTotals, span_ns: u64) -> Self {
        let counts: Vec<u64> = after
            .latency
            .iter()
            .enumerate()
            .map(|(i, count)| count.saturating_sub(before.latency.get(i).copied().unwrap_or(0)))
            .collect();
        let seconds = span_ns as f64 / 1e9;
        let per_s = |amount: u64| if seconds > 0.0 { amount as f64 / seconds } else { 0.0 };
        let count = counts.iter().sum();
        Self {
            count,
            per_s: per_s(count),
            bytes_per_s: per_s(after.bytes.saturating_sub(before.bytes)),
            p50_ns: quantile_ns(&counts, count.div_ceil(2)),
            p99_ns: quantile_ns(&counts, count - count / 100),
            max_ns: quantile_ns(&counts, count),
        }
    }
}

/// The upper bound of the bucket that holds the `rank`-th fastest I/O; 0 where there is none.
fn quantile_ns(counts: &[u64], rank: u64) -> u64 {
    let mut seen = 0;
    for (bucket, count) in counts.iter().enumerate() {
        seen += count;
        if rank > 0 && seen >= rank {
            return latency_bucket_floor_ns((bucket + 1).min(LATENCY_BUCKETS - 1));
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use merge_common::latency_bucket;

    use super::*;

    #[test]
    fn quantiles_are_upper_bounds_of_what_was_counted_in_between() {
        let mut before = IoTotals { latency: vec![0; 60], bytes: 4096, ..IoTotals::default() };
        before.latency[3] = 1000;
        let mut after = before.clone();
        after.latency.resize(LATENCY_BUCKETS, 0);
        after.latency[latency_bucket(50_000)] += 98;
        after.latency[latency_bucket(3_000_000)] += 2;
        after.bytes += 100 * 4096;
        let latency = Latency::between(&before, &after, 2_000_000_000);
        assert_eq!((latency.count, latency.per_s), (100, 50.0));
        assert_eq!(latency.bytes_per_s, 50.0 * 4096.0);
        assert!((50_000..70_000).contains(&latency.p50_ns), "{latency:?}");
        assert!((3_000_000..4_000_000).contains(&latency.p99_ns), "{latency:?}");
        assert_eq!(latency.max_ns, latency.p99_ns);
    }

    #[test]
    fn nothing_counted_is_zero_and_not_a_panic() {
        assert_eq!(
            Latency::between(&IoTotals::default(), &IoTotals::default(), 0),
            Latency::default()
        );
    }
}
