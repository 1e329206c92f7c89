//! `cargo xtask bench runs`: how fast the kernel merges, by the length of a run, the size of a chunk and
//! the latency of the devices. merge-ctl has no part in it.
//!
//! The merges are `merge-ctl/examples/figures/runs.rs`, which runs in a VM; here they are put into tables.

use std::fmt::Write as _;

use anyhow::Result;

use super::figures::{self, Report};
use super::findings::{Claim, Findings};
use super::machine;
use crate::kernels;
use crate::workspace::Workspace;

const LATENCIES_US: [u32; 3] = [100, 1_000, 8_000];
const CHUNKS_KIB: [u32; 3] = [4, 16, 64];
const RUNS_KIB: [u32; 6] = [4, 16, 64, 256, 1024, 4096];
const MIB: f64 = 1_048_576.0;
/// Six disks in memory, a little more than twice as large as a merge.
const DISKS: u32 = 6;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each kind of merge is made
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How much a merge may copy, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 128, value_parser = clap::value_parser!(u32).range(16..=512))]
    data_mib: u32,
    /// 5.10, 6.1, 6.12, sid or experimental
    #[arg(long, value_name = "NAME", default_value = kernels::DEFAULT_VM)]
    kernel: String,
}

/// Measures.
pub(super) fn run(workspace: &Workspace, args: &Args) -> Result<Findings> {
    let memory_mib = 1024 + DISKS * (2 * args.data_mib + 32);
    let words = ["runs".to_owned(), args.rounds.to_string(), args.data_mib.to_string()];
    let report = figures::in_vm(workspace, &args.kernel, memory_mib, &words)?;
    let how = vec![machine::rounds(args.rounds), report.vm.clone()];
    let body = format!("{}\n{}", devices(&report)?, table(&report));
    Ok(Findings { how, body, claims: claims(&report)? })
}

/// What the devices are without device-mapper.
fn devices(report: &Report) -> Result<String> {
    let mut table =
        "| device | a read of 4 KiB | a write | a flush | writes of 1 MiB, 8 at a time |\n\
                     |---|---|---|---|---|\n"
            .to_owned();
    for latency in LATENCIES_US.map(|us| us.to_string()) {
        let words = ["latency", latency.as_str()];
        let ms = |place| report.spread(&words, place).map(|spread| spread.median * 1000.0);
        // Writing into a String cannot fail.
        let _ = writeln!(
            table,
            "| {} | {:.2} ms | {:.2} ms | {:.2} ms | {:.0} MiB/s |",
            named(&latency),
            ms(0)?,
            ms(1)?,
            ms(2)?,
            raw(report, &latency)?,
        );
    }
    Ok(table)
}

fn named(latency_us: &str) -> String {
    latency_us
        .parse::<f64>()
        .map_or_else(|_| latency_us.to_owned(), |us| format!("{} ms", us / 1e3))
}

/// MiB a second of the device itself.
fn raw(report: &Report, latency: &str) -> Result<f64> {
    let bytes = report.spread(&["raw", latency], 0)?.median;
    Ok(bytes / MIB / report.spread(&["raw", latency], 1)?.median)
}

/// A kind of merge: MiB a second, and milliseconds a run.
fn merge(report: &Report, latency: &str, chunk_kib: u32, run_kib: u32) -> Option<(f64, f64)> {
    let (chunk, run) = (chunk_kib.to_string(), run_kib.to_string());
    let words = ["merge", latency, &chunk, &run];
    let runs = report.spread(&words, 0).ok()?.median;
    let seconds = report.spread(&words, 1).ok()?.median;
    Some((runs * f64::from(run_kib) / 1024.0 / seconds, seconds * 1000.0 / runs))
}

fn table(report: &Report) -> String {
    let mut head = "| run |".to_owned();
    let mut rule = "|---|".to_owned();
    for latency in LATENCIES_US {
        for chunk in CHUNKS_KIB {
            let _ = write!(head, " {}, chunks of {chunk} KiB |", named(&latency.to_string()));
            rule += "---|";
        }
    }
    let mut table = format!("MiB/s of a merge, and milliseconds a run:\n\n{head}\n{rule}\n");
    for run_kib in RUNS_KIB {
        let _ = write!(table, "| {run_kib} KiB |");
        for latency in LATENCIES_US.map(|us| us.to_string()) {
            for chunk_kib in CHUNKS_KIB {
                let cell = merge(report, &latency, chunk_kib, run_kib);
                let cell = cell.map(|(rate, ms)| format!("{}, {} ms", short(rate), short(ms)));
                let _ = write!(table, " {} |", cell.as_deref().unwrap_or("–"));
            }
        }
        table.push('\n');
    }
    table
}

/// Two digits that count, at the least.
fn short(figure: f64) -> String {
    let places = if figure < 1.0 { 2 } else { usize::from(figure < 10.0) };
    format!("{figure:.places$}")
}

/// The ends of the middle column, for the summary.
fn claims(report: &Report) -> Result<Vec<Claim>> {
    let rate = |run_kib| merge(report, "1000", 4, run_kib).map(|(rate, _)| rate);
    let (Some(short_runs), Some(long_runs)) = (rate(4), rate(1024)) else { return Ok(Vec::new()) };
    let raw = raw(report, "1000")?;
    Ok(vec![Claim::plain(
        "the kernel's merge on devices of 1 ms, chunks of 4 KiB: runs of one chunk, of 256",
        format!(
            "{} MiB/s, {} MiB/s ({:.0} times); the device itself {raw:.0}",
            short(short_runs),
            short(long_runs),
            long_runs / short_runs
        ),
    )])
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "latency 1000 0.001 0.0012 0.001\nraw 1000 104857600 0.5\n\
        merge 1000 4 4 256 1.0\nmerge 1000 4 4 256 3.0\nmerge 1000 4 4 256 2.0\n\
        merge 1000 4 1024 32 0.5\n";

    #[test]
    fn a_rate_is_that_of_the_median_merge() {
        let report = Report::of(REPORT, String::new());
        let (rate, ms) = merge(&report, "1000", 4, 4).unwrap();
        assert_eq!((rate, ms), (0.5, 7.8125));
        let table = table(&report);
        assert!(table.contains("| 4 KiB | – | – | – | 0.50, 7.8 ms | – |"), "{table}");
        let claims = claims(&report).unwrap();
        assert_eq!(claims[0].figure, "0.50 MiB/s, 64 MiB/s (128 times); the device itself 200");
    }

    #[test]
    fn a_device_that_was_not_measured_is_an_error() {
        assert!(devices(&Report::of(REPORT, String::new())).is_err());
    }
}
