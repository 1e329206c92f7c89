//! What happened between two looks at a merge, as the law and the record of effects need it. Pure.

use merge_common::{LATENCY_BUCKETS, latency_bucket_floor_ns};

use crate::model::{Model, Relation};
use crate::sample::Phase;

/// The throttle sleeps for so long at a time (`SLEEP_USEC` in `drivers/md/dm-kcopyd.c`; a timer may
/// be a little early by our clock). A copy that was shorter has not slept.
pub const SLEEP_NS: u64 = 95_000_000;

/// What happened since the last look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// When it was, by `CLOCK_MONOTONIC`.
    pub now_ns: u64,
    /// How long ago the last look was.
    pub span_ns: u64,
    /// Writes that ended meanwhile, by latency.
    pub writes: Histogram,
    /// Writes in flight now: their age, and whether the run in progress holds them.
    pub in_flight: Vec<WriteInFlight>,
    /// Bytes merged meanwhile.
    pub merged_bytes: u64,
    /// Runs that ended meanwhile, and the time that their copies took; none where runs are not seen.
    pub runs: Option<RunsSeen>,
}

/// A write in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteInFlight {
    /// Its age.
    pub age_ns: u64,
    /// Whether it waits for the end of the run in progress.
    pub held: bool,
}

/// Runs that ended between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunsSeen {
    /// How many.
    pub runs: u64,
    /// How long they took together.
    pub ns: u64,
    /// How long their copies took together.
    pub copy_ns: u64,
    /// How many of the copies were long enough to have slept; the one in progress is counted
    /// as long as it is.
    pub may_have_slept: u64,
}

/// Writes by their latency, in the buckets of `merge_common`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram(Vec<u64>);

impl Histogram {
    /// Of cumulative counts.
    pub fn new(counts: Vec<u64>) -> Self {
        Self(counts)
    }

    /// What has come since an earlier state of the same counts.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let earlier = |bucket: usize| before.0.get(bucket).copied().unwrap_or(0);
        let counts = self.0.iter().enumerate();
        Self(counts.map(|(bucket, count)| count.saturating_sub(earlier(bucket))).collect())
    }

    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count += more;
        }
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// How many took longer than this. Those of the bucket that it falls into are taken to lie
    /// evenly in it.
    pub fn slower_than(&self, limit_ns: u64) -> f64 {
        let counts = self.0.iter().enumerate().filter(|(_, count)| **count > 0);
        counts
            .map(|(bucket, count)| {
                let (low, high) = (latency_bucket_floor_ns(bucket), ceiling_ns(bucket));
                let above = high.saturating_sub(limit_ns.max(low)) as f64;
                *count as f64 * (above / (high - low).max(1) as f64).min(1.0)
            })
            .sum()
    }

    /// The latency that this share of the writes kept to, from 0 to 1, as the upper bound of its
    /// bucket; none where there were no writes.
    pub fn quantile_ns(&self, share: f64) -> Option<u64> {
        let rank = ((self.count() as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        self.0.iter().enumerate().find_map(|(bucket, count)| {
            seen += count;
            (seen >= rank).then(|| ceiling_ns(bucket))
        })
    }
}

fn ceiling_ns(bucket: usize) -> u64 {
    if bucket + 1 < LATENCY_BUCKETS {
        latency_bucket_floor_ns(bucket + 1)
    } else {
        // Nothing is above the last bucket.
        latency_bucket_floor_ns(bucket).saturating_mul(2)
    }
}

/// Makes observations of models that follow one another.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    before: Option<Before>,
}

#[derive(Clone, Debug)]
struct Before {
    now_ns: u64,
    merged_bytes: u64,
    writes: Histogram,
}

impl Observer {
    /// What has happened since the model before; nothing at the first.
    pub fn look(&mut self, model: &Model) -> Option<Observation> {
        let writes = model.latency.as_ref().map(|latency| latency.write_counts.clone());
        let now = Before {
            now_ns: model.now_ns,
            merged_bytes: model.progress.merged_bytes(),
            writes: Histogram::new(writes.unwrap_or_default()),
        };
        let before = self.before.replace(now.clone())?;
        Some(Observation {
            now_ns: now.now_ns,
            span_ns: now.now_ns.saturating_sub(before.now_ns),
            writes: now.writes.since(&before.writes),
            in_flight: in_flight(model),
            merged_bytes: now.merged_bytes.saturating_sub(before.merged_bytes),
            runs: model.sees_runs().then(|| runs(model, before.now_ns)),
        })
    }
}

fn in_flight(model: &Model) -> Vec<WriteInFlight> {
    let Some(writes) = &model.writes else { return Vec::new() };
    let write = |write: &crate::model::Write| WriteInFlight {
        age_ns: write.age_ns,
        held: write.relation == Relation::Held,
    };
    // A flush without data has no place, and waits for other things than copies.
    writes.listed.iter().filter(|write| write.bytes > 0).map(write).collect()
}

fn runs(model: &Model, since_ns: u64) -> RunsSeen {
    let mut seen = RunsSeen::default();
    for run in model.recent_runs.iter().filter(|run| run.finished_ns > since_ns) {
        let copy_ns = run.phase_ns[Phase::Copy as usize];
        seen.runs += 1;
        seen.ns += run.finished_ns.saturating_sub(run.started_ns);
        seen.copy_ns += copy_ns;
        seen.may_have_slept += u64::from(copy_ns >= SLEEP_NS);
    }
    let copying = model.current.as_ref().filter(|run| run.phase == Phase::Copy);
    let age_ns = copying.map_or(0, |run| model.now_ns.saturating_sub(run.phase_started_ns));
    seen.may_have_slept += u64::from(age_ns >= SLEEP_NS);
    seen
}

#[cfg(test)]
mod tests {
    use merge_common::latency_bucket;

    use super::*;

    const MS: u64 = 1_000_000;

    fn histogram(latencies_ms: &[u64]) -> Histogram {
        let mut counts = vec![0; LATENCY_BUCKETS];
        for ms in latencies_ms {
            counts[latency_bucket(ms * MS)] += 1;
        }
        Histogram::new(counts)
    }

    #[test]
    fn what_came_since_is_counted_by_latency() {
        let before = histogram(&[1, 1, 50]);
        let mut after = before.clone();
        after.add(&histogram(&[1, 3, 3, 80]));
        let since = after.since(&before);
        assert_eq!(since.count(), 4);
        assert_eq!(since.slower_than(10 * MS), 1.0);
        assert_eq!(since.slower_than(500 * MS), 0.0);
        assert_eq!(since.slower_than(0), 4.0);
        assert!((3 * MS..5 * MS).contains(&since.quantile_ns(0.75).unwrap()));
        assert!((80 * MS..100 * MS).contains(&since.quantile_ns(0.99).unwrap()));
    }

    #[test]
    fn a_limit_inside_a_bucket_divides_it() {
        let one = histogram(&[20]);
        let bucket = latency_bucket(20 * MS);
        let (low, high) = (latency_bucket_floor_ns(bucket), latency_bucket_floor_ns(bucket + 1));
        assert!((one.slower_than(low.midpoint(high)) - 0.5).abs() < 0.01);
        assert_eq!((one.slower_than(low), one.slower_than(high)), (1.0, 0.0));
    }

    #[test]
    fn no_writes_have_no_quantile() {
        assert_eq!(Histogram::default().quantile_ns(0.99), None);
        assert_eq!(Histogram::default().slower_than(1), 0.0);
    }
}
