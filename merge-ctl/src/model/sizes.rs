//! Run sizes as a histogram.

/// Runs by size: one bucket for each power of two of chunks, `1`, `2-3`, `4-7` and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunSizes {
    /// The buckets, up to the largest run seen.
    pub buckets: Vec<RunSizeBucket>,
}

/// The runs of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunSizeBucket {
    /// How many runs.
    pub runs: u64,
    /// How many chunks they had together.
    pub chunks: u64,
    /// How long they took together.
    pub ns: u64,
}

impl RunSizes {
    /// Takes in one more run, and how long it took, or will take.
    pub fn add(&mut self, chunks: u32, ns: u64) {
        let index = chunks.checked_ilog2().unwrap_or(0) as usize;
        if self.buckets.len() <= index {
            self.buckets.resize(index + 1, RunSizeBucket::default());
        }
        let bucket = &mut self.buckets[index];
        bucket.runs += 1;
        bucket.chunks += u64::from(chunks);
        bucket.ns += ns;
    }
}
