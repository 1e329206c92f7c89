//! Whose writes the merge waits for.

use std::collections::VecDeque;
use std::fmt;

use super::{Relation, Writes};
use crate::sample::InFlightWrite;

/// A process whose writes the merge waits for, or waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The name of the thread that submitted them.
    pub comm: String,
    /// The process.
    pub pid: u32,
    /// How many at once, at the most.
    pub writes: u64,
}

impl Writer {
    /// The processes that have writes in lists of writes in flight, each with the most that it had
    /// in one of them, most first.
    pub fn most_at_once<'a>(lists: impl Iterator<Item = &'a [InFlightWrite]>) -> Vec<Self> {
        let mut all = Vec::new();
        for list in lists {
            let mut here = Vec::new();
            for write in list {
                add(&mut here, &write.comm, write.pid, |writes| writes + 1);
            }
            for Self { comm, pid, writes } in here {
                add(&mut all, &comm, pid, |most| most.max(writes));
            }
        }
        most_first(&mut all);
        all
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.comm, self.pid)
    }
}

/// How many are remembered of one sample: a sentence has no room for more.
const REMEMBERED: usize = 4;
const MINUTE_NS: u64 = 60_000_000_000;

/// The processes that the run in progress waits for, the one with the most writes first.
pub(super) fn awaited(writes: Option<&Writes>) -> Vec<Writer> {
    of(writes, |relation| relation == Relation::Awaited)
}

/// The processes whose writes are of a kind, the one with the most first.
pub(super) fn of(writes: Option<&Writes>, kind: impl Fn(Relation) -> bool) -> Vec<Writer> {
    let mut writers = Vec::new();
    for write in writes.iter().flat_map(|writes| &writes.listed) {
        if kind(write.relation) {
            add(&mut writers, &write.comm, write.pid, |writes| writes + 1);
        }
    }
    most_first(&mut writers);
    writers
}

fn add(writers: &mut Vec<Writer>, comm: &str, pid: u32, more: impl Fn(u64) -> u64) {
    match writers.iter_mut().find(|writer| writer.pid == pid && writer.comm == comm) {
        Some(writer) => writer.writes = more(writer.writes),
        None => writers.push(Writer { comm: comm.to_owned(), pid, writes: more(0) }),
    }
}

fn most_first(writers: &mut [Writer]) {
    writers.sort_by_key(|writer| std::cmp::Reverse(writer.writes));
}

/// Who was waited for in the last minute: a wait is short, and a verdict is not about one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct WriterLog(VecDeque<(u64, Vec<Writer>)>);

impl WriterLog {
    /// Takes in a sample's writers; who was waited for in the minute before, most writes first.
    pub(super) fn push(&mut self, now_ns: u64, mut writers: Vec<Writer>) -> Vec<Writer> {
        writers.truncate(REMEMBERED);
        if !writers.is_empty() {
            self.0.push_back((now_ns, writers));
        }
        while self.0.front().is_some_and(|(at_ns, _)| at_ns + MINUTE_NS < now_ns) {
            self.0.pop_front();
        }
        let mut all = Vec::new();
        for Writer { comm, pid, writes } in self.0.iter().flat_map(|(_, writers)| writers) {
            add(&mut all, comm, *pid, |most| most.max(*writes));
        }
        most_first(&mut all);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(pid: u32, writes: u64) -> Writer {
        Writer { comm: "fio".to_owned(), pid, writes }
    }

    #[test]
    fn the_most_at_once_is_no_sum() {
        let write = |pid| InFlightWrite {
            sector: 0,
            bytes: 4096,
            queued_ns: 0,
            pid,
            comm: "fio".to_owned(),
        };
        let lists = [vec![write(1), write(2), write(1)], vec![write(1), write(2)]];
        let most = Writer::most_at_once(lists.iter().map(Vec::as_slice));
        assert_eq!(most, [writer(1, 2), writer(2, 1)]);
    }

    #[test]
    fn writers_are_remembered_for_a_minute_with_the_most_that_they_had() {
        let mut log = WriterLog::default();
        log.push(0, vec![writer(1, 3), writer(2, 1)]);
        let writers = log.push(1_000_000_000, vec![writer(2, 5)]);
        assert_eq!(writers, [writer(2, 5), writer(1, 3)]);
        assert_eq!(log.push(60_500_000_000, Vec::new()), [writer(2, 5)]);
        assert!(log.push(90_000_000_000, Vec::new()).is_empty());
    }
}
