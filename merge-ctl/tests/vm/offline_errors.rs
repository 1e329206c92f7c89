//! Devices that fail below an offline merge: the sector is told, the exit status is 5, nothing is cleared
//! that was not copied; once the device is sound again, the same command completes, and so does the
//! kernel alone.

use std::path::Path;

use super::failures::inject::{Break, LoopDisk};
use super::offline::{Pair, Traffic, same};
use super::testbed::{SECTOR, Testbed, dmsetup, image_of, put, ram_disk, run};

const CHUNK_SECTORS: u64 = 8;

/// A testbed whose snapshot is ready to be merged offline, and what it promised.
struct Scene {
    bed: Testbed,
    pair: Pair,
    promised: Vec<u8>,
    before: [Vec<u8>; 2],
    exceptions: u64,
}

impl Scene {
    /// 300 exceptions in two areas: 100 in one piece from block 7 on, then single ones.
    fn new(name: &str) -> Self {
        Self::on(Testbed::new(name, 16, CHUNK_SECTORS))
    }

    fn on(bed: Testbed) -> Self {
        bed.write_snapshot((7..107).chain((0..200).map(|number| 200 + number * 11)), 3);
        let promised = bed.image("snap");
        let pair = Pair::below(&bed, CHUNK_SECTORS);
        let before = [bed.image("real"), bed.image("cow")];
        let exceptions = pair.exceptions();
        assert_eq!(exceptions, 300);
        Self { bed, pair, promised, before, exceptions }
    }

    /// With this broken it fails, and says so with all of `words`; how many exceptions stay.
    #[track_caller]
    fn fails(&self, broken: &Break, words: &[&str]) -> u64 {
        broken.apply(&self.bed, 0);
        let ended = self.pair.merge(&[]).expect(5);
        for word in words {
            assert!(ended.stderr.contains(word), "no {word:?} in: {}", ended.stderr);
        }
        self.bed.slow_down(0);
        self.pair.exceptions()
    }

    /// As above, before anything is cleared.
    #[track_caller]
    fn fails_before_clearing(&self, broken: &Break, words: &[&str]) {
        assert_eq!(self.fails(broken, words), self.exceptions);
        same(&self.bed.image("cow"), &self.before[1], "the COW device");
    }

    /// The same command now completes; and from what the failure left, so does the kernel.
    #[track_caller]
    fn recovers(&self) {
        let failed = [self.bed.image("real"), self.bed.image("cow")];
        self.pair.merge(&[]).expect(0);
        self.pair.is_merged(&self.promised, "the same command again");
        let [real, cow] = &failed;
        put(&self.pair.real, real);
        put(&self.pair.cow, cow);
        self.pair.kernel_completes(&self.promised, "the kernel after a failure");
    }

    fn nothing_was_written_to_the_cow(&self) {
        same(&self.bed.image("cow"), &self.before[1], "the COW device");
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_errors_a_bad_sector_of_the_data() {
    let scene = Scene::new("off-read");
    // In the midst of a piece that is copied in one go: the fourth chunk of it.
    let bad = (2 + 3) * CHUNK_SECTORS + 3;
    let broken = Break::All { device: "cow", sectors: bad..bad + 1 };
    scene.fails_before_clearing(&broken, &["off-read-cow", "read", &format!("sector {bad}")]);
    scene.recovers();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_errors_a_bad_sector_of_the_metadata() {
    let scene = Scene::new("off-area");
    // The second area.
    let bad = (1 + 257) * CHUNK_SECTORS;
    let broken = Break::All { device: "cow", sectors: bad..bad + CHUNK_SECTORS };
    // The reader of the store counts in bytes.
    let place = format!("byte {}", bad * SECTOR);
    scene.fails_before_clearing(&broken, &["off-area-cow", &place]);
    same(&scene.bed.image("real"), &scene.before[0], "the origin");
    scene.recovers();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_errors_a_bad_sector_of_the_origin() {
    let scene = Scene::new("off-write");
    let bad = (7 + 50) * CHUNK_SECTORS + 5;
    let broken = Break::Writes { device: "real", sectors: bad..bad + 1 };
    let words = ["off-write-real", "written", &format!("sector {bad}")];
    scene.fails_before_clearing(&broken, &words);
    scene.recovers();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_errors_a_failed_flush_of_the_origin() {
    let disk = LoopDisk::new("off-flush", 16);
    let bed = Testbed::on_disks("off-flush", 16, CHUNK_SECTORS, &disk.path, &ram_disk());
    let scene = Scene::on(bed);
    // Nothing is copied there; a flush goes to every part of a device.
    let end = scene.bed.sectors();
    let broken = Break::Writes { device: "real", sectors: end - 8..end };
    scene.fails_before_clearing(&broken, &["off-flush-real", "flushed"]);
    scene.recovers();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_errors_the_last_area_cannot_be_cleared() {
    let scene = Scene::new("off-tail");
    let bad = (1 + 257) * CHUNK_SECTORS;
    let broken = Break::Writes { device: "cow", sectors: bad..bad + CHUNK_SECTORS };
    let words = ["off-tail-cow", "written", &format!("sector {bad}")];
    scene.fails_before_clearing(&broken, &words);
    scene.recovers();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_errors_the_first_area_cannot_be_cleared() {
    let scene = Scene::new("off-head");
    // The first entries of all, which are cleared last.
    let broken = Break::Writes { device: "cow", sectors: CHUNK_SECTORS..CHUNK_SECTORS + 1 };
    let words = ["off-head-cow", "written", &format!("sector {CHUNK_SECTORS}:")];
    let left = scene.fails(&broken, &words);
    assert!((1..=256).contains(&left), "{left} exceptions are left");
    scene.recovers();
}

/// The device goes while there is much to be copied.
fn a_device_goes(device: &'static str) {
    let scene = Scene::new(&format!("off-gone-{device}"));
    scene.bed.slow_down(5);
    let before = Traffic::of(&scene.pair.real);
    let mut running = scene.pair.spawn_loud(&["--requests", "1"]);
    while Traffic::of(&scene.pair.real).since(before).written_sectors == 0 {
        assert!(running.try_wait().unwrap().is_none(), "it has ended before anything was copied");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let all = Break::All { device, sectors: 0..scene.bed.sectors() };
    all.apply(&scene.bed, 0);
    let ended = running.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    scene.bed.slow_down(0);
    assert_eq!(ended.status.code(), Some(5), "{said}");
    assert!(said.contains("sector ") && said.contains(&scene.bed.dm(device)), "{said}");
    assert_eq!(scene.pair.exceptions(), scene.exceptions, "{said}");
    scene.nothing_was_written_to_the_cow();
    scene.recovers();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_errors_the_cow_device_goes() {
    a_device_goes("cow");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_errors_the_origin_goes() {
    a_device_goes("real");
}

/// A file system of so many KiB, for as long as this lives.
struct SmallFileSystem(&'static str);

impl SmallFileSystem {
    fn new(path: &'static str, kib: u64) -> Self {
        std::fs::create_dir_all(path).unwrap();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs", path]);
        Self(path)
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0).status();
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_errors_no_room_for_the_origins_image() {
    let scene = Scene::new("off-full");
    let small = SmallFileSystem::new("/tmp/off-full", 512);
    let (real, cow) = (Path::new("/tmp/off-full/real"), Path::new("/tmp/off-full.cow"));
    // Full of holes: its blocks are wanted one by one as they are written.
    run("truncate", &["-s", &scene.bed.bytes().to_string(), real.to_str().unwrap()]);
    std::fs::write(cow, &scene.before[1]).unwrap();
    let files = Pair::new(real, cow, scene.bed.sectors(), CHUNK_SECTORS);

    let ended = files.merge(&[]).expect(5);

    assert!(ended.stderr.contains("/tmp/off-full/real"), "{}", ended.stderr);
    assert!(ended.stderr.contains("sector "), "{}", ended.stderr);
    assert!(std::fs::read(cow).unwrap() == scene.before[1], "the COW image was changed");

    run("mount", &["-o", "remount,size=64m", small.0]);
    std::fs::write(real, &scene.before[0]).unwrap();
    files.merge(&["--verify"]).expect(0);
    same(&std::fs::read(real).unwrap(), &scene.promised, "the origin's image");
    std::fs::remove_file(cow).unwrap();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_errors_an_image_that_was_cut_short() {
    let scene = Scene::new("off-short");
    let [real, cow] = ["/tmp/off-short.real", "/tmp/off-short.cow"].map(Path::new);
    std::fs::write(real, &scene.before[0]).unwrap();
    // In the midst of the data.
    std::fs::write(cow, &scene.before[1][..150 * 4096 + 1024]).unwrap();
    let files = Pair::new(real, cow, scene.bed.sectors(), CHUNK_SECTORS);
    let ended = files.merge(&[]);
    assert!(![0, 3].contains(&ended.code), "{}: {}", ended.code, ended.stderr);
    assert!(ended.stderr.contains("/tmp/off-short.cow"), "{}", ended.stderr);
    assert!(std::fs::read(real).unwrap() == scene.before[0], "the origin's image was changed");
    assert!(std::fs::read(cow).unwrap() == scene.before[1][..150 * 4096 + 1024], "the COW image");
    for file in [real, cow] {
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_errors_a_device_that_somebody_holds_is_left_alone() {
    let bed = Testbed::new("off-held", 16, CHUNK_SECTORS);
    bed.write_snapshot(7..107, 3);
    let [real, cow] = [bed.image("real"), bed.image("cow")];
    let pair = Pair::new(&bed.path("real"), &bed.path("cow"), bed.sectors(), CHUNK_SECTORS);
    let ended = pair.merge(&[]);
    assert!(![0, 3].contains(&ended.code), "{}: {}", ended.code, ended.stderr);
    assert!(ended.stderr.contains("off-held-real"), "{}", ended.stderr);
    same(&image_of(&bed.path("real")), &real, "the origin");
    same(&image_of(&bed.path("cow")), &cow, "the COW device");
    assert!(dmsetup(&["status", &bed.dm("snap")]).contains('/'), "the snapshot is no more");
}
