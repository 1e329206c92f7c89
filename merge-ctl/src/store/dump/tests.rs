use std::io;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::container::{FOOTER_BYTES, Footer, PREAMBLE_BYTES, Preamble, Reach};
use super::frame::{FRAME_BYTES, MAX_PACKED_BYTES, pack, unpack};
use super::*;
use crate::store::image::Image;
use crate::store::properties::{ORIGIN_CHUNKS, image, metadata_offset, value};
use crate::store::{MemorySource, Opened, Place, Source, Store, StoreError};
use crate::units::Sectors;

fn dump(source: &impl Source, origin: Option<Sectors>) -> (Vec<u8>, Saved) {
    let mut bytes = Vec::new();
    let saved = save(source, Known { origin, ..Known::default() }, &mut bytes, || false).unwrap();
    assert_eq!(saved.dump_bytes, bytes.len() as u64);
    (bytes, saved)
}

fn open(bytes: &[u8]) -> DumpSource {
    DumpSource::of_bytes(bytes.to_vec()).unwrap()
}

/// All that reading a store can say, errors too, as text to compare.
fn all_of(source: &impl Source, origin: Option<Sectors>) -> String {
    let store = match Store::open(source, origin) {
        Ok(Opened::Usable(store)) => store,
        Ok(Opened::New) => return "new".to_owned(),
        Ok(Opened::Invalid) => return "invalid".to_owned(),
        Err(error) => return format!("{error:?}"),
    };
    let forwards: Vec<_> = store.exceptions().collect();
    let survey = store.survey_runs();
    let backwards = survey.as_ref().ok().map(|(found, _)| {
        let runs: Vec<_> = store.runs(found.end).collect();
        format!("{:?} {runs:?}", store.backwards(found.end).collect::<Vec<_>>())
    });
    format!("{forwards:?}\n{survey:?}\n{backwards:?}")
}

/// A store whose entries are computed where they are read, so that it may be of any size.
struct Computed<F> {
    chunk_bytes: u64,
    exceptions: u64,
    old_chunk: F,
    /// Reads from here on fail.
    fails_at: u64,
}

impl<F: Fn(u64) -> u64> Computed<F> {
    fn new(chunk_bytes: u64, exceptions: u64, old_chunk: F) -> Self {
        Self { chunk_bytes, exceptions, old_chunk, fails_at: u64::MAX }
    }

    fn per_area(&self) -> u64 {
        self.chunk_bytes / 16
    }

    fn entry(&self, index: u64) -> [u8; 16] {
        let mut bytes = [0; 16];
        if index < self.exceptions {
            let new_chunk = index + 2 + index / self.per_area();
            bytes[..8].copy_from_slice(&(self.old_chunk)(index).to_le_bytes());
            bytes[8..].copy_from_slice(&new_chunk.to_le_bytes());
        }
        bytes
    }
}

impl<F: Fn(u64) -> u64> Source for Computed<F> {
    fn size(&self) -> Sectors {
        let areas = self.exceptions / self.per_area() + 1;
        Sectors((1 + areas * (self.per_area() + 1)) * (self.chunk_bytes / 512))
    }

    fn block_bytes(&self) -> u32 {
        512
    }

    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        if at_bytes >= self.fails_at {
            return Err(io::Error::from_raw_os_error(5));
        }
        if at_bytes == 0 {
            into.fill(0);
            into[..12].copy_from_slice(b"SnAp\x01\0\0\0\x01\0\0\0");
            into[12..16].copy_from_slice(&((self.chunk_bytes / 512) as u32).to_le_bytes());
            return Ok(());
        }
        let (chunk, within) = (at_bytes / self.chunk_bytes, at_bytes % self.chunk_bytes);
        assert_eq!((chunk - 1) % (self.per_area() + 1), 0, "data was read");
        let first = (chunk - 1) / (self.per_area() + 1) * self.per_area() + within / 16;
        for (index, entry) in into.chunks_exact_mut(16).enumerate() {
            entry.copy_from_slice(&self.entry(first + index as u64));
        }
        Ok(())
    }
}

/// Any permutation will do: here one that jumps about in 2^24 chunks.
fn scattered(index: u64) -> u64 {
    let mut chunk = index & 0xff_ffff;
    for (factor, shift) in [(0x9e_3779, 13), (0xc2_b2ae, 11)] {
        chunk = (chunk.wrapping_mul(factor | 1)) & 0xff_ffff;
        chunk ^= chunk >> shift;
    }
    chunk
}

#[test]
fn what_is_written_in_order_packs_to_nothing_and_at_random_to_few_bytes() {
    let exceptions = 300_000;
    let (sequential, saved) = dump(&Computed::new(4096, exceptions, |index| index), None);
    assert_eq!((saved.exceptions, saved.faults), (exceptions, 0));
    assert!(saved.metadata_bytes >= exceptions * 16 && saved.ending.is_whole());
    let per_exception = |bytes: &[u8]| bytes.len() as f64 / exceptions as f64;
    println!("in order: {:.4} bytes an exception", per_exception(&sequential));
    assert!(per_exception(&sequential) < 0.05, "{}", per_exception(&sequential));

    let began = Instant::now();
    let (random, _) = dump(&Computed::new(4096, exceptions, scattered), None);
    println!("at random: {:.4}, {:?}", per_exception(&random), began.elapsed());
    assert!(per_exception(&random) < 4.0, "{}", per_exception(&random));
}

#[test]
fn a_store_of_several_frames_comes_back_both_ways() {
    let source = Computed::new(4096, 300_000, scattered);
    let (bytes, _) = dump(&source, None);
    let dump = open(&bytes);
    assert_eq!(dump.size(), source.size());
    assert_eq!(dump.saved_bytes() / FRAME_BYTES as u64, 4);
    assert!(all_of(&dump, None) == all_of(&source, None), "the dump reads otherwise");
}

#[test]
fn of_a_chunk_larger_than_a_frame_only_what_is_used_is_saved() {
    // 2.5 MiB of a chunk of 8 MiB, and next to nothing of one of 1 GiB.
    for (chunk_bytes, exceptions, expected_bytes) in
        [(8 << 20, 163_840, 3 << 20), (1 << 30, 5, 1 << 20)]
    {
        let source = Computed::new(chunk_bytes, exceptions, |index| index * 3);
        let (bytes, saved) = dump(&source, None);
        assert_eq!((saved.exceptions, saved.metadata_bytes), (exceptions, expected_bytes));
        assert!(bytes.len() < 40_000, "{}", bytes.len());
        assert!(all_of(&open(&bytes), None) == all_of(&source, None));
    }
}

#[test]
fn what_was_not_saved_is_an_error_and_never_zeroes() {
    let image = Image::written(1, &[5, 6, 7], |_| false);
    let (bytes, _) = dump(&MemorySource::new(image.bytes), None);
    let dump = open(&bytes);
    let mut sector = [0; 512];
    dump.read_at(512, &mut sector).unwrap();
    assert_eq!(sector[..16], [5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    for data_or_a_later_area in [1024, 34 * 512] {
        let error = dump.read_at(data_or_a_later_area, &mut sector).unwrap_err();
        assert!(error.to_string().contains("only the exceptions are saved"), "{error}");
    }
    let mut area_and_data = [0; 1024];
    assert!(dump.read_at(512, &mut area_and_data).is_err());
    let behind = dump.read_at(dump.size().bytes(), &mut sector).unwrap_err();
    assert_eq!(behind.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn new_and_invalid_stores_and_strange_headers_are_saved_as_they_are() {
    let image = |field: usize, value: u32| {
        let mut image = Image::written(1, &[1, 2, 9], |_| false);
        image.bytes[field * 4..][..4].copy_from_slice(&value.to_le_bytes());
        MemorySource::new(image.bytes)
    };
    let (bytes, saved) = dump(&image(0, 0), None);
    assert!(matches!(saved.ending, Ending::New) && saved.metadata_bytes == 0);
    assert_eq!(all_of(&open(&bytes), None), "new");
    let (bytes, saved) = dump(&image(1, 0), None);
    assert!(matches!(saved.ending, Ending::Store) && saved.exceptions == 3 && saved.invalid);
    assert_eq!(all_of(&open(&bytes), None), "invalid");
    for (field, value) in [(2, 7), (3, 5), (3, 1 << 30)] {
        let source = image(field, value);
        let (bytes, saved) = dump(&source, None);
        assert!(matches!(saved.ending, Ending::Header(_)), "{:?}", saved.ending);
        assert_eq!(all_of(&open(&bytes), None), all_of(&source, None));
    }
    let refused = save(&image(0, 0xef53), Known::default(), &mut Vec::new(), || false).unwrap_err();
    assert!(matches!(refused, SaveError::Store(StoreError::NotAStore { magic: 0xef53 })));
    let nothing = MemorySource::new(Vec::new());
    let refused = save(&nothing, Known::default(), &mut Vec::new(), || false).unwrap_err();
    assert!(matches!(refused, SaveError::Store(StoreError::TooSmall { .. })));
}

#[test]
fn a_device_that_cannot_be_read_to_its_end_leaves_what_came_before() {
    let mut source = Computed::new(4096, 2000, |index| index);
    source.fails_at = 258 * 4096;
    let (bytes, saved) = dump(&source, None);
    assert_eq!((saved.exceptions, saved.metadata_bytes), (256, 4096));
    assert!(matches!(saved.ending, Ending::Unreadable(_)) && !saved.ending.is_whole());
    let dump = open(&bytes);
    let Ok(Opened::Usable(store)) = Store::open(&dump, None) else { panic!("not usable") };
    let read: Vec<_> = store.exceptions().collect();
    assert_eq!(read.len(), 257);
    let error = read[256].as_ref().unwrap_err();
    let StoreError::Read { source, .. } = error else { panic!("{error:?}") };
    assert!(source.to_string().contains("could not be read further"), "{source}");
}

#[test]
fn data_that_a_wrong_header_points_at_is_not_saved() {
    let mut image = Image::empty(1, 1 + 33 * 6);
    image.bytes[512..].fill(0x41);
    let source = MemorySource::new(image.bytes);
    let (bytes, saved) = dump(&source, None);
    let Ending::TooDamaged(place) = saved.ending else { panic!("{:?}", saved.ending) };
    assert_eq!((place, saved.faults), (Place { area: 2, entry: 0 }, write::MAX_FAULTS));
    let dump = open(&bytes);
    let mut third_area = [1; 512];
    dump.read_at(67 * 512, &mut third_area).unwrap();
    assert_eq!(third_area, [0; 512]);
    assert_eq!(all_of(&dump, None), all_of(&source, None));
}

#[test]
fn data_behind_the_end_of_the_store_is_not_saved() {
    let mut image = Image::written(16, &[1, 2, 3], |_| false);
    image.bytes[8192 + 4 * 16..16384].fill(0x41);
    let (bytes, saved) = dump(&MemorySource::new(image.bytes), None);
    assert!(matches!(saved.ending, Ending::WithoutRemains), "{:?}", saved.ending);
    assert_eq!((saved.exceptions, saved.faults), (3, 0));
    let mut area = [0; 8192];
    open(&bytes).read_at(8192, &mut area).unwrap();
    let left = area.into_iter().filter(|byte| *byte == 0x41);
    assert_eq!(left.count() as u64, 16 * write::MAX_FAULTS);
}

#[test]
fn faults_are_told_with_their_place() {
    let mut image = Image::written(1, &[1, 2, 3], |_| false);
    image.put((0, 1), 2, 1 << 40);
    let (_, saved) = dump(&MemorySource::new(image.bytes), None);
    assert_eq!((saved.exceptions, saved.faults), (3, 1));
    let fault = saved.first_fault.unwrap().to_string();
    assert!(fault.contains("area 0, entry 1"), "{fault}");
}

#[test]
fn a_failed_write_and_a_wish_to_stop_end_it() {
    let source = Computed::new(4096, 10, |index| index);
    let mut full: &mut [u8] = &mut [0; 60];
    let error = save(&source, Known::default(), &mut full, || false).unwrap_err();
    assert!(matches!(error, SaveError::Write(_)), "{error:?}");
    let error = save(&source, Known::default(), &mut Vec::new(), || true).unwrap_err();
    assert!(matches!(error, SaveError::CalledOff), "{error:?}");
}

#[test]
fn a_dump_of_a_dump_is_the_same_dump() {
    let (bytes, _) = dump(&Computed::new(4096, 1000, scattered), Some(Sectors(1 << 27)));
    let first = open(&bytes);
    assert_eq!(first.origin_size(), Some(Sectors(1 << 27)));
    assert_eq!(dump(&first, first.origin_size()).0, bytes);
}

/// A dump with one frame of these bytes, whatever they are.
fn with_frame(packed: &[u8], saved_bytes: u64) -> Vec<u8> {
    let header = *b"SnAp\x01\0\0\0\x01\0\0\0\x08\0\0\0";
    let size = Sectors(1 << 20);
    let mut bytes = Preamble { cow_size: size, origin_size: Sectors(0), header }.encode().to_vec();
    bytes.extend_from_slice(packed);
    let index = (packed.len() as u32).to_le_bytes();
    bytes.extend_from_slice(&index);
    bytes.extend_from_slice(&Footer::encode(saved_bytes, Reach::Whole, &index));
    bytes
}

#[test]
fn nothing_is_unpacked_beyond_what_a_frame_holds() {
    let bomb = pack(&vec![0; 64 << 20]).unwrap();
    let mut sector = [0; 512];
    let error = open(&with_frame(&bomb, 4096)).read_at(4096, &mut sector).unwrap_err();
    assert!(error.to_string().contains("more than it should"), "{error}");
    let short = pack(&[1; 512]).unwrap();
    let error = open(&with_frame(&short, 4096)).read_at(4096, &mut sector).unwrap_err();
    assert!(error.to_string().contains("part 1 of 1"), "{error}");
    let too_long = DumpSource::of_bytes(with_frame(&vec![0; MAX_PACKED_BYTES + 1], 4096));
    assert!(too_long.unwrap_err().to_string().contains("too long"));
    for saved_bytes in [u64::MAX, u64::MAX - 15, 1 << 60, FRAME_BYTES as u64 + 16, 15] {
        let contradiction = DumpSource::of_bytes(with_frame(&short, saved_bytes)).unwrap_err();
        assert!(contradiction.to_string().contains("contradict"), "{contradiction}");
    }
}

#[test]
fn a_later_version_is_named() {
    let (mut bytes, _) = dump(&Computed::new(4096, 1, |index| index), None);
    bytes[8] = 2;
    let error = DumpSource::of_bytes(bytes).unwrap_err();
    assert!(error.to_string().starts_with("version 2"), "{error}");
}

#[test]
fn a_random_megabyte_fits_its_bound() {
    let noise: Vec<u8> = (0..FRAME_BYTES as u64 / 8)
        .flat_map(|word| {
            (word + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).to_le_bytes()
        })
        .collect();
    let began = Instant::now();
    let packed = pack(&noise).unwrap();
    assert!(packed.len() < MAX_PACKED_BYTES, "{}", packed.len());
    assert_eq!(unpack(&packed, noise.len()).unwrap(), noise);
    assert!(began.elapsed() < Duration::from_secs(60));
}

proptest! {
    #[test]
    fn any_bytes_survive_packing(mut bytes in vec(any::<u8>(), 0..2048)) {
        bytes.truncate(bytes.len() / 16 * 16);
        prop_assert_eq!(unpack(&pack(&bytes).unwrap(), bytes.len()).unwrap(), bytes);
    }

    /// Sound and damaged stores alike, header and end of the device among it.
    #[test]
    fn a_store_reads_the_same_through_a_dump(
        image in image(),
        damage in vec((any::<Index>(), any::<Index>(), value()), 0..3),
        header in prop_oneof![9 => Just(None), 1 => (0..16_usize, any::<u8>()).prop_map(Some)],
        cut in prop_oneof![3 => Just(None), 1 => any::<Index>().prop_map(Some)],
        with_origin in any::<bool>(),
    ) {
        let exceptions = image.exceptions().len();
        let mut image = image;
        for (entry, field, value) in damage {
            let at = metadata_offset(&image, entry.index(exceptions.max(1))) + field.index(2) * 8;
            image.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let mut bytes = image.bytes;
        if let Some((at, value)) = header {
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let origin = with_origin.then_some(Sectors(ORIGIN_CHUNKS));
        let source = MemorySource::new(bytes);
        let mut dumped = Vec::new();
        match save(&source, Known { origin, ..Known::default() }, &mut dumped, || false) {
            Ok(saved) => {
                let dump = open(&dumped);
                prop_assert_eq!(all_of(&dump, origin), all_of(&source, origin));
                prop_assert_eq!(saved.metadata_bytes, dump.saved_bytes());
            }
            Err(SaveError::Store(error)) => {
                prop_assert_eq!(format!("{error:?}"), all_of(&source, origin));
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
    }

    /// No checksum is mended here: a changed dump says so, or reads as it did.
    #[test]
    fn a_changed_dump_is_never_believed(
        image in image(),
        changes in vec((any::<Index>(), 1..=255_u8), 1..4),
        cut in prop_oneof![Just(None), any::<Index>().prop_map(Some)],
    ) {
        let source = MemorySource::new(image.bytes);
        let before = all_of(&source, None);
        let (mut bytes, _) = dump(&source, None);
        for (at, change) in changes {
            let at = at.index(bytes.len());
            bytes[at] ^= change;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
            prop_assert!(DumpSource::of_bytes(bytes).is_err());
        } else if let Ok(dump) = DumpSource::of_bytes(bytes) {
            let after = all_of(&dump, None);
            prop_assert!(after == before || after.contains("Damaged {"), "{after}");
        }
    }

    /// Checksums that are right, over lies.
    #[test]
    fn a_made_up_dump_never_panics(
        cow_size in any::<u64>(),
        origin_size in any::<u64>(),
        header in prop_oneof![
            any::<[u8; 16]>(),
            (0..32_u32).prop_map(|log2| {
                let mut header = *b"SnAp\x01\0\0\0\x01\0\0\0\0\0\0\0";
                header[12..].copy_from_slice(&(1_u32 << log2).to_le_bytes());
                header
            }),
        ],
        entries in vec((0..200_u64, 0..200_u64), 0..200),
        saved_bytes in prop_oneof![Just(None), any::<u64>().prop_map(Some)],
        shift in 0..64_u32,
    ) {
        let sizes = (Sectors(cow_size >> shift), Sectors(origin_size >> shift));
        let preamble = Preamble { cow_size: sizes.0, origin_size: sizes.1, header };
        let mut bytes = preamble.encode().to_vec();
        let metadata: Vec<u8> =
            entries.iter().flat_map(|(old, new)| [old.to_le_bytes(), new.to_le_bytes()]).flatten().collect();
        let packed = pack(&metadata).unwrap();
        let index = (packed.len() as u32).to_le_bytes();
        bytes.extend_from_slice(&packed);
        bytes.extend_from_slice(&index);
        let saved_bytes = saved_bytes.unwrap_or(metadata.len() as u64);
        bytes.extend_from_slice(&Footer::encode(saved_bytes, Reach::Whole, &index));
        prop_assert!(bytes.len() >= PREAMBLE_BYTES + FOOTER_BYTES);
        if let Ok(dump) = DumpSource::of_bytes(bytes) {
            all_of(&dump, dump.origin_size());
        }
    }
}
