//! A source that is found by looking: a COW device, a copy of one in a file, or a dump.

use std::io;
use std::path::Path;

use super::error::StoreError;
use super::source::{FileSource, Source};
use crate::units::Sectors;

/// Whatever a store can be read from.
#[derive(Debug)]
#[non_exhaustive]
pub enum AnySource {
    /// A block device, or a regular file that is a copy of one.
    File(FileSource),
}

impl AnySource {
    /// Opens a device or a file, for reading only, and looks at its first bytes to tell which it is.
    ///
    /// # Errors
    /// As [`FileSource::open`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        FileSource::open(path).map(Self::File)
    }

    /// The size of the origin, where the source tells it: only a dump can.
    pub fn origin_size(&self) -> Option<Sectors> {
        None
    }
}

impl Source for AnySource {
    fn size(&self) -> Sectors {
        match self {
            Self::File(file) => file.size(),
        }
    }

    fn block_bytes(&self) -> u32 {
        match self {
            Self::File(file) => file.block_bytes(),
        }
    }

    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_at(at_bytes, into),
        }
    }
}
