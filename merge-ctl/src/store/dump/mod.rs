//! A dump: the metadata of a store in a file of its own, small enough for a bug report.
//!
//! [`save()`] writes one from any [`Source`](super::Source), [`DumpSource`] is a source that reads
//! one, so everything that reads a store reads a dump. The layout is in `docs/exception-store.md`;
//! `container` has its fixed parts, `frame` what is compressed.
//!
//! What always holds here: no data chunk is read or written; what is not in the dump reads as an
//! error (behind an entry at which saving stopped, zeroes fill its piece up); nothing in a dump is believed before it is checked, and memory is
//! three frames and the index (32 MiB at most), whatever a dump says of itself.

mod container;
mod frame;
mod read;
mod write;

pub use read::{DumpSource, is_dump};
pub use write::{Ending, Known, SaveError, Saved, save};

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

#[cfg(test)]
mod tests;
