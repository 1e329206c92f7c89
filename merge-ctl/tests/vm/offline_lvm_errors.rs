//! Disks that fail below an offline merge of a logical volume: the device and the sector are told, the
//! exit status is 5, nothing of ours is left, LVM has the merge on record, and nothing is cleared that
//! was not copied. Once the disk is sound again, an ordinary activation merges all.

use std::path::Path;

use super::failures::inject::{Break, reload};
use super::merge_ctl::{Ended, wait};
use super::offline_lvm::{
    Slow, assert_an_activation_finishes, merged, private_devices, until, volumes_of,
};
use super::testbed::{dmsetup, image_of};

const SECTOR: usize = 512;
const CHUNK_SECTORS: u64 = 8;
/// Of the snapshot's metadata: one area of a chunk holds so many exceptions, and their data follow it.
const AREA_EXCEPTIONS: u64 = 256;

/// A group on a disk that can fail, with a snapshot to merge.
struct Scene {
    disk: Slow,
    sound: String,
    promised: Vec<u8>,
    /// Where the origin's data and the exceptions begin on the disk, in sectors.
    real: u64,
    cow: u64,
    /// All that is on the COW device, before.
    store: Vec<u8>,
}

impl Scene {
    fn new(name: &'static str, mapper: &'static str) -> Self {
        let disk = Slow::new(name, mapper);
        let group = &disk.group;
        let place = |device: String| -> (u64, usize) {
            let table = dmsetup(&["table", &device]);
            let words: Vec<_> = table.split_whitespace().collect();
            assert_eq!(words.len(), 5, "not one segment: {table}");
            (words[4].parse().unwrap(), words[1].parse().unwrap())
        };
        let (real, _) = place(format!("{}-real", group.dm("data")));
        let (cow, sectors) = place(format!("{}-cow", group.dm("snap")));
        let promised = group.content("snap");
        let sound = dmsetup(&["table", mapper]);
        let mut scene = Self { disk, sound, promised, real, cow, store: vec![0; sectors * SECTOR] };
        scene.store = scene.store_now();
        scene
    }

    /// What is on the COW device now, past the caches.
    fn store_now(&self) -> Vec<u8> {
        let disk = Path::new("/dev/mapper").join(self.disk.mapper);
        let begin = self.cow as usize * SECTOR;
        image_of(&disk)[begin..begin + self.store.len()].to_vec()
    }

    fn breaks(&self, at: u64) {
        Break::All { device: "", sectors: at..at + 1 }.apply_to(self.disk.mapper, 0);
    }

    fn repair(&self) {
        reload(self.disk.mapper, &self.sound);
    }

    fn name(&self) -> &str {
        &self.disk.group.name
    }

    /// It has failed as it has to.
    #[track_caller]
    fn assert_failed(&self, ended: Ended, words: &[&str]) {
        let ended = ended.expect(5);
        let activate = format!("lvchange -ay {}", self.disk.group.volume("data"));
        for word in words.iter().copied().chain([&*activate]) {
            assert!(ended.stderr.contains(word), "no {word:?} in: {}", ended.stderr);
        }
        assert_eq!(private_devices(), 0);
        assert!(!self.disk.group.path("data").exists(), "the volume is active");
    }

    /// LVM has the merge on record: the origin waits for it, and the snapshot is hidden.
    #[track_caller]
    fn assert_recorded(&self) {
        let volumes = volumes_of(&self.disk.group);
        assert!(volumes.contains("[snap]") && volumes.contains(" Owi---s---"), "{volumes}");
    }

    #[track_caller]
    fn assert_nothing_was_cleared(&self) {
        assert!(self.store_now() == self.store, "the exceptions were changed");
    }

    /// `wait` says what is to be done, and that does it.
    #[track_caller]
    fn recovers(&self) {
        let origin = self.disk.group.volume("data");
        let said = wait(&[&origin], 3);
        assert_eq!(said["state"], "inactive", "{said}");
        assert_an_activation_finishes(&self.disk.group, &self.promised);
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_lvm_errors_a_bad_sector_of_the_data() {
    let scene = Scene::new("vgbadcow", "vgbadcow-disk");
    // In the midst of a piece that is copied in one go.
    let bad = (2 + 30) * CHUNK_SECTORS + 3;
    scene.breaks(scene.cow + bad);

    let ended = merged(&[], &scene.disk.group.volume("snap"), 5);

    let device = format!("{}/snap-cow", scene.name());
    scene.assert_failed(ended, &[&device, "read", &format!("sector {bad}")]);
    scene.repair();
    scene.assert_recorded();
    scene.assert_nothing_was_cleared();
    scene.recovers();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_lvm_errors_a_bad_sector_of_the_origin() {
    let scene = Scene::new("vgbadreal", "vgbadreal-disk");
    // Of the blocks that `write_snapshot` writes one after the other.
    let bad = 700 * CHUNK_SECTORS + 5;
    scene.breaks(scene.real + bad);

    let ended = merged(&[], &scene.disk.group.volume("snap"), 5);

    let device = format!("{}/data-real", scene.name());
    scene.assert_failed(ended, &[&device, "written", &format!("sector {bad}")]);
    scene.repair();
    scene.assert_recorded();
    scene.assert_nothing_was_cleared();
    scene.recovers();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_lvm_errors_exceptions_that_cannot_be_cleared() {
    let scene = Scene::new("vgbadtail", "vgbadtail-disk");
    // Without a cache there are no flushes, which the broken part would not do either.
    let words: Vec<_> = scene.sound.split_whitespace().collect();
    let cache = format!("/sys/dev/block/{}/queue/write_cache", words[3]);
    std::fs::write(&cache, "write through").unwrap();
    // The third area of several.
    let bad = (1 + 2 * (AREA_EXCEPTIONS + 1)) * CHUNK_SECTORS;
    let sectors = scene.cow + bad..scene.cow + bad + CHUNK_SECTORS;
    Break::Writes { device: "", sectors }.apply_to(scene.disk.mapper, 0);

    let ended = merged(&[], &scene.disk.group.volume("snap"), 5);

    let device = format!("{}/snap-cow", scene.name());
    scene.assert_failed(ended, &[&device, "written", &format!("sector {bad}")]);
    scene.repair();
    scene.assert_recorded();
    // All is copied by then. The later areas are cleared at the same time, the first one after them.
    let first = (2 + AREA_EXCEPTIONS) as usize * CHUNK_SECTORS as usize * SECTOR;
    assert!(scene.store_now()[..first] == scene.store[..first], "cleared before the rest was");
    scene.recovers();
}

/// How many sectors were written to a device that has a name, and perhaps no node.
fn written(name: &str) -> u64 {
    let number = dmsetup(&["info", "-c", "--noheadings", "-o", "major,minor", name]);
    let stat = std::fs::read_to_string(format!("/sys/dev/block/{}/stat", number.trim())).unwrap();
    stat.split_whitespace().nth(6).unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_lvm_errors_the_disk_goes_in_the_middle() {
    let scene = Scene::new("vggone", "vggone-disk");
    let running = scene.disk.begin();
    let before = written("vggone-data-real");
    until("it copies", || written("vggone-data-real") > before);
    let sectors: u64 = scene.sound.split_whitespace().nth(1).unwrap().parse().unwrap();
    Break::All { device: "", sectors: 0..sectors }.apply_to(scene.disk.mapper, 0);

    scene.assert_failed(running.wait(), &["vggone/", "at sector"]);

    scene.repair();
    scene.assert_recorded();
    scene.assert_nothing_was_cleared();
    scene.recovers();
}
