//! `cargo xtask bench offline-host`: how close merge-ctl's own merge engine comes to what the devices do, on
//! this host, beside fio.
//!
//! Snapshots of three shapes lie in files, and on loop devices over files where root has them. Each round
//! merges by io_uring, by threads, and has fio read and write as many bytes with requests of the same size,
//! both at the same time. Machines drift and have other work, so what counts is the ratio within a round.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::findings::{Claim, Findings};
use super::ratios::Spread;
use super::{machine, stop};
use crate::build;
use crate::run::{Command, say};
use crate::workspace::Workspace;

/// The part of fio's speed that the engine is to reach.
const AIM: f64 = 0.9;
const MIB: u64 = 1 << 20;
/// What merge-ctl uses where nothing else is said.
const MEMORY_MIB: &str = "256";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many rounds
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How much data a sequential snapshot has, in MiB: a power of two. A scattered one has a quarter
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    data_mib: u64,
    /// How many requests are under way at once, with the engine and with fio
    #[arg(long, value_name = "NUMBER", default_value_t = 64)]
    requests: u32,
    /// Where the files lie while it lasts: on the disk that is to be measured
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Leave the loop devices out
    #[arg(long)]
    no_loop: bool,
}

/// What a snapshot looks like, and what fio does to be compared.
struct Shape {
    name: &'static str,
    /// Its data, by that of a sequential one.
    share: u64,
    fio_reads: &'static str,
    fio_writes: &'static str,
    fio_block: &'static str,
    /// Whether the aim is for it.
    is_judged: bool,
}

const SHAPES: [Shape; 3] = [
    Shape {
        name: "sequential",
        share: 1,
        fio_reads: "read",
        fio_writes: "write",
        fio_block: "1m",
        is_judged: true,
    },
    Shape {
        name: "scattered",
        share: 4,
        fio_reads: "randread",
        fio_writes: "randwrite",
        fio_block: "4k",
        is_judged: true,
    },
    // Read in chunks, and written in large pieces; fio only does one or the other in a job.
    Shape {
        name: "descending",
        share: 4,
        fio_reads: "read",
        fio_writes: "write",
        fio_block: "4k",
        is_judged: false,
    },
];

/// An origin and a COW device.
struct Pair {
    origin: PathBuf,
    cow: PathBuf,
}

/// Seconds of each round.
#[derive(Default)]
struct Column {
    uring: Vec<f64>,
    threads: Vec<f64>,
    fio: Vec<f64>,
    whole: Vec<f64>,
}

/// A loop device over a file, for as long as this lives.
struct LoopDevice(PathBuf);

impl LoopDevice {
    fn over(file: &Path) -> Result<Self> {
        let path = Command::new("losetup")
            .args(["--find", "--show", "--direct-io=on"])
            .arg(file)
            .output()?;
        Ok(Self(PathBuf::from(path.trim())))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if let Err(error) = Command::new("losetup").arg("--detach").arg(&self.0).quietly() {
            say(format_args!("{error:#}"));
        }
    }
}

/// A row of the table, and what is to be said of it.
type Row = (String, Option<Claim>);

/// Measures.
pub(super) fn run(workspace: &Workspace, args: &Args) -> Result<Findings> {
    let program = build::example(workspace, "offline_host")?;
    let fio = Command::new("fio").arg("--version").output()?.trim().to_owned();
    let mut rows: Vec<Row> = Vec::new();
    let mut builder = tempfile::Builder::new();
    builder.prefix("merge-bench-");
    let dir = args.dir.as_ref().map_or_else(|| builder.tempdir(), |dir| builder.tempdir_in(dir))?;
    for shape in &SHAPES {
        let pair = Pair { origin: dir.path().join("origin"), cow: dir.path().join("cow") };
        say(format_args!("{}: making the snapshot", shape.name));
        make(&program, &pair, shape, args)?;
        rows.push(measure(&program, "files", &pair, shape, args)?);
        if !args.no_loop && rustix::process::geteuid().is_root() {
            let loops = (LoopDevice::over(&pair.origin)?, LoopDevice::over(&pair.cow)?);
            let pair = Pair { origin: loops.0.0.clone(), cow: loops.1.0.clone() };
            rows.push(measure(&program, "loop devices", &pair, shape, args)?);
        }
        std::fs::remove_file(pair.origin)?;
        std::fs::remove_file(pair.cow)?;
    }
    let body =
        "| on | snapshot | engine by io_uring, MiB/s | by threads | fio | engine of fio, median | \
                quartiles | whole merge, s |\n|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    let body = rows.iter().fold(body, |body, (row, _)| body + row);
    let claims = rows.into_iter().filter_map(|(_, claim)| claim).collect();
    Ok(Findings { how: vec![machine::rounds(args.rounds), fio], body, claims })
}

fn make(program: &Path, pair: &Pair, shape: &Shape, args: &Args) -> Result<()> {
    let mib = (args.data_mib / shape.share).to_string();
    let mut make = Command::new(program);
    make.arg("make").arg(&pair.origin).arg(&pair.cow).args([shape.name, &mib]).run()?;
    // A loop device has whole pages.
    for path in [&pair.origin, &pair.cow] {
        let file = File::options().write(true).open(path)?;
        file.set_len(file.metadata()?.len().next_multiple_of(4096))?;
    }
    Ok(())
}

/// All rounds of one shape in one place.
fn measure(program: &Path, place: &str, pair: &Pair, shape: &Shape, args: &Args) -> Result<Row> {
    say(format_args!("{} on {place}: {} rounds", shape.name, args.rounds));
    let mut column = Column::default();
    for round in 0..args.rounds {
        for turn in 0..3 {
            stop::check()?;
            match (round + turn) % 3 {
                0 => {
                    let (copy_s, whole_s) = merge(program, pair, "uring", shape, args)?;
                    column.uring.push(copy_s);
                    column.whole.push(whole_s);
                }
                1 => column.threads.push(merge(program, pair, "threads", shape, args)?.0),
                _ => column.fio.push(fio(pair, shape, args)?),
            }
        }
    }
    let mib = (args.data_mib / shape.share) as f64;
    let rate = |seconds: &[f64]| Spread::of(seconds.iter().map(|s| mib / s)).map(|s| s.median);
    let ratios = column.fio.iter().zip(&column.uring).map(|(fio, engine)| fio / engine);
    let ratio = Spread::of(ratios).context("no round")?;
    let median = |figures: &[f64]| figures_median(figures).context("no round");
    let row = format!(
        "| {place} | {}, {mib} MiB | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} to {:.2} | {:.2} |\n",
        shape.name,
        rate(&column.uring).context("no round")?,
        rate(&column.threads).context("no round")?,
        rate(&column.fio).context("no round")?,
        ratio.median,
        ratio.low,
        ratio.high,
        median(&column.whole)?,
    );
    let claim = Claim::judged(
        format!("offline engine beside fio, {} snapshot on {place}", shape.name),
        format!("≥ {AIM} of fio"),
        format!("{:.2} of fio", ratio.median),
        ratio.median >= AIM,
    );
    Ok((row, shape.is_judged.then_some(claim)))
}

fn figures_median(figures: &[f64]) -> Option<f64> {
    Spread::of(figures.iter().copied()).map(|spread| spread.median)
}

/// One merge: the seconds of copying and flushing, and of everything.
fn merge(
    program: &Path,
    pair: &Pair,
    backend: &str,
    shape: &Shape,
    args: &Args,
) -> Result<(f64, f64)> {
    let mib = (args.data_mib / shape.share).to_string();
    Command::new(program).arg("refill").arg(&pair.cow).args([shape.name, &mib]).run()?;
    let report = Command::new(program)
        .arg("merge")
        .args([&pair.origin, &pair.cow])
        .args([backend, &args.requests.to_string(), MEMORY_MIB])
        .output()?;
    let stage = |name: &str| {
        let value = report.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse::<f64>().ok()).with_context(|| format!("no {name}"))
    };
    let copy_s = stage("copying")? + stage("flushing")?;
    Ok((copy_s, copy_s + stage("reading")? + stage("clearing")?))
}

/// fio reads one and writes the other, at the same time: the seconds until both are done.
fn fio(pair: &Pair, shape: &Shape, args: &Args) -> Result<f64> {
    let bytes = args.data_mib / shape.share * MIB;
    let depth = args.requests.div_ceil(2);
    let job = |name: &str, rw: &str, path: &Path| {
        [format!("--name={name}"), format!("--rw={rw}"), format!("--filename={}", path.display())]
    };
    let report = Command::new("fio")
        .args(["--ioengine=io_uring", "--fixedbufs", "--direct=1", "--output-format=json"])
        .args(["--allow_file_create=0", "--randrepeat=0", "--norandommap", "--thread"])
        .arg(format!("--bs={}", shape.fio_block))
        .arg(format!("--iodepth={depth}"))
        .arg(format!("--io_size={bytes}"))
        .args(job("read", shape.fio_reads, &pair.cow))
        .args(job("write", shape.fio_writes, &pair.origin))
        .arg("--end_fsync=1")
        .output()?;
    seconds(&report).context("fio's report is not understood")
}

/// The time of the job that took longer.
fn seconds(report: &str) -> Option<f64> {
    let json: Value = serde_json::from_str(report.get(report.find('{')?..)?).ok()?;
    let runtimes = json["jobs"].as_array()?.iter().map(|job| job["job_runtime"].as_f64());
    let runtimes: Option<Vec<_>> = runtimes.collect();
    runtimes?.into_iter().reduce(f64::max).map(|ms| ms / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_that_took_longer_counts() {
        let report = "note\n{\"jobs\": [{\"job_runtime\": 1500}, {\"job_runtime\": 2250}]}";
        assert_eq!(seconds(report), Some(2.25));
        assert_eq!(seconds("{\"jobs\": [{}]}"), None);
    }
}
