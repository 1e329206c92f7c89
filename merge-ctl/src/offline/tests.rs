//! Whole merges of files, beside a merge that takes one exception after the other.

mod faulty;

use std::fs;
use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tempfile::TempDir;

use self::faulty::{Fault, Faulty};
use super::budget::Budget;
use super::meter::Meter;
use super::options::Backend;
use super::{Act, Devices, OfflineError, Options, Outcome, Target, engine};
use crate::store::image::Image;

const SECTOR: usize = 512;

/// An origin and a store in files, and what comes of them.
struct Case {
    directory: TempDir,
    image: Image,
    origin: Vec<u8>,
    chunk_bytes: usize,
}

impl Case {
    /// A snapshot whose exceptions have these old chunks, of an origin that ends with the last one or
    /// some sectors before its end.
    fn new(chunk_sectors: u32, old_chunks: &[u64], missing_sectors: usize) -> Self {
        let chunk_bytes = chunk_sectors as usize * SECTOR;
        let mut image = Image::written(chunk_sectors, old_chunks, |index| index % 37 == 36);
        fill_data(&mut image, chunk_bytes);
        let chunks = old_chunks.iter().max().map_or(1, |last| last + 1) as usize;
        let missing = missing_sectors.min(chunk_sectors as usize - 1) * SECTOR;
        let origin = (0..chunks * chunk_bytes - missing).map(|byte| (byte / 7) as u8).collect();
        let case = Self { directory: tempfile::tempdir().unwrap(), image, origin, chunk_bytes };
        fs::write(case.cow(), &case.image.bytes).unwrap();
        fs::write(case.origin(), &case.origin).unwrap();
        case
    }

    fn of_chunks(count: u64) -> Self {
        Self::new(8, &(0..count).map(|index| index * 1009 % count).collect::<Vec<_>>(), 0)
    }

    fn origin(&self) -> PathBuf {
        self.directory.path().join("origin")
    }

    fn cow(&self) -> PathBuf {
        self.directory.path().join("cow")
    }

    fn devices(&self) -> Devices {
        Devices { origin: opened(&self.origin(), "origin"), cow: opened(&self.cow(), "cow") }
    }

    /// The origin after a merge, made in the plainest way.
    fn merged(&self) -> Vec<u8> {
        let mut origin = self.origin.clone();
        for exception in self.image.exceptions() {
            let to = exception.old_chunk as usize * self.chunk_bytes;
            let from = exception.new_chunk as usize * self.chunk_bytes;
            let length = self.chunk_bytes.min(origin.len() - to);
            origin[to..to + length].copy_from_slice(&self.image.bytes[from..from + length]);
        }
        origin
    }

    fn is_merged(&self) -> bool {
        fs::read(self.origin()).unwrap() == self.merged()
    }

    fn is_cleared(&self) -> bool {
        let bytes = fs::read(self.cow()).unwrap();
        bytes[self.chunk_bytes..2 * self.chunk_bytes].iter().all(|byte| *byte == 0)
    }

    fn is_untouched(&self) -> bool {
        fs::read(self.cow()).unwrap() == self.image.bytes
    }

    /// A merge by a queue that has faults.
    fn merge_with(
        &self,
        options: &Options,
        meter: &Meter,
        fault: &Fault,
    ) -> Result<Outcome, OfflineError> {
        self.merge_by(1, options, meter, fault)
    }

    /// The same by several threads.
    fn merge_by(
        &self,
        workers: usize,
        options: &Options,
        meter: &Meter,
        fault: &Fault,
    ) -> Result<Outcome, OfflineError> {
        let devices = self.devices();
        let queue = |devices: &Devices, slots, _| Faulty::boxed(devices, slots, fault.clone());
        let budget = Budget { workers, ..Budget::of(options) };
        engine::merge(&devices, options, budget, &queue, meter)
    }
}

/// A file whose lock was let go a moment ago: a program that another test starts right now has it
/// too, until its `exec`.
fn opened(path: &Path, label: &str) -> Target {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match Target::open(path, label) {
            Err(OfflineError::Open { source, .. })
                if source.kind() == ErrorKind::ResourceBusy && Instant::now() < until =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            opened => return opened.unwrap(),
        }
    }
}

/// Every sector of data is unlike any other.
fn fill_data(image: &mut Image, chunk_bytes: usize) {
    let stride = chunk_bytes / 16 + 1;
    for (number, chunk) in image.bytes.chunks_mut(chunk_bytes).enumerate() {
        if number > 1 && number % stride != 1 {
            for (word, bytes) in chunk.chunks_mut(8).enumerate() {
                let tag = (number as u64) << 32 | word as u64;
                bytes.copy_from_slice(&tag.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
            }
        }
    }
}

fn options(backend: Backend) -> Options {
    Options { backend, verify: true, ..Options::default() }
}

fn has_uring() -> bool {
    let case = Case::of_chunks(1);
    let outcome = super::merge(&case.devices(), &options(Backend::Uring), &Meter::default());
    !matches!(outcome, Err(OfflineError::Resource { .. }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the store, the memory and the way requests are made, the origin is what a naive merge
    /// makes of it, and the store is empty.
    #[test]
    fn a_merge_is_what_a_naive_merge_is(
        old_chunks in prop::collection::hash_set(0_u64..600, 0..400),
        sort in any::<bool>(),
        sectors_log2 in 0_u32..5,
        missing_sectors in 0_usize..16,
        uring in any::<bool>(),
        requests in 1_u32..40,
        exceptions in prop_oneof![Just(1_usize << 20), 2_usize..200],
        verify in any::<bool>(),
    ) {
        let mut old_chunks: Vec<_> = old_chunks.into_iter().collect();
        if sort {
            old_chunks.sort_unstable();
        }
        let case = Case::new(1 << sectors_log2, &old_chunks, missing_sectors);
        let backend = if uring && has_uring() { Backend::Uring } else { Backend::Threads };
        let options = Options { requests, verify, backend, ..Options::default() };
        let budget = Budget { exceptions, ..Budget::of(&options) };
        let queue = |devices: &Devices, slots, requests| {
            engine::queue(backend, devices, slots, requests)
        };
        let meter = Meter::default();
        let outcome = engine::merge(&case.devices(), &options, budget, &queue, &meter);
        let Ok(Outcome::Merged(merged)) = outcome else { panic!("{outcome:?}") };
        prop_assert!(case.is_merged());
        prop_assert!(case.is_cleared());
        let reading = meter.read();
        let committed = case.image.exceptions();
        prop_assert_eq!(merged.exceptions, committed.len() as u64);
        prop_assert_eq!(reading.exceptions, merged.exceptions);
        prop_assert_eq!(reading.cleared_exceptions, merged.exceptions);
        prop_assert_eq!((reading.requests_under_way, reading.bytes_under_way), (0, 0));
        let walks = if committed.len() > exceptions.max(2) { 2 } else { 1 };
        prop_assert!(reading.walked_exceptions >= walks * merged.exceptions);
        prop_assert_eq!(reading.copied_bytes, reading.total_bytes);
        prop_assert_eq!(reading.verified_bytes, if verify { reading.total_bytes } else { 0 });
        let last = committed.iter().map(|exception| exception.old_chunk).max();
        let end = last.map_or(0, |last| {
            ((last + 1) * case.chunk_bytes as u64).min(case.origin.len() as u64)
        });
        prop_assert_eq!(reading.frontier_bytes, end);
    }

    /// Short transfers and answers in any order change nothing.
    #[test]
    fn short_transfers_are_continued(
        old_chunks in prop::collection::hash_set(0_u64..300, 1..200),
        seed in any::<u64>(),
    ) {
        let case = Case::new(4, &old_chunks.into_iter().collect::<Vec<_>>(), 1);
        let fault = Fault { short: true, seed, ..Fault::default() };
        let outcome = case.merge_with(&options(Backend::Auto), &Meter::default(), &fault);
        prop_assert!(matches!(outcome, Ok(Outcome::Merged(_))), "{:?}", outcome);
        prop_assert!(case.is_merged() && case.is_cleared());
    }

    /// A bad sector is named, wherever it lies in a larger request; nothing is cleared; and when it is
    /// good again, so is the merge.
    #[test]
    fn a_bad_sector_is_named_and_nothing_is_cleared(
        count in 1_u64..600,
        at in any::<prop::sample::Index>(),
        act in prop_oneof![Just(Act::Read), Just(Act::Write)],
        seed in any::<u64>(),
        workers in 1_usize..4,
    ) {
        let case = Case::new(8, &(0..count).collect::<Vec<_>>(), 0);
        let exceptions = case.image.exceptions();
        let exception = exceptions[at.index(exceptions.len())];
        let (bad, device) = match act {
            Act::Read => (exception.new_chunk * 8 + seed % 8, "cow"),
            _ => (exception.old_chunk * 8 + seed % 8, "origin"),
        };
        let bad_sector = Some((act, bad));
        let fault = Fault { seed, bad_sector, ..Fault::default() };
        let meter = Meter::default();
        let error = case.merge_by(workers, &Options::default(), &meter, &fault).unwrap_err();
        let OfflineError::Io { device: named, act: told, at, .. } = &error else { panic!("{error}") };
        prop_assert_eq!((named.as_str(), *told, at.0), (device, act, bad));
        prop_assert!(case.is_untouched());
        let again = case.merge_with(&Options::default(), &Meter::default(), &Fault::default());
        prop_assert!(matches!(again, Ok(Outcome::Merged(_))));
        prop_assert!(case.is_merged() && case.is_cleared());
    }

    /// A stop at any request ends at once, clears nothing, and what is left can be merged.
    #[test]
    fn a_stop_leaves_a_store_that_merges_on(
        count in 1_u64..600,
        after in 0_usize..100,
        seed in any::<u64>(),
    ) {
        let case = Case::of_chunks(count);
        let meter = std::sync::Arc::new(Meter::default());
        let stop_after = Some((after, std::sync::Arc::clone(&meter)));
        let fault = Fault { seed, stop_after, ..Fault::default() };
        match case.merge_with(&options(Backend::Auto), &meter, &fault).unwrap() {
            Outcome::Stopped => {
                prop_assert!(case.is_untouched());
                prop_assert!(fault.begun_after_stop() == 0);
            }
            // So few requests, or the stop came with the clearing.
            Outcome::Merged(_) => prop_assert!(case.is_cleared()),
        }
        let again = super::merge(&case.devices(), &options(Backend::Threads), &Meter::default());
        if !case.is_cleared() {
            prop_assert!(matches!(again, Ok(Outcome::Merged(_))));
        }
        prop_assert!(case.is_merged());
    }
}

#[test]
fn no_request_begins_after_an_error() {
    let case = Case::of_chunks(500);
    let sector = case.image.exceptions()[250].new_chunk * 8;
    let fault = Fault { bad_sector: Some((Act::Read, sector)), ..Fault::default() };
    case.merge_with(&Options::default(), &Meter::default(), &fault).unwrap_err();
    assert!(fault.writes_after_error() == 0);
}

#[test]
fn a_copy_that_reads_back_as_something_else_is_named_and_nothing_is_cleared() {
    let case = Case::of_chunks(300);
    for sector in [0, 9, 1234, 2399] {
        let fault = Fault { lying_sector: Some(sector), ..Fault::default() };
        let error =
            case.merge_with(&options(Backend::Auto), &Meter::default(), &fault).unwrap_err();
        let OfflineError::Differs { at, .. } = error else { panic!("{error}") };
        assert_eq!(at.0, sector);
        assert!(case.is_untouched());
    }
    let fault = Fault { lying_sector: Some(9), ..Fault::default() };
    let unverified = case.merge_with(&Options::default(), &Meter::default(), &fault).unwrap();
    assert!(matches!(unverified, Outcome::Merged(_)), "the lie is told only to who asks");
}

#[test]
fn an_error_while_clearing_names_the_sector_and_leaves_what_stands_before() {
    let case = Case::of_chunks(600);
    // The second area, of 256 entries, begins in chunk 258.
    let fault = Fault { bad_sector: Some((Act::Write, 258 * 8 + 3)), ..Fault::default() };
    let error = case
        .merge_with(&Options::default(), &Meter::default(), &Fault { on_cow: true, ..fault })
        .unwrap_err();
    let OfflineError::Io { device, act: Act::Write, at, .. } = &error else { panic!("{error}") };
    assert_eq!((device.as_str(), at.0), ("cow", 258 * 8 + 3));
    assert!(case.is_merged());
    let first_area = |bytes: &[u8]| bytes[4096..8192].to_vec();
    assert_eq!(first_area(&fs::read(case.cow()).unwrap()), first_area(&case.image.bytes));
}

#[test]
fn a_limit_is_kept_and_a_stop_is_heeded_under_it() {
    let case = Case::of_chunks(128);
    let limit = |bytes| NonZeroU64::new(bytes);
    let begun = Instant::now();
    let slow = Options { bandwidth_bytes: limit(1 << 20), ..Options::default() };
    super::merge(&case.devices(), &slow, &Meter::default()).unwrap();
    assert!(begun.elapsed() > Duration::from_millis(250), "{:?}", begun.elapsed());
    assert!(case.is_merged());

    let case = Case::of_chunks(256);
    let crawling = Options { bandwidth_bytes: limit(512), ..Options::default() };
    let meter = Meter::default();
    std::thread::scope(|scope| {
        let merge = scope.spawn(|| super::merge(&case.devices(), &crawling, &meter));
        while meter.read().copied_bytes == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        meter.stop();
        assert_eq!(merge.join().unwrap().unwrap(), Outcome::Stopped);
    });
    assert!(meter.read().copied_bytes < meter.read().total_bytes);
    assert!(case.is_untouched());
}

#[test]
fn one_file_is_not_merged_into_itself_and_none_is_opened_twice() {
    let case = Case::of_chunks(3);
    let linked = case.directory.path().join("linked");
    fs::hard_link(case.cow(), &linked).unwrap();
    let devices = case.devices();
    let busy = Target::open(&linked, "linked").unwrap_err();
    let OfflineError::Open { source, .. } = &busy else { panic!("{busy}") };
    assert_eq!(source.kind(), ErrorKind::ResourceBusy);
    assert!(devices.cow.is_same(&devices.cow) && !devices.cow.is_same(&devices.origin));
}

#[test]
fn what_is_no_store_or_an_invalid_one_is_refused() {
    let case = Case::of_chunks(3);
    let merge = || super::merge(&case.devices(), &Options::default(), &Meter::default());
    let mut bytes = case.image.bytes.clone();
    bytes[4] = 0;
    fs::write(case.cow(), &bytes).unwrap();
    assert!(matches!(merge(), Err(OfflineError::Invalid(_))));
    bytes[..16].fill(0);
    fs::write(case.cow(), &bytes).unwrap();
    assert!(matches!(merge(), Err(OfflineError::NoStore(_))));
    bytes[..16].fill(7);
    fs::write(case.cow(), &bytes).unwrap();
    assert!(matches!(merge(), Err(OfflineError::Store { .. })));
}

#[test]
fn an_origin_that_is_too_small_and_an_old_chunk_that_is_there_twice_are_refused() {
    let case = Case::of_chunks(40);
    fs::write(case.origin(), &case.origin[..20 * 4096]).unwrap();
    let merge = || super::merge(&case.devices(), &Options::default(), &Meter::default());
    assert!(matches!(merge(), Err(OfflineError::Store { .. })));
    fs::write(case.origin(), &case.origin).unwrap();
    let mut image = case.image.clone();
    image.put((0, 5), image.exceptions()[3].old_chunk, image.exceptions()[5].new_chunk);
    fs::write(case.cow(), &image.bytes).unwrap();
    assert!(matches!(merge(), Err(OfflineError::Store { .. })));
    // Also where there was no memory to search for it.
    let options = Options::default();
    let budget = Budget { duplicates_bytes: 0, ..Budget::of(&options) };
    let queue = |devices: &Devices, slots, requests| {
        engine::queue(Backend::Threads, devices, slots, requests)
    };
    let outcome = engine::merge(&case.devices(), &options, budget, &queue, &Meter::default());
    assert!(matches!(outcome, Err(OfflineError::Store { .. })), "{outcome:?}");
    assert_eq!(fs::read(case.origin()).unwrap(), case.origin, "nothing was written");
}
