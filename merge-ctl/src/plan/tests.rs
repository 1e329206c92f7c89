//! The parts of a plan against slow, obvious models.

use std::collections::{BTreeSet, HashSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::extents::Extents;
use super::offline::{Circumstances, Faster, Offline};
use super::replay::Replay;
use super::siblings::{Fate, SiblingCount, SiblingFacts, sibling_chunks};
use super::tally::{Tallied, Tally};
use super::{MergeCosts, Work, set_bytes};
use crate::store::{Exception, Layout, Place, Placed, Runs};
use crate::units::{ChunkSize, Sectors};

const ORIGIN_CHUNKS: u64 = 3000;
const PLENTY: u64 = 1 << 20;

fn chunk_size(sectors: u32) -> ChunkSize {
    ChunkSize::from_sectors(sectors).unwrap()
}

/// Writes of 512 bytes, in order: forwards, backwards, at random, again.
fn writes() -> impl Strategy<Value = Vec<u64>> {
    let end = ORIGIN_CHUNKS;
    let stretch = (0..end, 1..300_u64).prop_map(move |(start, n)| start..(start + n).min(end));
    let writer = prop_oneof![
        stretch.clone().prop_map(Iterator::collect::<Vec<_>>),
        stretch.clone().prop_map(|sectors| sectors.rev().collect()),
        stretch.prop_map(|sectors| sectors.step_by(5).collect()),
        vec(0..end, 1..80),
    ];
    vec(writer, 0..8).prop_map(|writers| writers.concat())
}

/// What the writes leave at a chunk size: old chunks in the order of their first touch.
fn first_touches(sectors: &[u64], chunk_sectors: u64) -> Vec<u64> {
    let mut seen = HashSet::new();
    sectors.iter().map(|at| at / chunk_sectors).filter(|chunk| seen.insert(*chunk)).collect()
}

/// The same as a kernel without concurrency would store it.
fn placed(old_chunks: &[u64], chunk_sectors: u32) -> Vec<Placed> {
    let layout = Layout::new(chunk_size(chunk_sectors)).unwrap();
    let (mut place, mut next_free) = (Place::default(), 2);
    old_chunks
        .iter()
        .map(|old_chunk| {
            let exception = Exception { old_chunk: *old_chunk, new_chunk: next_free };
            let placed = Placed { place, exception };
            (place, next_free) = (layout.after(place), layout.skip_metadata(next_free + 1));
            placed
        })
        .collect()
}

fn tallied(placed: &[Placed]) -> Tallied {
    let mut tally = Tally::default();
    for placed in placed {
        tally.add(*placed);
    }
    tally.finish()
}

proptest! {
    #[test]
    fn the_tally_is_that_of_the_run_list(sectors in writes(), log2 in 0..3_u32) {
        let placed = placed(&first_touches(&sectors, 1 << log2), 1 << log2);
        let backwards = placed.iter().rev().map(|placed| Ok::<_, ()>(*placed));
        let runs: Vec<_> = Runs::new(backwards).map(Result::unwrap).collect();
        let tallied = tallied(&placed);
        prop_assert_eq!(tallied.runs, runs.len() as u64);
        prop_assert_eq!(tallied.chunks, placed.len() as u64);
        prop_assert_eq!(tallied.highest_old, placed.iter().map(|p| p.exception.old_chunk).max());
        let most = runs.iter().map(|run| run.chunks).max();
        let first_of_the_largest = runs.iter().find(|run| Some(run.chunks) == most).copied();
        prop_assert_eq!(tallied.largest, first_of_the_largest);
        let areas: BTreeSet<_> = placed.iter().map(|placed| placed.place.area).collect();
        prop_assert_eq!(tallied.areas, areas.len() as u64);
        for (power, bucket) in tallied.sizes.buckets.iter().enumerate() {
            let there = runs.iter().filter(|run| run.chunks.ilog2() as usize == power);
            prop_assert_eq!(bucket.runs, there.clone().count() as u64);
            prop_assert_eq!(bucket.chunks, there.map(|run| u64::from(run.chunks)).sum::<u64>());
        }
    }

    #[test]
    fn larger_chunks_are_replayed_exactly(sectors in writes(), log2 in 2..6_u32) {
        let own = 1 << log2;
        let old_chunks = first_touches(&sectors, u64::from(own));
        let mut replay = Replay::within(chunk_size(own), ORIGIN_CHUNKS, PLENTY);
        for chunks in old_chunks.chunks(7) {
            replay.add_all(chunks.to_vec());
        }
        let rows = replay.rows(&tallied(&placed(&old_chunks, own)), Sectors(1 << 40), None);
        prop_assert_eq!(rows.iter().filter(|row| row.own).count(), 1);
        prop_assert!(rows.is_sorted_by_key(|row| row.chunk_bytes));
        for row in rows {
            let size = (row.chunk_bytes / 512) as u32;
            let truth = tallied(&placed(&first_touches(&sectors, u64::from(size)), size));
            let counts = row.counts.unwrap();
            if size >= own {
                prop_assert!(counts.is_exact());
            }
            prop_assert!(counts.chunks_low <= truth.chunks && truth.chunks <= counts.chunks_high);
            prop_assert!(
                counts.runs_low <= truth.runs && truth.runs <= counts.runs_high,
                "{size} sectors, own {own}: {counts:?}, truth {truth:?}"
            );
        }
    }

    #[test]
    fn extents_are_the_pieces_of_the_sorted_chunks(sectors in writes()) {
        let chunks = first_touches(&sectors, 1);
        let mut extents = Extents::within(set_bytes(ORIGIN_CHUNKS + 1));
        for chunks in chunks.chunks(5) {
            extents.add_all(chunks);
        }
        let sorted: Vec<u64> = chunks.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let pieces = sorted.chunk_by(|a, b| a + 1 == *b).count() as u64;
        prop_assert_eq!(extents.count(), Some(pieces));
    }

    #[test]
    fn a_sibling_copies_what_it_lacks_and_what_is_overwritten(
        merged in writes(), has in writes(), merged_log2 in 0..5_u32, own_log2 in 0..5_u32,
        size in 1..ORIGIN_CHUNKS, room in 0..400_u64,
    ) {
        let (merged_size, own_size) = (chunk_size(1 << merged_log2), chunk_size(1 << own_log2));
        let facts = SiblingFacts {
            label: "s".into(), chunk_size: own_size, size: Sectors(size),
            unread: false, lost: false,
        };
        let merged = first_touches(&merged, merged_size.sectors());
        let has = first_touches(&has, own_size.sectors());
        // Sector by sector.
        let mut needs = HashSet::new();
        for chunk in &merged {
            let first = chunk * merged_size.sectors();
            for sector in first..first + merged_size.sectors() {
                let own = sector / own_size.sectors();
                if own * own_size.sectors() < size && !has.contains(&own) {
                    needs.insert(own);
                }
            }
        }
        let bytes = set_bytes(sibling_chunks(merged_size, own_size, ORIGIN_CHUNKS));
        let count = |facts: SiblingFacts, bytes| {
            let mut count = SiblingCount::within(facts.clone(), merged_size, bytes);
            if !facts.unread {
                for chunk in &has {
                    count.has(*chunk);
                }
            }
            for chunk in &merged {
                count.merged(*chunk);
            }
            count.finish(Some(has.len() as u64), Some(room))
        };
        let needs = needs.len() as u64;
        let plan = count(facts.clone(), bytes);
        prop_assert_eq!((plan.copies_low, plan.copies_high), (needs, needs));
        prop_assert_eq!(plan.fate, if needs > room { Fate::Overflows } else { Fate::Kept });
        prop_assert!(plan.copied_high() <= room);
        // Without memory, and without a look at its exceptions: bounds.
        for plan in [count(facts.clone(), 0), count(SiblingFacts { unread: true, ..facts }, bytes)] {
            prop_assert!(plan.copies_low <= needs && needs <= plan.copies_high, "{plan:?}, {needs}");
            prop_assert!(plan.fate != Fate::Kept || needs <= room);
            prop_assert!(plan.fate != Fate::Overflows || needs > room);
        }
    }

    #[test]
    fn ranges_are_ranges(
        runs in 1..1_000_000_u64, per_run in 1..256_u64, extents in prop::option::of(1..1000_u64),
        small in 1..50_000_000_u64, large in 1..50_000_000_u64, cache in any::<Option<bool>>(),
    ) {
        let timed = super::costs::Timed {
            small_ns: vec![small], large_ns: vec![large], write_cache: cache,
        };
        let costs = MergeCosts::measured(&timed, &timed, 5_000).unwrap();
        let chunks = runs * per_run;
        let work = Work { chunks, bytes: chunks * 4096, runs, areas: 1, chunk_bytes: 4096 };
        let time = costs.time(work);
        prop_assert!(0.0 < time.low_s && time.low_s <= time.high_s);
        let single = costs.time(work.single());
        prop_assert!(single.low_s >= time.low_s && single.high_s >= time.high_s);
        let offline = Offline::new(work, extents, Some(&costs), Some(time), Circumstances::default());
        let range = offline.time.unwrap();
        prop_assert!(0.0 < range.low_s && range.low_s <= range.high_s);
        prop_assert_eq!(offline.faster == Some(Faster::Yes), range.high_s < time.low_s);
    }
}

#[test]
fn without_memory_a_replay_knows_the_largest_sizes_only() {
    let mut replay = Replay::within(chunk_size(8), 1 << 20, set_bytes((1 << 13) + 1));
    for chunk in (0..1 << 20).step_by(999) {
        replay.add_all(vec![chunk]);
    }
    let tallied = Tallied { chunks: 1050, runs: 1050, ..Tallied::default() };
    let rows = replay.rows(&tallied, Sectors(1 << 30), None);
    let known: Vec<_> = rows.iter().map(|row| row.counts.is_some()).collect();
    assert_eq!(known, [true, false, false, false, false, false, false, true]);
}

#[test]
fn a_chunk_size_that_the_cow_device_is_too_small_for_is_told() {
    let mut replay = Replay::within(chunk_size(8), ORIGIN_CHUNKS, PLENTY);
    let old_chunks: Vec<u64> = (0..ORIGIN_CHUNKS).step_by(200).collect();
    for chunks in old_chunks.chunks(7) {
        replay.add_all(chunks.to_vec());
    }
    let rows = replay.rows(&tallied(&placed(&old_chunks, 8)), Sectors(8 * 40), None);
    let fits: Vec<_> = rows.iter().map(|row| row.fits).collect();
    // 15 chunks each; the device has 40, 20, 10 and fewer of them.
    let no = Some(false);
    assert_eq!(fits, [Some(true), Some(true), no, no, no, no, no, no]);
}

#[test]
fn a_lost_sibling_stays_lost_and_an_unread_one_without_status_is_unclear() {
    let facts = SiblingFacts {
        label: "s".into(),
        chunk_size: chunk_size(8),
        size: Sectors(80),
        unread: true,
        lost: false,
    };
    let lost = SiblingFacts { lost: true, ..facts.clone() };
    let plan = |facts, room| {
        let mut count = SiblingCount::within(facts, chunk_size(8), PLENTY);
        count.merged(3);
        count.finish(None, room)
    };
    assert_eq!(plan(lost, Some(9)).fate, Fate::LostAlready);
    assert_eq!(plan(facts.clone(), None).fate, Fate::Unclear);
    assert_eq!(plan(facts, Some(1)).fate, Fate::Kept);
}
