//! A dump: the metadata of a store in a file of its own, small enough for a bug report.
//!
//! [`save()`] writes one from any [`Source`](super::Source), [`DumpSource`] is a source that reads
//! one, so everything that reads a store reads a dump. The layout is in `docs/exception-store.md`;
//! `container` has its fixed parts, `frame` what is compressed.
//!
//! What always holds here: no data chunk is read or written; what is not in the dump reads as an
//! error and never as zeroes; nothing in a dump is believed before it is checked, and memory is two
//! frames and the index, whatever a dump says of itself.

mod container;
mod frame;
mod read;
mod write;

use super::format::Place;

pub use read::{DumpSource, is_dump};
pub use write::{Ending, SaveError, Saved, save};

/// Why a dump cannot be read, or not this part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DumpFault {
    /// The file is too short for what it should hold.
    #[error("the dump is cut off: {missing} is missing")]
    CutOff {
        /// What is not there.
        missing: &'static str,
    },
    /// A later merge-ctl wrote it.
    #[error("version {version} of the dump format is unknown: only {} is", container::VERSION)]
    UnknownVersion {
        /// The version that it has.
        version: u32,
    },
    /// A checksum or a length says that it is not what was written.
    #[error("the dump is damaged: {what}")]
    Damaged {
        /// What is wrong, and where.
        what: String,
    },
    /// It is sound and does not hold what was asked for.
    #[error("byte {at_bytes} of the COW device is not in the dump: {why}")]
    NotSaved {
        /// Where, on the COW device.
        at_bytes: u64,
        /// Why it was not saved.
        why: &'static str,
    },
}

/// The first entry that stands behind the bytes of a dump.
const fn place_after(saved_bytes: u64, exceptions_per_area: u32) -> Place {
    let entries = saved_bytes / super::format::EXCEPTION_BYTES as u64;
    let per_area = exceptions_per_area as u64;
    Place { area: entries / per_area, entry: (entries % per_area) as u32 }
}

#[cfg(test)]
mod tests;
