//! A small offline merge under dm-log-writes, replayed to each flush and FUA write: from what is on the
//! disk there, the kernel alone must show and make the snapshot's content.
//!
//! Origin and COW device lie on one disk, so that one log has the order of all their writes. Between two
//! flushes a disk may do the writes in any order: at each boundary a few random choices of those that
//! follow it are tried too, some of them torn.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::crash::tell;
use super::differential::random::Random;
use super::offline::{Pair, same};
use super::testbed::{SECTOR, Testbed, dmsetup, image_of, put, ram_disk, run};

/// As `drivers/md/dm-log-writes.c` writes it: a superblock, then entries of one sector each, each
/// followed by its data; all numbers little-endian.
const MAGIC: u64 = 0x6a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;
/// Choices tried at each boundary.
const CHOICES: u64 = 2;

/// A write, or a flush where it writes nothing.
struct Entry {
    at: usize,
    data: Vec<u8>,
    flags: u64,
}

/// The entries of a log.
fn entries(log: &[u8]) -> Vec<Entry> {
    let number = |at: usize| u64::from_le_bytes(log[at..at + 8].try_into().unwrap());
    assert_eq!((number(0), number(8)), (MAGIC, 1), "this is no log that we know");
    let sector = u32::from_le_bytes(log[24..28].try_into().unwrap()) as usize;
    let mut next = sector;
    let mut found = Vec::new();
    for _ in 0..number(16) {
        let [at, sectors, flags] = [0, 8, 16].map(|field| number(next + field));
        next += sector;
        if flags & MARK != 0 {
            continue;
        }
        assert_eq!(flags & DISCARD, 0, "nobody discards here");
        let length = sectors as usize * sector;
        found.push(Entry {
            at: at as usize * sector,
            data: log[next..next + length].to_vec(),
            flags,
        });
        next += length;
    }
    found
}

/// Writes, of which a disk may do any before the next boundary, and what ends them.
#[derive(Default)]
struct Epoch {
    writes: Vec<Entry>,
}

/// Splits the log where everything before is durable.
fn epochs(entries: Vec<Entry>) -> Vec<Epoch> {
    let mut epochs = vec![Epoch::default()];
    for entry in entries {
        // A write may ask for a flush before it; one that is forced through is an epoch by itself.
        if entry.flags & FLUSH != 0 {
            epochs.push(Epoch::default());
        }
        let is_forced = entry.flags & FUA != 0;
        if !entry.data.is_empty() {
            epochs.last_mut().unwrap().writes.push(entry);
        }
        if is_forced {
            epochs.push(Epoch::default());
        }
    }
    epochs
}

impl Epoch {
    /// All of it.
    fn apply(&self, disk: &mut [u8]) {
        for Entry { at, data, .. } in &self.writes {
            disk[*at..*at + data.len()].copy_from_slice(data);
        }
    }

    /// Some of it, as a disk without power may leave it.
    fn apply_some(&self, disk: &mut [u8], random: &mut Random) {
        let kept_of_4 = random.within(0, 5);
        for Entry { at, data, .. } in &self.writes {
            let torn = random.once_in(8);
            let whole = random.within(0, 4) < kept_of_4;
            for (sector, number) in data.chunks(SECTOR as usize).zip(0..) {
                if if torn { random.once_in(2) } else { whole } {
                    let at = at + number * SECTOR as usize;
                    disk[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
    }
}

/// Devices of device-mapper that go when this does, the last first.
#[derive(Default)]
struct Made(Vec<String>);

impl Made {
    fn make(&mut self, name: &str, table: &str) -> PathBuf {
        dmsetup(&["create", name, "--table", table]);
        self.0.push(name.to_owned());
        Path::new("/dev/mapper").join(name)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for name in self.0.iter().rev() {
            let _ = Command::new("dmsetup").args(["remove", "--retry", name]).status();
        }
    }
}

/// An offline merge that was logged.
struct Logged {
    pair: Pair,
    promised: Vec<u8>,
    /// The disk, with the origin in its first half, before the merge and after it.
    before: Vec<u8>,
    after: Vec<u8>,
    epochs: Vec<Epoch>,
    /// Holds the devices below.
    _bed: Testbed,
}

impl Logged {
    /// Merges a snapshot of these blocks.
    fn new(name: &str, chunk_sectors: u64, blocks: &[u64], options: &[&str]) -> Self {
        run("modprobe", &["dm-log-writes"]);
        let bed = Testbed::new(name, 2, chunk_sectors);
        bed.write_snapshot(blocks.iter().copied(), 3);
        let promised = bed.image("snap");
        let pair = Pair::below(&bed, chunk_sectors);
        let before = [bed.image("real"), bed.image("cow")].concat();
        let (disk, log) = (ram_disk(), ram_disk());
        put(Path::new(&disk), &before);
        let epochs = epochs(entries_of_merge(name, &bed, (&disk, &log), options));
        let after = image_of(Path::new(&disk))[..before.len()].to_vec();
        Self { pair, promised, before, after, epochs, _bed: bed }
    }

    /// Panics unless the kernel makes the snapshot's content of this disk; how many exceptions there were to
    /// merge.
    #[track_caller]
    fn judge(&self, disk: &[u8], what: &str) -> u64 {
        let (real, cow) = disk.split_at(disk.len() / 2);
        put(&self.pair.real, real);
        put(&self.pair.cow, cow);
        let exceptions = self.pair.exceptions();
        self.pair.kernel_completes(&self.promised, what);
        self.pair.nothing_can_come_back(what);
        exceptions
    }
}

/// Merges a snapshot of these blocks offline, and judges the disk at each boundary.
fn right_at_each_boundary(name: &str, chunk_sectors: u64, blocks: &[u64], options: &[&str]) {
    let logged = Logged::new(name, chunk_sectors, blocks, options);
    let mut random = Random::new(chunk_sectors);
    let (mut state, mut seen, mut left) = (logged.before.clone(), 0, Vec::new());
    for (number, epoch) in logged.epochs.iter().enumerate() {
        let what = format!("{name}, boundary {number} of {}", logged.epochs.len());
        left.push(logged.judge(&state, &what));
        seen += 1;
        for choice in 0..if epoch.writes.is_empty() { 0 } else { CHOICES } {
            let mut some = state.clone();
            epoch.apply_some(&mut some, &mut random);
            logged.judge(&some, &format!("{what}, choice {choice} of what follows"));
            seen += 1;
        }
        epoch.apply(&mut state);
    }
    left.push(logged.judge(&state, &format!("{name}, all of it")));
    same(&state, &logged.after, "the replayed disk, beside the one that was written,");
    tell(&format!("{name}: {seen} states; exceptions at the boundaries: {left:?}"));
    let last = left.len() - 1;
    assert!(left[0] > 0 && left[last] == 0 && left.is_sorted_by(|a, b| a >= b), "{left:?}");
    assert!(left.len() >= 4, "no flush before the clearing, or none after it: {left:?}");
}

/// The log of the merge.
fn entries_of_merge(
    name: &str,
    bed: &Testbed,
    (disk, log): (&str, &str),
    options: &[&str],
) -> Vec<Entry> {
    let sectors = bed.sectors();
    let mut made = Made::default();
    let logged =
        made.make(&format!("{name}-logged"), &format!("0 {} log-writes {disk} {log}", 2 * sectors));
    let half = |what: &str, at: u64| {
        (format!("{name}-logged-{what}"), format!("0 {sectors} linear {} {at}", logged.display()))
    };
    let [real, cow] = [half("real", 0), half("cow", sectors)];
    let real = made.make(&real.0, &real.1);
    let cow = made.make(&cow.0, &cow.1);
    let pair = Pair::new(&real, &cow, sectors, 8);
    pair.merge(options).expect(0);
    drop(pair);
    // What is not in the log yet gets there as the device goes.
    drop(made);
    entries(&image_of(Path::new(log)))
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_log_writes_many_small_areas() {
    // Areas of 32 exceptions: 26 blocks of 8 chunks are six and a half.
    let blocks: Vec<u64> = (0..26).map(|number| 500 - number * 17).collect();
    right_at_each_boundary("log-small", 1, &blocks, &[]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_log_writes_full_areas_verified() {
    // Areas of 64 exceptions: 32 blocks of 4 chunks are just two.
    let blocks: Vec<u64> = (40..56).chain((0..16).map(|number| 100 + number * 23)).collect();
    right_at_each_boundary("log-full", 2, &blocks, &["--verify"]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_log_writes_one_area_with_little_memory() {
    let blocks: Vec<u64> = (0..60).map(|number| (number * 37) % 500).collect();
    right_at_each_boundary("log-one", 8, &blocks, &["--memory", "1MiB", "--requests", "2"]);
}

/// The judge must not be blind: without the flushes a disk may do all writes in any order, and soon that
/// loses something.
#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_log_writes_a_disk_that_ignores_flushes_is_caught() {
    let blocks: Vec<u64> = (0..60).map(|number| (number * 37) % 500).collect();
    let logged = Logged::new("log-lie", 1, &blocks, &["--requests", "1"]);
    let writes = logged.epochs.iter().flat_map(|epoch| &epoch.writes);
    let mut random = Random::new(1);
    let caught = (0..30).any(|choice| {
        let mut disk = logged.before.clone();
        for Entry { at, data, .. } in writes.clone() {
            if random.once_in(2) {
                disk[*at..*at + data.len()].copy_from_slice(data);
            }
        }
        let judged = catch_unwind(AssertUnwindSafe(|| logged.judge(&disk, "on a disk that lies")));
        if logged.pair.judge().exists() {
            logged.pair.unload();
        }
        if judged.is_err() {
            tell(&format!("caught at choice {choice}"));
        }
        judged.is_err()
    });
    assert!(caught, "thirty disks lost writes at will, and nothing was wrong");
}
