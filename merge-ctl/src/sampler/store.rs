//! Reads the exception store once, forwards, in a thread of its own: a large store on a slow device
//! takes minutes, and a screen must not wait for it.
//!
//! A merge clears exceptions from the end. So when the walk meets the end, what it has counted is
//! exactly what was left at that moment, however long it took. Memory is bounded: counts by cell
//! of the map, the runs as segments, and the next runs one by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::next_runs::LastRuns;
use super::read_times;
use crate::clock::now_ns;
use crate::dm::nodes;
use crate::human;
use crate::sample::{MergeIdentity, StorePicture, StoreView};
use crate::store::{Exception, FileSource, Opened, Placed, Segments, Store, StoreError};
use crate::units::{DeviceNumber, Sectors};

/// How long the store may be read. The reads take turns with those of the merge, and what is not
/// known after this time is worth no more of them.
const MAX_READ: Duration = Duration::from_secs(300);

/// A store that is being read. Dropping it ends that, with the next area at the latest.
pub(super) struct StoreReading {
    result: Receiver<StoreView>,
    stop: Arc<AtomicBool>,
}

impl StoreReading {
    /// Begins to read the store of this merge, of which so much metadata is in use.
    pub(super) fn begin(identity: &MergeIdentity, metadata: Sectors) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, result) = sync_channel(1);
        let reader = Reader {
            cow: identity.cow_dev,
            real: identity.real_dev,
            origin: identity.size,
            metadata,
            deadline: Instant::now() + MAX_READ,
            stop: Arc::clone(&stop),
        };
        let thread = thread::Builder::new().name("store".to_owned());
        // Where there can be no thread, the sender is dropped with it, and `wait` says so.
        let _ = thread.spawn(move || reader.run(&sender));
        Self { result, stop }
    }

    /// What became of it; [`StoreView::Reading`] where that takes longer than `patience`.
    pub(super) fn wait(&self, patience: Duration) -> StoreView {
        self.result.recv_timeout(patience).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => StoreView::Reading,
            RecvTimeoutError::Disconnected => StoreView::Unread {
                why: "no thread can be had to read the exception store".to_owned(),
            },
        })
    }
}

impl Drop for StoreReading {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Reader {
    cow: DeviceNumber,
    real: DeviceNumber,
    origin: Sectors,
    metadata: Sectors,
    deadline: Instant,
    stop: Arc<AtomicBool>,
}

/// Why a store was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("the COW device {0} has no node in /dev")]
    NoNode(DeviceNumber),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the exception store is invalid")]
    Invalid,
    #[error("reading the exception store took longer than {} s", MAX_READ.as_secs())]
    TooSlow,
    #[error("nobody waits for the exception store any more")]
    Stopped,
}

impl Reader {
    fn run(&self, result: &SyncSender<StoreView>) {
        let store = match self.picture() {
            Ok(picture) => StoreView::Read(picture),
            Err(error) => StoreView::Unread { why: human::in_full(&error) },
        };
        // Nobody may wait any more.
        let _ = result.send(store);
    }

    fn picture(&self) -> Result<StorePicture, Unread> {
        let source = open(self.cow)?;
        let store = match Store::open(&source, Some(self.origin))? {
            Opened::Usable(store) => store.with_metadata_in_use(self.metadata),
            Opened::New => {
                return Ok(StorePicture { read_ns: now_ns(), ..StorePicture::default() });
            }
            Opened::Invalid => return Err(Unread::Invalid),
        };
        let chunk = store.layout().chunk_size();
        let mut counts = Counts::new(chunk.chunks_in(self.origin));
        for placed in store.exceptions() {
            let placed = placed?;
            // The clock is asked once an area: as often as the device.
            if placed.place.entry == 0 {
                self.go_on()?;
            }
            counts.add(placed);
        }
        let read_ns = now_ns();
        let Counts { places, picture, segments, last_runs, .. } = counts;
        let times = |source: &FileSource, chunk_of: fn(&Exception) -> u64| {
            let chunks: Vec<u64> = places.iter().map(chunk_of).collect();
            read_times::measure(source, chunk, &chunks)
        };
        Ok(StorePicture {
            read_ns,
            segments: segments.into_merge_order(),
            next_runs: last_runs.into_next(),
            cow_reads: times(&source, |exception| exception.new_chunk),
            real_reads: open(self.real)
                .ok()
                .and_then(|real| times(&real, |exception| exception.old_chunk)),
            ..picture
        })
    }

    fn go_on(&self) -> Result<(), Unread> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Unread::Stopped);
        }
        if Instant::now() > self.deadline {
            return Err(Unread::TooSlow);
        }
        Ok(())
    }
}

/// What is counted on the way.
struct Counts {
    picture: StorePicture,
    segments: Segments,
    last_runs: LastRuns,
    exceptions: u64,
    /// A few exceptions from all over the store, to time reads where the merge will read and write.
    places: Vec<Exception>,
}

impl Counts {
    fn new(origin_chunks: u64) -> Self {
        let chunks_per_cell = StorePicture::chunks_per_cell(origin_chunks);
        let cells = vec![0; origin_chunks.div_ceil(chunks_per_cell) as usize];
        Self {
            picture: StorePicture { chunks_per_cell, cells, ..StorePicture::default() },
            segments: Segments::new(StorePicture::MAX_SEGMENTS),
            last_runs: LastRuns::default(),
            exceptions: 0,
            places: Vec::new(),
        }
    }

    fn add(&mut self, placed: Placed) {
        self.segments.add(placed);
        self.last_runs.add(placed);
        let cell = placed.exception.old_chunk / self.picture.chunks_per_cell;
        if let Some(count) = self.picture.cells.get_mut(cell as usize) {
            *count = count.saturating_add(1);
        }
        self.exceptions += 1;
        if self.exceptions.is_power_of_two() {
            self.places.push(placed.exception);
        }
    }
}

pub(super) fn open(dev: DeviceNumber) -> Result<FileSource, Unread> {
    let path = nodes::kernel_path(dev).ok_or(Unread::NoNode(dev))?;
    Ok(FileSource::open(&path)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::format::Place;

    #[test]
    fn chunks_are_counted_where_they_lie() {
        let mut counts = Counts::new(3 * StorePicture::MAX_CELLS);
        for (entry, old_chunk) in (0..).zip([0, 2, 3, 3 * StorePicture::MAX_CELLS - 1]) {
            let exception = Exception { old_chunk, new_chunk: u64::from(entry) + 2 };
            counts.add(Placed { place: Place { area: 0, entry }, exception });
        }
        assert_eq!(counts.picture.chunks_per_cell, 3);
        assert_eq!(counts.picture.cells[..3], [2, 1, 0]);
        assert_eq!(counts.picture.cells.last(), Some(&1));
        assert_eq!(counts.places.len(), 3, "the first, the second and the fourth");
    }

    #[test]
    fn why_a_store_was_not_read_is_told_with_its_cause() {
        let source = std::io::Error::from_raw_os_error(13);
        let error = Unread::Store(StoreError::Open { path: "/dev/dm-3".into(), source });
        let why = human::in_full(&error);
        assert!(why.starts_with("cannot open /dev/dm-3"), "{why}");
        assert!(why.contains("ermission denied"), "{why}");
    }
}
