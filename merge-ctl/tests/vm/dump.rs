//! A dump of a snapshot holds what its COW device holds, whatever goes on there meanwhile.

use std::fs;
use std::path::{Path, PathBuf};

use merge_ctl::store::{AnySource, Opened, Run, Store};
use merge_ctl::units::Sectors;
use rustix::process::{Pid, Signal, kill_process};

use super::lvm::{VolumeGroup, cow_of, lvm};
use super::merge_ctl::{Running, merge_ctl, promised_runs, promised_runs_of};
use super::runs::mixed_writes;
use super::testbed::{Testbed, Throttled, dmsetup, mix, run};

/// Makes a dump that must work, and reads the runs in it.
#[track_caller]
fn dumped_runs(subject: &str) -> Vec<Run> {
    let (path, runs) = dump(subject);
    fs::remove_file(path).unwrap();
    runs
}

#[track_caller]
fn dump(subject: &str) -> (PathBuf, Vec<Run>) {
    let path = PathBuf::from(format!("/tmp/{}.dump", subject.replace('/', "_")));
    let ended = merge_ctl(&["dump", subject, "-o", path.to_str().unwrap()]).expect(0);
    assert!(ended.stderr.contains("saved"), "{}", ended.stderr);
    let runs = runs_in(&path);
    (path, runs)
}

fn runs_in(path: &Path) -> Vec<Run> {
    let dump = AnySource::open(path).unwrap();
    assert!(matches!(dump, AnySource::Dump(_)));
    let origin = dump.origin_size();
    match Store::open(dump, origin).unwrap() {
        Opened::Usable(store) => store.survey_runs().unwrap().1,
        other => panic!("no exception store in {}: {other:?}", path.display()),
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn an_active_snapshot_under_all_its_names() {
    let bed = Testbed::new("dump", 16, 8);
    mixed_writes(&bed, 3);
    let promised = promised_runs(&bed);
    let (snap, cow) = (bed.path("snap"), bed.path("cow"));
    for name in [
        &*bed.dm("snap"),
        snap.to_str().unwrap(),
        &bed.dm("cow"),
        cow.to_str().unwrap(),
        // There is one snapshot only.
        &bed.dm("origin"),
        &bed.dm("real"),
    ] {
        let (path, runs) = dump(name);
        assert_eq!(runs, promised, "{name}");
        let source = AnySource::open(&path).unwrap();
        assert_eq!(source.origin_size(), Some(Sectors(bed.bytes() / 512)), "{name}");
        // A dump of a dump, and a copy of the device, hold the same.
        assert_eq!(dumped_runs(path.to_str().unwrap()), promised);
        fs::remove_file(path).unwrap();
    }
    let copy = Path::new("/tmp/dump-cow.img");
    fs::write(copy, bed.image("cow")).unwrap();
    assert_eq!(dumped_runs(copy.to_str().unwrap()), promised);
    fs::remove_file(copy).unwrap();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_merge_leaves_the_runs_that_are_to_come() {
    let bed = Testbed::new("dumpmerge", 16, 8);
    mixed_writes(&bed, 4);
    let promised_content = bed.image("snap");
    let promised = promised_runs(&bed);
    bed.slow_down(3);
    let mut merge = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
    merge.line_where(|line| line["type"] == "run");
    let mut left = promised.len();
    for name in ["origin", "cow", "real"] {
        let runs = dumped_runs(&bed.dm(name));
        assert!(runs.len() < left && !runs.is_empty(), "{} of {left} runs", runs.len());
        assert_eq!(runs, promised[promised.len() - runs.len()..], "{name}");
        left = runs.len();
    }
    bed.slow_down(0);
    assert_eq!(merge.wait().expect(0).summary()["state"], "finished");
    assert!(bed.image("origin") == promised_content, "the origin differs from the snapshot");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_snapshot_that_lvm_merges_is_found_by_its_name() {
    let group = VolumeGroup::new("vgdump");
    group.write_snapshot();
    let promised = promised_runs_of(&cow_of(&group, "snap"));
    assert_eq!(dumped_runs(&group.volume("snap")), promised);
    let throttled = Throttled::at(0);
    lvm(&["lvconvert", "-q", "--merge", "-b", &group.volume("snap")]);
    assert!(dmsetup(&["table", "vgdump-data"]).contains("snapshot-merge"));
    for name in ["vgdump/snap", "/dev/vgdump/snap", "vgdump-snap", "vgdump/data"] {
        let runs = dumped_runs(name);
        assert_eq!(runs, promised[promised.len() - runs.len()..], "{name}");
    }
    drop(throttled);
}

/// Fails with this exit status and these words, and leaves no file.
#[track_caller]
fn refused(subject: &str, output: &str, code: i32, words: &[&str]) {
    let ended = merge_ctl(&["dump", subject, "-o", output]).expect(code);
    for word in words {
        assert!(ended.stderr.contains(word), "no {word:?} in: {}", ended.stderr);
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn what_has_no_exceptions_to_read_is_refused() {
    let mut bed = Testbed::new("dumpno", 8, 8);
    let out = "/tmp/dumpno.dump";
    refused("dumpno-snpa", out, 2, &["Accepted are", "dumpno-snap"]);
    refused("/dev", out, 2, &["directory"]);
    refused("/dev/null", out, 2, &["neither a regular file nor a block device"]);
    let sibling = bed.add_sibling(4, 8);
    refused(&bed.dm("origin"), out, 2, &[&bed.dm("snap"), &bed.dm(&sibling)]);
    refused(&bed.dm("real"), out, 2, &[&bed.dm("snap")]);
    dmsetup(&["remove", &bed.dm("snap")]);
    let (real, cow) = (bed.path("real"), bed.path("cow"));
    let sectors = bed.bytes() / 512;
    let table = format!("0 {sectors} snapshot {} {} N 8", real.display(), cow.display());
    dmsetup(&["create", &bed.dm("snap"), "--table", &table]);
    refused(&bed.dm("snap"), out, 8, &["transient"]);
    refused(&bed.dm("cow"), out, 8, &["transient"]);
    assert!(!Path::new(out).exists());
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn no_file_is_overwritten_and_none_is_left_half_done() {
    let bed = Testbed::new("dumpfile", 64, 8);
    bed.write_snapshot((0..6000).map(|i| mix(i) % 16_384), 1);
    let directory = Path::new("/tmp/dumpfile");
    fs::create_dir_all(directory).unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=8k", "none", directory.to_str().unwrap()]);
    let left = || fs::read_dir(directory).unwrap().count();

    fs::write(directory.join("mine"), "mine").unwrap();
    refused(&bed.dm("snap"), "/tmp/dumpfile/mine", 8, &["is there already"]);
    refused(&bed.dm("snap"), "/dev/ram15", 8, &["is there already"]);
    assert_eq!(fs::read(directory.join("mine")).unwrap(), b"mine");
    refused(&bed.dm("snap"), "/tmp/dumpfile/full", 1, &["No space left"]);
    assert_eq!(left(), 1);

    // 24 areas, one after the other, each of which now takes its time.
    bed.slow_down(200);
    for signal in [Signal::INT, Signal::TERM] {
        let dump = Running::start(&["dump", &bed.dm("snap"), "-o", "/tmp/dumpfile/stopped"]);
        while left() == 1 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        kill_process(Pid::from_raw(dump.pid() as i32).unwrap(), signal).unwrap();
        let ended = dump.wait().expect(1);
        assert!(ended.stderr.contains("called off"), "{}", ended.stderr);
        assert_eq!(left(), 1);
    }
    bed.slow_down(0);
    run("umount", &[directory.to_str().unwrap()]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn an_invalid_snapshot_still_tells_what_it_held() {
    let mut bed = Testbed::new("dumpinvalid", 16, 8);
    let sibling = bed.add_sibling(1, 8);
    // Each write to the origin copies a chunk to the sibling, until that is full.
    let origin = bed.open("origin");
    let mut buffer = super::testbed::AlignedBuffer::new(4096);
    for block in 0..400_u64 {
        super::testbed::stamp(buffer.as_mut(), 9, block);
        std::os::unix::fs::FileExt::write_all_at(&origin, buffer.as_mut(), block * 4096).unwrap();
    }
    assert!(dmsetup(&["status", &bed.dm(&sibling)]).contains("Invalid"));
    let path = Path::new("/tmp/dumpinvalid.dump");
    let ended = merge_ctl(&["dump", &bed.dm(&sibling), "-o", path.to_str().unwrap()]).expect(0);
    assert!(ended.stderr.contains("invalid"), "{}", ended.stderr);
    let opened = Store::open(AnySource::open(path).unwrap(), None).unwrap();
    assert!(matches!(opened, Opened::Invalid), "{opened:?}");
    assert!(!ended.stderr.contains("saved 0 "), "{}", ended.stderr);
    fs::remove_file(path).unwrap();
}
