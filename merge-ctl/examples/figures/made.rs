//! Exception stores that nobody wrote through a snapshot: made anew before each merge, in the time
//! that a few areas take to write.

use std::os::unix::fs::FileExt as _;

use anyhow::{Result, bail};

use super::disk::{Aligned, Disk};

/// A store of runs that have all the same length, with a chunk between neighbours on the origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) chunk_kib: u64,
    pub(crate) run_chunks: u64,
    pub(crate) runs: u64,
}

impl Made {
    pub(crate) const fn chunk_bytes(self) -> u64 {
        self.chunk_kib * 1024
    }

    pub(crate) const fn chunk_sectors(self) -> u64 {
        self.chunk_kib * 2
    }

    /// What there is to merge.
    pub(crate) const fn bytes(self) -> u64 {
        self.runs * self.run_chunks * self.chunk_bytes()
    }

    /// How long the origin must be.
    pub(crate) const fn origin_bytes(self) -> u64 {
        self.runs * (self.run_chunks + 1) * self.chunk_bytes()
    }

    const fn entries(self) -> u64 {
        self.chunk_bytes() / 16
    }

    /// Writes the header and the areas to the beginning of a COW device. Runs lie in whole areas.
    pub(crate) fn write(self, cow: &Disk) -> Result<()> {
        let Self { run_chunks, runs, .. } = self;
        let (chunk, entries) = (self.chunk_bytes(), self.entries());
        if entries % run_chunks != 0 || self.bytes() + self.bytes() / entries > cow.mib << 20 {
            bail!("{self:?} does not fit");
        }
        let file = cow.open()?;
        let mut buffer = Aligned::new(chunk as usize);
        buffer.bytes_mut()[..4].copy_from_slice(b"SnAp");
        for (at, value) in [(4, 1), (8, 1), (12, self.chunk_sectors() as u32)] {
            buffer.bytes_mut()[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        file.write_all_at(buffer.bytes(), 0)?;
        let exceptions = runs * run_chunks;
        // One area more than are full: there the store ends.
        for area in 0..=exceptions / entries {
            buffer.bytes_mut().fill(0);
            let first = area * entries;
            for index in first..(first + entries).min(exceptions) {
                let old = index / run_chunks * (run_chunks + 1) + index % run_chunks;
                let new = 2 + index + index / entries;
                let entry = &mut buffer.bytes_mut()[((index - first) * 16) as usize..][..16];
                entry[..8].copy_from_slice(&old.to_le_bytes());
                entry[8..].copy_from_slice(&new.to_le_bytes());
            }
            file.write_all_at(buffer.bytes(), (1 + area * (entries + 1)) * chunk)?;
        }
        Ok(file.sync_data()?)
    }
}
