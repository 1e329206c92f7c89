//! A merge that fails is told at once, with its phase, and nothing is done to it.

use super::merge_ctl::{Ended, Running};
use super::testbed::{Testbed, dmsetup};

/// Begins a slow merge and makes the writes to one of its devices fail on the way.
fn merge_with_failing_writes(bed: &Testbed, device: &str) -> Ended {
    bed.write_snapshot((0..200).map(|i| i * 7), 3);
    bed.slow_down(2);
    let mut running = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
    running.line_where(|line| line["type"] == "run");
    bed.fail_writes(device);
    let ended = running.wait();
    assert_eq!(ended.summary()["state"], "failed");
    assert!(dmsetup(&["status", &bed.dm("origin")]).contains("Merge failed"));
    // What the kernel would destroy data by: it must be as the kernel left it.
    assert!(dmsetup(&["info", &bed.dm("origin")]).contains("ACTIVE"));
    assert!(dmsetup(&["table", &bed.dm("origin")]).contains("snapshot-merge"));
    ended.expect(5)
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_failed_commit_is_told_with_its_phase() {
    let bed = Testbed::new("fail-commit", 16, 8);
    let ended = merge_with_failing_writes(&bed, "cow");
    assert_eq!(ended.summary()["failed"]["phase"], "commit", "{}", ended.summary());
    assert!(ended.stderr.contains("Deactivate"), "{}", ended.stderr);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_failed_copy_is_told_with_its_phase() {
    let bed = Testbed::new("fail-copy", 16, 8);
    let ended = merge_with_failing_writes(&bed, "real");
    assert_eq!(ended.summary()["failed"]["phase"], "copy", "{}", ended.summary());
}
