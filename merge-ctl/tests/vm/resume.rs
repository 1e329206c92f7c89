//! merge-ctl killed at any place, and `resume` afterwards: the origin holds what the snapshot held.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::merge_ctl::{Running, merge_ctl};
use super::testbed::{Testbed, dmsetup, mix};

const SHOWN: [&str; 3] = ["--yes", "--output", "json"];

fn start(bed: &Testbed) -> Running {
    Running::start(&[&["start"], &SHOWN[..], &[&bed.dm("snap")]].concat())
}

fn resume(bed: &Testbed) -> super::merge_ctl::Ended {
    merge_ctl(&[&["resume"], &SHOWN[..], &[&bed.dm("origin")]].concat())
}

fn kill(running: Running) {
    kill_process(Pid::from_raw(running.pid() as i32).unwrap(), Signal::KILL).unwrap();
    running.wait();
}

fn journal(bed: &Testbed) -> std::path::PathBuf {
    merge_ctl::merge::journal::path_of(&bed.dm("origin"))
}

/// Waits until it is so; panics where it is not in time.
#[track_caller]
fn wait_until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_suspended(bed: &Testbed, what: &str) -> bool {
    let columns = ["info", "-c", "--noheadings", "-o", "suspended"];
    dmsetup(&[&columns[..], &[&bed.dm(what)]].concat()).trim() == "Suspended"
}

/// The merge is over, and nothing of it is left.
#[track_caller]
fn finished(bed: &Testbed, promised: &[u8]) {
    assert!(dmsetup(&["table", &bed.dm("origin")]).contains("linear"));
    assert!(!is_suspended(bed, "origin"));
    assert!(!bed.path("snap").exists(), "the snapshot is still there");
    assert!(!journal(bed).exists(), "the journal is still there");
    assert!(bed.image("origin") == promised, "the origin differs from the snapshot");
}

fn bed(name: &str) -> (Testbed, Vec<u8>) {
    let bed = Testbed::new(name, 16, 8);
    bed.write_snapshot((0..150).map(|i| mix(i) % 4096), 3);
    let promised = bed.image("snap");
    (bed, promised)
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn killed_while_it_merges() {
    let (bed, promised) = bed("res-merging");
    bed.slow_down(3);
    let mut running = start(&bed);
    running.line_where(|line| line["type"] == "run");
    kill(running);
    assert!(journal(&bed).exists());
    resume(&bed).expect(0);
    finished(&bed, &promised);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn killed_when_all_is_merged() {
    let (bed, promised) = bed("res-done");
    bed.slow_down(3);
    let mut running = start(&bed);
    running.line_where(|line| line["type"] == "run");
    kill(running);
    bed.slow_down(0);
    wait_until("all is merged", || {
        let status = dmsetup(&["status", &bed.dm("origin")]);
        status.trim().ends_with("16") && status.contains(" 16/")
    });
    let ended = merge_ctl(&["resume", "--output", "plain"]).expect(0);
    assert!(!ended.lines.is_empty());
    finished(&bed, &promised);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn nothing_to_resume_is_told() {
    let bed = Testbed::new("res-nothing", 8, 8);
    let ended = resume(&bed).expect(1);
    assert!(ended.stderr.contains("no snapshot is being merged"), "{}", ended.stderr);
    assert!(Path::new(&bed.path("snap")).exists());
}

/// A second start watches; so does a resume. Whoever is left at the end finishes.
#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_second_one_watches_and_takes_over() {
    let (bed, promised) = bed("res-two");
    bed.slow_down(3);
    let mut first = start(&bed);
    first.line_where(|line| line["type"] == "run");
    let mut second = start(&bed);
    second.line_where(|line| line["type"] == "run");
    let mut third = Running::start(&[&["resume"], &SHOWN[..], &[&bed.dm("origin")]].concat());
    third.line_where(|line| line["type"] == "run");
    kill(first);
    bed.slow_down(0);
    let (second, third) = (second.wait().expect(0), third.wait().expect(0));
    assert!(second.stderr.contains("already"), "{}", second.stderr);
    assert!(third.stderr.contains("another merge-ctl drives"), "{}", third.stderr);
    finished(&bed, &promised);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn two_at_once_do_no_harm() {
    let (bed, promised) = bed("res-race");
    bed.slow_down(2);
    let both = [start(&bed), start(&bed)];
    for running in both {
        running.wait().expect(0);
    }
    finished(&bed, &promised);
}
