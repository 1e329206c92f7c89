//! `merge-ctl wait` on merges by plain device-mapper: how soon it returns, and with what.

use std::path::Path;
use std::thread;
use std::time::Duration;

use merge_ctl::clock::now_ns;
use serde_json::Value;

use super::explain::{
    LARGE_CHUNK, LARGE_CHUNKS, StopOnDrop, delay, slow_cow_data, write_into_old_chunks,
};
use super::linear::Linear;
use super::merge_ctl::{Running, Waiter, merge_ctl, wait};
use super::testbed::{Testbed, dmsetup, mix, ram_disk, run};

/// Soon, for a virtual machine on a busy one: below a second where it has a processor, and long before
/// lvm2 would have looked.
const SOON_NS: u64 = 10_000_000_000;
const S: u64 = 1_000_000_000;

/// A merge of 200 runs on devices that take so long for each I/O, which has begun.
fn begin(bed: &Testbed, ms: u32) -> Running {
    bed.write_snapshot((0..200).map(|i| i * 7), 3);
    bed.slow_down(ms);
    let mut running = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
    running.line_where(|line| line["type"] == "run");
    running
}

/// A merge that nobody will finish.
fn begin_alone(bed: &Testbed) {
    let running = begin(bed, 10);
    run("kill", &["-9", &running.pid().to_string()]);
    assert_eq!(running.wait().code, -1);
}

fn returns_soon(name: &str, more: &[&str]) {
    let bed = Testbed::new(name, 16, 8);
    let running = begin(&bed, 8);
    let origin = bed.dm("origin");
    let waiter = Waiter::start(&[&[&*origin], more].concat());
    let (said, returned_ns) = thread::scope(|scope| {
        let waited = scope.spawn(|| (waiter.end(0), now_ns()));
        let ended = running.wait().expect(0);
        let (said, returned_ns) = waited.join().unwrap();
        let last = ended.of_type("run").last().unwrap()["finished_ns"].as_u64().unwrap();
        println!("{name}: {} ms after the last chunk", (returned_ns - last) / 1_000_000);
        (said, returned_ns - last)
    });
    assert_eq!((&said["state"], &said["origin"]), (&"finished".into(), &(&*origin).into()));
    assert!(returned_ns < SOON_NS, "{returned_ns} ns after the last chunk");
    assert_eq!(wait(&[&origin], 0)["state"], "none");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn wait_returns_soon_after_the_last_chunk() {
    returns_soon("waitsoon", &[]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn wait_returns_soon_without_probes_too() {
    returns_soon("waitblind", &["--probes", "none"]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_merge_that_nobody_finishes_is_merged_and_then_told() {
    let bed = Testbed::new("waitalone", 16, 8);
    begin_alone(&bed);
    let origin = bed.dm("origin");
    let mut monitor = Running::start(&["monitor", "--output", "json", &origin]);
    monitor.line_where(|line| line["type"] == "run");
    let said = wait(&[&origin, "--until", "merged"], 0);
    let returned_ns = now_ns();
    assert_eq!((&said["state"], &said["left_bytes"]), (&"done-not-finished".into(), &0.into()));
    let ended = monitor.wait().expect(3);
    let last = ended.of_type("run").last().unwrap()["finished_ns"].as_u64().unwrap();
    println!("{} ms after the last chunk", (returned_ns - last) / 1_000_000);
    assert!(returned_ns - last < SOON_NS);

    let begun_ns = now_ns();
    let said = wait(&[&origin], 3);
    assert!((5..30).contains(&((now_ns() - begun_ns) / S)), "{said}");
    assert!(
        said["next"].as_str().unwrap().contains(&format!("merge-ctl finish {origin}")),
        "{said}"
    );
    let waiter = Waiter::start(&[&origin]);
    thread::sleep(Duration::from_secs(1));
    merge_ctl(&["finish", &origin]).expect(0);
    assert_eq!(waiter.end(0)["state"], "finished");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_failure_is_told_with_its_phase_and_a_timeout_with_what_is_left() {
    let bed = Testbed::new("waitfail", 16, 8);
    let running = begin(&bed, 60);
    let origin = bed.dm("origin");
    let said = wait(&[&origin, "--timeout", "300ms"], 7);
    assert_eq!(said["state"], "merging");
    assert!(said["left_bytes"].as_u64().unwrap() > 0, "{said}");
    let waiter = Waiter::start(&[&origin]);
    // Long enough to attach the probes, which tell the phase.
    thread::sleep(Duration::from_secs(6));
    bed.fail_writes("cow");
    let said = waiter.end(5);
    assert_eq!((&said["state"], &said["failed"]["phase"]), (&"failed".into(), &"commit".into()));
    running.wait().expect(5);
    assert_eq!(wait(&[&origin], 5)["state"], "failed");
    assert_eq!(merge_ctl(&["wait", "no-such-volume"]).code, 2);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_table_swapped_in_the_middle_is_no_finish() {
    let bed = Testbed::new("waitgone", 16, 8);
    begin_alone(&bed);
    let origin = bed.dm("origin");
    let waiter = Waiter::start(&[&origin, "--probes", "none"]);
    thread::sleep(Duration::from_secs(1));
    swap_for_plain(&bed);
    // Whoever resumes it will see to it that the rest is merged.
    let said = waiter.end(3);
    assert_eq!(said["state"], "interrupted");
    assert!(said["next"].as_str().unwrap().contains("merge-ctl resume waitgone-origin"), "{said}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_table_swapped_in_the_middle_of_somebody_elses_merge_is_no_finish() {
    let bed = Testbed::new("waitelse", 16, 8);
    begin_alone(&bed);
    let origin = bed.dm("origin");
    // As if it had been begun with dmsetup.
    std::fs::remove_file(format!("/var/lib/merge-ctl/merges/{origin}.merge")).unwrap();
    let waiter = Waiter::start(&[&origin, "--probes", "none"]);
    thread::sleep(Duration::from_secs(1));
    swap_for_plain(&bed);
    assert_eq!(waiter.end(1)["state"], "gone");
}

/// Takes the merge off the origin, whatever is left of it.
fn swap_for_plain(bed: &Testbed) {
    let origin = bed.dm("origin");
    let table = format!("0 {} linear {} 0", bed.bytes() / 512, bed.path("real").display());
    dmsetup(&["load", &origin, "--table", &table]);
    dmsetup(&["suspend", &origin]);
    dmsetup(&["resume", &origin]);
}

/// Waits for a stall of more than a second; its detail and what it waits in.
fn stall(origin: &str) -> Value {
    let said = wait(&[origin, "--stall-after", "1s", "--timeout", "30s"], 4);
    assert!(said["stall"]["duration_ns"].as_u64().unwrap() >= S, "{said}");
    assert_eq!(said["stall"]["ended_ns"], Value::Null);
    said
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn suspended_devices_are_stalls_that_are_named() {
    let bed = Testbed::new("waitsusp", 16, 8);
    let running = begin(&bed, 60);
    let origin = bed.dm("origin");
    for (device, state) in [("origin", "suspended"), ("cow", "stalled"), ("real", "stalled")] {
        dmsetup(&["suspend", "--noflush", "--nolockfs", &bed.dm(device)]);
        let said = stall(&origin);
        dmsetup(&["resume", &bed.dm(device)]);
        assert_eq!(
            (&said["state"], &said["cause"]),
            (&state.into(), &"suspended".into()),
            "{said}"
        );
        let detail = said["stall"]["detail"].as_str().unwrap();
        let name = if device == "origin" { "the origin".to_owned() } else { bed.dm(device) };
        assert!(detail.contains(&name) && detail.contains("suspended"), "{detail}");
    }
    bed.slow_down(0);
    running.wait().expect(0);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_stall_is_named_also_by_who_comes_later() {
    let disk = Linear::over(Path::new(&ram_disk()), "waitlate-disk");
    let path = format!("/dev/mapper/{}", disk.0);
    let bed = Testbed::on_disks("waitlate", 16, 8, &path, &ram_disk());
    let running = begin(&bed, 20);
    // Not the device below the merge itself: dm-delay counts an I/O only once it lets it go on.
    delay(disk.0, 0, 20_000, 0);
    thread::sleep(Duration::from_secs(1));
    let said = stall(&bed.dm("origin"));
    delay(disk.0, 0, 0, 0);
    bed.slow_down(0);
    let detail = said["stall"]["detail"].as_str().unwrap();
    // Where the probes were attached in time for a run to begin, its phase is known.
    let is_named =
        ["in flight on waitlate-real", "copying"].iter().any(|words| detail.contains(words));
    assert!(is_named, "{said:#}");
    running.wait().expect(0);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_slow_copy_and_a_drain_are_stalls_with_their_phase() {
    let bed = Testbed::new("waitphase", 16, LARGE_CHUNK);
    let chunks: Vec<u64> = (0..LARGE_CHUNKS).map(|i| i * 7_919 % 1_021).collect();
    bed.write_snapshot(chunks.iter().map(|chunk| chunk * LARGE_CHUNK / 8), 3);
    bed.slow_down_one("real", 4_000);
    let mut running = Running::start(&[
        "start",
        "--yes",
        "--output",
        "json",
        "--stall-after",
        "1s",
        &bed.dm("snap"),
    ]);
    let told = running.line_where(|line| line["type"] == "stall" && line["event"] == "begin");
    assert!(["copy", "flush"].contains(&told["cause"].as_str().unwrap()), "{told}");
    let said = stall(&bed.dm("origin"));
    assert_ne!(said["stall"]["cause"], "drain", "{said}");

    slow_cow_data(&bed, 4_000);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let drained = thread::scope(|scope| {
        let stopper = StopOnDrop(&stop);
        for writer in 1..=16 {
            let (bed, chunks, stop) = (&bed, &chunks[..LARGE_CHUNKS as usize / 2], &stop);
            scope.spawn(move || write_into_old_chunks(bed, chunks, mix(writer), stop));
        }
        // The runs that nobody writes into go by quickly.
        thread::sleep(Duration::from_secs(2));
        bed.slow_down_one("real", 0);
        let drained = running.line_where(|line| {
            line["type"] == "stall" && line["event"] == "begin" && line["cause"] == "drain"
        });
        drop(stopper);
        bed.slow_down(0);
        drained
    });
    let detail = drained["detail"].as_str().unwrap();
    // Who writes is not always known at once: without the types of dm-snapshot a run's place is
    // known late.
    assert!(detail.starts_with("waiting for application writes"), "{detail}");
    running.wait().expect(0);
}
