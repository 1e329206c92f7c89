//! A disk on which a merge and an application are in each other's way, for tests and a bench in a VM.
//!
//! dm-delay makes every request slow, and each for itself: whoever comes second does not wait for the
//! first. Here they do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::testbed::{SECTOR, dmsetup, run};

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
