//! Takes samples of an offline merge: asks the engine's meter, and reads the store once, for the map.
//!
//! Both devices are the engine's; here the COW device is only read, beside it, and no more once the
//! engine has begun to clear it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::clock::now_ns;
use crate::human;
use crate::offline::Devices;
use crate::offline::meter::{Meter, Stage};
use crate::sample::{
    KernelView, MergeIdentity, OfflineEnd, OfflineFacts, OfflineTerms, Owner, ProbeReport,
    ProbeTier, Sample, StorePicture, StoreView,
};
use crate::store::{Opened, Store, StoreError};
use crate::units::{ChunkSize, DeviceNumber};

/// What an offline merge is called, and who owns the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The origin's device-mapper name; where there is none, the same as its label.
    pub origin: String,
    /// The origin as its users call it.
    pub origin_label: String,
    /// The snapshot, where there is more of it than a COW device.
    pub snapshot_label: Option<String>,
    /// Who has to be asked for it.
    pub owner: Owner,
    /// The number of the origin's own device, where it has one while it is merged.
    pub origin_dev: Option<DeviceNumber>,
}

/// What stays the same while these devices are merged; none where there is no store to merge.
pub fn identity(devices: &Devices, names: &Names, terms: OfflineTerms) -> Option<MergeIdentity> {
    let Ok(Opened::Usable(store)) = Store::open(&devices.cow, Some(devices.origin.size())) else {
        return None;
    };
    // A file has no number, and no device has this one.
    let number = |dev: Option<DeviceNumber>| dev.unwrap_or(DeviceNumber { major: 0, minor: 0 });
    Some(MergeIdentity {
        origin: names.origin.clone(),
        origin_label: names.origin_label.clone(),
        snapshot_label: names.snapshot_label.clone(),
        origin_dev: number(names.origin_dev),
        real_dev: number(devices.origin.device()),
        cow_dev: number(devices.cow.device()),
        real_label: devices.origin.label().to_owned(),
        cow_label: devices.cow.label().to_owned(),
        owner: names.owner,
        finished_here: true,
        driven_by: None,
        chunk_size: store.layout().chunk_size(),
        size: devices.origin.size(),
        siblings: Vec::new(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        probes: ProbeReport { tier: ProbeTier::None, missing: Vec::new() },
        offline: Some(terms),
    })
}

/// Whom the samples come from.
pub struct Sampler {
    meter: Arc<Meter>,
    store: Option<Reading>,
    first: bool,
}

impl Sampler {
    /// Begins to read the store of these devices, which `meter`'s engine merges.
    pub fn begin(meter: Arc<Meter>, devices: &Arc<Devices>, chunk_size: ChunkSize) -> Self {
        let store = Some(Reading::begin(devices, chunk_size));
        Self { meter, store, first: true }
    }

    /// A sample; `end`: how the engine ended, where it has.
    pub fn sample(&mut self, end: Option<OfflineEnd>) -> Sample {
        let reading = self.meter.read();
        let store = self.store(reading.stage >= Stage::Clearing || end.is_some());
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Sample {
            store,
            offline: Some(OfflineFacts { reading, stopping: self.meter.is_stopped(), end }),
            ..Sample::of(now_ns(), unix.as_secs(), KernelView::NotAsked)
        }
    }

    /// Reads no more, and lets go of the devices.
    pub fn let_go(&mut self) {
        self.store = None;
    }

    /// What became of reading the store, told once; `too_late`: what it holds changes.
    fn store(&mut self, too_late: bool) -> Option<StoreView> {
        let first = std::mem::replace(&mut self.first, false);
        let reading = self.store.as_mut()?;
        if reading.is_done() {
            return self.store.take().map(Reading::view);
        }
        if too_late {
            self.let_go();
            let why = "all was copied before the store was read for the map".to_owned();
            return Some(StoreView::Unread { why });
        }
        first.then_some(StoreView::Reading)
    }
}

/// The thread that reads the store. Dropping it ends that, and waits for it.
struct Reading {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<StoreView>>,
}

impl Reading {
    fn begin(devices: &Arc<Devices>, chunk_size: ChunkSize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (devices, told) = (Arc::clone(devices), Arc::clone(&stop));
        let read = move || match picture(&devices, chunk_size, &told) {
            Ok(picture) => StoreView::Read(picture),
            Err(error) => StoreView::Unread { why: human::in_full(&error) },
        };
        let thread = thread::Builder::new().name("map".to_owned()).spawn(read).ok();
        Self { stop, thread }
    }

    fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn view(mut self) -> StoreView {
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_else(|| {
            StoreView::Unread { why: "no thread can be had to read the store".to_owned() }
        })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it has read is not wanted any more; that it panicked it has said itself.
            let _ = thread.join();
        }
    }
}

/// Where on the origin the chunks lie; as far as was read, once told to stop.
fn picture(
    devices: &Devices,
    chunk_size: ChunkSize,
    stop: &AtomicBool,
) -> Result<StorePicture, StoreError> {
    let chunks = chunk_size.chunks_in(devices.origin.size());
    let chunks_per_cell = StorePicture::chunks_per_cell(chunks);
    let mut cells = vec![0_u32; chunks.div_ceil(chunks_per_cell) as usize];
    if let Opened::Usable(store) = Store::open(&devices.cow, Some(devices.origin.size()))? {
        for placed in store.exceptions() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let cell = placed?.exception.old_chunk / chunks_per_cell;
            if let Some(count) = cells.get_mut(cell as usize) {
                *count = count.saturating_add(1);
            }
        }
    }
    Ok(StorePicture { read_ns: now_ns(), chunks_per_cell, cells, ..StorePicture::default() })
}
