//! `start --offline` of devices that no snapshot is made of: merged where nobody uses them, refused by
//! name where somebody does.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::linear::Linear;
use super::merge_ctl::{Ended, merge_ctl};
use super::testbed::{Testbed, dmsetup, image_of, mix, run};

/// A loop device over a file, for as long as this lives.
struct Loop {
    device: String,
    file: PathBuf,
}

impl Loop {
    /// Over a copy of a device.
    fn over_copy_of(from: &Path, name: &str) -> Self {
        run("modprobe", &["loop"]);
        let file = PathBuf::from("/tmp").join(name);
        std::fs::write(&file, image_of(from)).unwrap();
        let device = run("losetup", &["-f"]).trim().to_owned();
        run("losetup", &[&device, file.to_str().unwrap()]);
        Self { device, file }
    }

    fn path(&self) -> &Path {
        Path::new(&self.device)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let detached = Command::new("losetup").args(["-d", &self.device]).status();
        if !detached.is_ok_and(|status| status.success()) {
            eprintln!("{} could not be detached", self.device);
        }
        let _ = std::fs::remove_file(&self.file);
    }
}

fn merge(origin: &Path, cow: &Path, more: &[&str]) -> Ended {
    let origin = ["--origin-device", origin.to_str().unwrap()];
    let cow = ["--cow-device", cow.to_str().unwrap()];
    let first = ["start", "--offline", "--yes", "--output", "plain"];
    merge_ctl(&[&first[..], more, &origin, &cow].concat())
}

/// Copies of what a snapshot is made of, and what it holds.
fn images(bed: &Testbed) -> (Loop, Loop, Vec<u8>) {
    bed.write_snapshot((0..500).map(|i| mix(i) % 2048), 7);
    let origin = Loop::over_copy_of(&bed.path("real"), &format!("{}.img", bed.dm("origin")));
    let cow = Loop::over_copy_of(&bed.path("cow"), &format!("{}.img", bed.dm("cow")));
    (origin, cow, bed.image("snap"))
}

#[track_caller]
fn refused(origin: &Path, cow: &Path, words: &[&str]) {
    for more in [&[][..], &["--dry-run"]] {
        let ended = merge(origin, cow, more).expect(8);
        for word in words {
            assert!(ended.stderr.contains(word), "no {word:?} in: {}", ended.stderr);
        }
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn two_devices_that_nobody_uses_are_merged() {
    let bed = Testbed::new("img-free", 8, 8);
    let (origin, cow, promised) = images(&bed);
    let before = (image_of(origin.path()), image_of(cow.path()));
    let dry = merge(origin.path(), cow.path(), &["--dry-run"]).expect(0);
    let said: String = dry.lines.iter().filter_map(|line| line.as_str()).collect();
    assert!(said.contains("of data") && said.contains("Nothing was changed"), "{said}");
    assert!(before == (image_of(origin.path()), image_of(cow.path())), "a dry run has written");
    merge(origin.path(), cow.path(), &[]).expect(0);
    assert!(image_of(origin.path()) == promised, "the origin differs from the snapshot");
    // And the kernel finds an empty store that it takes.
    let sectors = bed.sectors();
    let (real, store) = (origin.path().display(), cow.path().display());
    let table = format!("0 {sectors} snapshot {real} {store} P 8");
    dmsetup(&["create", "img-free-again", "--table", &table]);
    let status = dmsetup(&["status", "img-free-again"]);
    dmsetup(&["remove", "--retry", "img-free-again"]);
    assert!(status.contains(" 16/"), "{status}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn what_somebody_uses_is_refused_with_his_name() {
    let bed = Testbed::new("img-used", 8, 8);
    let (origin, cow, promised) = images(&bed);
    // The devices below a live snapshot.
    refused(&bed.path("real"), &bed.path("cow"), &["in use", &bed.dm("snap")]);
    refused(origin.path(), &bed.path("cow"), &["in use", &bed.dm("snap")]);
    // The files of loop devices, and two devices that show one file.
    refused(&origin.file, &cow.file, &["shown by", &origin.device]);
    refused(origin.path(), origin.path(), &["the same, or overlap"]);
    refused(origin.path(), &origin.file, &["the same, or overlap"]);
    let held = Linear::over(cow.path(), "img-used-above");
    refused(origin.path(), cow.path(), &["below img-used-above"]);
    drop(held);
    merge(origin.path(), cow.path(), &[]).expect(0);
    assert!(image_of(origin.path()) == promised);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_mounted_image_is_refused() {
    let bed = Testbed::new("img-mounted", 8, 8);
    let (origin, cow, _) = images(&bed);
    run("mkfs.ext4", &["-q", "-F", &origin.device]);
    std::fs::create_dir_all("/tmp/img-mounted").unwrap();
    run("mount", &[&origin.device, "/tmp/img-mounted"]);
    refused(origin.path(), cow.path(), &["mounted on /tmp/img-mounted"]);
    run("umount", &["/tmp/img-mounted"]);
}
