//! Disks in memory that take a chosen time for each request, whatever its size up to what the block
//! layer allows: null_blk with a timer. Requests are served side by side, 64 at a time. They have a
//! write cache, so that a flush is a request like any other and takes as long.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::fs::OFlags;

const CONFIG: &str = "/sys/kernel/config/nullb";
const MIB: u64 = 1 << 20;
/// How many requests are under way when a disk is filled.
const WRITERS: u64 = 8;
const BLOCK: usize = 4096;

/// A disk, until it is dropped.
pub(crate) struct Disk {
    directory: PathBuf,
    pub(crate) path: PathBuf,
    pub(crate) mib: u64,
}

/// Runs a program of the VM; anything but success is an error with what it said.
pub(crate) fn command(program: &str, words: &[&str]) -> Result<String> {
    let output = Command::new(program).args(words).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {words:?}: {}\n{said}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Disk {
    /// A disk of `mib` MiB; 0 µs for one that answers at once.
    pub(crate) fn new(name: &str, mib: u64, latency_us: u64) -> Result<Self> {
        command("modprobe", &["null_blk", "nr_devices=0"])?;
        if !Path::new(CONFIG).exists() {
            command("mount", &["-t", "configfs", "configfs", "/sys/kernel/config"])?;
        }
        let before = names()?;
        let directory = Path::new(CONFIG).join(name);
        fs::create_dir(&directory)?;
        let settings = [
            ("size", mib),
            ("memory_backed", 1),
            ("cache_size", 1),
            ("irqmode", if latency_us == 0 { 0 } else { 2 }),
            ("completion_nsec", latency_us * 1000),
            ("hw_queue_depth", 64),
            ("submit_queues", 1),
            ("blocksize", 512),
            ("power", 1),
        ];
        for (file, value) in settings {
            fs::write(directory.join(file), value.to_string()).with_context(|| file.to_owned())?;
        }
        let name = names()?.difference(&before).next().cloned().context("no new disk")?;
        fs::write(format!("/sys/block/{name}/queue/scheduler"), "none")?;
        Ok(Self { directory, path: Path::new("/dev").join(name), mib })
    }

    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Opened past the page cache.
    pub(crate) fn open(&self) -> Result<File> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let direct = OFlags::DIRECT.bits() as i32;
        let file = File::options().read(true).write(true).custom_flags(direct).open(&self.path);
        file.with_context(|| self.name())
    }

    /// Writes all of it, in pieces of 1 MiB, eight at a time; seconds.
    pub(crate) fn fill(&self) -> Result<f64> {
        let file = self.open()?;
        let begun = Instant::now();
        thread::scope(|scope| {
            let write = |first: u64| {
                let buffer = Aligned::new(MIB as usize);
                (first..self.mib)
                    .step_by(WRITERS as usize)
                    .try_for_each(|piece| file.write_all_at(buffer.bytes(), piece * MIB))
            };
            let writers: Vec<_> =
                (0..WRITERS).map(|first| scope.spawn(move || write(first))).collect();
            for writer in writers {
                writer.join().map_err(|_| anyhow::anyhow!("a writer crashed"))??;
            }
            anyhow::Ok(())
        })?;
        file.sync_data()?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// What one request takes: a read, a write and a flush, so many times each.
    pub(crate) fn latencies(&self, times: u32) -> Result<Vec<[Duration; 3]>> {
        let file = self.open()?;
        let mut buffer = Aligned::new(BLOCK);
        let mut latencies = Vec::new();
        for place in 0..u64::from(times) {
            let at = place * 7 * MIB / 64 % (self.mib * MIB) / BLOCK as u64 * BLOCK as u64;
            let clock = Instant::now();
            file.read_exact_at(buffer.bytes_mut(), at)?;
            let read = clock.elapsed();
            let clock = Instant::now();
            file.write_all_at(buffer.bytes(), at)?;
            let written = clock.elapsed();
            let clock = Instant::now();
            file.sync_data()?;
            latencies.push([read, written, clock.elapsed()]);
        }
        Ok(latencies)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The VM ends anyway.
        let _ = fs::write(self.directory.join("power"), "0");
        let _ = fs::remove_dir(&self.directory);
    }
}

fn names() -> Result<BTreeSet<String>> {
    let entries = fs::read_dir("/sys/block")?.flatten();
    Ok(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

/// A buffer whose start is a multiple of [`BLOCK`], as O_DIRECT wants it.
pub(crate) struct Aligned {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    pub(crate) fn new(length: usize) -> Self {
        let memory = vec![0; length + BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK);
        Self { memory, start, length }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..][..self.length]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.length]
    }
}
