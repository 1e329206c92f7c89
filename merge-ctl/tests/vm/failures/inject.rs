//! Parts of a lower device that answer with errors.

use std::ops::Range;
use std::path::Path;

use super::super::testbed::{Testbed, dmsetup, run};

/// What is to go wrong.
pub(crate) enum Break {
    /// Every read and write of these sectors.
    All { device: &'static str, sectors: Range<u64> },
    /// Every write of these sectors, and every flush of the device that has a cache.
    Writes { device: &'static str, sectors: Range<u64> },
}

impl Break {
    /// From now on; what is not broken answers after `delay_ms`.
    pub(crate) fn apply(&self, bed: &Testbed, delay_ms: u32) {
        let (Self::All { device, .. } | Self::Writes { device, .. }) = self;
        self.apply_to(&bed.dm(device), delay_ms);
    }

    /// The same for any device with one target over one disk.
    pub(crate) fn apply_to(&self, name: &str, delay_ms: u32) {
        let (Self::All { sectors, .. } | Self::Writes { sectors, .. }) = self;
        // Whatever it is now: the end is the second word, then come the disk and where it begins.
        let table = dmsetup(&["table", name]);
        let words: Vec<&str> = table.split_whitespace().collect();
        let (end, disk): (u64, _) = (words[1].parse().unwrap(), words[3]);
        let offset: u64 = words[4].parse().unwrap();
        let part = |from: u64, to: u64, target: String| {
            (from < to).then(|| format!("{from} {} {target}\n", to - from))
        };
        let sound = |from: u64, to: u64| {
            part(
                from,
                to,
                match delay_ms {
                    0 => format!("linear {disk} {}", offset + from),
                    ms => format!("delay {disk} {} {ms}", offset + from),
                },
            )
        };
        let broken = match self {
            Self::All { .. } => "error".to_owned(),
            Self::Writes { .. } => {
                format!("flakey {disk} {} 0 60 1 error_writes", offset + sectors.start)
            }
        };
        let parts = [
            sound(0, sectors.start),
            part(sectors.start, sectors.end.min(end), broken),
            sound(sectors.end, end),
        ];
        reload(name, &parts.into_iter().flatten().collect::<String>());
    }
}

/// Swaps a device's table for one of several lines.
pub(crate) fn reload(device: &str, table: &str) {
    let file = format!("/tmp/{device}.table");
    std::fs::write(&file, table).unwrap();
    dmsetup(&["load", device, &file]);
    // Not flushed: what is in flight on a slow device would hold the swap up.
    dmsetup(&["suspend", "--noflush", "--nolockfs", device]);
    dmsetup(&["resume", device]);
}

/// A disk with a write cache: a loop device over a file.
pub(crate) struct LoopDisk {
    pub(crate) path: String,
    image: String,
}

impl LoopDisk {
    pub(crate) fn new(name: &str, mib: u64) -> Self {
        run("modprobe", &["loop"]);
        let image = format!("/tmp/{name}.img");
        run("truncate", &["-s", &format!("{mib}M"), &image]);
        let path = run("losetup", &["-f"]).trim().to_owned();
        run("losetup", &[&path, &image]);
        let kernel_name = Path::new(&path).file_name().unwrap().to_str().unwrap().to_owned();
        let cache = std::fs::read_to_string(format!("/sys/block/{kernel_name}/queue/write_cache"));
        assert_eq!(cache.unwrap().trim(), "write back", "no cache to flush");
        Self { path, image }
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("losetup").args(["-d", &self.path]).status();
        let _ = std::fs::remove_file(&self.image);
    }
}
