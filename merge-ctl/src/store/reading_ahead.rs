//! Tests of walks that read ahead: they tell what walks without tell, and touch nothing that they
//! should not.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::error::StoreError;
use super::format::{Place, Placed};
use super::image::Image;
use super::reader::{Opened, Store};
use super::runs::Run;
use super::source::{ReadAt, Source};
use crate::units::Sectors;

/// Entries of an area, and bytes from one area to the next, at chunks of one sector.
const ENTRIES: u64 = 32;
const STRIDE_BYTES: u64 = 33 * 512;

/// A device that many threads may read, that remembers what was read, and that may have a place
/// which cannot be.
#[derive(Clone, Debug)]
pub(super) struct ParallelDevice(Arc<State>);

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    bad: Option<u64>,
    may_grow: bool,
    reads: Mutex<Vec<u64>>,
}

impl ParallelDevice {
    pub(super) fn new(image: &Image) -> Self {
        Self::with(image, None, false)
    }

    fn with(image: &Image, bad: Option<u64>, may_grow: bool) -> Self {
        let bytes = image.bytes.clone();
        Self(Arc::new(State { bytes, bad, may_grow, reads: Mutex::default() }))
    }

    pub(super) fn open(&self) -> Store<Self> {
        match Store::open(self.clone(), None).unwrap() {
            Opened::Usable(store) => store,
            other => panic!("not usable: {other:?}"),
        }
    }

    fn reads(&self) -> Vec<u64> {
        self.0.reads.lock().unwrap().clone()
    }
}

impl ReadAt for State {
    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        self.reads.lock().unwrap().push(at_bytes);
        if self.bad == Some(at_bytes) {
            return Err(io::Error::other("unreadable"));
        }
        let start = at_bytes as usize;
        into.copy_from_slice(&self.bytes[start..start + into.len()]);
        Ok(())
    }
}

impl Source for ParallelDevice {
    fn size(&self) -> Sectors {
        Sectors(self.0.bytes.len() as u64 / 512)
    }
    fn block_bytes(&self) -> u32 {
        512
    }
    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_at(at_bytes, into)
    }
    fn beside(&self) -> Option<Arc<dyn ReadAt>> {
        Some(Arc::clone(&self.0) as Arc<dyn ReadAt>)
    }
    fn may_grow(&self) -> bool {
        self.0.may_grow
    }
}

/// A store with so many exceptions, in runs of three.
fn image(exceptions: u64) -> Image {
    let old_chunks: Vec<u64> = (0..exceptions).map(|index| index + index / 3).collect();
    Image::written(1, &old_chunks, |_| false)
}

fn area_at(area: u64) -> u64 {
    512 + area * STRIDE_BYTES
}

fn end(exceptions: u64) -> Place {
    Place { area: exceptions / ENTRIES, entry: (exceptions % ENTRIES) as u32 }
}

#[test]
fn it_tells_what_a_walk_without_tells() {
    for exceptions in [0, 1, 31, 32, 33, 64, 200, 6000] {
        let image = image(exceptions);
        let (plain, ahead) = (image.open(None), ParallelDevice::new(&image).open());
        let (one, other): (Vec<Placed>, Vec<Placed>) = (
            plain.exceptions().map(Result::unwrap).collect(),
            ahead.exceptions().map(Result::unwrap).collect(),
        );
        assert_eq!(one, other);
        assert_eq!(plain.survey_runs().unwrap(), ahead.survey_runs().unwrap());
        let end = end(exceptions);
        let runs: Vec<Run> = ahead.runs(end).map(Result::unwrap).collect();
        assert_eq!(plain.survey_runs().unwrap().1, runs);
    }
}

#[test]
fn each_area_is_read_once_and_no_more_ahead_than_behind() {
    let device = ParallelDevice::new(&Image::written(1, &[], |_| false));
    device.open().survey(|_| {}).unwrap();
    assert_eq!(device.reads(), [0, area_at(0)], "an empty store wants one read");

    let mut image = image(20 * ENTRIES);
    image.bytes.resize(area_at(200) as usize, 0);
    let device = ParallelDevice::new(&image);
    device.open().survey(|_| {}).unwrap();
    let mut reads = device.reads();
    reads.sort_unstable();
    let until = reads.len() as u64 - 1;
    assert_eq!(reads[1..], (0..until).map(area_at).collect::<Vec<u64>>());
    // The store has 21 areas.
    assert!((22..=2 * 21).contains(&until), "{until}");
}

#[test]
fn the_devices_end_in_the_middle_of_a_window_is_no_matter() {
    let mut image = image(20 * ENTRIES + 5);
    image.bytes.truncate(area_at(21) as usize);
    let device = ParallelDevice::new(&image);
    // Reading behind the end would panic in the thread, and be an error where it is needed.
    assert_eq!(device.open().survey(|_| {}).unwrap().exceptions, 20 * ENTRIES + 5);
    assert_eq!(device.reads().iter().max(), Some(&area_at(20)));
}

#[test]
fn an_area_that_is_needed_and_not_there_is_an_error() {
    let mut image = image(20 * ENTRIES);
    image.bytes.truncate(area_at(20) as usize);
    let error = ParallelDevice::new(&image).open().survey(|_| {}).unwrap_err();
    assert!(matches!(error, StoreError::AreaOutside { area: 20, .. }), "{error}");
}

#[test]
fn an_unreadable_area_that_is_not_needed_is_no_error() {
    let mut image = image(20 * ENTRIES);
    image.bytes.resize(area_at(60) as usize, 0);
    let device = ParallelDevice::with(&image, Some(area_at(22)), false);
    assert_eq!(device.open().survey(|_| {}).unwrap().exceptions, 20 * ENTRIES);

    let device = ParallelDevice::with(&image, Some(area_at(3)), false);
    let store = device.open();
    let mut walk = store.backwards(end(20 * ENTRIES));
    let needed = walk.by_ref().take(16 * ENTRIES as usize);
    assert!(needed.map(Result::unwrap).all(|placed| placed.place.area >= 4));
    // The walk is kept until another thread came to it: what is dropped reads no further.
    let patience = Instant::now() + Duration::from_secs(30);
    while !device.reads().contains(&area_at(3)) {
        assert!(Instant::now() < patience, "it was to be read ahead");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_unreadable_area_that_is_needed_is_an_error_in_its_place() {
    let image = image(20 * ENTRIES);
    let device = ParallelDevice::with(&image, Some(area_at(7)), false);
    let store = device.open();
    let unreadable = |told: Option<Result<Placed, StoreError>>| {
        let at = area_at(7);
        matches!(told, Some(Err(StoreError::Read { at_bytes, bytes: 512, .. })) if at_bytes == at)
    };
    let mut walk = store.exceptions();
    assert_eq!(walk.by_ref().map_while(Result::ok).count() as u64, 7 * ENTRIES);
    assert!(unreadable(store.exceptions().nth(7 * ENTRIES as usize)));
    assert!(walk.next().is_none());
    assert!(unreadable(store.backwards(end(20 * ENTRIES)).nth(12 * ENTRIES as usize)));
    assert!(matches!(store.survey(|_| {}), Err(StoreError::Read { .. })));
}

#[test]
fn a_store_that_may_grow_is_read_ahead_only_where_it_was_in_use() {
    let mut image = image(20 * ENTRIES);
    image.bytes.resize(area_at(60) as usize, 0);
    let device = ParallelDevice::with(&image, None, true);
    device.open().survey(|_| {}).unwrap();
    let in_order: Vec<u64> = [0].into_iter().chain((0..=20).map(area_at)).collect();
    assert_eq!(device.reads(), in_order);

    // The header and 15 areas, of which the last is 14.
    let device = ParallelDevice::with(&image, None, true);
    let store = device.open().with_metadata_in_use(Sectors(16));
    assert_eq!(store.survey(|_| {}).unwrap().exceptions, 20 * ENTRIES);
    assert_eq!(device.reads()[16..], in_order[16..]);
    let mut reads = device.reads();
    reads.sort_unstable();
    assert_eq!(reads, in_order);
}

/// A device whose area 9 becomes full while it is read: until then, leftovers stand in area 10.
#[derive(Debug)]
struct Growing {
    before: Image,
    after: Image,
    grown: Arc<Mutex<bool>>,
}

impl ReadAt for Growing {
    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        if at_bytes == area_at(9) {
            // Whoever reads area 10 at the same time shall be first.
            thread::sleep(Duration::from_millis(20));
            *self.grown.lock().unwrap() = true;
        }
        let grown = self.grown.lock().unwrap();
        let image = if *grown { &self.after } else { &self.before };
        into.copy_from_slice(&image.bytes[at_bytes as usize..][..into.len()]);
        Ok(())
    }
}

impl Source for Arc<Growing> {
    fn size(&self) -> Sectors {
        Sectors(self.before.bytes.len() as u64 / 512)
    }
    fn block_bytes(&self) -> u32 {
        512
    }
    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        (**self).read_at(at_bytes, into)
    }
    fn beside(&self) -> Option<Arc<dyn ReadAt>> {
        Some(Arc::clone(self) as Arc<dyn ReadAt>)
    }
    fn may_grow(&self) -> bool {
        true
    }
}

#[test]
fn leftovers_of_an_older_store_are_not_taken_for_exceptions() {
    let (mut before, after) = (image(10 * ENTRIES - 1), image(10 * ENTRIES));
    before.bytes.resize(after.bytes.len(), 0);
    for entry in 0..20 {
        before.put((10, entry), 1000 + entry as u64, 332 + entry as u64);
    }
    let growing = Arc::new(Growing { before, after, grown: Arc::default() });
    let Opened::Usable(store) = Store::open(growing, None).unwrap() else { panic!("not usable") };
    assert_eq!(store.survey(|_| {}).unwrap().exceptions, 10 * ENTRIES);
}

#[test]
fn a_walk_that_is_given_up_leaves_no_thread() {
    let device = ParallelDevice::new(&image(100 * ENTRIES));
    let store = device.open();
    let mut walk = store.exceptions();
    assert_eq!(walk.by_ref().take(50 * ENTRIES as usize).flatten().count(), 1600);
    assert!(Arc::strong_count(&device.0) > 10, "threads read");
    drop(walk);
    assert_eq!(Arc::strong_count(&device.0), 2, "this test and the store");
}

#[test]
fn pieces_of_one_large_area_are_read_ahead_also_where_the_store_may_grow() {
    // Chunks of 4 MiB: four pieces an area, of which the first two and a bit are in use.
    let per_piece = (1 << 20) / 16;
    let mut image = Image::empty(8192, 2);
    for entry in 0..2 * per_piece + 3 {
        image.put((0, entry), entry as u64, 2);
    }
    let device = ParallelDevice::with(&image, None, true);
    let store = device.open();
    let end = Place { area: 0, entry: 2 * per_piece as u32 + 3 };
    let piece_at = |piece: u64| (4 << 20) + (piece << 20);
    // Each entry names a chunk outside this short device, so only the reads are looked at.
    assert!(store.backwards(end).next().unwrap().is_err());
    assert!(store.exceptions().next().unwrap().is_err());
    assert_eq!(device.reads(), [0, piece_at(2), piece_at(0)]);
}
