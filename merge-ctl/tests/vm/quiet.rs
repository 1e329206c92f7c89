//! Writes in flight steer: what will be held is announced, and a merge begins when nobody writes.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::merge_ctl::Running;
use super::testbed::{AlignedBuffer, BLOCK, Testbed, dmsetup, stamp};

/// Writes to some blocks of the origin, over and over, as long as it lives.
struct Writer<'scope>(&'scope AtomicBool);

impl<'scope> Writer<'scope> {
    fn start<'env: 'scope>(
        scope: &'scope thread::Scope<'scope, 'env>,
        bed: &'env Testbed,
        stop: &'scope AtomicBool,
        blocks: u64,
    ) -> Self {
        stop.store(false, Ordering::Relaxed);
        scope.spawn(move || {
            let file = bed.open("origin");
            let mut buffer = AlignedBuffer::new(BLOCK);
            for turn in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                stamp(buffer.as_mut(), 99, turn);
                file.write_all_at(buffer.as_mut(), turn % blocks * BLOCK as u64).unwrap();
            }
        });
        Self(stop)
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn writes_held(line: &Value) -> bool {
    line["type"] == "progress" && line["writes_held"].as_u64().is_some_and(|held| held > 0)
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn writes_into_a_later_run_are_announced_before_they_are_held() {
    let bed = Testbed::new("announce", 16, 8);
    // Fourteen runs of 256 chunks, merged from the last to the first, where the writer is.
    bed.write_snapshot(0..14 * 256, 3);
    bed.slow_down_one("cow", 400);
    let stop = AtomicBool::new(false);
    let lines = thread::scope(|scope| {
        let mut running = Running::start(&[
            "start",
            "--yes",
            "--output",
            "json",
            "--interval",
            "200ms",
            &bed.dm("snap"),
        ]);
        running.line_where(|line| line["type"] == "begin");
        let writer = Writer::start(scope, &bed, &stop, 4);
        running.line_where(writes_held);
        drop(writer);
        bed.slow_down(0);
        running.wait().expect(0).lines
    });
    let held = lines.iter().position(writes_held).unwrap();
    assert_eq!(lines[held]["current"]["old_chunk"], 0);
    let announced = lines.iter().position(|line| line["type"] == "will-hold").unwrap();
    assert!(announced < held);
    let told = &lines[announced];
    assert_eq!((&told["old_chunk"], &told["chunks"]), (&0.into(), &256.into()), "{told}");
    let me = u64::from(std::process::id());
    assert_eq!(told["writers"][0]["pid"], me, "{told}");
    let said_s = told["begins_in_ns"].as_u64().unwrap() as f64 / 1e9;
    let at_ns = |line: &Value| line["at_ns"].as_u64().unwrap() as f64;
    let took_s = (at_ns(&lines[held]) - at_ns(told)) / 1e9;
    println!("{told}\nheld {took_s:.1} s later, {said_s:.1} s were said");
    assert!(
        (said_s - took_s).abs() < 2.0 + said_s / 2.0,
        "{said_s} s was said, {took_s} s it took"
    );
    // What comes is what the store promised: the other runs in their order, none twice.
    let coming: Vec<u64> =
        lines.iter().filter_map(|line| line["upcoming"][0]["old_chunk"].as_u64()).collect();
    assert!(coming.is_sorted_by(|a, b| a >= b), "{coming:?}");
    let places: std::collections::BTreeSet<u64> = coming.into_iter().collect();
    assert!(places.iter().all(|place| place % 256 == 0), "{places:?}");
    assert!(places.len() > 2, "{places:?}");
}

fn is_waiting(line: &Value) -> bool {
    line["type"] == "waiting"
}

/// A slow origin with a small snapshot, and what `start` is called with to wait for quiet on it.
fn slow_origin(name: &str) -> Testbed {
    let bed = Testbed::new(name, 16, 8);
    bed.write_snapshot((0..40).map(|i| i * 5), 3);
    bed.slow_down_one("real", 30);
    bed
}

fn start_when_quiet(bed: &Testbed, more: &[&str]) -> Running {
    let snapshot = bed.dm("snap");
    let mut arguments = vec!["start", "--yes", "--output", "json", "--interval", "200ms"];
    arguments.extend(["--when-quiet", "--for", "1s"]);
    arguments.extend(more);
    arguments.push(&snapshot);
    Running::start(&arguments)
}

fn assert_unchanged(bed: &Testbed) {
    assert!(dmsetup(&["table", &bed.dm("origin")]).contains("snapshot-origin"));
    for device in ["origin", "snap"] {
        assert!(dmsetup(&["info", &bed.dm(device)]).contains("ACTIVE"));
    }
}

fn begins_after_the_writer(name: &str, more: &[&str]) -> Vec<Value> {
    let bed = slow_origin(name);
    let stop = AtomicBool::new(false);
    let (ended, quiet_at) = thread::scope(|scope| {
        let writer = Writer::start(scope, &bed, &stop, 500);
        let mut running = start_when_quiet(&bed, more);
        for _ in 0..10 {
            let line = running.next_line().unwrap();
            assert!(is_waiting(&line), "{line}");
        }
        drop(writer);
        let quiet_at = Instant::now();
        running.line_where(|line| line["type"] == "begin");
        let begun = quiet_at.elapsed();
        (running.wait().expect(0), begun)
    });
    println!("the merge began {quiet_at:?} after the last write");
    assert!(quiet_at >= Duration::from_millis(950), "{quiet_at:?}");
    let drained: u64 = ended.of_type("run").filter_map(|run| run["drain_ns"].as_u64()).sum();
    assert!(drained < 20_000_000, "runs waited {drained} ns for writers");
    ended.lines
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_merge_begins_once_nobody_writes() {
    let lines = begins_after_the_writer("quiet", &[]);
    let waiting: Vec<_> = lines.iter().filter(|line| is_waiting(line)).collect();
    let pid = u64::from(std::process::id());
    assert!(waiting.iter().any(|line| line["writers"][0]["pid"] == pid), "{waiting:#?}");
    assert!(waiting.iter().any(|line| line["writes_in_flight"] == 1));
    // What is newest in the store is merged first; it was found, and was written to.
    assert!(waiting.iter().any(|line| line["first_run"]["chunks"].is_u64()), "{waiting:#?}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn without_probes_the_kernels_own_count_tells_who_is_quiet() {
    let lines = begins_after_the_writer("quiet-blind", &["--probes", "none"]);
    let busy = lines.iter().filter(|line| is_waiting(line) && line["busy_looks"] != 0).count();
    assert!(busy >= 9, "{busy}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn it_gives_up_and_lets_itself_be_interrupted_and_nothing_is_changed() {
    let bed = slow_origin("unquiet");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = Writer::start(scope, &bed, &stop, 500);
        let ended = start_when_quiet(&bed, &["--give-up-after", "2s"]).wait().expect(7);
        assert!(ended.lines.iter().all(is_waiting));
        assert!(ended.stderr.contains("nothing was changed"), "{}", ended.stderr);
        assert_unchanged(&bed);

        let mut running = start_when_quiet(&bed, &[]);
        running.line_where(is_waiting);
        kill_process(Pid::from_raw(running.pid() as i32).unwrap(), Signal::INT).unwrap();
        let ended = running.wait().expect(8);
        assert!(ended.stderr.contains("nothing was changed"), "{}", ended.stderr);
        assert_unchanged(&bed);
        drop(writer);
    });
}
