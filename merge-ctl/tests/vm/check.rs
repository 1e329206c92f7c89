//! `start --check` finds all there is to know at once, and changes nothing.

use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::Value;

use super::failures::inject::Break;
use super::lvm::{VolumeGroup, lvm};
use super::merge_ctl::merge_ctl;
use super::testbed::{AlignedBuffer, BLOCK, Testbed, dmsetup, open_direct, ram_disk, run};

/// What `start --check --json` says, with its exit status; nothing may have changed.
fn check(arguments: &[&str]) -> (i32, Value) {
    let before = (dmsetup(&["table"]), dmsetup(&["info", "-c"]));
    let ended = merge_ctl(&[&["start", "--check", "--json"], arguments].concat());
    assert_eq!(before, (dmsetup(&["table"]), dmsetup(&["info", "-c"])));
    let text = ended.lines.first().unwrap_or_else(|| panic!("no answer: {}", ended.stderr));
    let value: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
    assert_eq!((value["schema"].as_i64(), value["type"].as_str()), (Some(1), Some("check")));
    assert_eq!(value["exit_status"], ended.code);
    assert_eq!(value["ready"], ended.code == 0);
    (ended.code, value)
}

/// The codes of a severity, with how often each is there.
fn codes<'a>(value: &'a Value, severity: &str) -> Vec<&'a str> {
    let findings = value["findings"].as_array().unwrap().iter();
    let of_it = findings.filter(|finding| finding["severity"] == severity);
    of_it.map(|finding| finding["code"].as_str().unwrap()).collect()
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_sound_snapshot_is_ready() {
    let bed = Testbed::new("chk-ok", 8, 8);
    bed.write_snapshot(0..20, 3);
    let (code, value) = check(&[&bed.dm("snap")]);
    assert_eq!((code, codes(&value, "stop").len()), (0, 0), "{value}");
    assert!(codes(&value, "note").contains(&"fill"), "{value}");
    assert_eq!(value["to_merge_bytes"], 20 * 4096);
    assert_eq!(value["origin"], bed.dm("origin"));
    let plain = merge_ctl(&["start", "--check", &bed.dm("snap")]).expect(0);
    let first = plain.lines[0].as_str().unwrap();
    assert!(first.contains("nothing st"), "{first}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn all_obstacles_are_told_at_once() {
    let bed = Testbed::new("chk-many", 16, 8);
    let origin = bed.path("origin");
    run("mkfs.ext4", &["-q", "-F", origin.to_str().unwrap()]);
    std::fs::create_dir_all("/tmp/chk many").unwrap();
    run("mount", &[origin.to_str().unwrap(), "/tmp/chk many"]);
    let holder = bed.open("snap");
    let table = dmsetup(&["table", &bed.dm("snap")]);
    dmsetup(&["load", &bed.dm("snap"), "--table", &table]);
    dmsetup(&["suspend", &bed.dm("cow")]);
    let (code, value) = check(&[&bed.dm("snap")]);
    dmsetup(&["resume", &bed.dm("cow")]);
    dmsetup(&["clear", &bed.dm("snap")]);
    drop(holder);
    run("umount", &["/tmp/chk many"]);
    assert_eq!(code, 8, "{value}");
    let stops = codes(&value, "stop");
    for wanted in ["snapshot-in-use", "origin-in-use", "second-table", "suspended"] {
        assert_eq!(stops.iter().filter(|code| **code == wanted).count(), 1, "{wanted}: {value}");
    }
    let text = value.to_string();
    assert!(text.contains("umount '/tmp/chk many'"), "{text}");
    let (code, value) = check(&[&bed.dm("snap")]);
    assert_eq!(code, 0, "{value}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_cow_device_that_was_overwritten_is_noticed() {
    for (name, at_bytes) in [("chk-head", 0), ("chk-area", 258 * 4096)] {
        let bed = Testbed::new(name, 16, 8);
        bed.write_snapshot(0..700, 3);
        let promised = bed.image("snap");
        let origin = bed.image("origin");
        let mut zeroes = AlignedBuffer::new(BLOCK);
        open_direct(&bed.path("cow")).write_all_at(zeroes.as_mut(), at_bytes).unwrap();
        let (code, value) = check(&[&bed.dm("snap")]);
        assert_eq!(code, 8, "{value}");
        assert_eq!(codes(&value, "stop"), ["store-damaged"], "{value}");
        merge_ctl(&["start", "--yes", &bed.dm("snap")]).expect(8);
        // The kernel still knows: nothing is lost yet.
        assert!(bed.image("snap") == promised && bed.image("origin") == origin);
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn exceptions_that_cannot_be_read_are_noticed_before_a_merge_comes_upon_them() {
    let bed = Testbed::new("chk-sector", 16, 8);
    bed.write_snapshot(0..700, 3);
    Break::All { device: "cow", sectors: 258 * 8..258 * 8 + 8 }.apply(&bed, 0);
    let (code, value) = check(&[&bed.dm("snap")]);
    assert_eq!((code, codes(&value, "stop")), (8, vec!["store-unreadable"]), "{value}");
    merge_ctl(&["start", "--yes", &bed.dm("snap")]).expect(8);
    assert!(dmsetup(&["table", &bed.dm("origin")]).contains("snapshot-origin"));
    bed.slow_down(0);
    merge_ctl(&["start", "--yes", "--output", "plain", &bed.dm("snap")]).expect(0);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn nobody_loses_a_sibling_unasked() {
    let mut bed = Testbed::new("chk-sib", 16, 8);
    let small = bed.add_sibling_on(20 * 8, 8, 'P');
    let large = bed.add_sibling(16, 8);
    bed.write_snapshot((0..60).map(|block| block * 2), 3);
    let (code, value) = check(&[&bed.dm("snap")]);
    assert_eq!((code, codes(&value, "warn").contains(&"sibling-lost")), (0, true), "{value}");
    assert!(codes(&value, "note").contains(&"sibling-copies"), "{value}");
    let (code, value) = check(&["--yes", &bed.dm("snap")]);
    assert_eq!((code, codes(&value, "stop")), (8, vec!["sibling-lost"]), "{value}");
    let refused = merge_ctl(&["start", "--yes", "--output", "plain", &bed.dm("snap")]).expect(8);
    for words in ["--lose-siblings", &bed.dm(&small), "60 chunks"] {
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }
    assert!(!dmsetup(&["status", &bed.dm(&small)]).contains("Invalid"));
    merge_ctl(&["start", "--yes", "--lose-siblings", "--output", "plain", &bed.dm("snap")])
        .expect(0);
    assert!(dmsetup(&["status", &bed.dm(&small)]).contains("Invalid"));
    assert!(!dmsetup(&["status", &bed.dm(&large)]).contains("Invalid"));
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_sibling_that_has_the_chunks_already_keeps() {
    let mut bed = Testbed::new("chk-has", 16, 8);
    // Both take the same sixty chunks of the origin; the sibling has room for no more.
    let sibling = bed.add_sibling_on(64 * 8, 8, 'P');
    let origin = bed.open("origin");
    let mut buffer = AlignedBuffer::new(BLOCK);
    for block in 0..60_u64 {
        super::testbed::stamp(buffer.as_mut(), 9, block);
        origin.write_all_at(buffer.as_mut(), block * 4096).unwrap();
    }
    drop(origin);
    let (code, value) = check(&["--yes", &bed.dm("snap")]);
    assert_eq!(code, 0, "{value}");
    let told = ["sibling-lost", "sibling-at-risk", "sibling-copies"];
    assert!(told.iter().all(|code| !value.to_string().contains(code)), "{value}");
    merge_ctl(&["start", "--yes", "--output", "plain", &bed.dm("snap")]).expect(0);
    assert!(!dmsetup(&["status", &bed.dm(&sibling)]).contains("Invalid"));
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_device_far_below_is_looked_at() {
    let disk = ram_disk();
    dmsetup(&["create", "chk-low", "--table", &format!("0 65536 linear {disk} 0")]);
    {
        let bed = Testbed::on_disks("chk-deep", 8, 8, "/dev/mapper/chk-low", &ram_disk());
        dmsetup(&["suspend", "chk-low"]);
        let (code, value) = check(&[&bed.dm("snap")]);
        dmsetup(&["resume", "chk-low"]);
        assert_eq!((code, codes(&value, "stop")), (8, vec!["suspended"]), "{value}");
        let way_out = value["findings"][0]["way_out"].as_str().unwrap();
        assert!(way_out.contains("dmsetup resume chk-low"), "{way_out}");
    }
    dmsetup(&["remove", "--retry", "chk-low"]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn without_root_what_can_be_said_is_said() {
    let bed = Testbed::new("chk-user", 8, 8);
    let output = Command::new("merge-ctl")
        .args(["start", "--check", "--json", &bed.dm("snap")])
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(codes(&value, "stop"), ["privilege"], "{value}");
    assert!(codes(&value, "note").contains(&"not-known"), "{value}");
    dmsetup(&["suspend", &bed.dm("snap")]);
    let output = Command::new("merge-ctl")
        .args(["start", "--check", &bed.dm("snap")])
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    dmsetup(&["resume", &bed.dm("snap")]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(8) && text.contains("[suspended]"), "{text}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn the_view_of_lvm_is_compared_with_the_kernels() {
    let group = VolumeGroup::new("vg-chk");
    let snap = group.volume("snap");
    let holder = std::fs::File::open("/dev/mapper/vg--chk-data").unwrap();
    let (code, value) = check(&[&snap]);
    assert_eq!((code, codes(&value, "warn")), (0, vec!["lvm-delays"]), "{value}");
    lvm(&["lvconvert", "-q", "--merge", &snap]);
    let (code, value) = check(&[&snap]);
    assert_eq!((code, codes(&value, "stop")), (8, vec!["lvm-scheduled"]), "{value}");
    let refused = merge_ctl(&["start", "--yes", "--output", "plain", &snap]).expect(8);
    assert!(refused.stderr.contains("lvchange -an vg-chk/data"), "{}", refused.stderr);
    drop(holder);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_volume_that_is_not_active_is_told_from_one_that_is_not_there() {
    let group = VolumeGroup::new("vgoff");
    lvm(&["lvchange", "-q", "-an", "vgoff/data"]);
    let (code, value) = check(&["vgoff/snap"]);
    assert_eq!((code, codes(&value, "stop")), (8, vec!["lvm-inactive"]), "{value}");
    assert!(value.to_string().contains("lvchange -ay vgoff/data"), "{value}");
    merge_ctl(&["start", "--yes", "vgoff/snap"]).expect(8);
    merge_ctl(&["start", "--check", "vgoff/snpa"]).expect(2);
    drop(group);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_thin_snapshot_is_told_where_to_go() {
    run("modprobe", &["dm-thin-pool"]);
    let group = VolumeGroup::new("vgthin");
    lvm(&["lvcreate", "-q", "-L", "16M", "-V", "8M", "-T", "-n", "thin", "vgthin/pool", "-Zn"]);
    lvm(&["lvcreate", "-q", "-s", "-kn", "-n", "thinsnap", "vgthin/thin"]);
    let (code, value) = check(&["vgthin/thinsnap"]);
    assert_eq!((code, codes(&value, "stop")), (8, vec!["thin-volume"]), "{value}");
    assert!(value.to_string().contains("lvconvert --merge vgthin/thinsnap"), "{value}");
    drop(group);
}
