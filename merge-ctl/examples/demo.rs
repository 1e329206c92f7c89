//! What `cargo xtask demo` runs in its VM: a snapshot with a believable history on slow devices, a
//! writer on the origin, `merge-ctl start` in front of you, and the proof that every byte is right.
//!
//! Not for a real host: it makes and removes device-mapper devices of its own.

#[path = "../tests/vm/testbed.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "made for the tests, which use all of it and panic where they fail"
)]
mod testbed;

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use testbed::{AlignedBuffer, BLOCK, Testbed, dmsetup, mix, stamp};

const MIB: u64 = 128;
const CHUNK_SECTORS: u64 = 8;
const WRITERS: u64 = 4;
const BLOCKS: u64 = MIB * 1024 * 1024 / BLOCK as u64;

fn main() -> ExitCode {
    println!("An origin of {MIB} MiB and a snapshot of it, on RAM disks; chunks of 4 KiB.");
    let bed = Testbed::new("demo", MIB, CHUNK_SECTORS);
    write_history(&bed);
    let promised = bed.image("snap");
    println!("Both devices are slowed down; {WRITERS} writers begin to write to the origin.");
    bed.slow_down(1);
    let (merged, begun, writes) = merge_under_writers(&bed);
    match merged {
        Ok(status) if status.success() => {
            bed.slow_down(0);
            prove(&bed, &promised, &writes, &begun)
        }
        Ok(status) => {
            eprintln!("demo: merge-ctl start: {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("demo: cannot run merge-ctl: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs `merge-ctl start` while the writers write; tells how it ended, when the merge began, and
/// what was written.
fn merge_under_writers(bed: &Testbed) -> (io::Result<ExitStatus>, Begun, Vec<Written>) {
    let stop = AtomicBool::new(false);
    let log = Mutex::new(Vec::new());
    let (merged, begun) = thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (stop, log) = (&stop, &log);
            scope.spawn(move || write_until(bed, writer, stop, log));
        }
        let watch = scope.spawn(|| watch_for_the_merge(bed, &stop));
        thread::sleep(Duration::from_millis(500));
        let merged = Command::new("merge-ctl")
            .args(["start", "--yes", &bed.dm("snap")])
            .args(std::env::args().skip(1))
            .status();
        stop.store(true, Ordering::Relaxed);
        (merged, watch.join().expect("the watch does not panic"))
    });
    (merged, begun, log.into_inner().expect("no writer panicked"))
}

/// A long sequential write, random 4 KiB writes, writers that interleave, and one more sequential
/// write: the merge undoes them from the last to the first.
fn write_history(bed: &Testbed) {
    println!("The snapshot is written to: sequentially, at random, by interleaved writers.");
    let seed = 2;
    bed.write_snapshot(0..8192, seed);
    bed.write_snapshot((0..400).map(|i| 8192 + mix(i) % (BLOCKS - 8192)), seed + 1);
    let streams = [12_000, 16_000, 20_000, 24_000];
    let interleaved = (0..140_u64).flat_map(move |i| {
        streams.into_iter().flat_map(move |stream| (0..4).map(move |k| stream + i * 4 + k))
    });
    bed.write_snapshot(interleaved, seed + 2);
    bed.write_snapshot(26_000..28_048, seed + 3);
}

/// One write to the origin.
struct Written {
    block: u64,
    seed: u64,
    began: Instant,
    ended: Instant,
}

/// Writes at random, each writer to blocks of its own, so that a block's last write is known.
fn write_until(bed: &Testbed, writer: u64, stop: &AtomicBool, log: &Mutex<Vec<Written>>) {
    let file = bed.open("origin");
    let mut buffer = AlignedBuffer::new(BLOCK);
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        let random = mix(writer << 32 | turn);
        let block = random % (BLOCKS / WRITERS) * WRITERS + writer;
        let seed = 1000 + turn;
        stamp(buffer.as_mut(), seed, block);
        let began = Instant::now();
        file.write_all_at(buffer.as_mut(), block * BLOCK as u64)
            .unwrap_or_else(|error| panic!("a write to block {block} failed: {error}"));
        let written = Written { block, seed, began, ended: Instant::now() };
        log.lock().expect("no writer panicked").push(written);
        thread::sleep(Duration::from_millis(20));
        turn += 1;
    }
}

/// The merge began between these two instants.
struct Begun {
    not_before: Instant,
    not_after: Instant,
}

fn watch_for_the_merge(bed: &Testbed, stop: &AtomicBool) -> Begun {
    let mut not_before = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        if !dmsetup(&["table", &bed.dm("origin")]).contains("snapshot-origin") {
            break;
        }
        not_before = asked;
        thread::sleep(Duration::from_millis(20));
    }
    Begun { not_before, not_after: Instant::now() }
}

/// Compares every byte of the origin with what the snapshot held, plus what was written since.
fn prove(bed: &Testbed, promised: &[u8], writes: &[Written], begun: &Begun) -> ExitCode {
    let found = bed.image("origin");
    let Compared { from_snapshot, from_writer, wrong } =
        compare(promised, &found, &allowed_content(writes, begun));
    let table = dmsetup(&["table", &bed.dm("origin")]);
    let snapshot_gone = !bed.path("snap").exists();
    println!();
    println!("Proof: {BLOCKS} blocks of 4 KiB compared, after {} writes to them:", writes.len());
    println!(
        "  {from_snapshot} hold what the snapshot held, {from_writer} what was written since;"
    );
    println!("  {} are wrong{}", wrong.len(), if wrong.is_empty() { "." } else { ":" });
    for block in wrong.iter().take(10) {
        println!("    block {block}");
    }
    println!("  the origin's table is `{}`;", table.trim());
    println!("  the snapshot is {}.", if snapshot_gone { "gone" } else { "STILL THERE" });
    if wrong.is_empty() && table.contains("linear") && snapshot_gone {
        println!("Every byte is right.");
        ExitCode::SUCCESS
    } else {
        println!("THE PROOF FAILED.");
        ExitCode::FAILURE
    }
}

/// Blocks by where their content comes from.
#[derive(Default)]
struct Compared {
    from_snapshot: usize,
    from_writer: usize,
    wrong: Vec<u64>,
}

fn compare(promised: &[u8], found: &[u8], allowed: &HashMap<u64, Allowed>) -> Compared {
    let mut compared = Compared::default();
    let mut written = vec![0; BLOCK];
    for block in 0..BLOCKS {
        let at = block as usize * BLOCK..(block as usize + 1) * BLOCK;
        let (held, content) = (&promised[at.clone()], &found[at]);
        let allowed = allowed.get(&block);
        let mut was_written = |seed: &u64| {
            stamp(&mut written, *seed, block);
            written == content
        };
        if allowed.is_none_or(|allowed| allowed.snapshot) && held == content {
            compared.from_snapshot += 1;
        } else if allowed.is_some_and(|allowed| allowed.seeds.iter().any(&mut was_written)) {
            compared.from_writer += 1;
        } else {
            compared.wrong.push(block);
        }
    }
    compared
}

/// What a block may hold.
struct Allowed {
    snapshot: bool,
    seeds: Vec<u64>,
}

/// A write that ended before the merge began is undone by it; one that began after holds; one in
/// between may be either.
fn allowed_content(writes: &[Written], begun: &Begun) -> HashMap<u64, Allowed> {
    let mut blocks: HashMap<u64, Allowed> = HashMap::new();
    for write in writes {
        let allowed = blocks
            .entry(write.block)
            .or_insert_with(|| Allowed { snapshot: true, seeds: Vec::new() });
        if write.began > begun.not_after {
            *allowed = Allowed { snapshot: false, seeds: vec![write.seed] };
        } else if write.ended >= begun.not_before {
            allowed.seeds.push(write.seed);
        }
    }
    blocks
}
