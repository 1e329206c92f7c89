//! Property tests: writers of every kind against the slow model, and damage of every kind.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::image::{Image, pair};
use super::reader::{Opened, Store};
use super::runs::Run;
use super::source::MemorySource;

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
