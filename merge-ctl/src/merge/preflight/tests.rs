//! Preflight on pictures made by hand.

use super::*;
use crate::dm::SnapshotStatus;
use crate::dm::holders::Holder;
use crate::dm::host::tests::device;
use std::path::PathBuf;

/// An origin with one sound snapshot.
pub(in crate::merge) fn picture() -> Host {
    Host {
        devices: vec![
            device(0, "real", "0 800 linear 7:0 0", ""),
            device(1, "origin", "0 800 snapshot-origin 253:0", ""),
            device(2, "cow", "0 400 linear 7:1 0", ""),
            device(3, "snap", "0 800 snapshot 253:0 253:2 P 8", "64/400 16"),
        ],
    }
}

fn nobody(_: DeviceNumber) -> Holders {
    Holders::default()
}

fn refused(host: &Host, name: &str) -> String {
    let device = host.by_name(name).unwrap();
    check(host, device, &nobody).unwrap_err().to_string()
}

fn lvm(device: &mut Device) {
    device.info.uuid = format!("LVM-{}", "x".repeat(64));
}

#[test]
fn a_sound_snapshot_is_handed_over_live() {
    let host = picture();
    let plan = check(&host, host.by_name("snap").unwrap(), &nobody).unwrap();
    assert_eq!(plan.to_merge, Sectors(48));
    let Way::DeviceMapper(handover) = plan.way else { panic!("{:?}", plan.way) };
    assert_eq!(
        handover.origin_merging,
        Table::parse("0 800 snapshot-merge 253:0 253:2 P 8").unwrap()
    );
    assert_eq!(handover.origin_before, Table::parse("0 800 snapshot-origin 253:0").unwrap());
    assert_eq!(handover.snapshot_error, Table::parse("0 800 error").unwrap());
}

#[test]
fn what_is_no_snapshot_is_refused_with_what_is_one() {
    let host = picture();
    assert!(refused(&host, "real").contains("snap"));
    assert!(refused(&host, "origin").contains("the origin of snap"));
    let mut thin = picture();
    thin.devices[3].table = Table::parse("0 800 thin 253:9 1").unwrap();
    assert!(refused(&thin, "snap").contains("lvconvert --merge"));
}

#[test]
fn stores_that_cannot_be_merged_are_refused() {
    for (status, word) in [
        ("Invalid", "invalid"),
        ("Overflow", "overflowed"),
        ("Merge failed", "failed"),
        ("Unknown", "not known"),
    ] {
        let mut host = picture();
        host.devices[3].status = Some(SnapshotStatus::parse(status));
        assert!(refused(&host, "snap").contains(word), "{}", refused(&host, "snap"));
    }
    let mut host = picture();
    host.devices[3].table = Table::parse("0 800 snapshot 253:0 253:2 N 8").unwrap();
    assert!(refused(&host, "snap").contains("transient"));
}

#[test]
fn devices_in_other_hands_are_refused() {
    fn suspend(device: &mut Device) {
        device.info.suspended = true;
    }
    fn load(device: &mut Device) {
        device.info.inactive_table = true;
    }
    for change in [suspend as fn(&mut Device), load] {
        for index in [1, 3] {
            let mut host = picture();
            change(&mut host.devices[index]);
            refused(&host, "snap");
        }
    }
    let mut host = picture();
    host.devices[1].table = Table::parse("0 800 snapshot-merge 253:0 253:7 P 8").unwrap();
    assert!(refused(&host, "snap").contains("already"));
    let mut host = picture();
    host.devices[1].table = Table::parse("0 1600 snapshot-origin 253:0").unwrap();
    assert!(refused(&host, "snap").contains("size"));
    let mut host = picture();
    host.devices.remove(1);
    assert!(refused(&host, "snap").contains("No snapshot-origin"));
}

#[test]
fn a_snapshot_in_use_and_a_mounted_origin_are_refused_and_an_open_origin_is_noted() {
    let mut host = picture();
    host.devices[3].info.open_count = 1;
    assert!(refused(&host, "snap").contains("in use"));

    let mut host = picture();
    host.devices[1].info.open_count = 1;
    let process = || Holder::Process { comm: "fio".to_owned(), pid: 7 };
    for (holders, word) in [
        (vec![process(), Holder::Mount { path: PathBuf::from("/srv") }], "umount /srv"),
        (vec![Holder::Swap], "swapoff"),
        (vec![Holder::Device { name: "crypt".to_owned() }], "below crypt"),
        (vec![], "cannot be seen"),
    ] {
        let held = |_| Holders(holders.clone());
        let error = check(&host, &host.devices[3], &held).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let open = |_| Holders(vec![process()]);
    let plan = check(&host, &host.devices[3], &open).unwrap();
    assert!(plan.notes[0].contains("fio[7]"), "{:?}", plan.notes);
}

#[test]
fn a_volume_of_lvm_goes_through_lvm_and_half_of_one_nowhere() {
    let mut host = picture();
    host.devices[1].info.name = "vg-data".to_owned();
    host.devices[3].info.name = "vg-sn--ap".to_owned();
    lvm(&mut host.devices[3]);
    assert!(refused(&host, "vg-sn--ap").contains("behind LVM's back"));
    lvm(&mut host.devices[1]);
    let plan = check(&host, &host.devices[3], &nobody).unwrap();
    let Way::Lvm { vg, snapshot, origin, origin_in_use } = plan.way else { panic!() };
    assert_eq!((&*vg, &*snapshot, &*origin, origin_in_use), ("vg", "sn-ap", "data", false));
}
