//! `start --offline --time-limit`: it stops as by Ctrl-C, and what is left is merged as after that.
//! (What LVM has on record is in `offline_scheduled.rs`.)

use std::path::Path;

use super::lvm::{VolumeGroup, lvm};
use super::merge_ctl::{Ended, merge_ctl};
use super::testbed::{Testbed, dmsetup, image_of, mix};

/// So slowly that it would take much longer than any limit here.
const SLOWLY: [&str; 2] = ["--bandwidth", "8KiB"];

fn offline(options: &[&str], code: i32) -> Ended {
    let first = ["start", "--offline", "--yes", "--output", "json"];
    merge_ctl(&[&first[..], options].concat()).expect(code)
}

fn stopped(options: &[&str]) -> Ended {
    let ended = offline(&[&SLOWLY[..], options].concat(), 3);
    assert_eq!(ended.summary()["state"], "stopped", "{}", ended.stderr);
    assert!(ended.stderr.contains("time limit"), "{}", ended.stderr);
    ended
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn time_limit_stops_a_merge_of_lvm_and_an_activation_goes_on() {
    let group = VolumeGroup::new("vglimit");
    group.write_snapshot();
    let (content, snapshot) = (group.content("snap"), group.volume("snap"));
    let before = (dmsetup(&["table"]), group.volumes());

    let ended = offline(&["--time-limit", "1ms", &snapshot], 7);
    assert!(ended.stderr.contains("nothing was changed"), "{}", ended.stderr);
    assert_eq!((dmsetup(&["table"]), group.volumes()), before);

    let ended = stopped(&["--time-limit", "15s", &snapshot]);
    assert!(ended.stderr.contains("lvchange -ay vglimit/data"), "{}", ended.stderr);
    assert!(group.volumes().contains("[snap]"), "{}", group.volumes());
    lvm(&["lvchange", "-q", "-ay", &group.volume("data")]);
    assert!(group.content("data") == content, "a half-merged origin can be seen");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn time_limit_stops_a_raw_merge_and_the_kernel_goes_on() {
    let bed = Testbed::new("raw-limit", 16, 8);
    bed.write_snapshot((0..600).map(|i| mix(i) % 4096), 3);
    let promised = bed.image("snap");

    let ended = offline(&["--time-limit", "1ms", &bed.dm("snap")], 7);
    assert!(ended.stderr.contains("nothing was changed"), "{}", ended.stderr);
    assert!(bed.image("snap") == promised);
    assert!(dmsetup(&["table", &bed.dm("origin")]).contains("snapshot-origin"));

    stopped(&["--time-limit", "10s", &bed.dm("snap")]);
    assert!(bed.image("origin") == promised, "a half-merged origin can be seen");
    let resumed = ["resume", "--yes", "--output", "json", &bed.dm("origin")];
    assert_eq!(merge_ctl(&resumed).expect(0).summary()["state"], "finished");
    assert!(bed.image("origin") == promised, "the origin differs from the snapshot");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn time_limit_stops_a_merge_of_images_and_the_same_command_goes_on() {
    let bed = Testbed::new("img-limit", 8, 8);
    bed.write_snapshot((0..400).map(|i| mix(i) % 2048), 7);
    let promised = bed.image("snap");
    let [origin, cow] = ["/tmp/img-limit.origin", "/tmp/img-limit.cow"].map(Path::new);
    for (image, from) in [(origin, "real"), (cow, "cow")] {
        std::fs::write(image, image_of(&bed.path(from))).unwrap();
    }
    let images =
        ["--origin-device", origin.to_str().unwrap(), "--cow-device", cow.to_str().unwrap()];
    for limit in ["1ms", "4s"] {
        stopped(&[&["--time-limit", limit], &images[..]].concat());
    }
    offline(&[&["--time-limit", "10m"], &images[..]].concat(), 0);
    assert!(std::fs::read(origin).unwrap() == promised, "the origin differs from the snapshot");
    for image in [origin, cow] {
        std::fs::remove_file(image).unwrap();
    }
}
