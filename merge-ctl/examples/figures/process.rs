//! What a process uses: its processor time and its memory.

use std::fs;
use std::hint::black_box;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use rustix::process::{Pid, Signal, kill_process};

/// What a command took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) peak_kib: i64,
}

/// Runs a command, its output to nobody, and says what it took. It must be the first that this process
/// runs.
pub(crate) fn timed(program: &str, words: &[&str]) -> Result<()> {
    let begun = Instant::now();
    let status =
        Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot run {program}"))?;
    let wall_s = begun.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu_us = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    println!("took {wall_s} {} {}", cpu_us as f64 / 1e6, usage.max_rss());
    if !status.success() {
        bail!("{program}: {status}");
    }
    Ok(())
}

/// Runs a command in a process of its own that measures it.
pub(crate) fn measured(words: &[&str]) -> Result<Took> {
    let output = Command::new("/proc/self/exe").arg("timed").args(words).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{words:?}: {}\n{said}", output.status);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.trim().strip_prefix("took ");
    let figures: Vec<&str> = line.context("no figures")?.split(' ').collect();
    let [wall, cpu, peak] = figures[..] else { bail!("not three figures: {said}") };
    Ok(Took { wall_s: wall.parse()?, cpu_s: cpu.parse()?, peak_kib: peak.parse()? })
}

/// Work without memory and without system calls: how fast this processor is beside another.
pub(crate) fn spin() {
    let begun = Instant::now();
    let mut word = 1_u64;
    for _ in 0..200_000_000_u64 {
        word = black_box(word.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (word >> 7));
    }
    println!("spin {}", begun.elapsed().as_secs_f64());
}

/// A program that goes on until this is dropped, its output in a file.
pub(crate) struct Beside {
    child: Child,
    said: String,
}

/// What it had used at one instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    at: Instant,
    cpu_s: f64,
    pub(crate) peak_kib: u64,
}

impl Used {
    /// Seconds of processor time a second since an earlier one.
    pub(crate) fn cpu_since(self, earlier: Self) -> f64 {
        (self.cpu_s - earlier.cpu_s) / (self.at - earlier.at).as_secs_f64()
    }
}

impl Beside {
    pub(crate) fn start(words: &[&str]) -> Result<Self> {
        let said = format!("/tmp/figures-{}", words.len() as u128 ^ now_ns());
        let file = fs::File::create(&said)?;
        let child = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot run {words:?}"))?;
        Ok(Self { child, said })
    }

    /// What it has said so far, on both streams.
    pub(crate) fn said(&self) -> Result<String> {
        let mut said = Vec::new();
        fs::File::open(&self.said)?.read_to_end(&mut said)?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    /// Waits until it has said so.
    pub(crate) fn wait_for(&mut self, words: &str) -> Result<()> {
        let begun = Instant::now();
        while !self.said()?.contains(words) {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status} after:\n{}", self.said()?);
            }
            if begun.elapsed() > Duration::from_secs(120) {
                bail!("it never said {words:?}:\n{}", self.said()?);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// What it has used so far.
    pub(crate) fn used(&self) -> Result<Used> {
        let proc = Path::new("/proc").join(self.child.id().to_string());
        let stat = fs::read_to_string(proc.join("stat")).context("it is gone")?;
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |field: usize| -> Result<f64> {
            Ok(fields.get(field).context("no such field")?.parse::<f64>()?)
        };
        let per_s = rustix::param::clock_ticks_per_second() as f64;
        let status = fs::read_to_string(proc.join("status"))?;
        let kib = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            Ok(word.with_context(|| format!("no {name}"))?.parse()?)
        };
        Ok(Used {
            at: Instant::now(),
            cpu_s: (ticks(11)? + ticks(12)?) / per_s,
            peak_kib: kib("VmHWM:")?,
        })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.said);
    }
}

/// A number that is never the same twice.
fn now_ns() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_nanos()
}
