//! The origin as a row of cells: how many of its chunks there are to copy, and where.

/// Cells that are kept: enough for any terminal, little enough for JSON.
const MOST_CELLS: usize = 1024;

/// How many chunks to copy there are in each stretch of the origin.
///
/// Begins with a cell for each chunk. Where the origin turns out to be larger, neighbours are put
/// together, so that nobody needs to know its size before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Density {
    chunks_per_cell: u64,
    cells: Vec<u64>,
}

impl Default for Density {
    fn default() -> Self {
        Self { chunks_per_cell: 1, cells: Vec::new() }
    }
}

impl Density {
    /// A row that covers so many chunks from the beginning.
    pub fn covering(chunks: u64) -> Self {
        let mut density = Self::default();
        if let Some(last) = chunks.checked_sub(1) {
            density.reach(last);
        }
        density
    }

    /// Counts a chunk.
    pub fn add(&mut self, chunk: u64) {
        let index = self.reach(chunk);
        self.cells[index] += 1;
    }

    /// The cell of a chunk, made where it is not there.
    fn reach(&mut self, chunk: u64) -> usize {
        while chunk / self.chunks_per_cell >= MOST_CELLS as u64 {
            self.chunks_per_cell *= 2;
            self.cells = self.cells.chunks(2).map(|pair| pair.iter().sum()).collect();
        }
        let index = (chunk / self.chunks_per_cell) as usize;
        if self.cells.len() <= index {
            self.cells.resize(index + 1, 0);
        }
        index
    }

    /// How many chunks a cell covers, a power of two; the last may cover fewer.
    pub const fn chunks_per_cell(&self) -> u64 {
        self.chunks_per_cell
    }

    /// Chunks to copy in each cell, from the origin's beginning.
    pub fn cells(&self) -> &[u64] {
        &self.cells
    }

    /// The share of each cell that is to be copied, 0 to 1, in so many cells at most.
    pub fn shares(&self, columns: usize) -> Vec<f64> {
        let columns = columns.clamp(1, self.cells.len().max(1));
        let kept = self.cells.len();
        (0..columns.min(kept))
            .map(|column| {
                let cells = &self.cells[column * kept / columns..(column + 1) * kept / columns];
                let covered = cells.len() as f64 * self.chunks_per_cell as f64;
                (cells.iter().sum::<u64>() as f64 / covered).min(1.0)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_origin_of_a_known_size_has_empty_cells() {
        let density = Density::covering(3000);
        assert_eq!((density.chunks_per_cell(), density.cells().len()), (4, 750));
        assert!(density.shares(80).iter().all(|share| *share == 0.0));
        assert_eq!(Density::default().shares(80), Vec::<f64>::new());
    }

    proptest! {
        #[test]
        fn every_chunk_is_counted_where_it_lies(
            chunks in prop::collection::vec(
                prop_oneof![0..5000_u64, 0..1_000_000_u64, any::<u64>()], 1..200),
            columns in 1..300_usize,
        ) {
            let mut density = Density::default();
            for chunk in &chunks {
                density.add(*chunk);
            }
            prop_assert!(density.cells().len() <= MOST_CELLS);
            let per_cell = density.chunks_per_cell();
            for (index, cell) in (0..).zip(density.cells()) {
                let there = chunks.iter().filter(|chunk| **chunk / per_cell == index).count();
                prop_assert_eq!(*cell, there as u64);
            }
            let shares = density.shares(columns);
            prop_assert!(shares.len() <= columns && !shares.is_empty());
            prop_assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
        }
    }
}
