//! A merge that fails in any of its steps: the right cause is told, nothing is done to the devices,
//! and the data is what the snapshot held, at once and after the safe way out.

pub(crate) mod inject;
mod kernel_bug;
mod lvm;
mod safe_path;

use serde_json::Value;

use self::inject::{Break, LoopDisk};
use super::explain::explain;
use super::merge_ctl::{Ended, Running, merge_ctl};
use super::testbed::{Testbed, dmsetup, ram_disk, run};

/// So many lines of the kernel's say that a merge was given up.
fn times_given_up() -> usize {
    run("dmesg", &[]).matches("shutting down merge").count()
}

/// Starts the merge on slow devices, breaks them once it is under way, and sees it fail for the
/// reason that is expected, with nothing done to the devices.
fn fails(bed: &Testbed, broken: &Break, cause: &str, device: &str) -> Ended {
    let given_up_before = times_given_up();
    bed.slow_down(5);
    let mut running = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
    running.line_where(|line| line["type"] == "begin");
    broken.apply(bed, 5);
    let ended = running.wait().expect(5);

    let failed = &ended.summary()["failed"];
    assert_eq!(ended.summary()["state"], "failed");
    assert_eq!(failed["cause"], cause, "{failed}");
    assert_eq!(failed["told_by"], "probes", "{failed}");
    assert_eq!(failed["device"], bed.dm(device), "{failed}");
    assert!(ended.stderr.contains(&format!("merge-ctl resume {}", bed.dm("origin"))));
    assert!(!ended.stderr.contains("dmsetup suspend"), "{}", ended.stderr);
    as_the_kernel_left_it(bed);
    assert_eq!(times_given_up(), given_up_before + 1, "somebody made the kernel try again");
    ended
}

fn as_the_kernel_left_it(bed: &Testbed) {
    let origin = bed.dm("origin");
    assert!(dmsetup(&["status", &origin]).contains("Merge failed"));
    assert!(dmsetup(&["info", &origin]).contains("ACTIVE"));
    assert!(dmsetup(&["table", &origin]).contains("snapshot-merge"));
    assert_eq!(dmsetup(&["table", "--inactive", &origin]).trim(), "");
}

/// What is written to the snapshot in most of these tests: 60 runs of one chunk.
fn scattered() -> impl Iterator<Item = u64> {
    (0..60).map(|i| 7 + i * 11)
}

fn fail_and_recover(bed: &Testbed, broken: &Break, cause: &str, device: &str) -> Ended {
    let promised = bed.image("snap");
    let ended = fails(bed, broken, cause, device);
    bed.slow_down(0);
    assert!(bed.image("origin") == promised, "the failure has changed what users see");
    recovers(bed, &promised);
    ended
}

/// The safe way out of a failure whose cause is gone: the origin is plain, and what was promised.
fn recovers(bed: &Testbed, promised: &[u8]) {
    let origin = bed.dm("origin");
    merge_ctl(&["resume", "--yes", "--output", "json", &origin]).expect(0);
    assert!(dmsetup(&["table", &origin]).contains("linear"));
    assert!(bed.image("origin") == promised, "the origin differs from the snapshot");
    no_journal_is_left(&origin);
}

fn no_journal_is_left(origin: &str) {
    let journal = format!("/var/lib/merge-ctl/merges/{origin}.merge");
    assert!(!std::path::Path::new(&journal).exists(), "{journal}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_failed_read_of_metadata() {
    let bed = Testbed::new("fail-metadata", 16, 8);
    // Two areas: one run of 256 exceptions, then 44 runs of one, which are merged first.
    bed.write_snapshot((7..263).chain((0..44).map(|i| 300 + i * 11)), 3);
    let broken = Break::All { device: "cow", sectors: 8..16 };
    let ended = fail_and_recover(&bed, &broken, "metadata-read-cow", "cow");
    let failed = &ended.summary()["failed"];
    assert_eq!((&failed["phase"], &failed["errno"]), (&"metadata".into(), &(-5).into()));
    assert!(failed["chunks"].is_null(), "{failed}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_failed_read_of_the_cow_device() {
    let bed = Testbed::new("fail-copy-read", 16, 8);
    bed.write_snapshot(scattered(), 3);
    // The data of the first exception, which is merged last.
    let broken = Break::All { device: "cow", sectors: 16..24 };
    let ended = fail_and_recover(&bed, &broken, "copy-read-cow", "cow");
    let failed = &ended.summary()["failed"];
    assert_eq!((&failed["phase"], &failed["old_chunk"]), (&"copy".into(), &7.into()), "{failed}");
    assert_eq!(failed["chunks"], 1);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_failed_write_to_the_origin() {
    let bed = Testbed::new("fail-copy-write", 16, 8);
    bed.write_snapshot(scattered(), 3);
    let broken = Break::All { device: "real", sectors: 7 * 8..8 * 8 };
    let ended = fail_and_recover(&bed, &broken, "copy-write-origin", "real");
    let failed = &ended.summary()["failed"];
    assert_eq!((&failed["phase"], &failed["old_chunk"]), (&"copy".into(), &7.into()), "{failed}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_failed_flush_of_the_origin() {
    // A RAM disk has no cache to flush, a loop device has.
    let disk = LoopDisk::new("fail-flush", 16);
    let bed = Testbed::on_disks("fail-flush", 16, 8, &disk.path, &ram_disk());
    bed.write_snapshot(scattered(), 3);
    // Nothing is copied to the last chunk; a flush goes to every part of a device.
    let broken = Break::Writes { device: "real", sectors: bed.sectors() - 8..bed.sectors() };
    let ended = fail_and_recover(&bed, &broken, "flush-origin", "real");
    assert_eq!(ended.summary()["failed"]["phase"], "flush");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_failed_commit() {
    let bed = Testbed::new("fail-commit", 16, 8);
    bed.write_snapshot(scattered(), 3);
    let broken = Break::Writes { device: "cow", sectors: 8..16 };
    let ended = fail_and_recover(&bed, &broken, "commit-cow", "cow");
    let failed = &ended.summary()["failed"];
    assert_eq!((&failed["phase"], &failed["errno"]), (&"commit".into(), &(-5).into()), "{failed}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_sibling_that_breaks_is_no_failure_of_the_merge() {
    let mut bed = Testbed::new("fail-sibling", 16, 8);
    let small = bed.add_sibling_on(128, 8, 'P');
    let broken = bed.add_sibling(32, 8);
    bed.write_snapshot(scattered(), 3);
    let promised = bed.image("snap");
    // Its header and its first area of metadata can be written; no data can.
    Break::Writes { device: "sibling1-cow", sectors: 16..32 * 2048 }.apply(&bed, 0);

    let ended =
        merge_ctl(&["start", "--yes", "--lose-siblings", "--output", "json", &bed.dm("snap")])
            .expect(0);

    assert_eq!(ended.summary()["state"], "finished");
    assert!(ended.summary()["failed"].is_null());
    for sibling in [small, broken] {
        assert!(dmsetup(&["status", &bed.dm(&sibling)]).contains("Invalid"), "{sibling}");
    }
    assert!(bed.image("origin") == promised, "the origin differs from the snapshot");
}

/// Makes a merge fail with nobody watching.
fn fails_unseen(bed: &Testbed, broken: &Break) {
    broken.apply(bed, 0);
    let mut running = Running::start(&[
        "start",
        "--yes",
        "--probes",
        "none",
        "--output",
        "json",
        &bed.dm("snap"),
    ]);
    while running.next_line().is_some() {}
    running.wait().expect(5);
    as_the_kernel_left_it(bed);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn what_failed_before_anybody_watched_is_told_by_the_kernel_log_or_not_at_all() {
    let bed = Testbed::new("fail-unseen", 16, 8);
    bed.write_snapshot(scattered(), 3);
    fails_unseen(&bed, &Break::All { device: "real", sectors: 7 * 8..8 * 8 });

    let ended = merge_ctl(&["monitor", "--output", "json", &bed.dm("origin")]).expect(5);
    let failed = &ended.summary()["failed"];
    assert_eq!(failed["cause"], "copy-write-origin", "{failed}");
    assert_eq!((&failed["told_by"], &failed["chunks"]), (&"kernel-log".into(), &Value::Null));
    let explained = explain(&bed.dm("origin"), 1, &[]);
    assert_eq!(explained["findings"][0]["figures"]["fault"], "copy-write-origin");
    assert!(explained["verdict"].as_str().unwrap().starts_with("By the kernel log, writing to"));

    // The log names no device: with two merges it may mean the other.
    let other = Testbed::new("fail-other", 16, 8);
    other.write_snapshot(scattered(), 4);
    fails_unseen(&other, &Break::Writes { device: "cow", sectors: 8..16 });
    let ended = merge_ctl(&["monitor", "--output", "json", &bed.dm("origin")]).expect(5);
    assert_eq!(ended.summary()["failed"]["cause"], "unknown");
    let advice = explain(&bed.dm("origin"), 1, &[])["findings"][0]["advice"].to_string();
    assert!(advice.contains(&format!("merge-ctl resume {}", bed.dm("origin"))), "{advice}");
}
