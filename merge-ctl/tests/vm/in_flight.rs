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

/// The progress lines while `WRITERS` writers write from block `base` on, four blocks each.
fn progress_under_writers(bed: &Testbed, base: u64) -> Vec<Value> {
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
        running.line_where(|line| line["type"] == "progress");
        for writer in 0..WRITERS {
            let stop = &stop;
            scope.spawn(move || write_until(bed, base + writer * 4, stop));
        }
        running.line_where(|line| number(line, "writes_in_flight") == WRITERS);
        let mut lines = Vec::new();
        while lines.len() < 8 {
            match running.next_line() {
                Some(line) if line["type"] == "progress" => lines.push(line),
                Some(line) if line["type"] == "summary" => break,
                Some(_) => {}
                None => break,
            }
        }
        stop.store(true, Ordering::Relaxed);
        running.wait().expect(0);
        lines
    });
    assert!(lines.len() >= 5, "only {} lines of progress", lines.len());
    lines
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
    let lines = progress_under_writers(&bed, 3000);
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
    let lines = progress_under_writers(&bed, 0);
    let held: Vec<&Value> = lines.iter().filter(|line| number(line, "writes_held") > 0).collect();
    for line in &lines {
        let run = &line["current"];
        let writes = line["in_flight"].as_array().unwrap();
        let overlapping = writes.iter().filter(|write| overlaps(write, run)).count() as u64;
        let marked = writes.iter().filter(|write| write["held"] == true).count() as u64;
        assert_eq!(number(line, "writes_held"), marked);
        assert!(marked <= overlapping, "{line}");
    }
    assert!(!held.is_empty(), "no write was held in: {lines:#?}");
}

fn overlaps(write: &Value, run: &Value) -> bool {
    let (Some(first), Some(chunks)) = (run["old_chunk"].as_u64(), run["chunks"].as_u64()) else {
        return false;
    };
    (first..first + chunks).contains(&(number(write, "sector") / 8))
}
