//! A disk on which a merge and an application are in each other's way, for tests and a bench in a VM.
//!
//! dm-delay makes every request slow, and each for itself: whoever comes second does not wait for the
//! first. Here they do.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::testbed::{AlignedBuffer, SECTOR, Testbed, dmsetup, open_direct, run};

/// A disk that serves one request after the other, each of 64 KiB at the most, and takes as long for
/// each: null_blk with one queue of one place. Two dm devices share it.
pub(crate) struct SharedDisk {
    directory: PathBuf,
    /// The two devices.
    pub(crate) halves: [String; 2],
}

impl SharedDisk {
    /// With two devices of so many MiB, and so many microseconds a request; a busy VM needs more.
    pub(crate) fn new(name: &str, mib: u64, request_us: u64) -> Self {
        run("modprobe", &["null_blk", "nr_devices=0"]);
        if !Path::new("/sys/kernel/config/nullb").exists() {
            run("mount", &["-t", "configfs", "configfs", "/sys/kernel/config"]);
        }
        let disks = || -> BTreeSet<String> {
            let entries = fs::read_dir("/sys/block").unwrap().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        let before = disks();
        let directory = Path::new("/sys/kernel/config/nullb").join(name);
        fs::create_dir(&directory).unwrap();
        let set = |file: &str, value: u64| {
            fs::write(directory.join(file), value.to_string()).unwrap();
        };
        for (file, value) in [
            ("size", 2 * mib),
            ("memory_backed", 1),
            ("irqmode", 2),
            ("completion_nsec", request_us * 1000),
            ("hw_queue_depth", 1),
            ("submit_queues", 1),
            ("blocksize", 512),
            ("power", 1),
        ] {
            set(file, value);
        }
        let disk = disks().difference(&before).next().unwrap().clone();
        let queue = Path::new("/sys/block").join(&disk).join("queue");
        fs::write(queue.join("scheduler"), "none").unwrap();
        fs::write(queue.join("max_sectors_kb"), "64").unwrap();
        let sectors = mib * 1024 * 1024 / SECTOR;
        let halves = [0, 1].map(|half| {
            let device = format!("{name}-half{half}");
            let table = format!("0 {sectors} linear /dev/{disk} {}", half * sectors);
            dmsetup(&["create", &device, "--table", &table]);
            format!("/dev/mapper/{device}")
        });
        Self { directory, halves }
    }
}

impl Drop for SharedDisk {
    fn drop(&mut self) {
        for half in &self.halves {
            let name = half.trim_start_matches("/dev/mapper/");
            let _ = Command::new("dmsetup").args(["remove", "--retry", name]).status();
        }
        let _ = fs::write(self.directory.join("power"), "0");
        let _ = fs::remove_dir(&self.directory);
    }
}

/// How large a merge is.
pub(crate) struct Size {
    /// The origin.
    pub(crate) mib: u64,
    pub(crate) chunk_sectors: u64,
    /// Chunks to merge.
    pub(crate) exceptions: u64,
    /// How many of them are in a run.
    pub(crate) run_chunks: u64,
}

/// The content of a COW device with all that is to be merged, made on RAM disks.
pub(crate) fn exceptions(size: &Size) -> Vec<u8> {
    let bed = Testbed::new("template", size.mib, size.chunk_sectors);
    let chunks = (0..).filter(|chunk| chunk % (size.run_chunks + 1) != 0);
    let blocks = chunks.map(|chunk| chunk * size.chunk_sectors / 8);
    bed.write_snapshot(blocks.take(size.exceptions as usize), 3);
    let mut image = bed.image("cow");
    let used = image.len() - image.iter().rev().take_while(|byte| **byte == 0).count();
    image.truncate(used.next_multiple_of(PIECE));
    image
}

/// As much as the disk takes at a time.
const PIECE: usize = 64 * 1024;

/// An origin and its snapshot above the two halves: `NAME-origin` and `NAME-snap`.
pub(crate) struct Devices {
    name: String,
}

impl Devices {
    /// With these exceptions.
    pub(crate) fn new(name: &str, disk: &SharedDisk, size: &Size, exceptions: &[u8]) -> Self {
        let [real, cow] = &disk.halves;
        let file = open_direct(cow.as_ref());
        let mut buffer = AlignedBuffer::new(PIECE);
        for (number, piece) in exceptions.chunks(PIECE).enumerate() {
            buffer.as_mut().copy_from_slice(piece);
            file.write_all_at(buffer.as_mut(), (number * PIECE) as u64).unwrap();
        }
        let end = size.mib * 1024 * 1024 / SECTOR;
        let create = |what: &str, table: String| {
            dmsetup(&["create", &format!("{name}-{what}"), "--table", &format!("0 {end} {table}")]);
        };
        create("snap", format!("snapshot {real} {cow} P {}", size.chunk_sectors));
        create("origin", format!("snapshot-origin {real}"));
        Self { name: name.to_owned() }
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        for what in ["origin", "snap"] {
            // The snapshot has gone with its merge.
            let _ = Command::new("dmsetup")
                .args(["remove", "--retry", &format!("{}-{what}", self.name)])
                .stderr(Stdio::null())
                .status();
        }
    }
}
