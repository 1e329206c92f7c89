//! merge-ctl's own engine does what the kernel's merge does: on many random snapshots, one copy of origin
//! and COW device is merged by the kernel, another by `merge-ctl start --offline`.
//!
//! The snapshots are those of [`super::differential`], each of its seed. Both origins must be the same, bit by
//! bit, both stores empty; and the store that the engine cleared is one that the kernel loads, as a
//! snapshot and as a merge, and uses again: what is written through it is there after a reload, and
//! nothing of the merged exceptions comes back.
//!
//! `DIFFERENTIAL_SEED` runs other seeds, as there.

use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use merge_ctl::store::{FileSource, Opened, Store};

use super::crash::tell;
use super::differential::case::{Case, Filling, Kind};
use super::differential::random::Random;
use super::differential::rig::Rig;
use super::differential::{NamedOnPanic, seeds_or};
use super::offline::{Pair, same};
use super::testbed::{AlignedBuffer, SECTOR, image_of, mix, open_direct, put, stamp};

/// More than a hundred that are not invalid.
const SEEDS: std::ops::Range<u64> = 5000..5120;
/// Every one in turn.
const OPTIONS: [&[&str]; 5] = [
    &[],
    &["--verify"],
    &["--memory", "1MiB"],
    &["--requests", "1"],
    &["--memory", "1MiB", "--requests", "3", "--verify"],
];

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_differential_the_engine_and_the_kernel_make_the_same_of_a_snapshot() {
    let began = Instant::now();
    let mut rig = Rig::without_probes();
    let (mut merged, mut exceptions, mut kinds) = (0, 0, std::collections::BTreeSet::new());
    let seeds = seeds_or(SEEDS);
    for seed in seeds.clone() {
        let case = Case::of(seed);
        let named = NamedOnPanic(&case);
        exceptions += both_merge(&mut rig, &case, OPTIONS[(seed % 5) as usize]);
        drop(named);
        kinds.insert(case.kind);
        merged += 1;
    }
    let seconds = began.elapsed().as_secs_f64();
    tell(&format!(
        "\n{merged} snapshots of {} kinds with {exceptions} exceptions in {seconds:.1} s",
        kinds.len()
    ));
    if seeds == SEEDS {
        assert_eq!(kinds.len(), Kind::ALL.len(), "{kinds:?}");
    }
}

/// One snapshot, merged twice; how many exceptions it had.
fn both_merge(rig: &mut Rig, case: &Case, options: &[&str]) -> u64 {
    match &case.filling {
        Filling::Crafted(entries) => rig.set_up(case, Some(entries)),
        Filling::Written(rows) => {
            rig.set_up(case, None);
            rig.write(case, rows);
        }
    }
    let content = rig.snapshot_content(case);
    rig.remove_upper();
    let pair =
        Pair::new(&Rig::real_path(), &Rig::cow_path(), case.origin_sectors, case.chunk_sectors);
    let [real_before, cow_before] = [image_of(&pair.real), image_of(&pair.cow)];
    let exceptions = pair.exceptions();

    pair.kernel_completes(&content, "by the kernel");
    let by_kernel = image_of(&pair.real);

    put(&pair.real, &real_before);
    put(&pair.cow, &cow_before);
    pair.merge(options).expect(0);
    same(&image_of(&pair.real), &by_kernel, "the origin by the engine, beside the kernel's,");
    pair.is_merged(&content, "by the engine");
    nothing_but_metadata_was_written(case, &cow_before, &image_of(&pair.cow));

    the_kernel_takes_the_cleared_store(&pair, &content);
    the_kernel_uses_it_again(&pair, case, &content);
    drop(pair);
    rig.tear_down();
    exceptions
}

/// The header and the data chunks are as they were; whole chunks of metadata are zeroes.
fn nothing_but_metadata_was_written(case: &Case, before: &[u8], after: &[u8]) {
    let chunk = (case.chunk_sectors * SECTOR) as usize;
    let per_area = chunk / 16;
    for (number, (before, after)) in before.chunks(chunk).zip(after.chunks(chunk)).enumerate() {
        let is_area = number > 0 && (number - 1) % (per_area + 1) == 0;
        if is_area {
            continue;
        }
        assert!(before == after, "chunk {number} of the COW device, which is no metadata, changed");
    }
}

/// As an empty one: the status says so at once, and the view is the origin's.
fn the_kernel_takes_the_cleared_store(pair: &Pair, content: &[u8]) {
    for target in ["snapshot", "snapshot-merge"] {
        pair.load(target);
        let usage = pair.usage();
        assert!(usage.is_empty(), "{target}: the kernel finds exceptions: {usage:?}");
        assert_eq!(usage.allocated.0, 2 * pair.chunk_sectors, "{target}");
        same(&image_of(&pair.judge()), content, &format!("the cleared store as a {target}"));
        pair.unload();
    }
}

/// Writes through a plain snapshot stay, also after a reload, over areas that were in use before.
fn the_kernel_uses_it_again(pair: &Pair, case: &Case, content: &[u8]) {
    let mut random = Random::new(mix(case.seed ^ 0x5eed));
    let mut expected = content.to_vec();
    pair.load("snapshot");
    let file = open_direct(&pair.judge());
    let chunk_bytes = (case.chunk_sectors * SECTOR) as usize;
    let mut buffer = AlignedBuffer::new(chunk_bytes);
    for number in 0..reused_chunks(case) {
        let at = random.within(0, case.origin_chunks()) as usize * chunk_bytes;
        let bytes = &mut buffer.as_mut()[..chunk_bytes.min(expected.len() - at)];
        stamp(bytes, case.seed ^ 0xa6a1, number);
        file.write_all_at(bytes, at as u64).unwrap();
        expected[at..at + bytes.len()].copy_from_slice(bytes);
    }
    drop(file);
    same(&image_of(&pair.judge()), &expected, "a snapshot on the cleared store");
    pair.unload();
    pair.load("snapshot");
    same(&image_of(&pair.judge()), &expected, "the same after a reload");
    pair.unload();
    same(&image_of(&pair.real), content, "the origin below it");
}

/// More than an area where the device has room for that.
fn reused_chunks(case: &Case) -> u64 {
    let (per_area, chunks) =
        (case.chunk_sectors * SECTOR / 16, case.cow_sectors / case.chunk_sectors);
    // Header and areas take some; it must not overflow.
    (per_area + per_area / 2).min((chunks - 2) - chunks / per_area - 1).min(400)
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_differential_a_store_that_is_not_sound_is_left_alone() {
    let mut rig = Rig::without_probes();
    for seed in 5200..5216 {
        let case = Case::of(seed);
        let _named = NamedOnPanic(&case);
        match &case.filling {
            Filling::Crafted(entries) => rig.set_up(&case, Some(entries)),
            Filling::Written(rows) => {
                rig.set_up(&case, None);
                rig.write(&case, rows);
            }
        }
        rig.remove_upper();
        let pair =
            Pair::new(&Rig::real_path(), &Rig::cow_path(), case.origin_sectors, case.chunk_sectors);
        spoil(&pair, seed % 4);
        let [real, cow] = [image_of(&pair.real), image_of(&pair.cow)];
        let ended = pair.merge(&[]);
        assert!(![0, 3].contains(&ended.code), "spoilt way {}: {}", seed % 4, ended.stderr);
        assert!(!ended.stderr.trim().is_empty(), "it says nothing");
        same(&image_of(&pair.real), &real, "the origin beside a spoilt store");
        same(&image_of(&pair.cow), &cow, "the spoilt store");
        drop(pair);
        rig.tear_down();
    }
}

/// Makes the store one that must not be merged.
fn spoil(pair: &Pair, way: u64) {
    let chunk_bytes = (pair.chunk_sectors * SECTOR) as usize;
    let mut image = image_of(&pair.cow);
    let first = chunk_bytes;
    match way {
        // As the kernel marks a snapshot that it gave up.
        0 => image[4..8].fill(0),
        // A chunk size that none can have.
        1 => image[12..16].copy_from_slice(&3_u32.to_le_bytes()),
        // Data behind the end of the device.
        2 => image[first + 8..first + 16].copy_from_slice(&(1_u64 << 40).to_le_bytes()),
        // An exception of a chunk that the origin does not have.
        _ => image[first..first + 8].copy_from_slice(&(1_u64 << 40).to_le_bytes()),
    }
    put(&pair.cow, &image);
    if way > 1 {
        // The reader agrees that this is an exception at all.
        let opened = Store::open(FileSource::open(&pair.cow).unwrap(), None).unwrap();
        assert!(matches!(opened, Opened::Usable(_)));
    }
}
