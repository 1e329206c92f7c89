//! A failed merge of logical volumes: lvm2 takes the volume down and brings it up again.

use std::fs::File;

use super::super::lvm::VolumeGroup;
use super::super::merge_ctl::merge_ctl;
use super::super::testbed::{dmsetup, run};
use super::inject::{Break, reload};

/// Where a device of one segment begins on what it lies on, in sectors.
fn begins_at(device: &str) -> u64 {
    let table = dmsetup(&["table", device]);
    table.split_whitespace().nth(4).unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_failed_merge_of_a_logical_volume_goes_on_after_lvm_has_activated_it_anew() {
    let group = VolumeGroup::on_mapper("vgfail", "vgfail-disk");
    group.write_snapshot();
    let promised = group.content("snap");
    // The data of the first exception, which is merged last.
    let begins_at = begins_at("vgfail-snap-cow") + 16;
    let sound = dmsetup(&["table", "vgfail-disk"]);
    Break::All { device: "", sectors: begins_at..begins_at + 8 }.apply_to("vgfail-disk", 0);

    let ended = merge_ctl(&["start", "--yes", "--output", "json", "vgfail/snap"]).expect(5);
    let failed = &ended.summary()["failed"];
    assert_eq!(failed["cause"], "copy-read-cow", "{failed}");
    assert_eq!(failed["device"], "vgfail/snap-cow", "{failed}");
    assert!(ended.stderr.contains("merge-ctl resume vgfail/data"), "{}", ended.stderr);
    let resume = ["resume", "--yes", "--output", "json", "vgfail/data"];
    let ended = merge_ctl(&resume).expect(5);
    assert!(ended.stderr.contains("vgfail/snap-cow cannot be read"), "{}", ended.stderr);

    reload("vgfail-disk", &sound);
    assert!(group.content("data") == promised, "the failure has changed what users see");
    let holder = File::open(group.path("data")).unwrap();
    let ended = merge_ctl(&resume).expect(8);
    assert!(ended.stderr.contains("vgfail/data is in use"), "{}", ended.stderr);
    assert!(dmsetup(&["status", "vgfail-data"]).contains("Merge failed"));
    drop(holder);

    merge_ctl(&resume).expect(0);
    assert!(!run("lvm", &["lvs", "-a", "--noheadings", "vgfail"]).contains("snap"));
    assert!(dmsetup(&["table", "vgfail-data"]).contains("linear"));
    assert!(group.content("data") == promised, "the origin differs from the snapshot");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_volume_that_was_taken_down_and_not_brought_up_is_activated() {
    let group = VolumeGroup::on_mapper("vgdown", "vgdown-disk");
    group.write_snapshot();
    let promised = group.content("snap");
    let begins_at = begins_at("vgdown-data-real");
    let sound = dmsetup(&["table", "vgdown-disk"]);
    // Block 0, the first that was written to the snapshot.
    Break::All { device: "", sectors: begins_at..begins_at + 8 }.apply_to("vgdown-disk", 0);
    let ended = merge_ctl(&["start", "--yes", "--output", "json", "vgdown/snap"]).expect(5);
    assert_eq!(ended.summary()["failed"]["cause"], "copy-write-origin");
    reload("vgdown-disk", &sound);
    run("lvm", &["lvchange", "-q", "-an", "vgdown/data"]);

    merge_ctl(&["resume", "--yes", "--output", "json", "vgdown/data"]).expect(0);
    assert!(group.content("data") == promised, "the origin differs from the snapshot");
}
