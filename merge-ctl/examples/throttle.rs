//! What `cargo xtask bench throttle` runs in its VM: merges beside an application that writes at a fixed
//! rate to the same disk, throttled in several ways. One JSON line a merge.
//!
//!     throttle ROUNDS [VARIANT …]   in a VM: makes and removes devices
//!
//! The disk is one null_blk that serves one request after the other. The exceptions are made once on RAM
//! disks and copied to it before each merge.

#[path = "../tests/vm/shared_disk.rs"]
#[expect(clippy::unwrap_used, reason = "made for the tests, which panic where they fail")]
mod shared_disk;
#[path = "../tests/vm/testbed.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "made for the tests, which use all of it and panic where they fail"
)]
mod testbed;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::Value;

use shared_disk::{Devices, SharedDisk, Size, exceptions};

/// How much a merge has to copy, and in runs of how many chunks: 48 MiB, 512 KiB a run.
const SIZE: Size = Size { mib: 64, chunk_sectors: 32, exceptions: 3_072, run_chunks: 32 };
/// How long the disk takes for a request of up to 64 KiB, at the least.
const REQUEST_US: u64 = 5_000;
/// What the application wants, and how often it writes.
const TARGET_MS: u64 = 25;
const PERCENTILE: u64 = 90;
const WRITES_PER_S: u64 = 30;

/// A way to throttle: its name, and the arguments of `merge-ctl throttle`; none for no throttle.
const VARIANTS: [(&str, &[&str]); 4] = [
    ("none", &[]),
    ("fixed 50 %", &["50%"]),
    ("fixed 10 %", &["10%"]),
    ("loop", &["--write-latency", "25ms", "--percentile", "90"]),
];

/// What came of a merge.
#[derive(Serialize)]
struct Outcome {
    variant: &'static str,
    round: u64,
    target_ms: u64,
    percentile: u64,
    merge_s: f64,
    writes: usize,
    p50_ms: f64,
    percentile_ms: f64,
    p99_ms: f64,
    slow_share: f64,
    /// Seconds, and those whose percentile was above the target.
    intervals: usize,
    intervals_above: usize,
}

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let rounds: u64 = words.next().context("say how many rounds")?.parse()?;
    let named: Vec<String> = words.collect();
    let exceptions = exceptions(&SIZE);
    let disk = SharedDisk::new("bench", SIZE.mib, REQUEST_US);
    for round in 0..rounds {
        for turn in 0..VARIANTS.len() as u64 {
            // Each round begins with another one.
            let (variant, arguments) = VARIANTS[((turn + round) % VARIANTS.len() as u64) as usize];
            if named.is_empty() || named.iter().any(|name| name == variant) {
                let outcome = measure(&disk, &exceptions, (variant, arguments), round)?;
                println!("{}", serde_json::to_string(&outcome)?);
            }
        }
    }
    Ok(())
}

/// One merge from the beginning to the end.
fn measure(
    disk: &SharedDisk,
    exceptions: &[u8],
    (variant, arguments): (&'static str, &[&str]),
    round: u64,
) -> anyhow::Result<Outcome> {
    let devices = Devices::new("bench", disk, &SIZE, exceptions);
    let mut merge = Running::start(Command::new("merge-ctl").args([
        "start",
        "--yes",
        "--output",
        "json",
        "bench-snap",
    ]))?;
    merge.line_where(|line| line["type"] == "run")?;
    let fio = fio()?;
    let throttle = match arguments {
        [] => None,
        _ => Some(Running::start(
            Command::new("merge-ctl")
                .args(["throttle", "bench-origin", "--output", "json"])
                .args(arguments),
        )?),
    };
    let summary = merge.line_where(|line| line["type"] == "summary")?;
    kill_process(Pid::from_child(&fio), Signal::INT)?;
    finish(fio)?;
    if let Some(mut throttle) = throttle {
        let end = throttle.line_where(|line| line["type"] == "throttle-end")?;
        eprintln!("{variant}: {}", end["throttling"]);
        finish(throttle.child)?;
    }
    finish(merge.child)?;
    drop(devices);
    let merge_s = summary["elapsed_ns"].as_f64().context("no elapsed_ns")? / 1e9;
    Ok(Outcome { variant, round, merge_s, ..writes(&fs::read_to_string(LOG)?)? })
}

/// fio's log of every write.
const LOG: &str = "bench_clat.1.log";

/// The application: a write at a random place of the origin, one after the other, at a fixed rate.
fn fio() -> anyhow::Result<Child> {
    let _ = fs::remove_file(LOG);
    Command::new("fio")
        .args(["--name=bench", "--filename=/dev/mapper/bench-origin", "--rw=randwrite", "--bs=4k"])
        .args(["--direct=1", "--ioengine=psync", "--norandommap", "--time_based", "--runtime=1h"])
        .arg(format!("--rate_iops={WRITES_PER_S}"))
        .args(["--write_lat_log=bench", "--log_avg_msec=0", "--output=/dev/null"])
        .spawn()
        .context("cannot start fio")
}

fn finish(mut child: Child) -> anyhow::Result<()> {
    let status = child.wait()?;
    eprintln!("ended: {status}");
    Ok(())
}

/// What fio's log says: `milliseconds, nanoseconds, direction, length, …`.
fn writes(log: &str) -> anyhow::Result<Outcome> {
    let mut all = Vec::new();
    for line in log.lines() {
        let mut fields = line.split(',').map(str::trim);
        let (Some(at), Some(took)) = (fields.next(), fields.next()) else { continue };
        all.push((at.parse::<u64>()?, took.parse::<u64>()? as f64 / 1e6));
    }
    let last_s = all.iter().map(|(at, _)| at / 1000).max().context("fio has written nothing")?;
    let mut intervals: Vec<Vec<f64>> = vec![Vec::new(); last_s as usize + 1];
    for (at, ms) in &all {
        intervals[(at / 1000) as usize].push(*ms);
    }
    // A second without any write that ended is one in which one waited.
    let above = intervals
        .iter_mut()
        .map(|interval| percentile(interval, PERCENTILE).unwrap_or(f64::INFINITY))
        .filter(|ms| *ms > TARGET_MS as f64)
        .count();
    let mut latencies: Vec<f64> = all.iter().map(|(_, ms)| *ms).collect();
    let mut at = |percent| percentile(&mut latencies, percent).unwrap_or(f64::NAN);
    let [p50_ms, percentile_ms, p99_ms] = [at(50), at(PERCENTILE), at(99)];
    let slow = latencies.iter().filter(|ms| **ms > TARGET_MS as f64).count();
    Ok(Outcome {
        variant: "",
        round: 0,
        target_ms: TARGET_MS,
        percentile: PERCENTILE,
        merge_s: 0.0,
        writes: latencies.len(),
        p50_ms,
        percentile_ms,
        p99_ms,
        slow_share: slow as f64 / latencies.len() as f64,
        intervals: intervals.len(),
        intervals_above: above,
    })
}

/// The smallest figure that so many percent of them do not exceed.
fn percentile(figures: &mut [f64], percent: u64) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let rank = (figures.len() as u64 * percent).div_ceil(100).max(1);
    figures.get(rank as usize - 1).copied()
}

/// A merge-ctl whose JSON lines are read.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Running {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("no output")?;
        Ok(Self { child, lines: BufReader::new(stdout).lines() })
    }

    fn line_where(&mut self, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        for line in self.lines.by_ref() {
            let line: Value = serde_json::from_str(&line?)?;
            if wanted(&line) {
                return Ok(line);
            }
        }
        bail!("merge-ctl has ended before the line that was waited for")
    }
}
