//! Plans of stores in memory: the whole of it against the run list, and the odd cases.

use super::*;
use crate::store::format::MAGIC;
use crate::store::{MemorySource, Opened};
use crate::units::ChunkSize;

/// A store of chunks of 512 bytes with these old chunks, on a device with room for as many again.
fn store(old_chunks: &[u64]) -> Store<MemorySource> {
    let areas = old_chunks.len() / 32 + 2;
    let mut bytes = vec![0; (1 + areas * 33) * 512];
    for (field, value) in [MAGIC, 1, 1, 1].into_iter().enumerate() {
        bytes[field * 4..][..4].copy_from_slice(&value.to_le_bytes());
    }
    let mut next_free = 2_u64;
    for (index, old_chunk) in old_chunks.iter().enumerate() {
        let at = (1 + index / 32 * 33) * 512 + index % 32 * 16;
        bytes[at..at + 8].copy_from_slice(&old_chunk.to_le_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&next_free.to_le_bytes());
        next_free += if (next_free + 1) % 33 == 1 { 2 } else { 1 };
    }
    match Store::open(MemorySource::new(bytes), None).unwrap() {
        Opened::Usable(store) => store,
        other => panic!("not usable: {other:?}"),
    }
}

fn subject(origin_bytes: Option<u64>) -> Subject {
    Subject {
        label: "s".into(),
        origin: None,
        merging: false,
        origin_bytes,
        cow_bytes: 1 << 20,
        chunk_bytes: Some(512),
    }
}

fn request(siblings: Vec<Sibling<MemorySource>>) -> Request<MemorySource> {
    let costs = Ok(MergeCosts::given(25e6, 10.0, 512));
    Request { subject: subject(None), costs, siblings, list_runs: true }
}

fn sibling(
    store: Option<Store<MemorySource>>,
    allocated: u64,
    total: u64,
) -> Sibling<MemorySource> {
    let chunk_size = ChunkSize::from_sectors(1).unwrap();
    let facts = SiblingFacts {
        label: "other".into(),
        chunk_size,
        size: Sectors(1 << 20),
        unread: store.is_none(),
        lost: false,
    };
    let (total, allocated, metadata) = (Sectors(total), Sectors(allocated), Sectors(2));
    let fill = Some(Fill { total, allocated, metadata, persistent: true });
    Sibling { facts, store, fill }
}

#[test]
fn the_plan_counts_what_the_run_list_holds() {
    let old_chunks: Vec<u64> = (100..190).chain((5..40).rev()).chain([900, 700, 701]).collect();
    let store = store(&old_chunks);
    let Planned { plan, end, runs } = plan(&store, request(Vec::new())).unwrap();
    let runs = runs.unwrap();
    let streamed: Vec<Run> = store.runs(end).map(Result::unwrap).collect();
    assert_eq!(runs, streamed);
    assert_eq!(plan.work.runs, runs.len() as u64);
    assert_eq!((plan.work.chunks, plan.work.areas), (128, 4));
    assert_eq!(plan.work.commit_bytes(), plan.work.runs * 512);
    let buckets = &plan.sizes.buckets;
    assert_eq!(buckets.iter().map(|bucket| bucket.chunks).sum::<u64>(), 128);
    let time = plan.time.unwrap();
    let ns: u64 = buckets.iter().map(|bucket| bucket.ns).sum();
    assert!(time.low_s * 1e9 <= ns as f64 * 1.001 && ns as f64 <= time.high_s * 1e9);
    assert_eq!(plan.density.cells().iter().sum::<u64>(), 128);
    let offline = plan.offline.unwrap();
    assert_eq!(offline.extents, Some(4));
    assert_eq!(plan.chunk_sizes.len(), 9, "the own size, and eight larger ones");
    assert_eq!(plan.single_time.map(|single| single.low_s > time.low_s), Some(true));
}

#[test]
fn a_sibling_is_read_and_where_it_cannot_be_there_are_bounds() {
    let merged = store(&[1, 2, 3, 50]);
    let exact = sibling(Some(store(&[2, 9])), 4, 7);
    let mut damaged = damaged();
    damaged.fill = exact.fill;
    let planned = plan(&merged, request(vec![exact, damaged])).unwrap();
    let [exact, damaged] = &planned.plan.siblings[..] else { panic!("two") };
    assert_eq!((exact.copies_low, exact.copies_high, exact.room), (3, 3, Some(3)));
    assert_eq!((damaged.copies_low, damaged.copies_high), (2, 4));
    let waiting = planned.plan.time.unwrap();
    let alone = plan(&merged, request(Vec::new())).unwrap().plan.time.unwrap();
    assert!(waiting.high_s > alone.high_s && waiting.low_s == alone.low_s);
}

/// A sibling whose second entry points into its own metadata.
fn damaged() -> Sibling<MemorySource> {
    let mut bytes = vec![0; 64 * 512];
    for (field, value) in [MAGIC, 1, 1, 1].into_iter().enumerate() {
        bytes[field * 4..][..4].copy_from_slice(&value.to_le_bytes());
    }
    for (index, number) in [2_u64, 2, 9, 1].into_iter().enumerate() {
        bytes[512 + index * 8..][..8].copy_from_slice(&number.to_le_bytes());
    }
    let opened = Store::open(MemorySource::new(bytes), None).unwrap();
    let Opened::Usable(store) = opened else { panic!("not usable") };
    sibling(Some(store), 0, 0)
}

#[test]
fn nothing_to_merge_is_a_plan_too() {
    let Planned { plan, runs, .. } = plan(&store(&[]), request(Vec::new())).unwrap();
    assert_eq!((plan.work.chunks, plan.work.runs), (0, 0));
    assert_eq!(plan.time.map(|time| time.high_s), Some(0.0));
    assert!(plan.largest.is_none() && plan.offline.is_none() && plan.chunk_sizes.is_empty());
    assert_eq!(runs.map(|runs| runs.len()), Some(0));
}

#[test]
fn damage_is_an_error_with_its_place() {
    let error = plan(&store(&[7, 7]), request(Vec::new())).unwrap_err();
    assert!(error.to_string().contains("area 0, entry 1"), "{error}");
}

#[test]
fn walks_that_do_not_fit_into_memory_at_once_are_made_one_after_the_other() {
    // An origin of 2^29 chunks: every set alone would need more than all may have together.
    let chunks = (1_u64 << 29) - 1;
    let Planned { plan, .. } = plan(&store(&[0, chunks, 5]), request(Vec::new())).unwrap();
    assert_eq!(plan.offline.unwrap().extents, Some(3));
    let largest = plan.chunk_sizes.last().unwrap();
    assert_eq!(largest.counts.map(|counts| counts.chunks_low), Some(2));
}
