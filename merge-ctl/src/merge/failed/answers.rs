//! Whether the devices below a failed merge answer again: reads where the merge will read, reads
//! where it will write, and flushes. Nothing is written, so a device that still refuses writes is
//! found only by the merge itself, which then fails again at the same place, with nothing lost.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::merge::preflight::{Obstacle, Refusal};
use crate::store::aligned::AlignedBuffer;
use crate::store::{FileSource, ForwardRuns, Opened, Run, Source, Store, StoreError};
use crate::units::{ChunkSize, Sectors};

/// How long the devices may take for all of it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long of this the exceptions may be read; those behind are then not tried.
const READ_EXCEPTIONS_FOR: Duration = Duration::from_secs(20);
/// How much of the run that failed is read: all of all but the longest.
const MAX_RUN_BYTES: u64 = 256 << 20;
/// So much at once.
const PIECE_BYTES: u64 = 1 << 20;

/// One of the two devices, for messages and for reading.
#[derive(Clone, Debug)]
pub struct Lower {
    /// What people call it, and its number.
    pub label: String,
    /// Its node.
    pub path: PathBuf,
}

/// What did not go as it should.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The store cannot be read, or makes no sense.
    #[error("the exceptions on {label} cannot be read: {source}")]
    Store {
        /// The COW device.
        label: String,
        /// Why.
        source: StoreError,
    },
    /// There is no store to go on with.
    #[error("{label} holds no valid exceptions: the merge cannot go on")]
    NoStore {
        /// The COW device.
        label: String,
    },
    /// A read failed.
    #[error("{label} cannot be read at byte {at_bytes}: {source}")]
    Read {
        /// The device.
        label: String,
        /// Where.
        at_bytes: u64,
        /// Why.
        source: io::Error,
    },
    /// A flush failed.
    #[error("{label} cannot be flushed: {source}")]
    Flush {
        /// The device.
        label: String,
        /// Why.
        source: io::Error,
    },
    /// It takes too long.
    #[error("the devices have not answered within {} s", PATIENCE.as_secs())]
    TooSlow,
}

impl From<NoAnswer> for Refusal {
    fn from(error: NoAnswer) -> Self {
        let way_out = match error {
            NoAnswer::NoStore { .. } => "What was not merged is lost: restore from a backup.",
            _ => {
                "Nothing was changed. Repair that first (see dmesg): the merge would only fail again."
            }
        };
        Self {
            obstacle: Obstacle::Failed,
            reason: format!("{error}."),
            way_out: way_out.to_owned(),
        }
    }
}

/// Tries both devices of the merge into an origin of this size.
///
/// # Errors
/// [`NoAnswer`].
pub fn try_both(real: Lower, cow: Lower, size: Sectors) -> Result<(), NoAnswer> {
    let (tell, told) = mpsc::channel();
    // A read that hangs in the kernel cannot be called off: only the waiting for it can.
    thread::spawn(move || {
        let _ = tell.send(try_one_after_the_other(&real, &cow, size));
    });
    told.recv_timeout(PATIENCE).unwrap_or(Err(NoAnswer::TooSlow))
}

fn try_one_after_the_other(real: &Lower, cow: &Lower, size: Sectors) -> Result<(), NoAnswer> {
    let open = |lower: &Lower| {
        let failed = |source| NoAnswer::Store { label: lower.label.clone(), source };
        FileSource::open(&lower.path).map_err(failed)
    };
    let (cow_source, real_source) = (open(cow)?, open(real)?);
    try_reads((&cow.label, &cow_source), (&real.label, &real_source), size)?;
    for lower in [cow, real] {
        flush(&lower.path)
            .map_err(|source| NoAnswer::Flush { label: lower.label.clone(), source })?;
    }
    Ok(())
}

/// `fsync` of a block device ends in a flush of its cache (`block/fops.c`, `blkdev_fsync`).
fn flush(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Reads the header, the exceptions, and the run that the merge begins with, in both places.
fn try_reads(
    (cow_label, cow): (&str, &impl Source),
    (real_label, real): (&str, &impl Source),
    size: Sectors,
) -> Result<(), NoAnswer> {
    let bad_store = |source| NoAnswer::Store { label: cow_label.to_owned(), source };
    let Opened::Usable(store) = Store::open(cow, Some(size)).map_err(bad_store)? else {
        return Err(NoAnswer::NoStore { label: cow_label.to_owned() });
    };
    let Some(run) = first_to_merge(&store).map_err(bad_store)? else { return Ok(()) };
    let chunk = store.layout().chunk_size();
    for (label, source, first) in
        [(cow_label, cow as &dyn Source, run.new_chunk), (real_label, real, run.old_chunk)]
    {
        read(source, chunk, first, run.chunks).map_err(|(at_bytes, source)| NoAnswer::Read {
            label: label.to_owned(),
            at_bytes,
            source,
        })?;
    }
    Ok(())
}

/// The last run of the store: the one that failed, since all behind it are merged.
fn first_to_merge<S: Source>(store: &Store<S>) -> Result<Option<Run>, StoreError> {
    let deadline = Instant::now() + READ_EXCEPTIONS_FOR;
    let mut runs = ForwardRuns::default();
    for placed in store.exceptions() {
        let placed = placed?;
        if placed.place.entry == 0 && Instant::now() > deadline {
            break;
        }
        runs.add(placed);
    }
    Ok(runs.finish().map(|last| last.run))
}

fn read(
    source: &dyn Source,
    chunk: ChunkSize,
    first: u64,
    chunks: u32,
) -> Result<(), (u64, io::Error)> {
    let from = first * chunk.bytes();
    let length = (u64::from(chunks) * chunk.bytes()).min(MAX_RUN_BYTES);
    // The origin may end within its last chunk.
    let to = (from + length).min(source.size().bytes());
    let mut buffer = AlignedBuffer::new(PIECE_BYTES as usize);
    let mut at = from;
    while at < to {
        let piece = (to - at).min(PIECE_BYTES);
        let into = &mut buffer.as_mut_slice()[..piece as usize];
        source.read_at(at, into).map_err(|error| (at, error))?;
        at += piece;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemorySource;

    const CHUNK: usize = 4096;

    /// A source with one bad chunk.
    struct Bad(MemorySource, u64);

    impl Source for Bad {
        fn size(&self) -> Sectors {
            self.0.size()
        }

        fn block_bytes(&self) -> u32 {
            self.0.block_bytes()
        }

        fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
            let bad = self.1 * CHUNK as u64;
            if (at_bytes..at_bytes + into.len() as u64).contains(&bad) {
                return Err(io::Error::from_raw_os_error(5));
            }
            self.0.read_at(at_bytes, into)
        }
    }

    /// Two exceptions: 5 → 2, and then 9 → 3.
    fn cow() -> MemorySource {
        let mut bytes = vec![0; 8 * CHUNK];
        for (at, word) in [(0, 0x7041_6e53), (4, 1), (8, 1), (12, 8_u32)] {
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        for (at, word) in [(0, 5), (8, 2), (16, 9), (24, 3_u64)] {
            bytes[CHUNK + at..CHUNK + at + 8].copy_from_slice(&word.to_le_bytes());
        }
        MemorySource::new(bytes)
    }

    fn real() -> MemorySource {
        MemorySource::new(vec![0; 16 * CHUNK])
    }

    /// What is found where these chunks of the two are bad.
    fn found(bad_cow: u64, bad_real: u64) -> Result<(), NoAnswer> {
        let (cow, real) = (Bad(cow(), bad_cow), Bad(real(), bad_real));
        try_reads(("cow", &cow), ("real", &real), Sectors(16 * 8))
    }

    #[test]
    fn what_the_merge_will_need_next_is_read_and_nothing_else() {
        found(99, 99).unwrap();
        found(2, 5).expect("the first exception is merged last");
        assert!(matches!(found(0, 99).unwrap_err(), NoAnswer::Store { .. }));
        assert!(matches!(found(1, 99).unwrap_err(), NoAnswer::Store { .. }));
        let error = found(3, 99).unwrap_err();
        assert!(error.to_string().starts_with("cow cannot be read at byte 12288"), "{error}");
        let refusal = Refusal::from(found(99, 9).unwrap_err());
        assert!(refusal.reason.starts_with("real cannot be read at byte 36864"), "{refusal}");
        assert!(refusal.way_out.contains("Nothing was changed"), "{refusal}");
    }

    #[test]
    fn an_empty_store_needs_no_run_and_an_invalid_one_ends_it() {
        let bytes = |valid: u8| {
            let mut bytes = vec![0; 8 * CHUNK];
            bytes[..4].copy_from_slice(&0x7041_6e53_u32.to_le_bytes());
            (bytes[4], bytes[8], bytes[12]) = (valid, 1, 8);
            MemorySource::new(bytes)
        };
        let size = Sectors(16 * 8);
        try_reads(("cow", &bytes(1)), ("real", &real()), size).unwrap();
        let error = try_reads(("cow", &bytes(0)), ("real", &real()), size).unwrap_err();
        assert!(matches!(error, NoAnswer::NoStore { .. }), "{error}");
    }
}
