//! Leaving the live view never stops a merge, and tells how to come back.

use rustix::process::{Pid, Signal, kill_process};

use super::merge_ctl::{Running, merge_ctl};
use super::testbed::{Testbed, dmsetup};

fn left_by(name: &str, signal: Signal) {
    let bed = Testbed::new(name, 16, 8);
    bed.write_snapshot((0..200).map(|i| i * 5), 3);
    let promised_content = bed.image("snap");
    bed.slow_down(2);
    let mut running = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
    running.line_where(|line| line["type"] == "run");
    kill_process(Pid::from_raw(running.pid() as i32).unwrap(), signal).unwrap();
    let ended = running.wait().expect(3);
    assert_eq!(ended.summary()["state"], "merging");
    for words in ["merge-ctl monitor", "merge-ctl finish"] {
        assert!(ended.stderr.contains(words), "no {words:?} in: {}", ended.stderr);
    }
    assert!(dmsetup(&["table", &bed.dm("origin")]).contains("snapshot-merge"));
    bed.slow_down(0);
    merge_ctl(&["monitor", "--output", "json", &bed.dm("origin")]).expect(3);
    merge_ctl(&["finish", &bed.dm("origin")]).expect(0);
    assert!(bed.image("origin") == promised_content, "the origin differs from the snapshot");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn an_interrupt_leaves_the_merge_running() {
    left_by("interrupt", Signal::INT);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_termination_leaves_the_merge_running() {
    left_by("terminate", Signal::TERM);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn who_leaves_what_another_drives_is_told_who_that_is() {
    let bed = Testbed::new("leftalone", 16, 8);
    bed.write_snapshot((0..200).map(|i| i * 5), 3);
    bed.slow_down(2);
    let mut driver = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
    driver.line_where(|line| line["type"] == "run");
    let mut onlooker = Running::start(&["monitor", "--output", "json", &bed.dm("origin")]);
    onlooker.line_where(|line| line["type"] == "progress");
    kill_process(Pid::from_raw(onlooker.pid() as i32).unwrap(), Signal::INT).unwrap();
    let left = onlooker.wait().expect(3);
    let drives = format!("Process {} drives it, and finishes it", driver.pid());
    assert!(left.stderr.contains(&drives), "{}", left.stderr);
    bed.slow_down(0);
    driver.wait().expect(0);
}
