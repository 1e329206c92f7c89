//! The writes in flight that merge-ctl tells are those that the kernel and the writers know of.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use super::merge_ctl::Running;
use super::testbed::{AlignedBuffer, BLOCK, Testbed, stamp};

const WRITERS: u64 = 6;

/// Each writer has one write in flight all the time, on blocks of its own from `base` on.
fn write_until(bed: &Testbed, base: u64, stop: &AtomicBool) {
    let file = bed.open("origin");
    let mut buffer = AlignedBuffer::new(BLOCK);
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        stamp(buffer.as_mut(), turn, base);
        file.write_all_at(buffer.as_mut(), (base + turn % 4) * BLOCK as u64).unwrap();
    }
}

fn number(line: &Value, field: &str) -> u64 {
    line[field].as_u64().unwrap_or_else(|| panic!("no {field} in {line}"))
}

/// Ends the writers, also when the test panics: the scope waits for them.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn is_progress(line: &Value) -> bool {
    line["type"] == "progress"
}

/// The progress lines while `WRITERS` writers write from block `base` on, four blocks each: from
/// the first line that knows of them all, until `enough` of them accept.
fn progress_under_writers(
    bed: &Testbed,
    base: u64,
    enough: usize,
    accept: impl Fn(&Value) -> bool,
) -> Vec<Value> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopper = StopOnDrop(&stop);
        let mut running = Running::start(&[
            "start",
            "--yes",
            "--output",
            "json",
            "--interval",
            "200ms",
            &bed.dm("snap"),
        ]);
        running.line_where(is_progress);
        for writer in 0..WRITERS {
            let stop = &stop;
            scope.spawn(move || write_until(bed, base + writer * 4, stop));
        }
        running.line_where(|line| is_progress(line) && number(line, "writes_in_flight") == WRITERS);
        let mut lines = Vec::new();
        while lines.iter().filter(|line| accept(line)).count() < enough {
            let line = running.line_where(|line| is_progress(line) || line["type"] == "summary");
            assert!(is_progress(&line), "the merge ended first; until then: {lines:#?}");
            lines.push(line);
        }
        drop(stopper);
        bed.slow_down(0);
        running.wait().expect(0);
        lines
    })
}

/// The median over several lines: a single one may fall between two writes.
fn median(lines: &[Value], field: &str) -> u64 {
    let mut numbers: Vec<u64> = lines.iter().map(|line| number(line, field)).collect();
    numbers.sort_unstable();
    numbers[numbers.len() / 2]
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn writes_outside_of_the_run_are_counted_and_not_held() {
    let bed = Testbed::new("free", 16, 8);
    bed.write_snapshot((0..200).map(|i| i * 5), 3);
    bed.slow_down_one("real", 30);
    // No exception lies there: these writes go straight to the origin.
    let lines = progress_under_writers(&bed, 3000, 8, |_| true);
    assert_eq!(median(&lines, "writes_in_flight"), WRITERS);
    assert_eq!(median(&lines, "kernel_writes_in_flight"), WRITERS);
    assert_eq!(median(&lines, "writes_held"), 0);
    for line in &lines {
        assert_eq!(number(line, "writes_held"), 0, "{line}");
        for write in line["in_flight"].as_array().unwrap() {
            let block = number(write, "sector") / 8;
            assert!((3000..3000 + WRITERS * 4).contains(&block), "{write}");
            assert_eq!(number(write, "bytes"), BLOCK as u64);
            assert_eq!(number(write, "pid"), u64::from(std::process::id()));
            assert_eq!(write["held"], false);
        }
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn writes_into_the_run_in_progress_are_held() {
    let bed = Testbed::new("held", 16, 8);
    // One run of 256 chunks at a time, a second and more each: the merge goes from the last to the
    // first of them, and the writers wait in the first.
    bed.write_snapshot(0..1024, 3);
    bed.slow_down_one("cow", 400);
    let lines = progress_under_writers(&bed, 0, 3, |line| number(line, "writes_held") > 0);
    for line in &lines {
        let run = &line["current"];
        for write in line["in_flight"].as_array().unwrap() {
            let concerned = write["held"] == true || write["awaited"] == true;
            let published =
                matches!(run["phase"].as_str(), Some("drain" | "copy" | "flush" | "commit"));
            assert_eq!(concerned, published && overlaps(write, run), "{write} beside {run}");
        }
        let held = |write: &&Value| write["held"] == true;
        let counted = line["in_flight"].as_array().unwrap().iter().filter(held).count();
        assert_eq!(number(line, "writes_held"), counted as u64);
    }
    // They stay in the run until it is committed: what is held now was held before.
    assert!(lines.iter().any(|line| number(line, "writes_held") == WRITERS), "{lines:#?}");
}

fn overlaps(write: &Value, run: &Value) -> bool {
    let (Some(first), Some(chunks)) = (run["old_chunk"].as_u64(), run["chunks"].as_u64()) else {
        return false;
    };
    (first..first + chunks).contains(&(number(write, "sector") / 8))
}
