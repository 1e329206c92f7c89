//! What the two devices below did, from the kernel's cumulative counters.

use std::collections::VecDeque;

use crate::sample::{DiskFacts, DiskOps, Disks, Sample};

/// What the two devices below did, over two spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskTimes {
    /// Over the last minute.
    pub last_minute: DiskPair,
    /// Since the first sample.
    pub since_start: DiskPair,
}

/// The two devices below over one span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskPair {
    /// The device that holds the exceptions.
    pub cow: DiskUse,
    /// The device that holds the origin's data.
    pub real: DiskUse,
}

/// What a device did, whoever asked it to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUse {
    /// Reads that were completed.
    pub reads: OpUse,
    /// Writes that were completed; flushes are among them where the device has a write cache.
    pub writes: OpUse,
    /// I/Os in flight at the end of the span.
    pub in_flight: u64,
    /// Whether it was suspended at the end of the span.
    pub suspended: bool,
}

/// Completed I/Os of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpUse {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long they took, each counted by itself.
    pub ns: u64,
}

impl OpUse {
    /// What one took; none where there was none.
    pub fn mean_ns(&self) -> Option<u64> {
        self.ns.checked_div(self.count)
    }

    fn between(before: &DiskOps, after: &DiskOps) -> Self {
        Self {
            count: after.completed.saturating_sub(before.completed),
            bytes: after.length.saturating_sub(before.length).bytes(),
            ns: after.ms.saturating_sub(before.ms).saturating_mul(1_000_000),
        }
    }
}

impl DiskUse {
    fn between(before: &DiskFacts, after: &DiskFacts) -> Self {
        Self {
            reads: OpUse::between(&before.reads, &after.reads),
            writes: OpUse::between(&before.writes, &after.writes),
            in_flight: after.in_flight,
            suspended: after.suspended,
        }
    }
}

impl DiskPair {
    fn between(before: &Disks, after: &Disks) -> Self {
        Self {
            cow: DiskUse::between(&before.cow, &after.cow),
            real: DiskUse::between(&before.real, &after.real),
        }
    }
}

const MINUTE_NS: u64 = 60_000_000_000;

/// Counters of the last minute, and the first ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct DiskLog {
    first: Option<Disks>,
    recent: VecDeque<(u64, Disks)>,
}

impl DiskLog {
    /// Takes in a sample; none where it has no counters.
    pub(super) fn push(&mut self, sample: &Sample) -> Option<DiskTimes> {
        let now = sample.disks?;
        self.recent.push_back((sample.at_ns, now));
        while self.recent.len() > 2 && self.recent[1].0 + MINUTE_NS <= sample.at_ns {
            self.recent.pop_front();
        }
        let first = self.first.get_or_insert(now);
        let (_, minute_ago) = self.recent.front()?;
        Some(DiskTimes {
            last_minute: DiskPair::between(minute_ago, &now),
            since_start: DiskPair::between(first, &now),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Sectors;

    fn facts(reads: u64) -> DiskFacts {
        let ops =
            |completed| DiskOps { completed, length: Sectors(completed * 8), ms: completed * 5 };
        DiskFacts { reads: ops(reads), writes: ops(0), in_flight: 1, suspended: false }
    }

    #[test]
    fn the_minute_slides_and_the_start_stays() {
        let mut log = DiskLog::default();
        let mut times = None;
        for second in 0..100 {
            let disks = Disks { cow: facts(1_000 + second * 10), real: facts(0) };
            let sample = crate::model::tests::sample(second, 10);
            times = log.push(&Sample { disks: Some(disks), ..sample });
        }
        let times = times.unwrap();
        assert_eq!(times.since_start.cow.reads.count, 990);
        assert_eq!(times.last_minute.cow.reads.count, 600);
        assert_eq!(times.last_minute.cow.reads.bytes, 600 * 4096);
        assert_eq!(times.last_minute.cow.reads.mean_ns(), Some(5_000_000));
        assert_eq!(times.last_minute.real.reads.mean_ns(), None);
    }

    #[test]
    fn counters_that_fall_are_a_new_device_and_not_a_panic() {
        let use_of = DiskUse::between(&facts(9), &facts(3));
        assert_eq!(use_of.reads, OpUse::default());
    }
}
