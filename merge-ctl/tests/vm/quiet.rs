//! Writes in flight steer: what will be held is announced, and a merge begins when nobody writes.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use super::merge_ctl::Running;
use super::testbed::{AlignedBuffer, BLOCK, Testbed, stamp};

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
    // Six runs of 256 chunks, merged from the last to the first, where the writer is.
    bed.write_snapshot(0..1536, 3);
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
    assert!(places.is_subset(&[0, 256, 512, 768, 1024, 1280].into()), "{places:?}");
    assert!(places.len() > 2, "{places:?}");
}
