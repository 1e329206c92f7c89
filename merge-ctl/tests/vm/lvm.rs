//! Merges of logical volumes: lvm2 starts and finishes them, merge-ctl watches and nudges.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::explain::{assert_cause, explain};
use super::merge_ctl::{merge_ctl, planned_runs, promised_runs_of};
use super::testbed::{AlignedBuffer, BLOCK, Throttled, dmsetup, mix, run, stamp};

/// A volume group on a loop device, with one volume and a snapshot of it.
pub(crate) struct VolumeGroup {
    pub(crate) name: String,
    image: PathBuf,
    disk: String,
    /// A device of device-mapper between the disk and LVM, where errors can be made.
    mapper: Option<String>,
}

impl VolumeGroup {
    pub(crate) fn new(name: &str) -> Self {
        Self::over(name, None)
    }

    /// The same over a linear device of this name.
    pub(crate) fn on_mapper(name: &str, mapper: &str) -> Self {
        Self::over(name, Some(mapper.to_owned()))
    }

    fn over(name: &str, mapper: Option<String>) -> Self {
        run("modprobe", &["loop"]);
        let image = PathBuf::from(format!("/tmp/{name}.img"));
        run("truncate", &["-s", "160M", image.to_str().unwrap()]);
        let disk = run("losetup", &["-f"]).trim().to_owned();
        run("losetup", &[&disk, image.to_str().unwrap()]);
        let group = Self { name: name.to_owned(), image, disk, mapper };
        let volume = match &group.mapper {
            None => group.disk.clone(),
            Some(mapper) => {
                // Not from its beginning: LVM would find its label on the disk too.
                let table = format!("0 {} linear {} 2048", 159 * 2048, group.disk);
                dmsetup(&["create", mapper, "--table", &table]);
                format!("/dev/mapper/{mapper}")
            }
        };
        lvm(&["pvcreate", "-q", &volume]);
        lvm(&["vgcreate", "-q", name, &volume]);
        lvm(&["lvcreate", "-q", "-L", "48M", "-n", "data", "-Wn", "-Zn", name]);
        lvm(&["lvcreate", "-q", "-s", "-L", "64M", "-n", "snap", &group.volume("data")]);
        group
    }

    pub(crate) fn volume(&self, volume: &str) -> String {
        format!("{}/{volume}", self.name)
    }

    pub(crate) fn path(&self, volume: &str) -> PathBuf {
        PathBuf::from(format!("/dev/mapper/{}-{volume}", self.name))
    }

    pub(crate) fn write_snapshot(&self) {
        let file = std::fs::File::options().write(true).open(self.path("snap")).unwrap();
        let mut buffer = AlignedBuffer::new(BLOCK);
        for block in (0..1500).chain((0..150).map(|i| mix(i) % 12_000)) {
            stamp(buffer.as_mut(), 5, block);
            file.write_all_at(buffer.as_mut(), block * BLOCK as u64).unwrap();
        }
        file.sync_all().unwrap();
    }

    pub(crate) fn content(&self, volume: &str) -> Vec<u8> {
        std::fs::read(self.path(volume)).unwrap()
    }

    fn volumes(&self) -> String {
        lvm(&["lvs", "-a", "--noheadings", "-o", "lv_name,lv_attr", &self.name])
    }
}

impl Drop for VolumeGroup {
    fn drop(&mut self) {
        let lvm = |arguments: &[&str]| {
            Command::new("lvm").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status()
        };
        // The first may meet a merge that lvm2's own poller still looks after.
        for _ in 0..5 {
            if lvm(&["vgremove", "-qff", "-y", &self.name]).is_ok_and(|status| status.success()) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
        // lvm2's own pollers sleep for 15 s and would scan the devices of the tests that follow.
        let _ = Command::new("pkill").args(["-x", "lvm"]).status();
        if let Some(mapper) = &self.mapper {
            let _ = Command::new("dmsetup").args(["remove", "--retry", mapper]).status();
        }
        let _ = Command::new("losetup").args(["-d", &self.disk]).status();
        let _ = std::fs::remove_file(&self.image);
    }
}

pub(crate) fn lvm(arguments: &[&str]) -> String {
    run("lvm", arguments)
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn start_merges_a_logical_volume_and_lvm_drops_the_snapshot() {
    let group = VolumeGroup::new("vgstart");
    group.write_snapshot();
    let promised_content = group.content("snap");
    let promised = promised_runs_of(&group.path("snap-cow"));
    assert_eq!(planned_runs(group.volume("snap")), promised);
    let outlook = explain(&group.volume("snap"), 1, &[]);
    assert_eq!(
        (&outlook["merging"], &outlook["findings"][0]["figures"]["runs"]),
        (&false.into(), &promised.len().into())
    );

    let ended = merge_ctl(&["start", "--yes", "--output", "json", &group.volume("snap")]).expect(0);

    assert_eq!(ended.runs(), promised);
    assert_eq!(ended.summary()["state"], "finished");
    assert_eq!(ended.summary()["origin"], "vgstart-data");
    assert!(!group.volumes().contains("snap"), "{}", group.volumes());
    assert!(dmsetup(&["table", "vgstart-data"]).contains("linear"));
    assert!(group.content("data") == promised_content, "the origin differs from the snapshot");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn monitor_sees_a_merge_that_lvconvert_started() {
    let group = VolumeGroup::new("vgwatch");
    group.write_snapshot();
    let promised_content = group.content("snap");
    let promised = promised_runs_of(&group.path("snap-cow"));
    // The throttle has an effect on loop devices.
    let throttled = Throttled::at(1);
    lvm(&["lvconvert", "-q", "--merge", "-b", &group.volume("snap")]);

    let ended = merge_ctl(&["monitor", "--output", "json", &group.volume("data")]).expect(0);

    drop(throttled);
    let seen = ended.runs();
    assert!(!seen.is_empty());
    assert_eq!(seen, promised[promised.len() - seen.len()..]);
    assert_eq!(ended.summary()["state"], "finished");
    assert!(group.content("data") == promised_content, "the origin differs from the snapshot");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_volume_in_use_merges_at_its_next_activation() {
    let group = VolumeGroup::new("vgopen");
    group.write_snapshot();
    let holder = std::fs::File::open(group.path("data")).unwrap();
    let ended = merge_ctl(&["start", "--yes", "--output", "json", &group.volume("snap")]).expect(3);
    assert!(ended.stderr.contains("next activation"), "{}", ended.stderr);
    assert_eq!(ended.summary()["state"], "scheduled");
    assert!(dmsetup(&["table", "vgopen-data"]).contains("snapshot-origin"));
    assert_cause(&explain(&group.volume("snap"), 1, &[]), "scheduled");
    drop(holder);
}
