//! The store of a real snapshot, read from a slow device past the page cache: reading ahead tells
//! what reading area by area tells, and what was written.

use std::io;
use std::time::{Duration, Instant};

use merge_ctl::store::{FileSource, Opened, Placed, Source, Store};
use merge_ctl::units::Sectors;

use super::testbed::{Testbed, dmsetup};

/// Blocks of 4 KiB that are written, eight chunks each: 150 areas of 32 entries.
const BLOCKS: u64 = 600;
const CHUNKS_PER_BLOCK: u64 = 8;

/// A device that is read without anything beside.
struct OneByOne(FileSource);

impl Source for OneByOne {
    fn size(&self) -> Sectors {
        self.0.size()
    }
    fn block_bytes(&self) -> u32 {
        self.0.block_bytes()
    }
    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_at(at_bytes, into)
    }
}

fn open<S: Source>(source: S) -> Store<S> {
    match Store::open(source, None).unwrap() {
        Opened::Usable(store) => store,
        Opened::New | Opened::Invalid => panic!("the store is not usable"),
    }
}

fn walk<S: Source>(store: &Store<S>) -> (Duration, Vec<Placed>) {
    let begun = Instant::now();
    let told = store.exceptions().map(Result::unwrap).collect();
    (begun.elapsed(), told)
}

/// The last number of the status line: `0 SECTORS snapshot USED/TOTAL METADATA`.
fn metadata_in_use(bed: &Testbed) -> Sectors {
    let status = dmsetup(&["status", &bed.dm("snap")]);
    Sectors(status.split_whitespace().last().unwrap().parse().unwrap())
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_slow_device_is_read_ahead_and_tells_the_same() {
    let bed = Testbed::new("reader", 16, 1);
    let blocks: Vec<u64> = (0..BLOCKS).map(|block| block * 1237 % (bed.bytes() / 4096)).collect();
    bed.write_snapshot(blocks.iter().copied(), 1);
    let cow = || FileSource::open(&bed.path("cow")).unwrap();
    assert!(cow().may_grow(), "the snapshot holds it");
    bed.slow_down_one("cow", 4);

    let (one_by_one, told) = walk(&open(OneByOne(cow())));
    // A write is of one block; its eight chunks may be committed in any order.
    let per_block = |told: &[Placed]| -> Vec<u64> {
        let blocks = told.chunks(CHUNKS_PER_BLOCK as usize);
        blocks.map(|chunks| chunks[0].exception.old_chunk / CHUNKS_PER_BLOCK).collect()
    };
    assert_eq!(told.len() as u64, BLOCKS * CHUNKS_PER_BLOCK);
    assert_eq!(per_block(&told), blocks);

    let (unknown, same) = walk(&open(cow()));
    assert!(same == told, "without knowing what is in use");
    let store = open(cow()).with_metadata_in_use(metadata_in_use(&bed));
    let (ahead, same) = walk(&store);
    assert!(same == told, "reading ahead");
    assert!(ahead * 3 < one_by_one, "{ahead:?} ahead, {one_by_one:?} one by one");
    assert!(ahead * 3 < unknown, "what may grow was read ahead: {ahead:?}, {unknown:?}");

    let end = store.layout().after(told.last().unwrap().place);
    let begun = Instant::now();
    let mut backwards: Vec<Placed> = store.backwards(end).map(Result::unwrap).collect();
    let backwards_took = begun.elapsed();
    backwards.reverse();
    assert!(backwards == told, "backwards");
    assert!(backwards_took * 3 < one_by_one, "{backwards_took:?} backwards, {one_by_one:?}");
    bed.slow_down_one("cow", 0);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_device_that_nobody_holds_is_read_ahead_and_left_at_once() {
    let bed = Testbed::new("unheld", 16, 1);
    bed.write_snapshot(0..BLOCKS, 1);
    dmsetup(&["remove", "--retry", &bed.dm("snap")]);
    bed.slow_down_one("cow", 4);
    let cow = FileSource::open(&bed.path("cow")).unwrap();
    assert!(!cow.may_grow(), "nobody holds it");
    let (one_by_one, told) = walk(&open(OneByOne(FileSource::open(&bed.path("cow")).unwrap())));
    let (ahead, same) = walk(&open(cow));
    assert!(same == told);
    assert!(ahead * 3 < one_by_one, "{ahead:?} ahead, {one_by_one:?} one by one");
    // No thread keeps the device open.
    dmsetup(&["remove", &bed.dm("cow")]);
}
