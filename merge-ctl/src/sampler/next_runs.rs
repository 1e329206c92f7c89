//! The next runs of a merge, one by one, as far as a bounded list reaches.
//!
//! The walk that reads the whole store comes to the next runs last, and keeps those ([`LastRuns`]).
//! When most of them are merged, [`NextRunsReader`] reads on backwards from there, in a thread of
//! its own: a merge clears exceptions from the end, so what lies before the runs that are known
//! stays what it is until the merge has passed them. A merge that is faster than the reader is
//! followed from where it is by then.
//!
//! Nothing is read while a device is suspended, and nothing any more once nothing is left to merge.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;

use super::store::{self, Unread};
use crate::dm::disk_stats;
use crate::human;
use crate::sample::NextRuns;
use crate::store::{ForwardRuns, Opened, Place, Placed, Run, Store};
use crate::units::{DeviceNumber, Sectors};

/// How many runs are kept, or read on, at most.
const MOST_RUNS: usize = 2048;
/// How many areas are read on at most: a thousand runs of a whole area each would be a thousand
/// reads between those of the merge.
const MOST_AREAS: u64 = 64;
/// Between a try to read on that failed and the next.
const PAUSE_NS: u64 = 2_000_000_000;

/// The run that a merge of a snapshot would begin with, or nothing where there is none to merge.
/// `metadata` is what the snapshot's status line tells of the COW device. Blocks as long as the
/// device does.
///
/// # Errors
/// Why it cannot be told, in words.
pub fn first_run(
    cow: DeviceNumber,
    origin: Sectors,
    metadata: Sectors,
) -> Result<Option<Run>, String> {
    let suspended = disk_stats::read(cow).map_err(|error| error.to_string())?.suspended;
    if suspended {
        return Err("the COW device is suspended".to_owned());
    }
    first_run_of(cow, origin, metadata).map_err(|error| human::in_full(&error))
}

fn first_run_of(
    cow: DeviceNumber,
    origin: Sectors,
    metadata: Sectors,
) -> Result<Option<Run>, Unread> {
    let store = match Store::open(store::open(cow)?, Some(origin))? {
        Opened::Usable(store) => store,
        Opened::New => return Ok(None),
        Opened::Invalid => return Err(Unread::Invalid),
    };
    // The header, and an area more than are full (`persistent_usage`).
    let areas = metadata.0 / store.layout().chunk_size().sectors();
    let end = store.end_from(areas.saturating_sub(2))?;
    Ok(store.runs(end).next().transpose()?)
}

/// The last runs of a walk forwards.
#[derive(Debug, Default)]
pub(super) struct LastRuns {
    forward: ForwardRuns,
    kept: VecDeque<Run>,
    exceptions: u64,
}

impl LastRuns {
    /// Adds the exception that was committed next.
    pub(super) fn add(&mut self, placed: Placed) {
        self.exceptions += 1;
        if let Some(ended) = self.forward.add(placed) {
            self.keep(ended.run);
        }
    }

    fn keep(&mut self, run: Run) {
        if self.kept.len() == MOST_RUNS {
            self.kept.pop_front();
        }
        self.kept.push_back(run);
    }

    /// At the end of the store: the runs in the order of the merge.
    pub(super) fn into_next(mut self) -> NextRuns {
        if let Some(last) = std::mem::take(&mut self.forward).finish() {
            self.keep(last.run);
        }
        NextRuns { exceptions: self.exceptions, runs: self.kept.into_iter().rev().collect() }
    }
}

/// Reads on where the runs that are known come to an end.
#[derive(Debug)]
pub(super) struct NextRunsReader {
    cow: DeviceNumber,
    origin: Sectors,
    /// How many exceptions are left behind the runs that are known.
    known_to: u64,
    /// Once so few are left, it is time to read on.
    read_at: u64,
    reading: Option<Receiver<Result<NextRuns, Unread>>>,
    not_before_ns: u64,
}

impl NextRunsReader {
    /// For the store on `cow`, of which these runs are known.
    pub(super) fn new(cow: DeviceNumber, origin: Sectors, known: &NextRuns) -> Self {
        let mut reader =
            Self { cow, origin, known_to: 0, read_at: 0, reading: None, not_before_ns: 0 };
        reader.know(known);
        reader
    }

    fn know(&mut self, next: &NextRuns) {
        self.known_to = next.exceptions_behind();
        let last_quarter = next.runs.len() - next.runs.len() / 4;
        let chunks: u64 = next.runs[last_quarter..].iter().map(|run| u64::from(run.chunks)).sum();
        self.read_at = self.known_to + chunks;
    }

    /// Called at each sample with what is left to merge: more runs, when there are some. With
    /// `may_read` false nothing is begun.
    pub(super) fn poll(&mut self, left: u64, may_read: bool, now_ns: u64) -> Option<NextRuns> {
        if let Some(reading) = &self.reading {
            let next = match reading.try_recv() {
                Err(TryRecvError::Empty) => return None,
                // Most often the merge was faster than the reader.
                Err(TryRecvError::Disconnected) | Ok(Err(_)) => None,
                Ok(Ok(next)) => Some(next),
            };
            self.reading = None;
            match &next {
                Some(next) => self.know(next),
                None => self.not_before_ns = now_ns + PAUSE_NS,
            }
            return next;
        }
        let from = self.known_to.min(left);
        if may_read && from > 0 && left <= self.read_at && now_ns >= self.not_before_ns {
            self.begin(from);
        }
        None
    }

    fn begin(&mut self, exceptions: u64) {
        let (sender, result) = sync_channel(1);
        let (cow, origin) = (self.cow, self.origin);
        let thread = thread::Builder::new().name("next-runs".to_owned());
        // Where there can be no thread, the sender is dropped with it. Nobody may wait any more.
        let _ = thread.spawn(move || {
            let _ = sender.send(read_on(cow, origin, exceptions));
        });
        self.reading = Some(result);
    }
}

/// The runs of the last of so many exceptions.
fn read_on(cow: DeviceNumber, origin: Sectors, exceptions: u64) -> Result<NextRuns, Unread> {
    let Opened::Usable(store) = Store::open(store::open(cow)?, Some(origin))? else {
        return Err(Unread::Invalid);
    };
    let per_area = u64::from(store.layout().exceptions_per_area());
    // The remainder of a division by a u32 is one.
    let end = Place { area: exceptions / per_area, entry: (exceptions % per_area) as u32 };
    let mut next = NextRuns { exceptions, runs: Vec::new() };
    let mut chunks = 0;
    for run in store.runs(end).take(MOST_RUNS) {
        let run = run?;
        chunks += u64::from(run.chunks);
        next.runs.push(run);
        if chunks >= MOST_AREAS * per_area {
            break;
        }
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Exception;

    fn add(last: &mut LastRuns, count: u64, old: impl Fn(u64) -> u64) {
        for index in 0..count {
            let place = Place { area: index / 256, entry: (index % 256) as u32 };
            let exception = Exception { old_chunk: old(index), new_chunk: index + 2 + index / 256 };
            last.add(Placed { place, exception });
        }
    }

    #[test]
    fn the_last_runs_are_kept_and_they_come_first() {
        let mut last = LastRuns::default();
        add(&mut last, 3000, |index| index * 2);
        let next = last.into_next();
        assert_eq!((next.exceptions, next.runs.len()), (3000, MOST_RUNS));
        assert_eq!(next.runs[0].old_chunk, 2999 * 2);
        assert_eq!(next.exceptions_behind(), 3000 - MOST_RUNS as u64);

        let mut last = LastRuns::default();
        add(&mut last, 600, |index| index);
        let next = last.into_next();
        let chunks: Vec<u32> = next.runs.iter().map(|run| run.chunks).collect();
        assert_eq!(chunks, [88, 256, 256]);
        assert_eq!(LastRuns::default().into_next(), NextRuns::default());
    }

    #[test]
    fn it_reads_on_when_a_quarter_is_left_and_never_while_it_must_not() {
        let runs = vec![Run { old_chunk: 0, new_chunk: 2, chunks: 10 }; 8];
        let known = NextRuns { exceptions: 200, runs };
        let dev = DeviceNumber { major: 0, minor: 0 };
        let mut reader = NextRunsReader::new(dev, Sectors(800), &known);
        assert_eq!((reader.known_to, reader.read_at), (120, 140));
        assert_eq!(reader.poll(141, true, 1), None);
        assert!(reader.reading.is_none());
        assert_eq!(reader.poll(140, false, 2), None);
        assert!(reader.reading.is_none());
        assert_eq!(reader.poll(140, true, 3), None);
        // There is no such device: it is tried again, later, from where the merge is by then.
        let reading = reader.reading.take().unwrap();
        reader.reading = Some(wait_for(&reading));
        assert_eq!(reader.poll(90, true, 4), None);
        assert!(reader.reading.is_none());
        assert_eq!(reader.poll(90, true, 5), None);
        assert!(reader.reading.is_none());
        reader.poll(90, true, 4 + PAUSE_NS);
        assert!(reader.reading.is_some());
    }

    /// A receiver that has by now what this one gets.
    fn wait_for(
        reading: &Receiver<Result<NextRuns, Unread>>,
    ) -> Receiver<Result<NextRuns, Unread>> {
        let (sender, ready) = sync_channel(1);
        sender.send(reading.recv().unwrap()).unwrap();
        ready
    }

    #[test]
    fn at_the_beginning_of_the_store_there_is_nothing_to_read_on() {
        let runs = vec![Run { old_chunk: 0, new_chunk: 2, chunks: 10 }];
        let dev = DeviceNumber { major: 0, minor: 0 };
        let known = NextRuns { exceptions: 10, runs };
        let mut reader = NextRunsReader::new(dev, Sectors(800), &known);
        for left in [10, 5, 0] {
            reader.poll(left, true, 1);
            assert!(reader.reading.is_none());
        }
    }
}
