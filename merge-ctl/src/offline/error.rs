//! What can go wrong in an offline merge, with the place.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::store::StoreError;
use crate::units::Sectors;

/// What was tried with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Reading it.
    Read,
    /// Writing it.
    Write,
    /// Making sure that what was written is on stable storage.
    Flush,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "written",
            Self::Flush => "flushed",
        })
    }
}

/// Why an offline merge cannot be done, or not to its end. The exceptions that are still in the
/// store say what is left to merge, and all of it can be tried again.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// A device or file cannot be opened for this process alone.
    #[error("{} cannot be opened for the merge alone", .path.display())]
    Open {
        /// The device or file.
        path: PathBuf,
        /// Why; `EBUSY` where somebody holds it.
        source: io::Error,
    },
    /// The exception store cannot be read, or cannot be right.
    #[error("the exceptions on {cow} cannot be read")]
    Store {
        /// The device that holds it.
        cow: String,
        /// Why.
        source: StoreError,
    },
    /// There is none.
    #[error("{0} holds no exception store: its first chunk is all zeroes")]
    NoStore(String),
    /// It says of itself that it must not be used.
    #[error("the exceptions on {0} are invalid: the kernel had given the snapshot up")]
    Invalid(String),
    /// The origin and the COW device are one and the same.
    #[error("{0} is given as the origin and as the COW device")]
    Same(String),
    /// Chunks are too small for the origin.
    #[error(
        "{origin} reads and writes {block_bytes} bytes at once, and the snapshot's chunks have only \
         {chunk_bytes}"
    )]
    Blocks {
        /// The origin.
        origin: String,
        /// The larger logical block size of both devices.
        block_bytes: u32,
        /// The chunk size.
        chunk_bytes: u64,
    },
    /// A request failed.
    #[error("{device} could not be {act} at sector {sector}", sector = .at.0)]
    Io {
        /// The device.
        device: String,
        /// What was tried.
        act: Act,
        /// The first sector that failed.
        at: Sectors,
        /// What the kernel answered.
        source: io::Error,
    },
    /// What was copied reads back as something else.
    #[error(
        "the copy on {origin} differs from its source on {cow} at sector {sector} of {origin}",
        sector = .at.0
    )]
    Differs {
        /// Where it was copied to.
        origin: String,
        /// Where it came from.
        cow: String,
        /// The first sector that differs.
        at: Sectors,
    },
    /// No memory, no thread, no ring.
    #[error("{what} cannot be had")]
    Resource {
        /// What is missing.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}
