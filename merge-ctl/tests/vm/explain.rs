//! `merge-ctl explain` names the right cause of real merges that were made slow in one way each.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::merge_ctl::{Running, merge_ctl};
use super::testbed::{
    AlignedBuffer, BLOCK, Testbed, Throttled, dmsetup, mix, ram_disk, run, stamp, wipe_header,
};

/// What `merge-ctl explain` found, after so many seconds at the most.
pub(crate) fn explain(name: &str, seconds: u32, more: &[&str]) -> Value {
    let time = format!("{seconds}s");
    let mut arguments = vec!["explain", "--json", "--for", &time, name];
    arguments.extend(more);
    let output = Command::new("merge-ctl").args(&arguments).output().unwrap();
    let (out, errors) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{arguments:?}: {}: {errors}", output.status);
    // For whoever reads the test's output: the same in words.
    let value: Value = serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}"));
    println!("{name}: {}: {}", value["cause"], value["verdict"]);
    value
}

/// Prints what people see.
fn print_text(name: &str) {
    println!("$ merge-ctl explain --for 3s {name}");
    println!("{}", run("merge-ctl", &["explain", "--for", "3s", name]));
}

#[track_caller]
pub(crate) fn assert_cause(found: &Value, cause: &str) {
    assert_eq!(found["cause"], cause, "{found:#}");
    assert_eq!(found["findings"][0]["cause"], cause);
    assert_eq!(found["schema"], 1);
}

/// A merge that has begun.
fn begin(bed: &Testbed) -> Running {
    let mut running = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
    running.line_where(|line| line["type"] == "run" || line["type"] == "progress");
    running
}

/// Makes the devices quick again and lets the merge end.
fn end(bed: &Testbed, running: Running) {
    bed.slow_down(0);
    running.wait().expect(0);
}

/// Blocks of a testbed of 32 MiB, one after the other: 30 runs. All of them would not fit into its COW
/// device, which holds the metadata too.
const NEARLY_ALL: std::ops::Range<u64> = 0..7_680;

/// One-chunk runs all over the origin.
fn scattered(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|i| i * 7_919 % 4_001)
}

/// Swaps the linear table of a device for one that delays reads, writes and flushes by so many
/// milliseconds.
pub(crate) fn delay(device: &str, read_ms: u32, write_ms: u32, flush_ms: u32) {
    let table = dmsetup(&["table", device]);
    let words: Vec<&str> = table.split_whitespace().collect();
    let (end, disk) = (words[1], words[3]);
    let target =
        format!("0 {end} delay {disk} 0 {read_ms} {disk} 0 {write_ms} {disk} 0 {flush_ms}");
    reload(device, &target);
}

fn reload(device: &str, table: &str) {
    dmsetup(&["load", device, "--table", table]);
    dmsetup(&["suspend", "--noflush", "--nolockfs", device]);
    dmsetup(&["resume", device]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn scattered_writes_are_fragmentation() {
    let bed = Testbed::new("frag", 16, 8);
    bed.write_snapshot(scattered(600), 3);
    let promised = explain(&bed.dm("snap"), 1, &[]);
    assert_cause(&promised, "fragmentation");
    assert_eq!((&promised["merging"], &promised["state"]), (&false.into(), &Value::Null));
    bed.slow_down(1);
    let running = begin(&bed);
    let found = explain(&bed.dm("origin"), 4, &[]);
    print_text(&bed.dm("origin"));
    end(&bed, running);
    assert_cause(&found, "fragmentation");
    let verdict = found["verdict"].as_str().unwrap();
    assert!(verdict.contains("of one chunk") && verdict.contains("at random"), "{verdict}");
    assert_eq!(found["store"]["cause"], "fragmentation");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_slow_cow_device_is_named_also_without_probes() {
    let bed = Testbed::new("slowcow", 32, 8);
    bed.write_snapshot(NEARLY_ALL, 3);
    bed.slow_down_one("cow", 300);
    let running = begin(&bed);
    let found = explain(&bed.dm("origin"), 5, &[]);
    let blind = explain(&bed.dm("origin"), 5, &["--probes", "none"]);
    print_text(&bed.dm("origin"));
    end(&bed, running);
    assert_cause(&found, "slow-cow");
    assert!(found["verdict"].as_str().unwrap().contains("slowcow-cow"), "{found}");
    assert_cause(&blind, "slow-cow");
    assert_eq!(blind["probes"]["tier"], "none");
    assert!(blind["missing"].as_array().unwrap().len() == 1, "{blind:#}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_slow_origin_device_is_named() {
    let bed = Testbed::new("sloworg", 32, 8);
    bed.write_snapshot(NEARLY_ALL, 3);
    bed.slow_down_one("real", 300);
    let running = begin(&bed);
    let found = explain(&bed.dm("origin"), 5, &[]);
    end(&bed, running);
    assert_cause(&found, "slow-origin");
    assert!(found["verdict"].as_str().unwrap().contains("sloworg-real"), "{found}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn long_runs_on_even_devices_go_at_device_speed() {
    let bed = Testbed::new("speed", 32, 8);
    bed.write_snapshot(NEARLY_ALL, 3);
    bed.slow_down(150);
    let running = begin(&bed);
    let found = explain(&bed.dm("origin"), 6, &[]);
    end(&bed, running);
    assert_cause(&found, "device-speed");
}

/// A device with a write cache, as a RAM disk has none: a file behind the loop driver.
struct Loop {
    device: String,
    file: String,
}

impl Loop {
    fn new(name: &str, mib: u64) -> Self {
        run("modprobe", &["loop"]);
        let file = format!("/tmp/{name}.img");
        run("truncate", &["-s", &format!("{mib}M"), &file]);
        let device = run("losetup", &["-f"]).trim().to_owned();
        run("losetup", &[&device, &file]);
        Self { device, file }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let detached = Command::new("losetup").args(["-d", &self.device]).status();
        if !detached.is_ok_and(|status| status.success())
            || std::fs::remove_file(&self.file).is_err()
        {
            eprintln!("{} could not be taken away", self.device);
        }
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn slow_flushes_are_flush_latency() {
    let disks = [Loop::new("flush-real", 32), Loop::new("flush-cow", 32)];
    let bed = Testbed::on_disks("flush", 32, 8, &disks[0].device, &disks[1].device);
    bed.write_snapshot(NEARLY_ALL, 3);
    for device in ["real", "cow"] {
        delay(&bed.dm(device), 0, 0, 200);
    }
    let running = begin(&bed);
    let found = explain(&bed.dm("origin"), 6, &[]);
    end(&bed, running);
    assert_cause(&found, "flush-latency");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_slow_sibling_is_named() {
    let mut bed = Testbed::new("sibs", 16, 8);
    let sibling = bed.add_sibling(16, 8);
    bed.write_snapshot(scattered(200), 3);
    let cow = bed.dm(&format!("{sibling}-cow"));
    delay(&cow, 50, 50, 0);
    let running = begin(&bed);
    let found = explain(&bed.dm("origin"), 6, &[]);
    print_text(&bed.dm("origin"));
    delay(&cow, 0, 0, 0);
    end(&bed, running);
    assert_cause(&found, "siblings");
    assert!(found["verdict"].as_str().unwrap().contains(&bed.dm(&sibling)), "{found}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_throttle_that_sleeps_is_named() {
    let bed = Testbed::new("throttle", 16, 8);
    bed.write_snapshot(scattered(200), 3);
    bed.slow_down_one("cow", 20);
    let throttled = Throttled::at(1);
    let running = begin(&bed);
    let found = explain(&bed.dm("origin"), 6, &[]);
    drop(throttled);
    end(&bed, running);
    assert_cause(&found, "throttle");
    assert_eq!(found["throttle_percent"], 1);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn suspended_devices_are_named() {
    let bed = Testbed::new("susp", 16, 8);
    bed.write_snapshot(scattered(1_500), 3);
    bed.slow_down(1);
    let running = begin(&bed);
    for (device, advice) in [("origin", bed.dm("origin")), ("cow", "--major".to_owned())] {
        dmsetup(&["suspend", "--noflush", "--nolockfs", &bed.dm(device)]);
        let found = explain(&bed.dm("origin"), 10, &[]);
        let advised = found["findings"][0]["advice"][0].as_str().unwrap().to_owned();
        dmsetup(&["resume", &bed.dm(device)]);
        assert_cause(&found, "suspended");
        assert!(advised.contains(&advice), "{advised}");
        assert!(found["watched_ns"].as_u64().unwrap() < 8_000_000_000, "{found}");
    }
    let found = explain(&bed.dm("origin"), 3, &[]);
    end(&bed, running);
    assert_ne!(found["cause"], "suspended", "{found:#}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_merge_that_nobody_finishes_is_told_with_the_command() {
    let bed = Testbed::new("nobody", 16, 8);
    bed.write_snapshot(scattered(300), 3);
    bed.slow_down(1);
    let running = begin(&bed);
    run("kill", &["-9", &running.pid().to_string()]);
    assert_eq!(running.wait().code, -1);
    bed.slow_down(0);
    let is_done = || {
        let status = dmsetup(&["status", &bed.dm("origin")]);
        let words: Vec<&str> = status.split_whitespace().collect();
        words[3].split('/').next() == Some(words[4])
    };
    while !is_done() {
        thread::sleep(Duration::from_millis(100));
    }
    let found = explain(&bed.dm("origin"), 10, &[]);
    assert_cause(&found, "not-finished");
    let advice = found["findings"][0]["advice"][0].as_str().unwrap();
    assert!(advice.contains(&format!("merge-ctl finish {}", bed.dm("origin"))), "{advice}");
    merge_ctl(&["finish", &bed.dm("origin")]).expect(0);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_failed_merge_is_explained_and_left_alone() {
    let bed = Testbed::new("failexp", 16, 8);
    bed.write_snapshot(scattered(300), 3);
    bed.slow_down(2);
    let running = begin(&bed);
    bed.fail_writes("cow");
    running.wait().expect(5);
    let found = explain(&bed.dm("origin"), 10, &[]);
    print_text(&bed.dm("origin"));
    assert_cause(&found, "failed");
    assert!(found["watched_ns"].as_u64().unwrap() < 5_000_000_000, "{found}");
    let advice = found["findings"][0]["advice"][0].as_str().unwrap();
    assert!(advice.contains("Do NOT suspend or resume"), "{advice}");
    assert!(dmsetup(&["info", &bed.dm("origin")]).contains("ACTIVE"));
}

/// Sectors in the chunks of the testbed below.
pub(crate) const LARGE_CHUNK: u64 = 32;
/// How many chunks it has; one area of metadata describes twice as many.
pub(crate) const LARGE_CHUNKS: u64 = 1_000;

/// Writes into chunks that are to be merged last, until told to stop.
pub(crate) fn write_into_old_chunks(bed: &Testbed, chunks: &[u64], seed: u64, stop: &AtomicBool) {
    let file = bed.open("origin");
    let mut buffer = AlignedBuffer::new(BLOCK);
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let chunk = chunks[mix(seed * 1_000_003 + turn) as usize % chunks.len()];
        stamp(buffer.as_mut(), seed, turn);
        file.write_all_at(buffer.as_mut(), chunk * LARGE_CHUNK * 512).unwrap();
        // Into what is merged already, writes are quick.
        thread::sleep(Duration::from_millis(5));
    }
}

/// Makes writes to the exceptions' data take so long; those to the metadata, in chunk 1, do not.
pub(crate) fn slow_cow_data(bed: &Testbed, ms: u32) {
    let cow = bed.dm("cow");
    let table = dmsetup(&["table", &cow]);
    let words: Vec<&str> = table.split_whitespace().collect();
    let (end_sector, disk) = (words[1].parse::<u64>().unwrap(), words[3]);
    let data = 2 * LARGE_CHUNK;
    let lines = format!(
        "0 {data} linear {disk} 0\n{data} {} delay {disk} {data} 0 {disk} {data} {ms}\n",
        end_sector - data
    );
    let file = format!("/tmp/{cow}.table");
    std::fs::write(&file, lines).unwrap();
    dmsetup(&["load", &cow, &file]);
    dmsetup(&["suspend", &cow]);
    dmsetup(&["resume", &cow]);
}

/// Ends the writers, also when the test panics: the scope waits for them.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn writers_that_hold_runs_up_are_named() {
    let bed = Testbed::new("drain", 16, LARGE_CHUNK);
    let chunks: Vec<u64> = (0..LARGE_CHUNKS).map(|i| i * 7_919 % 1_021).collect();
    bed.write_snapshot(chunks.iter().map(|chunk| chunk * LARGE_CHUNK / 8), 3);
    slow_cow_data(&bed, 600);
    let stop = AtomicBool::new(false);
    let found = thread::scope(|scope| {
        let stopper = StopOnDrop(&stop);
        for writer in 1..=16 {
            let (bed, chunks, stop) = (&bed, &chunks[..LARGE_CHUNKS as usize / 2], &stop);
            scope.spawn(move || write_into_old_chunks(bed, chunks, writer, stop));
        }
        let running = begin(&bed);
        let found = explain(&bed.dm("origin"), 5, &[]);
        drop(stopper);
        end(&bed, running);
        found
    });
    assert_cause(&found, "draining-writers");
    let me = format!("[{}]", std::process::id());
    assert!(found["verdict"].as_str().unwrap().contains(&me), "{found:#}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn what_has_nothing_to_merge_is_said_and_what_has_no_snapshot_refused() {
    let bed = Testbed::new("empty", 16, 8);
    assert_cause(&explain(&bed.dm("snap"), 1, &[]), "nothing-to-merge");
    bed.write_snapshot(0..2_048, 3);
    assert_cause(&explain(&bed.dm("snap"), 1, &[]), "device-speed");
    let refused = merge_ctl(&["explain", "no-such-volume"]).expect(2);
    assert!(refused.stderr.contains("no-such-volume"), "{}", refused.stderr);

    let disk = ram_disk();
    wipe_header(Path::new(&disk));
    dmsetup(&["create", "zeroes", "--table", &format!("0 2048 linear {disk} 0")]);
    let refused = merge_ctl(&["explain", "zeroes"]).expect(2);
    dmsetup(&["remove", "zeroes"]);
    assert!(refused.stderr.contains("belongs to no snapshot"), "{}", refused.stderr);
}
