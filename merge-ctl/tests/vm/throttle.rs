//! The throttle: it does what it says, says what it does, and is put back on every way out.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::merge_ctl::{Running, merge_ctl};
use super::shared_disk::{Devices, SharedDisk, Size, exceptions};
use super::testbed::{self, AlignedBuffer, BLOCK, Testbed, dmsetup, mix, run, stamp};

const KNOB: &str = "/sys/module/dm_snapshot/parameters/snapshot_copy_throttle";
const LEASE: &str = "/run/merge-ctl/throttle.json";

fn knob() -> u32 {
    fs::read_to_string(KNOB).unwrap().trim().parse().unwrap()
}

/// Puts the setting to 100, also when a test panics.
struct KnobBack;

impl Drop for KnobBack {
    fn drop(&mut self) {
        let _ = fs::write(KNOB, "100");
        let _ = fs::remove_file(LEASE);
    }
}

/// A merge of scattered chunks from a slow COW device: copies take most of its time.
struct Merge {
    bed: Testbed,
    running: Option<Running>,
}

impl Merge {
    fn begin(name: &str, chunks: u64, delay_ms: u32) -> Self {
        let bed = Testbed::new(name, 16, 8);
        bed.write_snapshot((0..chunks).map(|i| i * 3), 3);
        bed.slow_down_one("cow", delay_ms);
        Self::of(bed)
    }

    fn of(bed: Testbed) -> Self {
        let mut running = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
        running.line_where(|line| line["type"] == "run");
        Self { bed, running: Some(running) }
    }

    fn origin(&self) -> String {
        self.bed.dm("origin")
    }

    fn throttle(&self, arguments: &[&str]) -> Running {
        let origin = self.origin();
        let mut all = vec!["throttle", &origin];
        all.extend(arguments);
        all.extend(["--output", "json"]);
        Running::start(&all)
    }

    fn end(mut self) {
        assert_eq!(knob(), 100, "the setting is not what it was");
        assert!(!Path::new(LEASE).exists());
        self.bed.slow_down(0);
        self.running.take().unwrap().wait().expect(0);
    }
}

/// Waits for a line at this setting.
fn at(running: &mut Running, percent: u32) -> Value {
    let line =
        running.line_where(|line| line["type"] == "throttling" && line["percent"] == percent);
    assert_eq!(knob(), percent);
    line
}

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

fn wait_for(what: &str, is_it: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_it() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The processes whose parent this is.
fn children(parent: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        rest.split_whitespace().nth(1) == Some(&parent.to_string())
    })
    .collect()
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_percentage_takes_effect_and_goes_with_every_signal() {
    let _back = KnobBack;
    let merge = Merge::begin("pct", 1300, 20);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut throttle = merge.throttle(&["5%"]);
        let begin = throttle.line_where(|line| line["type"] == "throttle-begin");
        assert_eq!(begin["previous_percent"], 100);
        at(&mut throttle, 5);
        if signal == Signal::INT {
            let line = throttle.line_where(|line| line["throttling"]["effect"] != "not-known");
            println!("{line:#}");
            assert_eq!(line["throttling"]["effect"], "slows");
            assert!(line["speed_kept"].as_f64().unwrap() < 0.7, "{line:#}");
            // Who looks in on the merge sees it too.
            let seen = merge_ctl(&["throttle", "--json"]).expect(0);
            assert_eq!(seen.stderr, "");
        }
        kill(throttle.pid(), signal);
        let ended = throttle.wait().expect(3);
        assert_eq!(ended.lines.last().unwrap()["restored"]["percent"], 100);
        assert_eq!(knob(), 100);
    }
    merge.end();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn killed_its_guard_puts_the_setting_back() {
    let _back = KnobBack;
    let merge = Merge::begin("kill", 900, 20);
    let mut throttle = merge.throttle(&["5%"]);
    at(&mut throttle, 5);
    kill(throttle.pid(), Signal::KILL);
    let ended = throttle.wait();
    assert!(ended.stderr.contains("100 % again"), "{}", ended.stderr);
    wait_for("the guard has not acted", || knob() == 100 && !Path::new(LEASE).exists());
    merge.end();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn where_both_are_killed_the_next_one_puts_it_right() {
    let _back = KnobBack;
    let merge = Merge::begin("both", 1300, 20);
    let orphan = || {
        let mut throttle = merge.throttle(&["6%"]);
        at(&mut throttle, 6);
        for guard in children(throttle.pid()) {
            kill(guard, Signal::KILL);
        }
        kill(throttle.pid(), Signal::KILL);
        let pid = throttle.pid();
        throttle.wait();
        assert_eq!(knob(), 6, "there is nobody to put it back");
        pid
    };
    let pid = orphan();
    // Those that only look tell of it.
    let status = Command::new("merge-ctl").arg("status").output().unwrap();
    let told = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(told.contains(&pid.to_string()) && told.contains("--reset"), "{told}");
    let shown = run("merge-ctl", &["throttle"]);
    assert!(shown.contains("is dead"), "{shown}");
    assert_eq!(knob(), 6);
    run("merge-ctl", &["throttle", "--reset"]);
    assert_eq!((knob(), Path::new(LEASE).exists()), (100, false));
    // The next throttler takes over, and knows what it was before the dead one.
    orphan();
    let mut next = merge.throttle(&["40%"]);
    let begin = next.line_where(|line| line["type"] == "throttle-begin");
    assert_eq!(begin["previous_percent"], 100);
    at(&mut next, 40);
    kill(next.pid(), Signal::TERM);
    next.wait().expect(3);
    merge.end();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_second_throttler_is_refused_and_a_foreign_change_respected() {
    let _back = KnobBack;
    let merge = Merge::begin("two", 900, 20);
    let mut first = merge.throttle(&["30%"]);
    at(&mut first, 30);
    let second = merge.throttle(&["50%"]).wait().expect(8);
    assert!(second.stderr.contains(&first.pid().to_string()), "{}", second.stderr);
    let reset = Command::new("merge-ctl").args(["throttle", "--reset"]).output().unwrap();
    assert_eq!(reset.status.code(), Some(8));
    assert_eq!(knob(), 30);
    fs::write(KNOB, "55").unwrap();
    let ended = first.wait().expect(1);
    let end = ended.lines.last().unwrap();
    assert_eq!(end["restored"], serde_json::json!({"how": "foreign", "percent": 55}));
    assert_eq!((knob(), Path::new(LEASE).exists()), (55, false));
    fs::write(KNOB, "100").unwrap();
    merge.end();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn the_end_of_the_merge_puts_it_back() {
    let _back = KnobBack;
    let merge = Merge::begin("ends", 500, 10);
    let mut throttle = merge.throttle(&["50%"]);
    at(&mut throttle, 50);
    merge.bed.slow_down(0);
    let ended = throttle.wait();
    assert!(matches!(ended.code, 0 | 3), "{}: {}", ended.code, ended.stderr);
    assert_eq!(ended.lines.last().unwrap()["restored"]["percent"], 100);
    merge.end();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn where_it_has_no_effect_that_is_said_once() {
    let _back = KnobBack;
    // A read and a metadata write of the same length: copies take about half of the time, so that
    // 90 % asks for nothing.
    let merge = Merge::begin("none", 1200, 1);
    let mut throttle = merge.throttle(&["90%"]);
    let note = throttle.line_where(|line| line["type"] == "throttle-note");
    assert_eq!(note["throttling"]["effect"], "none");
    assert!(note["note"].as_str().unwrap().contains("no effect"), "{note}");
    thread::sleep(Duration::from_secs(2));
    kill(throttle.pid(), Signal::INT);
    let ended = throttle.wait().expect(3);
    assert_eq!(ended.of_type("throttle-note").count(), 1);
    assert_eq!(ended.lines.last().unwrap()["throttling"]["effect"], "none");
    merge.end();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn without_probes_a_latency_is_refused_and_a_percentage_is_not() {
    let _back = KnobBack;
    let merge = Merge::begin("blind", 600, 20);
    let refused = merge.throttle(&["--write-latency", "5ms", "--probes", "none"]).wait().expect(6);
    assert!(refused.stderr.contains("not seen"), "{}", refused.stderr);
    let mut throttle = merge.throttle(&["20%", "--probes", "none"]);
    at(&mut throttle, 20);
    kill(throttle.pid(), Signal::INT);
    throttle.wait().expect(3);
    let nothing = merge_ctl(&["throttle", "--output", "json", "nobody", "20%"]);
    assert_eq!(nothing.code, 2);
    merge.end();
}

/// Ends the writers, also when the test panics: the scope waits for them.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes one of the blocks every 20 ms or as soon as it can; counts them, and those that took longer than
/// `limit`.
fn write_steadily(
    origin: &fs::File,
    seed: u64,
    blocks: Range<u64>,
    limit: Duration,
    stop: &AtomicBool,
    counts: &[AtomicU64; 2],
) {
    let mut buffer = AlignedBuffer::new(BLOCK);
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let block = blocks.start + mix(seed << 32 | turn) % (blocks.end - blocks.start);
        stamp(buffer.as_mut(), turn, block);
        let begun = Instant::now();
        origin.write_all_at(buffer.as_mut(), block * BLOCK as u64).unwrap();
        let took = begun.elapsed();
        counts[0].fetch_add(1, Ordering::Relaxed);
        counts[1].fetch_add(u64::from(took > limit), Ordering::Relaxed);
        thread::sleep(Duration::from_millis(20).saturating_sub(took));
    }
}

/// The share of slow writes while something is done.
fn slow_share<T>(counts: &[AtomicU64; 2], act: impl FnOnce() -> T) -> (f64, T) {
    let read = || [0, 1].map(|index| counts[index].load(Ordering::Relaxed));
    let before = read();
    let result = act();
    let after = read();
    let all = after[0] - before[0];
    assert!(all > 50, "only {all} writes");
    ((after[1] - before[1]) as f64 / all as f64, result)
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_loop_holds_a_target_that_can_be_held() {
    let _back = KnobBack;
    let size = Size { mib: 64, chunk_sectors: 32, exceptions: 3_072, run_chunks: 32 };
    let disk = SharedDisk::new("shared", size.mib, 5000);
    let devices = Devices::new("loop", &disk, &size, &exceptions(&size));
    let origin = testbed::open_direct("/dev/mapper/loop-origin".as_ref());
    let mut merge = Running::start(&["start", "--yes", "--output", "json", "loop-snap"]);
    merge.line_where(|line| line["type"] == "run");
    // A write alone takes six milliseconds here, behind a run eight times that and more.
    let limit = Duration::from_millis(25);
    let (stop, counts) = (AtomicBool::new(false), [AtomicU64::new(0), AtomicU64::new(0)]);
    let (without, with, story) = thread::scope(|scope| {
        let stopper = StopOnDrop(&stop);
        scope.spawn(|| write_steadily(&origin, 0, 13_000..13_500, limit, &stop, &counts));
        let (without, ()) = slow_share(&counts, || thread::sleep(Duration::from_secs(5)));
        let arguments = ["--write-latency", "25ms", "--percentile", "90", "--output", "json"];
        let mut throttle = Running::start(&[&["throttle", "loop-origin"], &arguments[..]].concat());
        throttle.line_where(|line| line["throttling"]["doing"] == "slowing");
        thread::sleep(Duration::from_secs(4));
        let (with, ()) = slow_share(&counts, || thread::sleep(Duration::from_secs(10)));
        kill(throttle.pid(), Signal::INT);
        let story = throttle.wait();
        drop(stopper);
        (without, with, story)
    });
    for line in story.of_type("throttling") {
        println!(
            "{}–{} % {} {} writes, latency {}, {} bytes/s",
            line["percent_low"],
            line["percent_high"],
            line["throttling"]["doing"],
            line["now"]["writes"],
            line["now"]["latency_ns"],
            line["now"]["bytes_per_s"]
        );
    }
    println!("slow writes: {without} without, {with} with");
    let story = story.expect(3);
    assert_eq!(knob(), 100);
    merge.wait().expect(0);
    drop((origin, devices));
    assert!(without > 0.05, "the merge does not disturb the writes: {without}");
    assert!(with < without * 0.6, "{with} beside {without}");
    let slowed = |line: &&Value| line["percent"].as_u64().unwrap() < 100;
    assert!(story.of_type("throttling").filter(slowed).count() > 5);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn writes_that_wait_for_runs_are_not_made_to_wait_longer() {
    let _back = KnobBack;
    // Runs of a second, since reads of the COW device take as long; writes to it do not. Writers
    // everywhere, so that each soon waits for a run.
    let bed = Testbed::new("thru", 16, 8);
    bed.write_snapshot(0..4000, 3);
    let cow = bed.dm("cow");
    let table = dmsetup(&["table", &cow]);
    let disk = table.split_whitespace().nth(3).unwrap();
    dmsetup(&["load", &cow, "--table", &format!("0 32768 delay {disk} 0 1000 {disk} 0 0")]);
    dmsetup(&["suspend", "--noflush", "--nolockfs", &cow]);
    dmsetup(&["resume", &cow]);
    let merge = Merge::of(bed);
    let (stop, counts) = (AtomicBool::new(false), [AtomicU64::new(0), AtomicU64::new(0)]);
    let limit = Duration::from_millis(50);
    let mut throttle = merge.throttle(&["--write-latency", "50ms", "--percentile", "95"]);
    let origin = merge.bed.open("origin");
    thread::scope(|scope| {
        let (origin, stop, counts) = (&origin, &stop, &counts);
        let _stopper = StopOnDrop(stop);
        for seed in 0..6 {
            scope.spawn(move || write_steadily(origin, seed, 0..4000, limit, stop, counts));
        }
        throttle.line_where(|line| line["throttling"]["doing"] == "held-by-runs");
    });
    drop(origin);
    assert_eq!(knob(), 100, "a throttle would keep them longer");
    kill(throttle.pid(), Signal::INT);
    throttle.wait().expect(3);
    merge.end();
}
