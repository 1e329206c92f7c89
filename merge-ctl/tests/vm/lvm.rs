//! Merges of logical volumes: lvm2 starts and finishes them, merge-ctl watches and nudges.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::explain::{assert_cause, explain};
use super::merge_ctl::{merge_ctl, planned_runs, promised_runs_of};
use super::testbed::{AlignedBuffer, BLOCK, Throttled, dmsetup, image_of, mix, run, stamp};

/// A file, and a loop device over it.
fn own_disk(name: &str) -> (PathBuf, String) {
    run("modprobe", &["loop"]);
    let image = PathBuf::from(format!("/tmp/{name}.img"));
    run("truncate", &["-s", "224M", image.to_str().unwrap()]);
    let disk = run("losetup", &["-f"]).trim().to_owned();
    run("losetup", &[&disk, image.to_str().unwrap()]);
    (image, disk)
}

/// A table over the disk, though not from its beginning: LVM would find its label there too.
fn mapper_table(disk: &str, delay_ms: u32) -> String {
    let sectors = 223 * 2048;
    match delay_ms {
        0 => format!("0 {sectors} linear {disk} 2048"),
        ms => format!("0 {sectors} delay {disk} 2048 {ms}"),
    }
}

/// A volume group.
pub(crate) struct VolumeGroup {
    pub(crate) name: String,
    /// The file and the loop device that are its disk, where they are its own.
    disk: Option<(PathBuf, String)>,
    /// A device of device-mapper between the disk and LVM, where errors can be made.
    mapper: Option<String>,
}

impl VolumeGroup {
    /// With one volume, `data`, and a snapshot of it, `snap`.
    pub(crate) fn new(name: &str) -> Self {
        let group = Self::empty(name);
        group.fill();
        group
    }

    /// The same over a linear device of this name, where errors can be made.
    pub(crate) fn on_mapper(name: &str, mapper: &str) -> Self {
        let (image, disk) = own_disk(name);
        dmsetup(&["create", mapper, "--table", &mapper_table(&disk, 0)]);
        let mut group = Self::on(name, &format!("/dev/mapper/{mapper}"));
        group.disk = Some((image, disk));
        group.mapper = Some(mapper.to_owned());
        group.fill();
        group
    }

    /// Delays every read and write of the disk of [`Self::on_mapper`].
    pub(crate) fn slow_down(&self, ms: u32) {
        let (Some(mapper), Some((_, disk))) = (&self.mapper, &self.disk) else {
            panic!("{} has no disk that can be slow", self.name);
        };
        run("modprobe", &["dm-delay"]);
        dmsetup(&["load", mapper, "--table", &mapper_table(disk, ms)]);
        dmsetup(&["suspend", "--noflush", "--nolockfs", mapper]);
        dmsetup(&["resume", mapper]);
    }

    fn fill(&self) {
        self.add_volume("data", 48);
        self.add_snapshot("data", "snap", 64);
    }

    /// Without a volume, on a loop device of its own.
    pub(crate) fn empty(name: &str) -> Self {
        let (image, disk) = own_disk(name);
        let mut group = Self::on(name, &disk);
        group.disk = Some((image, disk));
        group
    }

    /// Without a volume, on a disk.
    pub(crate) fn on(name: &str, disk: &str) -> Self {
        lvm(&["pvcreate", "-q", disk]);
        lvm(&["vgcreate", "-q", name, disk]);
        Self { name: name.to_owned(), disk: None, mapper: None }
    }

    pub(crate) fn add_volume(&self, volume: &str, mib: u64) {
        let size = format!("{mib}M");
        lvm(&["lvcreate", "-q", "-L", &size, "-n", volume, "-Wn", "-Zn", &self.name]);
    }

    pub(crate) fn add_snapshot(&self, origin: &str, snapshot: &str, mib: u64) {
        let size = format!("{mib}M");
        lvm(&["lvcreate", "-q", "-s", "-L", &size, "-n", snapshot, &self.volume(origin)]);
    }

    pub(crate) fn volume(&self, volume: &str) -> String {
        format!("{}/{volume}", self.name)
    }

    /// The device-mapper name of a volume.
    pub(crate) fn dm(&self, volume: &str) -> String {
        format!("{}-{}", self.name.replace('-', "--"), volume.replace('-', "--"))
    }

    pub(crate) fn path(&self, volume: &str) -> PathBuf {
        PathBuf::from("/dev/mapper").join(self.dm(volume))
    }

    pub(crate) fn write_snapshot(&self) {
        self.write_to("snap", 5);
    }

    /// Writes a sequential part and a scattered one, with a content of the seed's own.
    pub(crate) fn write_to(&self, volume: &str, seed: u64) {
        let file = std::fs::File::options().write(true).open(self.path(volume)).unwrap();
        let mut buffer = AlignedBuffer::new(BLOCK);
        for block in (0..1500).chain((0..150).map(|i| mix(i ^ seed) % 12_000)) {
            stamp(buffer.as_mut(), seed, block);
            file.write_all_at(buffer.as_mut(), block * BLOCK as u64).unwrap();
        }
        file.sync_all().unwrap();
    }

    /// All that a volume holds, read past the page cache.
    pub(crate) fn content(&self, volume: &str) -> Vec<u8> {
        image_of(&self.path(volume))
    }

    pub(crate) fn volumes(&self) -> String {
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
        kill_pollers();
        if let Some(mapper) = &self.mapper {
            let _ = Command::new("dmsetup").args(["remove", "--retry", mapper]).status();
        }
        if let Some((image, disk)) = &self.disk {
            let _ = Command::new("losetup").args(["-d", disk]).status();
            let _ = std::fs::remove_file(image);
        }
    }
}

/// The processes that lvm2 has left behind to look after merges. They call themselves `(lvm2)`; the
/// kernel still knows them by the name of the program.
pub(crate) fn pollers() -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let is_lvm = |path: &PathBuf| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == "lvm")
    };
    let lvms = processes.map(|entry| entry.path()).filter(is_lvm);
    lvms.filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
}

/// Ends them.
pub(crate) fn kill_pollers() {
    for pid in pollers() {
        // One that has ended by itself is as good.
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// The device with a snapshot's exceptions.
/// The device that holds a snapshot's exceptions.
pub(crate) fn cow_of(group: &VolumeGroup, snapshot: &str) -> PathBuf {
    PathBuf::from(format!("{}-cow", group.path(snapshot).display()))
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
    let promised = promised_runs_of(&cow_of(&group, "snap"));
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
    let promised = promised_runs_of(&cow_of(&group, "snap"));
    // The throttle has an effect on loop devices.
    let throttled = Throttled::at(0);
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
