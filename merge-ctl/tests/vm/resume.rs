//! merge-ctl killed at any place, and `resume` afterwards: the origin holds what the snapshot held.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::merge_ctl::{Running, merge_ctl};
use super::testbed::{Testbed, dmsetup, listed, mix};

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

/// Whether there is such a device. Its node may outlive it: merge-ctl was killed, and no udev runs.
fn is_there(bed: &Testbed, what: &str) -> bool {
    let names = dmsetup(&["ls"]);
    names.lines().any(|line| line.split_whitespace().next() == Some(&*bed.dm(what)))
}

fn is_suspended(bed: &Testbed, what: &str) -> bool {
    listed(&["-S", "suspended=Suspended", "-o", "name"])
        .lines()
        .any(|name| name.trim() == bed.dm(what))
}

/// The merge is over, and nothing of it is left.
#[track_caller]
fn finished(bed: &Testbed, promised: &[u8]) {
    assert!(dmsetup(&["table", &bed.dm("origin")]).contains("linear"));
    assert!(!is_suspended(bed, "origin"));
    assert!(!is_there(bed, "snap"), "the snapshot is still there");
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

/// The guards of a process: its children.
fn guards_of(pid: u32) -> Vec<i32> {
    let parent = |status: &str| {
        let line = status.lines().find(|line| line.starts_with("PPid:"))?;
        line.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|child| {
        let status = std::fs::read_to_string(format!("/proc/{child}/status"));
        status.ok().and_then(|status| parent(&status)) == Some(pid)
    })
    .collect()
}

/// Killed at the moment when the journal says that devices are about to be suspended, and some
/// milliseconds later.
fn killed_at_the_beginning(name: &str, guard_too: bool) {
    for delay_ms in [0, 1, 3, 10] {
        let (bed, promised) = bed(&format!("{name}{delay_ms}"));
        bed.slow_down(5);
        let running = start(&bed);
        wait_until("the journal says merging", || {
            std::fs::read_to_string(journal(&bed)).is_ok_and(|text| text.contains(r#""merging""#))
        });
        std::thread::sleep(Duration::from_millis(delay_ms));
        if guard_too {
            for guard in guards_of(running.pid()) {
                kill_process(Pid::from_raw(guard).unwrap(), Signal::KILL).unwrap();
            }
        }
        kill(running);
        if !guard_too {
            wait_until("the guard has done its duty", || {
                !is_suspended(&bed, "origin") && !is_suspended(&bed, "snap")
            });
        }
        bed.slow_down(0);
        resume(&bed).expect(0);
        finished(&bed, &promised);
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn killed_at_the_beginning_the_guard_brings_the_devices_back() {
    killed_at_the_beginning("res-guard", false);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn killed_at_the_beginning_with_its_guard_resume_brings_them_back() {
    killed_at_the_beginning("res-alone", true);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn nothing_to_resume_is_told() {
    let bed = Testbed::new("res-nothing", 8, 8);
    let ended = resume(&bed).expect(1);
    assert!(ended.stderr.contains("no snapshot is being merged"), "{}", ended.stderr);
    assert!(is_there(&bed, "snap"));
}

/// All devices are gone, the lower ones too, and the journal is of another boot.
#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn after_a_reboot_the_devices_are_made_again() {
    let (bed, promised) = bed("res-boot");
    bed.slow_down(3);
    let mut running = start(&bed);
    running.line_where(|line| line["type"] == "run");
    kill(running);
    for what in ["origin", "cow", "real"] {
        dmsetup(&["remove", "--retry", &bed.dm(what)]);
    }
    let boot = merge_ctl::merge::journal::boot_id().unwrap();
    let text = std::fs::read_to_string(journal(&bed)).unwrap();
    assert!(text.contains(&boot), "{text}");
    std::fs::write(journal(&bed), text.replace(&boot, "another boot")).unwrap();

    // A RAM disk has no serial number: somebody has to say yes to its name.
    let ended = merge_ctl(&["resume", "--output", "json", &bed.dm("origin")]).expect(8);
    assert!(ended.stderr.contains("known by name and size alone"), "{}", ended.stderr);
    resume(&bed).expect(0);
    finished(&bed, &promised);
}

/// The exceptions on disk are not those that the merge was begun with.
#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn another_store_is_not_merged() {
    let (bed, _) = bed("res-other");
    bed.slow_down(3);
    let mut running = start(&bed);
    running.line_where(|line| line["type"] == "run");
    kill(running);
    dmsetup(&["remove", "--retry", &bed.dm("origin")]);
    super::testbed::wipe_header(&bed.path("cow"));
    let ended = resume(&bed).expect(8);
    assert!(ended.stderr.contains("no valid exceptions"), "{}", ended.stderr);
    assert!(!is_there(&bed, "origin"));
    std::fs::remove_file(journal(&bed)).unwrap();
}

/// The devices are taken down, and others get their numbers: on the same boot.
#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn numbers_that_belong_to_others_now_are_not_believed() {
    let (bed, promised) = bed("res-number");
    bed.slow_down(3);
    let mut running = start(&bed);
    running.line_where(|line| line["type"] == "run");
    kill(running);
    let numbers = |bed: &Testbed| {
        ["real", "cow"]
            .map(|what| dmsetup(&["info", "-c", "--noheadings", "-o", "minor", &bed.dm(what)]))
    };
    let before = numbers(&bed);
    for what in ["origin", "cow", "real"] {
        dmsetup(&["remove", "--retry", &bed.dm(what)]);
    }
    let other = Testbed::new("res-number-other", 16, 8);
    other.write_snapshot(0..50, 9);
    let others = (other.image("origin"), other.image("snap"));
    let taken = numbers(&other).iter().any(|minor| before.contains(minor));
    assert!(taken, "the kernel gives the lowest free number: {before:?}");

    resume(&bed).expect(0);
    finished(&bed, &promised);
    assert!((other.image("origin"), other.image("snap")) == others, "others have changed");
}

/// A second start watches; so does a resume. Whoever is left at the end finishes.
#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_second_one_watches_and_takes_over() {
    let bed = Testbed::new("res-two", 16, 8);
    bed.write_snapshot((0..1000).map(|i| mix(i) % 4096), 3);
    let promised = bed.image("snap");
    // Long enough for three to attach, also on a machine that is busy.
    bed.slow_down(20);
    let mut first = start(&bed);
    first.line_where(|line| line["type"] == "run");
    let mut second = start(&bed);
    second.line_where(|line| line["type"] == "run");
    let mut third = Running::start(&[&["resume"], &SHOWN[..], &[&bed.dm("origin")]].concat());
    third.line_where(|line| line["type"] == "run");
    kill(first);
    bed.slow_down(0);
    let second = std::thread::spawn(move || second.wait());
    let third = third.wait().expect(0);
    let second = second.join().unwrap().expect(0);
    assert!(second.stderr.contains("already"), "{}", second.stderr);
    assert!(third.stderr.contains("another merge-ctl drives"), "{}", third.stderr);
    finished(&bed, &promised);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn two_at_once_do_no_harm() {
    let (bed, promised) = bed("res-race");
    bed.slow_down(2);
    // Read side by side: one that waits for a reader finishes nothing.
    let both = [start(&bed), start(&bed)].map(|it| std::thread::spawn(move || it.wait()));
    for running in both {
        running.join().unwrap().expect(0);
    }
    finished(&bed, &promised);
}
