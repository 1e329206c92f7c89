//! The reader against images made by hand: what is right, and each way to be wrong.

use super::*;
use crate::store::format::EXCEPTION_BYTES;
use crate::store::image::Image;
use crate::store::pieces::PIECE_BYTES;
use crate::store::source::MemorySource;

fn open(bytes: Vec<u8>) -> Result<Opened<MemorySource>, StoreError> {
    Store::open(MemorySource::new(bytes), None)
}

fn fault(image: &Image, origin_chunks: Option<u64>) -> (Place, EntryFault) {
    match image.open(origin_chunks).survey(|_| {}) {
        Err(StoreError::Entry { place, fault, .. }) => (place, fault),
        other => panic!("no damaged entry: {other:?}"),
    }
}

fn all(store: &Store<MemorySource>) -> Vec<(u64, u64)> {
    let exceptions = store.exceptions().map(|placed| placed.unwrap().exception);
    exceptions.map(|exception| (exception.old_chunk, exception.new_chunk)).collect()
}

/// Five chunks of 4 KiB, byte by byte: the header, an area with three exceptions, data.
fn by_hand() -> Vec<u8> {
    let mut bytes = vec![0; 5 * 4096];
    bytes[..16].copy_from_slice(b"SnAp\x01\0\0\0\x01\0\0\0\x08\0\0\0");
    bytes[4096..4144].copy_from_slice(
        b"\x10\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\
          \x11\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\
          \x00\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0",
    );
    // Behind the end of the store: whatever was on the device before.
    bytes[4160..4176].copy_from_slice(&[0xff; 16]);
    bytes
}

#[test]
fn a_store_made_by_hand_is_read_field_by_field() {
    let Opened::Usable(store) = open(by_hand()).unwrap() else { panic!("not usable") };
    assert_eq!(store.layout().chunk_size().bytes(), 4096);
    assert_eq!(all(&store), [(16, 2), (17, 3), (0, 4)]);
    let survey = store.survey(|_| {}).unwrap();
    let usage = Usage { allocated: Sectors(40), metadata: Sectors(16) };
    let end = Place { area: 0, entry: 3 };
    assert_eq!(survey, Survey { exceptions: 3, end, usage, not_searched_for_duplicates: 0 });
    assert_eq!(usage.exceptions_left(store.layout().chunk_size()), 3);
    let runs: Vec<Run> = store.runs(end).map(Result::unwrap).collect();
    let run = |old_chunk, new_chunk, chunks| Run { old_chunk, new_chunk, chunks };
    assert_eq!(runs, [run(0, 4, 1), run(16, 2, 2)]);
    let single: Vec<Run> = store.single_chunks(end).map(Result::unwrap).collect();
    assert_eq!(single, [run(0, 4, 1), run(17, 3, 1), run(16, 2, 1)]);
}

#[test]
fn the_same_store_in_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), by_hand()).unwrap();
    let source = crate::store::FileSource::open(file.path()).unwrap();
    let Opened::Usable(store) = Store::open(source, None).unwrap() else { panic!("not usable") };
    assert_eq!(store.survey(|_| {}).unwrap().exceptions, 3);
}

#[test]
fn zeroes_are_a_new_store() {
    assert!(matches!(open(vec![0; 4096]), Ok(Opened::New)));
}

#[test]
fn an_invalidated_store_is_told_apart() {
    let mut bytes = by_hand();
    bytes[4] = 0;
    assert!(matches!(open(bytes), Ok(Opened::Invalid)));
    let mut bytes = by_hand();
    bytes[4..8].copy_from_slice(&7_u32.to_le_bytes());
    assert!(matches!(open(bytes), Ok(Opened::Usable(_))), "all but 0 is valid to the kernel");
}

#[test]
fn a_header_that_is_wrong_says_what() {
    let with = |at: usize, value: u32| {
        let mut bytes = by_hand();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        open(bytes).unwrap_err()
    };
    assert!(matches!(with(0, 1), StoreError::NotAStore { magic: 1 }));
    assert!(matches!(with(8, 2), StoreError::UnknownVersion { version: 2 }));
    for sectors in [0, 24, 1 << 22, 1 << 31, u32::MAX] {
        let error = with(12, sectors);
        let right = matches!(error, StoreError::ChunkSize { sectors: told } if told == sectors);
        assert!(right, "{error}");
    }
    assert!(matches!(open(vec![0; 511]).unwrap_err(), StoreError::TooSmall { .. }));
}

#[test]
fn a_large_chunk_size_on_a_small_device_allocates_little_and_is_refused() {
    let mut bytes = by_hand();
    bytes[12..16].copy_from_slice(&(1_u32 << 21).to_le_bytes());
    let Opened::Usable(store) = open(bytes).unwrap() else { panic!("not usable") };
    let error = store.survey(|_| {}).unwrap_err();
    assert!(matches!(error, StoreError::AreaOutside { area: 0, cow_chunks: 0 }), "{error}");
}

#[test]
fn a_chunk_must_be_a_block_at_least() {
    #[derive(Debug)]
    struct LargeBlocks(MemorySource);
    impl Source for LargeBlocks {
        fn size(&self) -> Sectors {
            self.0.size()
        }
        fn block_bytes(&self) -> u32 {
            4096
        }
        fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> std::io::Result<()> {
            assert_eq!((at_bytes % 4096, into.len() % 4096), (0, 0));
            assert_eq!(into.as_ptr() as usize % 4096, 0);
            self.0.read_at(at_bytes, into)
        }
    }
    let opened = |bytes| Store::open(LargeBlocks(MemorySource::new(bytes)), None);
    let Opened::Usable(store) = opened(by_hand()).unwrap() else { panic!("not usable") };
    assert_eq!(store.survey(|_| {}).unwrap().exceptions, 3);
    let mut bytes = by_hand();
    bytes[12] = 4;
    let error = opened(bytes).unwrap_err();
    assert!(matches!(error, StoreError::ChunkBelowBlock { sectors: 4, .. }), "{error}");
}

#[test]
fn damage_is_named_with_its_place() {
    let sound = Image::written(1, &(100..150).collect::<Vec<u64>>(), |_| false);
    assert_eq!(sound.open(Some(150)).survey(|_| {}).unwrap().exceptions, 50);
    let damaged = |old_chunk, new_chunk| {
        let mut image = sound.clone();
        image.put((1, 3), old_chunk, new_chunk);
        let (place, fault) = fault(&image, Some(150));
        assert_eq!(place, Place { area: 1, entry: 3 });
        fault
    };
    let cow_chunks = 1 + 3 * 33;
    assert_eq!(damaged(0, cow_chunks), EntryFault::NewOutside { cow_chunks });
    assert_eq!(damaged(0, u64::MAX), EntryFault::NewOutside { cow_chunks });
    assert_eq!(damaged(0, 1), EntryFault::NewIsMetadata);
    assert_eq!(damaged(0, 67), EntryFault::NewIsMetadata);
    assert_eq!(damaged(150, 99), EntryFault::OldOutside { origin_chunks: 150 });
    assert_eq!(damaged(100, 99), EntryFault::OldTwice);
    assert_eq!(damaged(0, 2), EntryFault::NewTwice);
}

#[test]
fn without_the_origins_size_an_old_chunk_is_still_on_some_device() {
    let mut image = Image::written(1, &[3], |_| false);
    image.put((0, 0), u64::MAX, 2);
    assert!(matches!(fault(&image, None), (_, EntryFault::OldOutside { .. })));
    assert_eq!(image.open(Some(4)).bounds.origin_chunks, 4);
}

#[test]
fn a_full_area_wants_another_one() {
    let image = Image::written(1, &(0..32).collect::<Vec<u64>>(), |_| false);
    let end = image.open(None).survey(|_| {}).unwrap().end;
    assert_eq!(end, Place { area: 1, entry: 0 });
    let cut = MemorySource::new(image.bytes[..34 * 512].to_vec());
    let Opened::Usable(store) = Store::open(cut, None).unwrap() else { panic!("not usable") };
    let error = store.survey(|_| {}).unwrap_err();
    assert!(matches!(error, StoreError::AreaOutside { area: 1, cow_chunks: 34 }), "{error}");
}

#[test]
fn the_end_is_found_from_any_area_in_use_and_from_the_next() {
    for exceptions in [0, 1, 31, 32, 40, 64] {
        let image = Image::written(1, &(0..exceptions).collect::<Vec<u64>>(), |_| false);
        let store = image.open(None);
        let end = store.survey(|_| {}).unwrap().end;
        for area in 0..=end.area {
            assert_eq!(store.end_from(area).unwrap(), end, "{exceptions} from {area}");
        }
    }
}

#[test]
fn backwards_notices_what_a_merge_cleared_meanwhile() {
    let mut image = Image::written(1, &(0..40).collect::<Vec<u64>>(), |_| false);
    let end = image.open(None).survey(|_| {}).unwrap().end;
    image.put((1, 7), 0, 0);
    let told: Vec<_> = image.open(None).runs(end).collect();
    let cleared = Place { area: 1, entry: 7 };
    assert!(matches!(told[..], [Err(StoreError::Changed { place })] if place == cleared));
}

#[test]
fn exceptions_that_cannot_be_searched_for_are_counted() {
    let image = Image::written(1, &[0, 1, 1 << 20, 1 << 30], |_| false);
    let store = image.open(None);
    let survey = |memory_bytes| store.survey_within(memory_bytes, || false, |_| {}).unwrap();
    assert_eq!(survey(4 * 4160).not_searched_for_duplicates, 0);
    assert_eq!(survey(2 * 4160).not_searched_for_duplicates, 2);
    assert_eq!(survey(0).not_searched_for_duplicates, 4);
}

#[test]
fn a_failed_read_ends_the_walk() {
    let mut image = Image::written(1, &[5, 6], |_| false);
    image.bytes.truncate(40 * 512);
    let store = image.open(None);
    // The device shrinks after it was opened.
    let store = Store { source: MemorySource::new(vec![0; 512]), ..store };
    let mut walk = store.exceptions();
    assert!(matches!(walk.next(), Some(Err(StoreError::Read { at_bytes: 512, bytes: 512, .. }))));
    assert!(walk.next().is_none());
}

#[test]
fn large_areas_are_read_in_pieces() {
    // Chunks of 4 MiB, four pieces an area; exceptions on both sides of the first seam.
    let chunk_sectors = 8192;
    let per_piece = (PIECE_BYTES as usize) / EXCEPTION_BYTES;
    let mut image = Image::empty(chunk_sectors, 2);
    for entry in 0..per_piece + 2 {
        image.put((0, entry), entry as u64, entry as u64 + 2);
    }
    let mut store = image.open(None);
    // Room for the data that the exceptions name; nothing reads it.
    store.bounds.cow_chunks = per_piece as u64 + 4;
    let survey = store.survey(|_| {}).unwrap();
    assert_eq!(survey.exceptions, per_piece as u64 + 2);
    let runs: Vec<Run> = store.runs(survey.end).map(Result::unwrap).collect();
    assert_eq!(runs, [Run { old_chunk: 0, new_chunk: 2, chunks: per_piece as u32 + 2 }]);
}
