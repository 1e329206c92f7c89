//! What must not be merged is refused with exit status 8, a reason and a way out, and stays as it
//! was.

use super::merge_ctl::{Running, merge_ctl};
use super::testbed::{Testbed, dmsetup, run};

/// Refused, with these words, and every table is what it was.
#[track_caller]
fn refused(name: &str, words: &[&str]) {
    let before = (dmsetup(&["table"]), dmsetup(&["info", "-c"]));
    let ended = merge_ctl(&["start", "--yes", "--output", "json", name]).expect(8);
    for word in words {
        assert!(ended.stderr.contains(word), "no {word:?} in: {}", ended.stderr);
    }
    assert_eq!(before.0, dmsetup(&["table"]));
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn something_that_is_no_snapshot() {
    let bed = Testbed::new("no-snap", 8, 8);
    refused(&bed.dm("origin"), &["not a snapshot", &bed.dm("snap")]);
    refused(&bed.dm("real"), &["not a snapshot"]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_name_that_is_not_there_is_an_error_that_lists_what_is() {
    let bed = Testbed::new("no-name", 8, 8);
    let ended = merge_ctl(&["start", "--yes", "no-nmae-snap"]);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains(&bed.dm("snap")), "{}", ended.stderr);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_transient_store() {
    let bed = Testbed::new("transient", 8, 8);
    dmsetup(&["remove", &bed.dm("snap")]);
    let table = format!(
        "0 {} snapshot {} {} N 8",
        bed.bytes() / 512,
        bed.path("real").display(),
        bed.path("cow").display()
    );
    dmsetup(&["create", &bed.dm("snap"), "--table", &table]);
    refused(&bed.dm("snap"), &["transient"]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn an_overflowed_snapshot() {
    let mut bed = Testbed::new("overflow", 16, 8);
    let sibling = bed.add_sibling(1, 8);
    let origin = bed.open("origin");
    let mut buffer = super::testbed::AlignedBuffer::new(4096);
    for block in 0..400_u64 {
        super::testbed::stamp(buffer.as_mut(), 9, block);
        std::os::unix::fs::FileExt::write_all_at(&origin, buffer.as_mut(), block * 4096).unwrap();
    }
    drop(origin);
    refused(&bed.dm(&sibling), &["invalid"]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_snapshot_in_use_names_who_holds_it() {
    let bed = Testbed::new("in-use", 8, 8);
    let holder = bed.open("snap");
    refused(&bed.dm("snap"), &["in use", "vm"]);
    drop(holder);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_snapshot_that_is_only_scanned_is_merged() {
    let bed = Testbed::new("scanned", 8, 8);
    let scan = bed.open("snap");
    let running = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    drop(scan);
    running.wait().expect(0);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_mounted_origin() {
    let bed = Testbed::new("mounted", 16, 8);
    let origin = bed.path("origin");
    run("mkfs.ext4", &["-q", "-F", origin.to_str().unwrap()]);
    std::fs::create_dir_all("/tmp/mounted").unwrap();
    run("mount", &[origin.to_str().unwrap(), "/tmp/mounted"]);
    refused(&bed.dm("snap"), &["mounted on /tmp/mounted", "umount"]);
    run("umount", &["/tmp/mounted"]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_second_merge_of_the_same_origin() {
    let mut bed = Testbed::new("second", 16, 8);
    let sibling = bed.add_sibling(32, 8);
    bed.write_snapshot((0..150).map(|i| i * 3), 5);
    // Longer than three commands take on a busy machine.
    bed.slow_down(50);
    let mut running = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
    running.line_where(|line| line["type"] == "run");
    refused(&bed.dm(&sibling), &["already", "merge-ctl monitor"]);
    refused(&bed.dm("origin"), &["already", "merge-ctl monitor"]);
    let finish = merge_ctl(&["finish", &bed.dm("origin")]);
    assert_eq!(finish.code, 3, "{}", finish.stderr);
    bed.slow_down(0);
    running.wait().expect(0);
}
