//! The origin as a row of cells: what is merged, being merged, still to merge.

use std::ops::Range;

use super::Model;
use crate::sample::{ChunkRange, CurrentRun, MergeIdentity, Run};

/// The origin as a row of cells of equal size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginMap {
    /// How many chunks a cell covers; the last may cover fewer.
    pub chunks_per_cell: u64,
    /// The cells, at most `Model::MAP_CELLS`.
    pub cells: Vec<MapCell>,
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
    /// The map before the first run; `to_do` is what the exception store held then.
    pub(super) fn new(identity: &MergeIdentity, to_do: Option<&[ChunkRange]>) -> Self {
        let chunks = identity.chunk_size.chunks_in(identity.size);
        let chunks_per_cell = chunks.div_ceil(Model::MAP_CELLS).max(1);
        let empty = MapCell { to_do: to_do.map(|_| 0), ..MapCell::default() };
        let cells = vec![empty; chunks.div_ceil(chunks_per_cell) as usize];
        let mut map = Self { chunks_per_cell, cells };
        for range in to_do.into_iter().flatten() {
            map.each_cell(range.first..range.first + range.chunks, |cell, chunks| {
                cell.to_do = cell.to_do.map(|to_do| to_do + chunks);
            });
        }
        map
    }

    pub(super) fn merged(&mut self, run: &Run) {
        self.each_cell(run.old_chunk..run.old_chunk + u64::from(run.chunks), |cell, chunks| {
            cell.merged += chunks;
            cell.to_do = cell.to_do.map(|to_do| to_do.saturating_sub(chunks));
        });
    }

    /// All that was to do is done.
    pub(super) fn complete(&mut self) {
        for cell in &mut self.cells {
            cell.merged += cell.to_do.unwrap_or(0);
            cell.to_do = cell.to_do.map(|_| 0);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn map(chunks_per_cell: u64, cells: usize) -> OriginMap {
        let cell = MapCell { to_do: Some(0), ..MapCell::default() };
        OriginMap { chunks_per_cell, cells: vec![cell; cells] }
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
}
