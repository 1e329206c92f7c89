//! What happens to merges of logical volumes in an operator's life: put off, taken down in the middle,
//! left alone by lvm2, one after the other, on top of one another. Every time the origin must hold what
//! the snapshot held.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::linear::Linear;
use super::lvm::{VolumeGroup, kill_pollers, lvm, pollers};
use super::merge_ctl::{Waiter, merge_ctl, wait};
use super::testbed::{Throttled, dmsetup};

/// Begins a merge that goes on for as long as the throttle lives.
fn begin_slowly(group: &VolumeGroup, snapshot: &str) -> Throttled {
    let throttled = Throttled::at(0);
    lvm(&["lvconvert", "-q", "--merge", "-b", &group.volume(snapshot)]);
    throttled
}

fn activate(volume: &str) {
    lvm(&["lvchange", "-q", "-ay", volume]);
}

fn deactivate(volume: &str) {
    // Somebody may look at the device just now, as lvm2 itself does.
    for _ in 0..20 {
        let status = Command::new("lvm").args(["lvchange", "-q", "-an", volume]).status().unwrap();
        if status.success() {
            return;
        }
        thread::sleep(Duration::from_millis(200));
    }
    panic!("{volume} cannot be deactivated");
}

/// The kernel's target on a volume.
fn target(group: &VolumeGroup, volume: &str) -> String {
    let table = dmsetup(&["table", &group.dm(volume)]);
    table.split_whitespace().nth(2).unwrap().to_owned()
}

/// Checks that a merge is over: by the origin's content, LVM's records and the kernel's table.
#[track_caller]
fn assert_merged(group: &VolumeGroup, origin: &str, snapshot: &str, content: &[u8]) {
    assert!(group.content(origin) == content, "{origin} differs from {snapshot}");
    let volumes = group.volumes();
    let is_there = |line: &str| line.trim().trim_start_matches('[').starts_with(snapshot);
    assert!(!volumes.lines().any(is_there), "{volumes}");
    assert!(!volumes.lines().any(|line| line.contains(" O") || line.contains(" S")), "{volumes}");
    assert_ne!(target(group, origin), "snapshot-merge");
}

fn next_of(said: &Value) -> &str {
    said["next"].as_str().unwrap()
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_merge_put_off_goes_through_its_states_and_wait_tells_each() {
    let group = VolumeGroup::new("vgdelay");
    group.write_snapshot();
    let content = group.content("snap");
    let origin = group.volume("data");
    assert_eq!(wait(&[&origin], 0)["state"], "none");

    let holder = std::fs::File::open(group.path("data")).unwrap();
    merge_ctl(&["start", "--yes", "--output", "json", &group.volume("snap")]).expect(3);
    for name in [&origin, &group.volume("snap")] {
        let said = wait(&[name], 3);
        assert_eq!((&said["state"], &said["owner"]), (&"scheduled".into(), &"lvm".into()));
        assert_eq!(said["snapshot"], "vgdelay/snap");
        assert!(next_of(&said).contains("lvchange -an vgdelay/data"), "{said}");
    }
    assert_eq!(target(&group, "data"), "snapshot-origin");
    drop(holder);

    deactivate(&origin);
    assert_eq!(wait(&[&origin], 3)["state"], "inactive");
    let throttled = Throttled::at(0);
    activate(&origin);
    assert_eq!(target(&group, "data"), "snapshot-merge");
    let said = wait(&[&origin, "--timeout", "2s"], 7);
    assert!(["merging", "stalled"].contains(&said["state"].as_str().unwrap()), "{said}");
    assert!(said["left_bytes"].as_u64().unwrap() > 0, "{said}");
    drop(throttled);
    // lvm2's own poller finishes it.
    assert_eq!(wait(&[&origin, "--timeout", "60s"], 0)["state"], "finished");
    assert_merged(&group, "data", "snap", &content);
    assert_eq!(wait(&[&origin], 0)["state"], "none");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn two_snapshots_are_merged_in_turn_and_the_other_is_kept() {
    let group = VolumeGroup::empty("vgturn");
    group.add_volume("data", 48);
    group.write_to("data", 1);
    group.add_snapshot("data", "first", 64);
    group.write_to("first", 2);
    group.write_to("data", 3);
    group.add_snapshot("data", "second", 64);
    group.write_to("second", 4);
    let contents = ["first", "second"].map(|snapshot| group.content(snapshot));

    merge_ctl(&["start", "--yes", "--output", "json", &group.volume("first")]).expect(0);
    assert_merged(&group, "data", "first", &contents[0]);
    assert_eq!(target(&group, "data"), "snapshot-origin");
    assert!(group.content("second") == contents[1], "the sibling has changed");

    merge_ctl(&["start", "--yes", "--output", "json", &group.volume("second")]).expect(0);
    assert_merged(&group, "data", "second", &contents[1]);
    assert_eq!(target(&group, "data"), "linear");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_merge_taken_down_in_the_middle_goes_on_where_it_was() {
    // The throttle has no effect on small runs on fast disks; a slow disk has.
    let group = VolumeGroup::on_mapper("vgmiddle", "vgmiddle-disk");
    (0..4).for_each(|seed| group.write_to("snap", seed));
    let content = group.content("snap");
    let origin = group.volume("data");
    group.slow_down(5);
    lvm(&["lvconvert", "-q", "--merge", "-b", &group.volume("snap")]);
    let waiter = Waiter::start(&[&origin]);
    thread::sleep(Duration::from_secs(3));
    assert_eq!(target(&group, "data"), "snapshot-merge");
    deactivate(&origin);
    let said = waiter.end(3);
    assert_eq!((&said["state"], &said["snapshot"]), (&"inactive".into(), &"vgmiddle/snap".into()));
    assert!(next_of(&said).contains("lvchange -ay vgmiddle/data"), "{said}");

    activate(&origin);
    let left = wait(&[&origin, "--timeout", "1s"], 7)["left_bytes"].as_u64().unwrap();
    assert!(left < content.len() as u64 && left > 0, "{left}");
    group.slow_down(0);
    wait(&[&origin, "--until", "merged", "--timeout", "60s"], 0);
    merge_ctl(&["finish", &origin]).expect(0);
    assert_merged(&group, "data", "snap", &content);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_merge_whose_poller_was_killed_is_finished() {
    let group = VolumeGroup::new("vgkill");
    group.write_snapshot();
    let content = group.content("snap");
    let origin = group.volume("data");
    let throttled = begin_slowly(&group, "snap");
    assert!(!pollers().is_empty());
    kill_pollers();
    let ended = merge_ctl(&["finish", &origin]).expect(3);
    assert!(ended.stderr.contains("not done"), "{}", ended.stderr);
    drop(throttled);
    let said = wait(&[&origin, "--until", "merged", "--timeout", "60s"], 0);
    assert_eq!((&said["state"], &said["left_bytes"]), (&"done-not-finished".into(), &0.into()));

    let begun = Instant::now();
    let said = wait(&[&origin, "--timeout", "60s"], 3);
    assert!((20..60).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(said["state"], "done-not-finished");
    assert!(next_of(&said).contains("merge-ctl finish vgkill/data"), "{said}");

    let begun = Instant::now();
    let ended = merge_ctl(&["finish", &origin]).expect(0);
    println!("finish took {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let words = ended.lines[0].as_str().unwrap();
    assert!(words.contains("has dropped vgkill/snap") && words.contains("ordinary"), "{words}");
    assert_merged(&group, "data", "snap", &content);
    merge_ctl(&["finish", &origin]).expect(8);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_volume_activated_as_in_an_initramfs_is_finished() {
    let group = VolumeGroup::new("vgroot");
    group.write_snapshot();
    let content = group.content("snap");
    let origin = group.volume("data");
    let holder = std::fs::File::open(group.path("data")).unwrap();
    lvm(&["lvconvert", "-q", "--merge", "-b", &group.volume("snap")]);
    drop(holder);
    deactivate(&origin);
    kill_pollers();
    lvm(&["lvchange", "-q", "-ay", "--sysinit", &origin]);
    wait(&[&origin, "--until", "merged", "--timeout", "60s"], 0);
    assert!(pollers().is_empty());
    // The root file system keeps the volume open all the time.
    let root = std::fs::File::open(group.path("data")).unwrap();
    assert_eq!(target(&group, "data"), "snapshot-merge");
    merge_ctl(&["finish", &origin]).expect(0);
    drop(root);
    assert_merged(&group, "data", "snap", &content);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn hyphens_in_names_are_no_borders() {
    let group = VolumeGroup::empty("v-g--x");
    group.add_volume("da-ta", 48);
    group.add_snapshot("da-ta", "sn-ap--1", 64);
    group.write_to("sn-ap--1", 6);
    let content = group.content("sn-ap--1");
    let origin = group.volume("da-ta");
    let throttled = begin_slowly(&group, "sn-ap--1");
    for name in [origin.clone(), format!("/dev/mapper/{}", group.dm("da-ta"))] {
        let said = wait(&[&name, "--timeout", "500ms"], 7);
        assert_eq!(
            (&said["origin"], &said["origin_label"]),
            (&group.dm("da-ta").into(), &(&*origin).into())
        );
        assert_eq!(said["snapshot"], group.volume("sn-ap--1"));
    }
    kill_pollers();
    drop(throttled);
    wait(&[&group.volume("sn-ap--1"), "--until", "merged", "--timeout", "60s"], 0);
    merge_ctl(&["finish", &origin]).expect(0);
    assert_merged(&group, "da-ta", "sn-ap--1", &content);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_merge_on_a_stack_of_volumes_is_like_any_other() {
    let outer = VolumeGroup::empty("vgouter");
    outer.add_volume("disk", 160);
    let linear = Linear::over(&outer.path("disk"), "stackdisk");
    let group = VolumeGroup::on("vginner", &format!("/dev/mapper/{}", linear.0));
    group.add_volume("data", 48);
    group.add_snapshot("data", "snap", 64);
    group.write_snapshot();
    let content = group.content("snap");
    let throttled = begin_slowly(&group, "snap");
    let waiter = Waiter::start(&[&group.volume("data"), "--until", "merged"]);
    kill_pollers();
    drop(throttled);
    assert_eq!(waiter.end(0)["owner"], "lvm");
    merge_ctl(&["finish", &group.volume("data")]).expect(0);
    assert_merged(&group, "data", "snap", &content);
}
