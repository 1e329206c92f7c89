//! `cargo xtask bench attached`: what it costs a merge that `merge-ctl monitor` looks at it with all its
//! probes.
//!
//! The merges are `merge-ctl/examples/figures/attached.rs`, which runs in a VM.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::figures::{self, Report};
use super::findings::{Claim, Findings};
use super::machine;
use super::ratios::Spread;
use crate::kernels;
use crate::workspace::Workspace;

const MEMORY_MIB: u32 = 3072;
/// Latency in microseconds and KiB in a run.
const CASES: [(&str, &str); 3] = [("100", "4"), ("100", "256"), ("1000", "4")];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each merge is made both ways
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long a merge takes, or about
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    seconds: f64,
    /// 5.10, 6.1, 6.12, sid or experimental
    #[arg(long, value_name = "NAME", default_value = kernels::DEFAULT_VM)]
    kernel: String,
}

/// Measures.
pub(super) fn run(workspace: &Workspace, args: &Args) -> Result<Findings> {
    let words = ["attached".to_owned(), args.rounds.to_string(), args.seconds.to_string()];
    let report = figures::in_vm(workspace, &args.kernel, MEMORY_MIB, &words)?;
    let (body, claims) = table(&report)?;
    let how = vec![machine::rounds(args.rounds), report.vm];
    Ok(Findings { how, body, claims })
}

fn table(report: &Report) -> Result<(String, Vec<Claim>)> {
    let mut table = "| devices | run | runs | without | with | with, of without, median | quartiles | \
                     monitor's processor time | of without, less that time |\n|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let mut claims = Vec::new();
    for (latency, run_kib) in CASES {
        let of = |way, place| report.values(&["merge", latency, run_kib, way], place);
        let (without, with, cpu) = (of("without", 1), of("with", 1), of("with", 2));
        let ratios: Vec<_> =
            with.iter().zip(&without).map(|(with, without)| with / without).collect();
        let less = ratios.iter().zip(&cpu).map(|(ratio, cpu)| ratio * (1.0 - cpu));
        let less = Spread::of(less).context("no pair of merges")?.median;
        let ratio = Spread::of(ratios.iter().copied()).context("no pair of merges")?;
        let median = |figures: Vec<f64>| Spread::of(figures).map_or(f64::NAN, |it| it.median);
        let ms = latency.parse::<f64>()? / 1000.0;
        // Writing into a String cannot fail.
        let _ = writeln!(
            table,
            "| {ms} ms | {run_kib} KiB | {} | {:.2} s | {:.2} s | {:.3} | {:.3} to {:.3} | {:.0} % | {less:.3} |",
            median(of("with", 0)),
            median(without),
            median(with),
            ratio.median,
            ratio.low,
            ratio.high,
            median(cpu) * 100.0,
        );
        claims.push(Claim::plain(
            format!("time of a merge with monitor attached, emulated, devices of {ms} ms, runs of {run_kib} KiB"),
            format!("{less:.2} to {:.2} of without", ratio.median),
        ));
    }
    Ok((table, claims))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_are_compared_pair_by_pair() {
        let mut report = String::new();
        for (latency, run) in CASES {
            for (without, with) in [(2.0, 2.2), (1.0, 1.02), (4.0, 4.04)] {
                let _ = writeln!(report, "merge {latency} {run} without 50 {without} 0");
                let _ = writeln!(report, "merge {latency} {run} with 50 {with} 0.25");
            }
        }
        let (table, claims) = table(&Report::of(&report, String::new())).unwrap();
        let row = "| 1 ms | 4 KiB | 50 | 2.00 s | 2.20 s | 1.020 | 1.015 to 1.060 | 25 % | 0.765 |";
        assert!(table.contains(row), "{table}");
        assert_eq!(claims[2].figure, "0.77 to 1.02 of without");
        assert!(super::table(&Report::of("", String::new())).is_err());
    }
}
