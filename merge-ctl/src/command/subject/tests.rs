use merge_ctl::dm::{DeviceInfo, Table};

use super::find::find;
use super::*;

fn device(minor: u32, name: &str, table: &str) -> Device {
    Device {
        info: DeviceInfo {
            name: name.into(),
            dev: dm(minor),
            live_table: true,
            target_count: 1,
            ..DeviceInfo::default()
        },
        table: Table::parse(table).unwrap(),
        status: None,
    }
}

fn dm(minor: u32) -> DeviceNumber {
    DeviceNumber { major: 253, minor }
}

/// An origin with two snapshots, one with a single one, one of LVM that is merging, one whose merge
/// began while its snapshot's device is still there, and one without a snapshot.
fn host() -> Host {
    let mut host = Host {
        devices: vec![
            device(0, "real", "0 131072 linear 7:0 2048"),
            device(1, "data", "0 131072 snapshot-origin 253:0"),
            device(2, "cow", "0 81920 linear 7:0 133120"),
            device(3, "snap", "0 131072 snapshot 253:0 253:2 P 8"),
            device(4, "other", "0 131072 snapshot 253:0 7:9 N 8"),
            device(10, "one-origin", "0 64 snapshot-origin 7:1"),
            device(11, "one-snap", "0 64 snapshot 7:1 7:2 P 8"),
            device(20, "vg-root", "0 64 snapshot-merge 253:21 253:22 P 8"),
            device(21, "vg-root-real", "0 64 linear 7:3 0"),
            device(22, "vg-back-cow", "0 64 linear 7:3 64"),
            device(23, "vg-gone", "0 64 error"),
            device(24, "vg-two", "0 64 snapshot-merge 253:25 253:26 P 8"),
            device(25, "vg-two-real", "0 64 linear 7:3 128"),
            device(26, "vg-gone-cow", "0 64 linear 7:3 192"),
            device(30, "mine", "0 64 snapshot-merge 7:4 7:5 P 8"),
            device(31, "left-over", "0 64 snapshot 7:4 7:5 P 8"),
            device(40, "alone", "0 64 snapshot-origin 7:6"),
            device(50, "plain", "0 64 linear 7:7 0"),
        ],
    };
    for device in host.devices.iter_mut().filter(|device| device.info.name.starts_with("vg-")) {
        let layer = device.info.name.splitn(3, '-').nth(2).map(|layer| format!("-{layer}"));
        device.info.uuid = format!("LVM-{}{}", "x".repeat(64), layer.unwrap_or_default());
    }
    host
}

/// What is found, in a word and a name.
fn found(given: &str, node: Option<DeviceNumber>) -> Result<String, String> {
    let host = host();
    find(&host, given, node).map_err(|error| error.to_string()).map(|found| match found {
        Found::Snapshot(device) => format!("snapshot {}", device.info.name),
        Found::Merge(device) => format!("merge {}", device.info.name),
        Found::Plain(dev) => format!("plain {dev}"),
    })
}

#[test]
fn a_snapshot_its_cow_and_a_merging_origin_are_one() {
    let is = |given, expected: &str| assert_eq!(found(given, None).as_deref(), Ok(expected));
    is("snap", "snapshot snap");
    is("cow", "snapshot snap");
    is("mine", "merge mine");
    is("left-over", "merge mine");
    is("one-origin", "snapshot one-snap");
    is("plain", "plain 253:50");
    let node = |minor| Some(DeviceNumber { major: 7, minor });
    assert_eq!(found("/dev/loop2", node(2)).as_deref(), Ok("snapshot one-snap"));
    assert_eq!(found("/dev/loop5", node(5)).as_deref(), Ok("merge mine"));
    assert_eq!(found("/dev/loop77", node(77)).as_deref(), Ok("plain 7:77"));
}

#[test]
fn a_snapshot_that_lvm_merges_keeps_its_names() {
    for given in
        ["vg/back", "/dev/vg/back", "vg-back", "/dev/mapper/vg-back", "vg/root", "vg-back-cow"]
    {
        assert_eq!(found(given, None).as_deref(), Ok("merge vg-root"), "{given}");
    }
    // Or a device with nothing in it.
    assert_eq!(found("vg/gone", None).as_deref(), Ok("merge vg-two"));
    assert_eq!(found("/dev/dm-23", Some(dm(23))).as_deref(), Ok("merge vg-two"));
}

#[test]
fn what_holds_no_exceptions_is_refused_with_what_does() {
    let refused = |given, node| found(given, node).unwrap_err();
    let text = refused("data", None);
    assert!(text.contains("an origin") && text.contains("snapshots: snap, other"), "{text}");
    assert!(refused("real", None).contains("snapshots: snap, other"));
    assert!(refused("alone", None).contains("no snapshot"));
    assert!(refused("snpa", None).contains("here: snap,"));
    let loop4 = DeviceNumber { major: 7, minor: 4 };
    assert_eq!(found("/dev/loop4", Some(loop4)).as_deref(), Ok("merge mine"));
}

#[test]
fn a_file_is_read_without_asking_anybody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cow.img");
    let file = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Subject::find(path.to_str().unwrap()).unwrap()
    };
    let mut image = vec![0; 4096 * 8];
    let new = file(&image);
    assert!(matches!(new.open().unwrap(), Content::New));
    assert!(new.devices.is_none() && new.origin_size.is_none());
    image[..16].copy_from_slice(b"SnAp\x01\0\0\0\x01\0\0\0\x08\0\0\0");
    assert!(matches!(file(&image).open().unwrap(), Content::Store(_)));
    image[4] = 0;
    let invalid = file(&image).open().unwrap_err();
    assert_eq!(crate::exit::of(&invalid), crate::exit::Exit::Failed);
    image[0] = 0x7f;
    let strange = file(&image).open().unwrap_err();
    assert!(format!("{strange:#}").contains("no exception store here"), "{strange:#}");
}

#[test]
fn what_is_no_file_says_what_would_do() {
    let directory = tempfile::tempdir().unwrap();
    let error = find(&host(), directory.path().to_str().unwrap(), None).unwrap_err();
    let text = not_found(directory.path(), &error);
    assert!(text.contains("is a directory") && text.contains("Accepted are"), "{text}");
}

#[test]
fn a_transient_snapshot_is_refused() {
    let host = host();
    let other = host.by_name("other").unwrap();
    let error = Subject::of_device(&host, other, other.snapshot()).unwrap_err();
    assert_eq!(crate::exit::of(&error), crate::exit::Exit::Refused);
}
