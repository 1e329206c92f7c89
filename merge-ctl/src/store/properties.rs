//! Property tests: writers of every kind against the slow model, and damage of every kind.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::image::{Image, pair};
use super::reader::{Opened, Store};
use super::reading_ahead::ParallelDevice;
use super::runs::Run;
use super::slow::{self, device::Device};
use super::source::MemorySource;
use crate::units::Sectors;

pub(super) const ORIGIN_CHUNKS: u64 = 4000;

/// One stretch of application writes, as origin chunks in order.
fn writer() -> impl Strategy<Value = Vec<u64>> {
    let stretch = (0..ORIGIN_CHUNKS, 1..120_u64)
        .prop_map(|(start, length)| start..(start + length).min(ORIGIN_CHUNKS));
    prop_oneof![
        stretch.clone().prop_map(Iterator::collect),
        stretch.clone().prop_map(|chunks| chunks.rev().collect()),
        vec(0..ORIGIN_CHUNKS, 1..60),
        // Two writers that take turns.
        (stretch.clone(), stretch).prop_map(|(one, other)| {
            one.zip(other).flat_map(|(one, other)| [one, other]).collect()
        }),
        // From chunk 0 on.
        (1..80_u64).prop_map(|length| (0..length).collect()),
    ]
}

/// What one or more writers leave: the first write to a chunk makes the exception, others none.
fn old_chunks() -> impl Strategy<Value = Vec<u64>> {
    vec(writer(), 0..6).prop_map(|writers| {
        let mut seen = HashSet::new();
        writers.into_iter().flatten().filter(|chunk| seen.insert(*chunk)).collect()
    })
}

/// Images of one to several areas of 32 or 64 entries, some with chunks lost in a crash.
pub(super) fn image() -> impl Strategy<Value = Image> {
    let lost = prop_oneof![3 => Just(usize::MAX), 1 => 2..40_usize];
    (old_chunks(), 1..=2_u32, lost).prop_map(|(old_chunks, chunk_sectors, lost)| {
        Image::written(chunk_sectors, &old_chunks, |index| index % lost == lost - 1)
    })
}

/// Reads everything that can be read, both ways, and sees that it agrees with itself.
fn read_all<S: super::Source>(store: &Store<S>) -> Option<Vec<Run>> {
    let mut shown = Vec::new();
    let survey = store.survey(|placed| shown.push(placed)).ok()?;
    assert_eq!(survey.exceptions, shown.len() as u64);
    let mut back: Vec<_> = store.backwards(survey.end).map(Result::unwrap).collect();
    back.reverse();
    assert_eq!(back, shown);
    let runs: Vec<Run> = store.runs(survey.end).map(Result::unwrap).collect();
    assert_eq!(store.survey_runs().unwrap(), (survey, runs.clone()));
    assert_eq!(runs.iter().map(|run| u64::from(run.chunks)).sum::<u64>(), survey.exceptions);
    Some(runs)
}

proptest! {
    #[test]
    fn the_runs_are_those_of_the_model(mut image in image()) {
        let store = image.open(Some(ORIGIN_CHUNKS));
        let survey = store.survey(|_| {}).unwrap();
        prop_assert_eq!(Some(pair(survey.end)), image.end());
        prop_assert_eq!(survey.exceptions, image.exceptions().len() as u64);
        prop_assert_eq!(survey.not_searched_for_duplicates, 0);
        let single: Vec<_> = store.single_chunks(survey.end).map(Result::unwrap).collect();
        let newest_first = image.exceptions().into_iter().rev().map(Run::of_one);
        prop_assert_eq!(single, newest_first.collect::<Vec<_>>());
        let runs = read_all(&store).unwrap();
        let read_ahead = read_all(&ParallelDevice::new(&image).open()).unwrap();
        prop_assert_eq!(&read_ahead, &runs);
        prop_assert_eq!(runs, image.merge());
        // The model leaves the store empty, and so the reader finds it.
        prop_assert_eq!(image.open(None).survey(|_| {}).unwrap().exceptions, 0);
    }

    #[test]
    fn without_losses_the_status_line_counts_the_exceptions(old_chunks in old_chunks()) {
        let image = Image::written(1, &old_chunks, |_| false);
        let store = image.open(None);
        let survey = store.survey(|_| {}).unwrap();
        let left = survey.usage.exceptions_left(store.layout().chunk_size());
        prop_assert_eq!(left, survey.exceptions);
    }

    #[test]
    fn a_damaged_store_is_refused_exactly_where_the_model_refuses_it(
        image in image(),
        damage in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), value()), 0..3),
    ) {
        let mut image = image;
        let exceptions = image.exceptions().len();
        for (entry, field, value) in damage {
            // The field of an entry in use: others mostly do not count.
            let (entry, field) = (entry.index(exceptions.max(1)), field.index(2));
            let at = metadata_offset(&image, entry) + field * 8;
            image.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let runs = read_all(&image.open(Some(ORIGIN_CHUNKS)));
        prop_assert_eq!(runs.is_some(), image.is_sound(ORIGIN_CHUNKS));
        if let Some(runs) = runs {
            prop_assert_eq!(runs, image.merge());
        }
    }

    #[test]
    fn flipped_bytes_anywhere_never_panic(
        image in image(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        in_header in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = image.bytes;
        for (at, value) in flips {
            let reach = if in_header { 16 } else { bytes.len() };
            bytes[at.index(reach)] = value;
        }
        bytes.truncate(cut.index(bytes.len() * 2));
        if let Ok(Opened::Usable(store)) = Store::open(MemorySource::new(bytes), None) {
            read_all(&store);
        }
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..8192), chunk_log2 in 0..32_u32) {
        if let Some(header) = bytes.first_chunk_mut::<16>() {
            *header = *b"SnAp\x01\0\0\0\x01\0\0\0\0\0\0\0";
            header[12..].copy_from_slice(&(1_u32 << chunk_log2).to_le_bytes());
        }
        if let Ok(Opened::Usable(store)) = Store::open(MemorySource::new(bytes), None) {
            read_all(&store);
        }
    }
}

proptest! {
    // The reference looks at every way to read, so fewer cases will do.
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_chunk_size_is_read_as_the_reference_reads_it(
        old_chunks in old_chunks(),
        chunk_log2 in 0..=21_u32,
        lost in 2..40_usize,
        origin in origin(),
        from in 0..600_u64,
    ) {
        let lost = |index| index % lost == lost - 1;
        slow::check(&Device::written(1 << chunk_log2, old_chunks, lost), origin, from);
    }

    #[test]
    fn a_device_may_end_anywhere(
        old_chunks in old_chunks(),
        chunk_log2 in 0..=3_u32,
        cut in any::<prop::sample::Index>(),
        block_bytes in prop_oneof![Just(512_u32), Just(1024), Just(4096)],
    ) {
        let mut device = Device::written(1 << chunk_log2, old_chunks, |_| false);
        device.block_bytes = block_bytes;
        let blocks = device.size * 512 / u64::from(block_bytes);
        device.size = cut.index(blocks as usize + 1) as u64 * u64::from(block_bytes) / 512;
        slow::check(&device, None, 40);
    }

    #[test]
    fn after_full_areas_the_device_must_have_one_more(areas in 1..4_u64, chunk_log2 in 0..=4_u32) {
        let chunk_sectors = 1 << chunk_log2;
        let epa = u64::from(chunk_sectors) * 32;
        let mut device = Device::written(chunk_sectors, 0..areas * epa, |_| false);
        let needed = (1 + areas * (epa + 1) + 1) * u64::from(chunk_sectors);
        for size in needed - 1..=needed {
            device.size = size;
            slow::check(&device, None, areas * epa);
            let Ok(Opened::Usable(store)) = Store::open(&device, None) else { panic!("refused") };
            match store.survey(|_| {}) {
                Ok(survey) => prop_assert_eq!((size, survey.exceptions), (needed, areas * epa)),
                Err(super::StoreError::AreaOutside { area, .. }) => {
                    prop_assert_eq!((size, area), (needed - 1, areas));
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[test]
    fn a_header_with_any_numbers_is_judged_as_the_reference_judges_it(
        fields in proptest::array::uniform4(header_field()),
        block_bytes in prop_oneof![Just(512_u32), Just(4096)],
        size in 0..40_u64,
    ) {
        let mut device = Device::written(1, [7, 8, 3], |_| false);
        device.block_bytes = block_bytes;
        device.size = size * u64::from(block_bytes) / 512;
        for (field, value) in (0..).zip(fields) {
            if let Some(value) = value {
                device.put(field * 4, &value.to_le_bytes());
            }
        }
        slow::check(&device, None, 2);
    }

    #[test]
    fn damage_on_the_largest_device_there_can_be(
        old_chunks in old_chunks(),
        chunk_log2 in 0..=21_u32,
        damage in vec((0..80_u64, any::<bool>(), prop_oneof![value(), u64::MAX - 2..=u64::MAX]), 0..4),
        origin in origin(),
    ) {
        let chunk_sectors = 1 << chunk_log2;
        let mut device = Device::written(chunk_sectors, old_chunks, |_| false);
        device.size = super::format::MAX_DEVICE.0;
        for (entry, new, value) in damage {
            let at = Device::entry_at(chunk_sectors, entry) + 8 * u64::from(new);
            device.put(at, &value.to_le_bytes());
        }
        slow::check(&device, origin, 60);
    }
}

proptest! {
    // Each case has tens of thousands of entries.
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn areas_that_are_read_in_pieces(beyond in 0..3000_u64, backwards in any::<bool>()) {
        // An area of 2 MiB is two pieces of 65,536 entries each.
        let chunks = 65_536 + beyond;
        let old_chunk = |n| if backwards { chunks - n } else { n + n / 1000 };
        slow::check(&Device::written(4096, (0..chunks).map(old_chunk), |_| false), None, 65_537);
    }
}

/// A number that is right (none), nearly right, or any.
fn header_field() -> impl Strategy<Value = Option<u32>> {
    prop_oneof![
        4 => Just(None),
        1 => (0..3_u32).prop_map(Some),
        1 => (0..32_u32).prop_map(|bit| Some(1 << bit)),
        1 => any::<u32>().prop_map(Some),
    ]
}

/// An origin that is not known, one that the writers may exceed, with a partial chunk at its end
/// mostly, and any.
fn origin() -> impl Strategy<Value = Option<Sectors>> {
    prop_oneof![
        Just(None),
        (0..8 * ORIGIN_CHUNKS).prop_map(|sectors| Some(Sectors(sectors))),
        any::<u64>().prop_map(|sectors| Some(Sectors(sectors))),
    ]
}

/// Values that are wrong, nearly wrong, or right.
pub(super) fn value() -> impl Strategy<Value = u64> {
    prop_oneof![0..200_u64, ORIGIN_CHUNKS - 2..ORIGIN_CHUNKS + 2, any::<u64>()]
}

/// Where the entry with this number stands, in bytes.
pub(super) fn metadata_offset(image: &Image, entry: usize) -> usize {
    let chunk_sectors = u32::from_le_bytes(image.bytes[12..16].try_into().unwrap()) as usize;
    let epa = chunk_sectors * 32;
    (1 + entry / epa * (epa + 1)) * chunk_sectors * 512 + entry % epa * 16
}
