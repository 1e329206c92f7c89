//! Application writes in flight, and what the run in progress has to do with them.

use std::cmp::Ordering;
use std::ops::{Range, RangeInclusive};

use super::upcoming::{Upcoming, overlap, sectors};
use crate::sample::{CurrentRun, InFlightWrite, IoSample, KernelInFlight, Phase, Sample};
use crate::units::{ChunkSize, SECTOR_BYTES};

/// Application writes in flight on the origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// How many.
    pub in_flight: u64,
    /// How many of the listed ones the merge keeps waiting.
    pub held: u64,
    /// How many of the listed ones the merge waits for.
    pub awaited: u64,
    /// How many of the listed ones lie in one of the next runs.
    pub soon: u64,
    /// The kernel's own count, to check ours by.
    pub kernel: Option<KernelInFlight>,
    /// Whether the two have contradicted each other, in the same direction, at several samples in a
    /// row. One alone means nothing: they are not taken at the same instant. Nor does it mean
    /// anything that the kernel counts more where writes are longer than a chunk.
    pub counts_differ: bool,
    /// Oldest first.
    pub listed: Vec<Write>,
}

/// One application write in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its first sector on the origin.
    pub sector: u64,
    /// Its length; 0 for a flush.
    pub bytes: u32,
    /// How long it has been in flight.
    pub age_ns: u64,
    /// The process that submitted it.
    pub pid: u32,
    /// The name of the thread that submitted it.
    pub comm: String,
    /// What it has to do with the run in progress.
    pub relation: Relation,
}

/// What a write in flight has to do with the run in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Nothing: it goes its way.
    Free,
    /// It falls into the run, and the merge keeps it waiting until the run is committed.
    Held,
    /// It falls into the run and began before: the merge waits for it.
    Awaited,
    /// It lies in a run that comes: if it is still there by then, the merge waits for it, and
    /// holds those that follow it there.
    Soon {
        /// How many runs come before that one, the one in progress not counted.
        runs: u32,
        /// About how long that will be, where it is known.
        about_ns: Option<u64>,
    },
}

impl Relation {
    /// Whether it lies in a run that comes.
    pub const fn is_soon(self) -> bool {
        matches!(self, Self::Soon { .. })
    }
}

impl Writes {
    pub(super) fn at(
        sample: &Sample,
        chunk_size: ChunkSize,
        comparison: &mut Comparison,
        upcoming: Option<&Upcoming>,
    ) -> Option<Self> {
        let io = sample.io.as_ref()?;
        let run = sample.current.as_ref().and_then(|run| PublishedRun::of(run, chunk_size));
        let relation = |write: &InFlightWrite| {
            let now = run.as_ref().map(|run| run.relation(write));
            let soon = || upcoming?.relation(write.sector, write.bytes, chunk_size);
            now.filter(|now| *now != Relation::Free).or_else(soon).unwrap_or(Relation::Free)
        };
        let listed: Vec<Write> = io
            .in_flight
            .iter()
            .map(|write| Write {
                sector: write.sector,
                bytes: write.bytes,
                age_ns: sample.at_ns.saturating_sub(write.queued_ns),
                pid: write.pid,
                comm: write.comm.clone(),
                relation: relation(write),
            })
            .collect();
        let count = |relation| listed.iter().filter(|write| write.relation == relation).count();
        Some(Self {
            in_flight: io.writes_in_flight,
            held: count(Relation::Held) as u64,
            awaited: count(Relation::Awaited) as u64,
            soon: listed.iter().filter(|write| write.relation.is_soon()).count() as u64,
            kernel: sample.kernel_in_flight,
            counts_differ: comparison
                .differ(io.writes_in_flight..=parts(io, chunk_size), sample.kernel_in_flight),
            listed,
        })
    }
}

/// How many the kernel may count at the most: it cuts a write at every chunk, and counts the parts.
fn parts(io: &IoSample, chunk_size: ChunkSize) -> u64 {
    if io.writes_in_flight > io.in_flight.len() as u64 {
        // Those that are not listed may be of any length.
        return u64::MAX;
    }
    let parts_of = |write: &InFlightWrite| {
        let end = write.sector + u64::from(write.bytes).div_ceil(SECTOR_BYTES).max(1);
        chunk_size.chunk_of(end - 1) - chunk_size.chunk_of(write.sector) + 1
    };
    io.in_flight.iter().map(parts_of).sum()
}

/// How many samples in a row two counts must differ to mean something.
const SAMPLES_THAT_COUNT: u32 = 5;

/// Compares our count of writes in flight with the kernel's, sample by sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Comparison {
    last: Option<Ordering>,
    in_a_row: u32,
}

impl Comparison {
    fn differ(&mut self, ours: RangeInclusive<u64>, kernel: Option<KernelInFlight>) -> bool {
        let order = kernel.and_then(|kernel| match kernel.writes {
            fewer if fewer < *ours.start() => Some(Ordering::Less),
            more if more > *ours.end() => Some(Ordering::Greater),
            _ => None,
        });
        self.in_a_row = match order {
            None => 0,
            Some(_) if order == self.last => self.in_a_row + 1,
            Some(_) => 1,
        };
        self.last = order;
        self.in_a_row >= SAMPLES_THAT_COUNT
    }
}

/// A run from the moment at which the kernel queues application writes into it.
struct PublishedRun {
    sectors: Range<u64>,
    at_ns: u64,
    draining: bool,
}

impl PublishedRun {
    fn of(run: &CurrentRun, chunk_size: ChunkSize) -> Option<Self> {
        if run.chunks == 0 || run.phase < Phase::Drain {
            return None;
        }
        let before_ns: u64 = run.phase_ns[..Phase::Drain as usize].iter().sum();
        Some(Self {
            sectors: sectors(run.old_chunk, run.chunks, chunk_size),
            at_ns: run.started_ns + before_ns,
            draining: run.phase == Phase::Drain,
        })
    }

    /// The kernel queues a write into the run unless it was under way before the run was
    /// published; those it waits for, and nothing is copied before the last of them has ended
    /// (`drivers/md/dm-snap.c`, `snapshot_merge_map` and `__check_for_conflicting_io`). So once
    /// the drain is over every write into the run is held, whenever it was queued.
    fn relation(&self, write: &InFlightWrite) -> Relation {
        match overlap(&self.sectors, write.sector, write.bytes) {
            false => Relation::Free,
            true if self.draining && write.queued_ns < self.at_ns => Relation::Awaited,
            true => Relation::Held,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::IoTotals;

    fn current(phase: Phase) -> CurrentRun {
        CurrentRun {
            old_chunk: 10,
            new_chunk: 2,
            chunks: 4,
            phase,
            started_ns: 100,
            phase_started_ns: 130,
            phase_ns: [10, 20, 0, 0, 0, 0],
        }
    }

    fn relation(phase: Phase, sector: u64, bytes: u32, queued_ns: u64) -> Relation {
        let chunk_size = ChunkSize::from_sectors(8).unwrap();
        let write = InFlightWrite { sector, bytes, queued_ns, pid: 1, comm: String::new() };
        PublishedRun::of(&current(phase), chunk_size)
            .map_or(Relation::Free, |run| run.relation(&write))
    }

    #[test]
    fn only_writes_that_touch_the_run_have_to_do_with_it() {
        assert_eq!(relation(Phase::Copy, 72, 4096, 200), Relation::Free);
        assert_eq!(relation(Phase::Copy, 76, 4096, 200), Relation::Held);
        assert_eq!(relation(Phase::Copy, 111, 512, 200), Relation::Held);
        assert_eq!(relation(Phase::Copy, 112, 4096, 200), Relation::Free);
        assert_eq!(relation(Phase::Copy, 80, 0, 200), Relation::Free, "a flush touches nothing");
    }

    #[test]
    fn counts_differ_only_when_they_do_so_again_and_again() {
        let kernel = |writes| Some(KernelInFlight { reads: 0, writes });
        let mut comparison = Comparison::default();
        for _ in 0..4 {
            assert!(!comparison.differ(3..=5, kernel(2)));
        }
        assert!(comparison.differ(3..=5, kernel(1)));
        assert!(!comparison.differ(3..=5, kernel(6)), "the other way round is another matter");
        assert!(!comparison.differ(3..=5, kernel(5)));
        assert!(!comparison.differ(3..=5, None));
    }

    #[test]
    fn the_kernel_counts_the_parts_of_a_write() {
        let write = |sector, bytes| InFlightWrite {
            sector,
            bytes,
            queued_ns: 0,
            pid: 1,
            comm: String::new(),
        };
        let mut io = IoSample {
            writes: IoTotals::default(),
            reads: IoTotals::default(),
            writes_in_flight: 4,
            reads_in_flight: 0,
            in_flight: vec![write(0, 65536), write(4, 4096), write(8, 4096), write(8, 0)],
        };
        let chunk_size = ChunkSize::from_sectors(8).unwrap();
        assert_eq!(parts(&io, chunk_size), 16 + 2 + 1 + 1);
        io.writes_in_flight = 5;
        assert_eq!(parts(&io, chunk_size), u64::MAX);
    }

    #[test]
    fn a_write_before_the_publication_is_awaited_while_draining_and_held_after() {
        assert_eq!(relation(Phase::Siblings, 80, 4096, 120), Relation::Free);
        assert_eq!(relation(Phase::Drain, 80, 4096, 129), Relation::Awaited);
        assert_eq!(relation(Phase::Drain, 80, 4096, 130), Relation::Held);
        assert_eq!(relation(Phase::Commit, 80, 4096, 129), Relation::Held);
    }
}
