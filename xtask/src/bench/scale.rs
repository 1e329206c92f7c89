//! `cargo xtask bench scale`: how long merge-ctl takes to answer on a large host: 100 snapshots, 10 merges at
//! once, an origin of 16 TiB, in a VM; a store of 100 million exceptions, on this host.
//!
//! The VM's part is `merge-ctl/examples/figures/scale.rs`.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::figures::{self, Report};
use super::findings::{Claim, Findings};
use super::{machine, stop};
use crate::build;
use crate::kernels;
use crate::run::{Command, say};
use crate::workspace::Workspace;

const MEMORY_MIB: u32 = 4096;
/// The names of the lines, and what they are of.
const ANSWERS: [(&str, &str); 9] = [
    ("version", "`--version`, which does nothing: what starting costs here"),
    ("status", "`status`, 100 snapshots"),
    ("dmsetup-status", "`dmsetup status`, the same"),
    ("plan", "`plan` of one of them"),
    ("status-merges", "`status`, 100 snapshots and 10 merges going on"),
    ("dmsetup-status-merges", "`dmsetup status`, the same"),
    ("large-status", "`status` of a snapshot of 16 TiB"),
    ("large-plan", "`plan` of it"),
    ("large-start", "`start` of it: 64 chunks, to the plain device"),
];
/// What `status` may take on real hardware; in the VM it takes longer.
const STATUS_S: f64 = 1.0;
/// The pace that was asked for, and what a gap may be.
const TICK_S: f64 = 0.2;
const LATE_S: f64 = 0.5;
/// What a plan of the large store may take, by processor time, and its memory.
const PLAN_S: f64 = 15.0;
const PLAN_MIB: f64 = 100.0;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each command is run
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long monitor and export are watched
    #[arg(long, value_name = "SECONDS", default_value_t = 15.0)]
    seconds: f64,
    /// How many exceptions the large store has
    #[arg(long, default_value_t = 100_000_000, value_parser = clap::value_parser!(u64).range(1..=1 << 28))]
    exceptions: u64,
    /// Where it lies while it lasts: 16 bytes an exception, a sparse file
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// 5.10, 6.1, 6.12, sid or experimental
    #[arg(long, value_name = "NAME", default_value = kernels::DEFAULT_VM)]
    kernel: String,
}

/// Measures.
pub(super) fn run(workspace: &Workspace, args: &Args) -> Result<Findings> {
    let plans = large_store(workspace, args)?;
    let words = ["scale".to_owned(), args.rounds.to_string(), args.seconds.to_string()];
    let report = figures::in_vm(workspace, &args.kernel, MEMORY_MIB, &words)?;
    let how = vec![machine::rounds(args.rounds), report.vm.clone()];
    let body = format!(
        "{}\n{}\n{}",
        plan_table(&plans, args.exceptions)?,
        answers(&report)?,
        paces(&report)?
    );
    let mut claims = claims(&report)?;
    claims.push(plan_claim(&plans, args.exceptions)?);
    Ok(Findings { how, body, claims })
}

/// Plans of a store that was written in no order, by the static program: `took WALL CPU PEAK_KIB`.
fn large_store(workspace: &Workspace, args: &Args) -> Result<Report> {
    let make = build::example(workspace, "store")?;
    let (merge_ctl, timer) =
        (build::merge_ctl(workspace)?, build::vm_example(workspace, "figures")?);
    let mut builder = tempfile::Builder::new();
    builder.prefix("merge-bench-");
    let dir = args.dir.as_ref().map_or_else(|| builder.tempdir(), |dir| builder.tempdir_in(dir))?;
    let store = dir.path().join("store");
    say(format_args!("a store of {} exceptions, and plans of it", args.exceptions));
    let exceptions = args.exceptions.to_string();
    Command::new(make).arg("make").arg(&store).args(["random", &exceptions]).quietly()?;
    let mut took = String::new();
    // Each takes long, so few are enough.
    for _ in 0..args.rounds.min(3) {
        stop::check()?;
        let mut plan = Command::new(&timer);
        plan.arg("timed").arg(&merge_ctl).args(["plan", "--json"]).arg(&store);
        took += &plan.output()?;
    }
    Ok(Report::of(&took, String::new()))
}

/// Seconds by the clock, seconds of processor time, MiB.
fn took(report: &Report, words: &[&str]) -> Result<[f64; 3]> {
    let median = |place| report.spread(words, place).map(|spread| spread.median);
    Ok([median(0)?, median(1)?, median(2)? / 1024.0])
}

fn plan_table(plans: &Report, exceptions: u64) -> Result<String> {
    let [wall_s, cpu_s, mib] = took(plans, &["took"])?;
    Ok(format!(
        "On this host, `plan` of a store of {:.0} million exceptions, written in no order, from the page cache:\n\n\
         | by the clock | processor time | peak memory |\n|---|---|---|\n\
         | {wall_s:.1} s | {cpu_s:.1} s | {mib:.0} MiB |\n",
        exceptions as f64 / 1e6
    ))
}

fn plan_claim(plans: &Report, exceptions: u64) -> Result<Claim> {
    let [_, cpu_s, mib] = took(plans, &["took"])?;
    Ok(Claim::judged(
        format!("plan of a store of {:.0} million exceptions", exceptions as f64 / 1e6),
        format!("≤ {PLAN_S} s of one core and {PLAN_MIB} MiB"),
        format!("{cpu_s:.1} s, {mib:.0} MiB"),
        cpu_s <= PLAN_S && mib <= PLAN_MIB,
    ))
}

fn answers(report: &Report) -> Result<String> {
    let mut table =
        "In the VM, medians:\n\n| command | by the clock | processor time, emulated | peak \
                     memory |\n|---|---|---|---|\n"
            .to_owned();
    for (name, title) in ANSWERS {
        let [wall_s, cpu_s, mib] = took(report, &["answer", name]).context(name)?;
        // Writing into a String cannot fail.
        let _ = writeln!(table, "| {title} | {wall_s:.2} s | {cpu_s:.2} s | {mib:.1} MiB |");
    }
    Ok(table)
}

/// The median and the worst of the gaps between two samples of a merge, or of a page's ages.
fn pace(report: &Report, what: &str) -> Result<(f64, f64)> {
    let gaps = report.values(&["tick", what], 0);
    let worst = gaps.iter().copied().fold(0.0, f64::max);
    Ok((report.spread(&["tick", what], 0)?.median, worst))
}

fn paces(report: &Report) -> Result<String> {
    let first = |what: &str| report.spread(&["tick", what], 0).map(|spread| spread.median);
    let used = |what: &str| -> Result<(f64, f64)> {
        let words = ["used", what];
        Ok((report.spread(&words, 0)?.median * 100.0, report.spread(&words, 1)?.median / 1024.0))
    };
    let (gap, worst) = pace(report, "monitor")?;
    let (cpu, mib) = used("monitor")?;
    let mut table = format!(
        "| what goes on | first figures after | pace, median | worst | processor time, emulated | peak memory |\n\
         |---|---|---|---|---|---|\n\
         | `monitor` of 10 merges, a sample every {:.0} ms | {:.1} s | {:.0} ms | {:.0} ms | {cpu:.0} % | {mib:.0} MiB |\n",
        TICK_S * 1000.0,
        first("monitor-first")?,
        gap * 1000.0,
        worst * 1000.0,
    );
    for (what, title) in [
        ("export-snapshots", "`export` of 100 snapshots, a page a second"),
        ("export-merges", "`export` of 100 snapshots and 10 merges, a page a second"),
    ] {
        let (_, oldest) = pace(report, &format!("{what}-age"))?;
        let (cpu, mib) = used(what)?;
        let _ = writeln!(
            table,
            "| {title} | {:.1} s | – | oldest page {oldest:.1} s | {cpu:.0} % | {mib:.0} MiB |",
            first(&format!("{what}-first"))?
        );
    }
    Ok(table)
}

fn claims(report: &Report) -> Result<Vec<Claim>> {
    let [status_s, ..] = took(report, &["answer", "status-merges"])?;
    let (gap, worst) = pace(report, "monitor")?;
    Ok(vec![
        Claim::judged(
            "status with 100 snapshots and 10 merges, in an emulated VM",
            format!("≤ {STATUS_S} s"),
            format!("{status_s:.2} s"),
            status_s <= STATUS_S,
        ),
        Claim::judged(
            "monitor of 10 merges keeps its pace of 200 ms, in an emulated VM",
            format!("no gap above {:.0} ms", LATE_S * 1000.0),
            format!("median {:.0} ms, worst {:.0} ms", gap * 1000.0, worst * 1000.0),
            worst <= LATE_S,
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(worst_s: f64) -> Report {
        let mut text = String::new();
        for (name, _) in ANSWERS {
            let _ = writeln!(text, "answer {name} 0.5 0.25 2048\nanswer {name} 0.3 0.25 2048");
        }
        let _ = writeln!(text, "tick monitor 0.2\ntick monitor {worst_s}\ntick monitor 0.2");
        let _ = writeln!(text, "tick monitor-first 4\nused monitor 0.3 4096");
        for what in ["export-snapshots", "export-merges"] {
            let _ =
                writeln!(text, "tick {what}-first 2\ntick {what}-age 0.7\nused {what} 0.1 1024");
        }
        Report::of(&text, String::new())
    }

    #[test]
    fn the_worst_gap_decides() {
        let met = |worst_s| claims(&report(worst_s)).unwrap()[1].met;
        assert_eq!([met(0.4), met(0.6)], [Some(true), Some(false)]);
        let table = paces(&report(0.6)).unwrap();
        let row = "| `monitor` of 10 merges, a sample every 200 ms | 4.0 s | 200 ms | 600 ms | 30 % | 4 MiB |";
        assert!(table.contains(row), "{table}");
        assert!(table.contains("| 2.0 s | – | oldest page 0.7 s | 10 % | 1 MiB |"), "{table}");
        let answers = answers(&report(0.2)).unwrap();
        assert!(answers.contains("| `plan` of it | 0.40 s | 0.25 s | 2.0 MiB |"), "{answers}");
    }

    #[test]
    fn a_plan_is_judged_by_processor_time_and_memory() {
        let claim = |text| plan_claim(&Report::of(text, String::new()), 100_000_000).unwrap();
        assert_eq!(claim("took 40 12 71680").met, Some(true));
        assert_eq!(claim("took 14 12 716800").met, Some(false));
        let told = claim("took 40 24 71680");
        assert_eq!((told.figure.as_str(), told.met), ("24.0 s, 70 MiB", Some(false)));
    }
}
