//! What was tried, so that it can be seen that all of it was.

use std::collections::BTreeMap;
use std::fmt;

use merge_ctl::store::Run;

use super::case::{CHUNK_SECTORS, Case, Filling, Kind, Way, entries_per_area};
use super::writers::Door;

/// What a merge was found to be.
pub(super) struct Outcome {
    /// Its runs.
    pub(super) runs: Vec<Run>,
    /// How many of them were merged before it was interrupted.
    pub(super) before_interruption: usize,
    /// Chunks of the COW device that were still free.
    pub(super) chunks_left: u64,
}

/// Counts over all snapshots.
#[derive(Default)]
pub(super) struct Tally {
    snapshots: u64,
    kinds: BTreeMap<Kind, u64>,
    ways: BTreeMap<Way, u64>,
    chunk_sectors: BTreeMap<u64, u64>,
    seen: BTreeMap<Seen, u64>,
    runs: u64,
    chunks: u64,
    largest_run: u32,
    most_areas: u64,
}

/// What random writers must have brought about now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    WrittenOrigin,
    OldChunk0,
    PartialLastChunk,
    SecondArea,
    FullArea,
    NoFreeChunk,
    CutByAreaChunk,
    CutByAreaAlone,
    InterruptedHalfWay,
    NewChunksFalling,
}

impl Seen {
    const ALL: [(Self, &str); 10] = [
        (Self::WrittenOrigin, "written through the origin"),
        (Self::OldChunk0, "old chunk 0"),
        (Self::PartialLastChunk, "the partial last chunk"),
        (Self::SecondArea, "more than one area"),
        (Self::FullArea, "areas full to the last entry"),
        (Self::NoFreeChunk, "at most 3 chunks left"),
        (Self::CutByAreaChunk, "a run cut by the place of an area"),
        (Self::CutByAreaAlone, "a run cut by the end of an area alone"),
        (Self::InterruptedHalfWay, "interrupted half-way"),
        (Self::NewChunksFalling, "new chunks that do not rise"),
    ];
}

impl Tally {
    pub(super) fn count(&mut self, case: &Case, outcome: &Outcome) {
        self.snapshots += 1;
        *self.kinds.entry(case.kind).or_default() += 1;
        *self.ways.entry(case.way).or_default() += 1;
        *self.chunk_sectors.entry(case.chunk_sectors).or_default() += 1;
        for (seen, _) in Seen::ALL {
            *self.seen.entry(seen).or_default() += u64::from(is_seen(seen, case, outcome));
        }
        let chunks = chunks(&outcome.runs);
        self.runs += outcome.runs.len() as u64;
        self.chunks += chunks;
        let largest = outcome.runs.iter().map(|run| run.chunks).max();
        self.largest_run = self.largest_run.max(largest.unwrap_or(0));
        let areas = chunks.div_ceil(entries_per_area(case.chunk_sectors));
        self.most_areas = self.most_areas.max(areas);
    }

    /// Panics where something did not occur.
    pub(super) fn assert_complete(&self) {
        let kinds = Kind::ALL.iter().filter(|kind| !self.kinds.contains_key(kind));
        let ways = Way::ALL.iter().filter(|way| !self.ways.contains_key(way));
        let sizes = CHUNK_SECTORS.iter().filter(|size| !self.chunk_sectors.contains_key(size));
        let seen = Seen::ALL.iter().filter(|(seen, _)| self.seen.get(seen).is_none_or(|n| *n == 0));
        let missing = format!(
            "{:?}",
            (
                kinds.collect::<Vec<_>>(),
                ways.collect::<Vec<_>>(),
                sizes.collect::<Vec<_>>(),
                seen.collect::<Vec<_>>()
            )
        );
        assert_eq!(missing, "([], [], [], [])", "these never occurred");
    }
}

fn chunks(runs: &[Run]) -> u64 {
    runs.iter().map(|run| u64::from(run.chunks)).sum()
}

fn is_seen(seen: Seen, case: &Case, outcome: &Outcome) -> bool {
    let runs = &outcome.runs;
    let per_area = entries_per_area(case.chunk_sectors);
    let has_old = |chunk| runs.iter().any(|run| run.old_chunk <= chunk && chunk < end(run).0);
    match seen {
        Seen::WrittenOrigin => match &case.filling {
            Filling::Written(rows) => rows.iter().flatten().any(|write| write.door == Door::Origin),
            Filling::Crafted(_) => false,
        },
        Seen::OldChunk0 => has_old(0),
        Seen::PartialLastChunk => case.has_partial_chunk() && has_old(case.origin_chunks() - 1),
        Seen::SecondArea => chunks(runs) > per_area,
        Seen::FullArea => chunks(runs).is_multiple_of(per_area) && !runs.is_empty(),
        Seen::NoFreeChunk => outcome.chunks_left <= 3,
        // A merge goes backwards: what comes next in the list was written before.
        Seen::CutByAreaChunk => runs.windows(2).any(|pair| {
            end(&pair[1]) == (pair[0].old_chunk, pair[0].new_chunk - 1)
                && (pair[0].new_chunk - 2).is_multiple_of(per_area + 1)
        }),
        Seen::CutByAreaAlone => {
            runs.windows(2).any(|pair| end(&pair[1]) == (pair[0].old_chunk, pair[0].new_chunk))
        }
        Seen::InterruptedHalfWay => (1..runs.len()).contains(&outcome.before_interruption),
        Seen::NewChunksFalling => runs.windows(2).any(|pair| pair[1].new_chunk > pair[0].new_chunk),
    }
}

/// The chunks behind a run.
fn end(run: &Run) -> (u64, u64) {
    (run.old_chunk + u64::from(run.chunks), run.new_chunk + u64::from(run.chunks))
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} snapshots:", self.snapshots)?;
        for (kind, count) in &self.kinds {
            write!(f, " {count} {kind:?}")?;
        }
        write!(f, "\nchunk sizes, in sectors:")?;
        for (size, count) in &self.chunk_sectors {
            write!(f, " {count} of {size}")?;
        }
        write!(f, "\nmerges:")?;
        for (way, count) in &self.ways {
            write!(f, " {count} {way:?}")?;
        }
        write!(f, "\nwith")?;
        for (seen, words) in Seen::ALL {
            write!(f, " {words}: {};", self.seen.get(&seen).unwrap_or(&0))?;
        }
        let Self { runs, chunks, largest_run, most_areas, .. } = self;
        write!(
            f,
            "\n{runs} runs; {chunks} chunks; largest run {largest_run}; most areas {most_areas}"
        )
    }
}
