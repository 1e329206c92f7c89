//! What can be wrong with a store, with the place and the value.

use std::io;
use std::path::PathBuf;

use super::format::{Exception, MAX_CHUNK_SECTORS, Place, VERSION};
use crate::units::Sectors;

/// Why a store cannot be read. Chunks and sectors are those of the COW device.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The device or file cannot be opened, or its size cannot be told.
    #[error("cannot open {} to read the exception store", path.display())]
    Open {
        /// What was to be opened.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A store is on a block device, or in a file that is a copy of one.
    #[error("{} is neither a block device nor a regular file", path.display())]
    NeitherDeviceNorFile {
        /// What was opened.
        path: PathBuf,
    },
    /// The file begins as a dump and cannot be read as one.
    #[error("cannot read {} as a dump of an exception store", path.display())]
    Dump {
        /// What was opened.
        path: PathBuf,
        /// A [`DumpFault`](super::DumpFault) inside, or what the kernel answered.
        source: io::Error,
    },
    /// A read failed.
    #[error("cannot read {bytes} bytes of the exception store at byte {at_bytes}")]
    Read {
        /// Where the read began.
        at_bytes: u64,
        /// How many bytes were wanted.
        bytes: usize,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Not even the header and the first area fit.
    #[error("too short for an exception store: it has {size}, the least is {needed}")]
    TooSmall {
        /// The size of the device.
        size: Sectors,
        /// What it should have.
        needed: Sectors,
    },
    /// Something else is on the device.
    #[error("no exception store here: it begins with {magic:#010x}, not with \"SnAp\" or zeroes")]
    NotAStore {
        /// What stands where the magic should be.
        magic: u32,
    },
    /// A later kernel's store, or damage.
    #[error("version {version} of the exception store is unknown: only {VERSION} is")]
    UnknownVersion {
        /// The version in the header.
        version: u32,
    },
    /// The kernel would not take this chunk size either.
    #[error(
        "the header says chunks of {sectors} sectors: that is no power of two up to \
         {MAX_CHUNK_SECTORS}"
    )]
    ChunkSize {
        /// The chunk size in the header.
        sectors: u32,
    },
    /// The device cannot be read in pieces as small as a chunk.
    #[error("the header says chunks of {sectors} sectors, but a block has {block_bytes} bytes")]
    ChunkBelowBlock {
        /// The chunk size in the header.
        sectors: u32,
        /// The device's logical block size.
        block_bytes: u32,
    },
    /// The area before is full, so this one must be there, and the device ends before it.
    #[error("area {area} lies outside the device, which has {cow_chunks} chunks")]
    AreaOutside {
        /// The area.
        area: u64,
        /// How many whole chunks the device has.
        cow_chunks: u64,
    },
    /// An entry says what cannot be.
    #[error(
        "damaged entry at {place} (old chunk {}, new chunk {}): {fault}",
        exception.old_chunk, exception.new_chunk
    )]
    Entry {
        /// Where it stands.
        place: Place,
        /// What it says.
        exception: Exception,
        /// Why that cannot be.
        fault: EntryFault,
    },
    /// An entry that was there is there no more: a merge goes on, or somebody writes the device.
    #[error("the store changed while it was read: {place} is no longer in use")]
    Changed {
        /// The entry.
        place: Place,
    },
}

/// Why an entry cannot be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// The data lies behind the end of the device.
    #[error("the COW device has only {cow_chunks} chunks")]
    NewOutside {
        /// How many whole chunks the device has.
        cow_chunks: u64,
    },
    /// The data lies where an area is.
    #[error("the new chunk is a place of metadata")]
    NewIsMetadata,
    /// The chunk lies behind the end of the origin.
    #[error("the origin has only {origin_chunks} chunks")]
    OldOutside {
        /// How many chunks the origin has, a partial one at its end included. Where the origin's
        /// size was not given: those of the largest device there can be.
        origin_chunks: u64,
    },
    /// An earlier entry names the same chunk of the origin.
    #[error("the old chunk is in an earlier entry already")]
    OldTwice,
    /// An earlier entry names the same chunk of the COW device.
    #[error("the new chunk is in an earlier entry already")]
    NewTwice,
}
