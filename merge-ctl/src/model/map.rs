//! The origin as a row of cells: what is merged, being merged, still to merge.

use std::collections::VecDeque;
use std::ops::Range;

use crate::sample::{CurrentRun, MergeIdentity, Run, StorePicture};

/// The origin as a row of cells of equal size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginMap {
    /// How many chunks a cell covers; the last may cover fewer.
    pub chunks_per_cell: u64,
    /// The cells, at most `Model::MAP_CELLS`.
    pub cells: Vec<MapCell>,
    /// Runs that finished before were not to do any more when the store was read.
    pub(crate) read_ns: u64,
}

/// What is known of the chunks of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapCell {
    /// Chunks that were seen to be merged.
    pub merged: u32,
    /// Chunks of the run in progress.
    pub merging: u32,
    /// Chunks that are still to merge; none where the exception store was not read.
    pub to_do: Option<u32>,
}

impl OriginMap {
    /// The map before anything is known.
    pub(super) fn new(identity: &MergeIdentity) -> Self {
        let chunks = identity.chunk_size.chunks_in(identity.size);
        let chunks_per_cell = StorePicture::chunks_per_cell(chunks);
        let cells = vec![MapCell::default(); chunks.div_ceil(chunks_per_cell) as usize];
        Self { chunks_per_cell, cells, read_ns: 0 }
    }

    /// Takes in what the exception store holds; `seen` are the last runs that were taken in before.
    pub(super) fn take_store(&mut self, picture: &StorePicture, seen: &VecDeque<Run>) {
        self.read_ns = picture.read_ns;
        let counts = picture.cells.iter().copied().chain(std::iter::repeat(0));
        for (cell, count) in self.cells.iter_mut().zip(counts) {
            cell.to_do = Some(count);
        }
        for run in seen {
            self.done(run);
        }
    }

    pub(super) fn merged(&mut self, run: &Run) {
        self.each_cell(chunks_of(run), |cell, chunks| cell.merged += chunks);
        self.done(run);
    }

    /// What the store still held of a run is to do no more.
    fn done(&mut self, run: &Run) {
        if run.finished_ns > self.read_ns {
            self.each_cell(chunks_of(run), |cell, chunks| {
                cell.to_do = cell.to_do.map(|to_do| to_do.saturating_sub(chunks));
            });
        }
    }

    /// An offline merge goes through the origin from its beginning: all before `chunk` is merged,
    /// and what goes on goes on behind it.
    pub(crate) fn reach(&mut self, chunk: u64) {
        let frontier = chunk / self.chunks_per_cell.max(1);
        for (place, cell) in (0..).zip(&mut self.cells) {
            cell.merging = u32::from(place == frontier && cell.to_do.is_some_and(|left| left > 0));
            if place < frontier {
                cell.merged += cell.to_do.unwrap_or(0);
                cell.to_do = cell.to_do.map(|_| 0);
            }
        }
    }

    /// All that was to do is done.
    pub(super) fn complete(&mut self) {
        for cell in &mut self.cells {
            cell.merged += cell.to_do.unwrap_or(0);
            cell.to_do = cell.to_do.map(|_| 0);
            cell.merging = 0;
        }
    }

    pub(super) fn merging(&mut self, run: Option<&CurrentRun>) {
        for cell in &mut self.cells {
            cell.merging = 0;
        }
        if let Some(run) = run {
            let range = run.old_chunk..run.old_chunk + u64::from(run.chunks);
            self.each_cell(range, |cell, chunks| cell.merging += chunks);
        }
    }

    /// Calls `change` for each cell that the range touches, with how many of its chunks.
    fn each_cell(&mut self, range: Range<u64>, mut change: impl FnMut(&mut MapCell, u32)) {
        let mut chunk = range.start;
        while chunk < range.end {
            let index = chunk / self.chunks_per_cell;
            let cell_end = (index + 1) * self.chunks_per_cell;
            let end = range.end.min(cell_end);
            let Some(cell) = self.cells.get_mut(index as usize) else { return };
            change(cell, u32::try_from(end - chunk).unwrap_or(u32::MAX));
            chunk = end;
        }
    }
}

fn chunks_of(run: &Run) -> Range<u64> {
    run.old_chunk..run.old_chunk + u64::from(run.chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(chunks_per_cell: u64, cells: usize) -> OriginMap {
        let cell = MapCell { to_do: Some(0), ..MapCell::default() };
        OriginMap { chunks_per_cell, cells: vec![cell; cells], read_ns: 0 }
    }

    #[test]
    fn a_range_is_counted_where_it_lies_and_never_past_the_end() {
        let mut map = map(10, 3);
        let mut touched = Vec::new();
        map.each_cell(5..100, |_, chunks| touched.push(chunks));
        assert_eq!(touched, [5, 10, 10]);
    }

    #[test]
    fn a_merged_run_leaves_what_is_to_do() {
        let mut map = map(10, 2);
        map.cells[0].to_do = Some(10);
        let run = Run {
            old_chunk: 8,
            new_chunk: 2,
            chunks: 4,
            started_ns: 0,
            finished_ns: 1,
            phase_ns: [0; 6],
        };
        map.merged(&run);
        assert_eq!(map.cells[0], MapCell { merged: 2, merging: 0, to_do: Some(8) });
        assert_eq!(map.cells[1], MapCell { merged: 2, merging: 0, to_do: Some(0) });
        map.complete();
        assert_eq!(map.cells[0], MapCell { merged: 10, merging: 0, to_do: Some(0) });
    }

    #[test]
    fn all_before_the_frontier_of_an_offline_merge_is_merged_also_where_the_store_comes_late() {
        let mut map = map(10, 3);
        map.reach(12);
        let picture = StorePicture { cells: vec![7, 5, 3], ..StorePicture::default() };
        map.take_store(&picture, &VecDeque::new());
        map.reach(15);
        map.reach(15);
        assert_eq!(map.cells[0], MapCell { merged: 7, merging: 0, to_do: Some(0) });
        assert_eq!(map.cells[1], MapCell { merged: 0, merging: 1, to_do: Some(5) });
        assert_eq!(map.cells[2], MapCell { merged: 0, merging: 0, to_do: Some(3) });
        map.complete();
        assert_eq!(map.cells[1], MapCell { merged: 5, merging: 0, to_do: Some(0) });
    }

    #[test]
    fn a_store_that_comes_late_counts_what_was_left_when_it_was_read() {
        let run = |old_chunk, finished_ns| Run {
            old_chunk,
            new_chunk: 2,
            chunks: 4,
            started_ns: 0,
            finished_ns,
            phase_ns: [0; 6],
        };
        let picture = StorePicture { read_ns: 50, cells: vec![9], ..StorePicture::default() };
        let mut map = map(10, 2);
        let seen = [run(0, 40), run(4, 60)];
        for run in &seen {
            map.merged(run);
        }
        map.take_store(&picture, &seen.into());
        assert_eq!(map.cells[0], MapCell { merged: 8, merging: 0, to_do: Some(5) });
        assert_eq!(map.cells[1].to_do, Some(0), "the store holds nothing there");
    }
}
