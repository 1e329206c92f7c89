//! A source that is told apart by looking: a COW device, a copy of one in a file, or a dump.

use std::fs::File;
use std::io;
use std::path::Path;

use super::dump::{DumpSource, is_dump};
use super::error::StoreError;
use super::source::{FileSource, Source};
use crate::units::Sectors;

/// Whatever a store can be read from.
#[derive(Debug)]
pub enum AnySource {
    /// A block device, or a regular file that is a copy of one.
    File(FileSource),
    /// A dump.
    Dump(DumpSource),
}

impl AnySource {
    /// Opens a device or a file, for reading only. A file that begins as a dump is taken for one.
    ///
    /// # Errors
    /// As [`FileSource::open`]; [`StoreError::Dump`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let source = FileSource::open(path)?;
        if !path.is_file() {
            return Ok(Self::File(source));
        }
        let failed = |source| StoreError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        if !is_dump(&file).map_err(failed)? {
            return Ok(Self::File(source));
        }
        let dump = DumpSource::new(file);
        dump.map(Self::Dump).map_err(|source| StoreError::Dump { path: path.to_owned(), source })
    }

    /// The size of the origin, where the source tells it: only a dump can.
    pub fn origin_size(&self) -> Option<Sectors> {
        match self {
            Self::File(_) => None,
            Self::Dump(dump) => dump.origin_size(),
        }
    }
}

impl Source for AnySource {
    fn size(&self) -> Sectors {
        match self {
            Self::File(file) => file.size(),
            Self::Dump(dump) => dump.size(),
        }
    }

    fn block_bytes(&self) -> u32 {
        match self {
            Self::File(file) => file.block_bytes(),
            Self::Dump(dump) => dump.block_bytes(),
        }
    }

    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_at(at_bytes, into),
            Self::Dump(dump) => dump.read_at(at_bytes, into),
        }
    }
}
