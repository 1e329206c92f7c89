//! A volume is found under every name that people give it.

use super::lvm::VolumeGroup;
use super::merge_ctl::merge_ctl;
use super::testbed::Testbed;

/// The device-mapper names that `status` tells for a name.
fn told(name: &str) -> Vec<String> {
    let ended = merge_ctl(&["status", "--json", name]).expect(0);
    let answer: serde_json::Value = serde_json::from_str(ended.lines[0].as_str().unwrap()).unwrap();
    let devices = answer["devices"].as_array().unwrap();
    devices.iter().map(|device| device["dm_name"].as_str().unwrap().to_owned()).collect()
}

/// `/dev/dm-N` of a device.
fn kernel_name(path: &std::path::Path) -> String {
    let dev = std::os::unix::fs::MetadataExt::rdev(&std::fs::metadata(path).unwrap());
    format!("/dev/dm-{}", rustix::fs::minor(dev))
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_plain_device_has_three_names() {
    let bed = Testbed::new("names", 8, 8);
    let path = bed.path("snap");
    for name in [&*bed.dm("snap"), path.to_str().unwrap(), &kernel_name(&path)] {
        assert!(told(name).contains(&bed.dm("snap")), "{name}: {:?}", told(name));
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_logical_volume_has_five_names() {
    let group = VolumeGroup::new("vg-names");
    let path = std::path::Path::new("/dev/mapper/vg--names-snap");
    for name in [
        "vg-names/snap",
        "/dev/vg-names/snap",
        "vg--names-snap",
        path.to_str().unwrap(),
        &kernel_name(path),
    ] {
        assert!(told(name).contains(&"vg--names-snap".to_owned()), "{name}: {:?}", told(name));
    }
    drop(group);
}
