//! `cargo xtask bench estimate`: what merge-ctl predicts of a merge's total time while it goes on,
//! beside what the status line's percentage would have one believe.
//!
//! The merges and the predictions are `merge-ctl/examples/estimate.rs`, which runs in a VM; here
//! they are put into tables.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::ratios::Spread;
use crate::kernels::{self, Choice};
use crate::run::{Command, say};
use crate::vm::Vm;
use crate::workspace::Workspace;
use crate::{build, setup};

/// On a slow machine a merge of twenty seconds takes a minute.
const TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// The testbeds are RAM disks.
const MEMORY_MIB: u32 = 4096;
/// The shares of the time at which a prediction counts, in percent.
const AT: [&str; 3] = ["10 %", "25 %", "50 %"];
/// How far a prediction may be off.
const CLOSE: f64 = 0.15;
/// In how many of all cases it must be close, and the range right.
const AIM: f64 = 0.9;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// 5.10, 6.1, 6.12, sid or experimental
    #[arg(long, value_name = "NAME", default_value = kernels::DEFAULT_VM)]
    kernel: String,
    /// Keep all samples in this file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// No VM: what the model as it is now makes of the samples in this file
    #[arg(long, value_name = "FILE", conflicts_with = "record")]
    replay: Option<PathBuf>,
    /// Only the merges of these names
    #[arg(value_name = "MERGE")]
    merges: Vec<String>,
}

/// A merge: its name, and what was predicted at each of [`AT`].
struct Case {
    name: String,
    runs: Option<u64>,
    total_s: f64,
    points: Vec<Point>,
}

/// A prediction of the total time, relative to the truth: 0 is right, 0.1 is ten percent too long.
#[derive(Clone, Copy)]
struct Point {
    /// The low end, the best guess, the high end; none where nothing was promised.
    ours: Option<[f64; 3]>,
    linear: Option<f64>,
}

/// Measures and prints.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::tools(workspace)?;
    let (output, status) = match &args.replay {
        Some(file) => (replay(workspace, file)?, 0),
        None => merge(workspace, args)?,
    };
    let cases = cases(&output)?;
    println!("{}", table(&cases));
    println!("{}", summary(&cases));
    println!("{}", verdict(&cases));
    if status != 0 {
        bail!("after {} merges the VM's command ended with status {status}", cases.len());
    }
    Ok(())
}

/// Has a VM merge; returns what was printed there, and the exit status.
fn merge(workspace: &Workspace, args: &Args) -> Result<(String, u8)> {
    let kernel = kernels::ensure(workspace, &Choice::Named(kernels::parse(&args.kernel)?), false)?;
    let mut vm = Vm::new(kernel);
    vm.memory_mib = MEMORY_MIB;
    vm.timeout = Some(TIMEOUT);
    vm.copies = vec![build::vm_example(workspace, "estimate")?];
    say(format_args!("merges on kernel {}: about ten minutes", vm.kernel.version));
    let mut command: Vec<OsString> = vec!["estimate".into(), "run".into()];
    command.extend(args.record.is_some().then(|| "--record".into()));
    command.extend(args.merges.iter().map(OsString::from));
    let mut output = Vec::new();
    let status = vm.run_into(workspace, &command, &mut output, &mut std::io::stderr())?;
    if let Some(file) = &args.record {
        fs::write(file, &output).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok((String::from_utf8_lossy(&output).into_owned(), status))
}

fn replay(workspace: &Workspace, file: &Path) -> Result<String> {
    let estimate = build::example(workspace, "estimate")?;
    Command::new(estimate).arg("replay").arg(file).output()
}

/// The results among the lines.
fn cases(output: &str) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for line in output.lines() {
        let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        if let Some(result) = line.get("result") {
            cases.push(Case::of(result).with_context(|| format!("not a result: {result}"))?);
        }
    }
    Ok(cases)
}

impl Case {
    fn of(result: &Value) -> Option<Self> {
        let total_s = result["total_s"].as_f64()?;
        let off = |value: &Value| Some(value.as_f64()? / total_s - 1.0);
        let point = |point: &Value| {
            let [low, middle, high] = ["low_s", "middle_s", "high_s"].map(|end| off(&point[end]));
            let ours = low.zip(middle).zip(high).map(|((low, middle), high)| [low, middle, high]);
            Point { ours, linear: off(&point["linear_s"]) }
        };
        Some(Self {
            name: result["case"].as_str()?.to_owned(),
            runs: result["runs"].as_u64(),
            total_s,
            points: result["points"].as_array()?.iter().map(point).collect(),
        })
    }
}

impl Point {
    fn held(self) -> bool {
        self.ours.is_some_and(|[low, _, high]| low <= 0.0 && high >= 0.0)
    }
}

fn close(off: Option<f64>) -> bool {
    off.is_some_and(|off| off.abs() <= CLOSE)
}

/// `+3 %`, or a dash.
fn percent(off: Option<f64>) -> String {
    off.map_or_else(|| "–".to_owned(), |off| format!("{:+.0} %", off * 100.0))
}

fn table(cases: &[Case]) -> String {
    let mut table = "| merge | runs | took |".to_owned();
    let mut rule = "|---|---|---|".to_owned();
    for at in AT {
        table += &format!(" at {at} | range | linear |");
        rule += "---|---|---|";
    }
    table = format!("{table}\n{rule}\n");
    for case in cases {
        let runs = case.runs.map_or_else(|| "–".to_owned(), |runs| runs.to_string());
        table += &format!("| {} | {runs} | {:.0} s |", case.name, case.total_s);
        for point in &case.points {
            let held = if point.held() { "" } else { ", **missed**" };
            let range = point.ours.map_or_else(
                || "–".to_owned(),
                |[low, _, high]| format!("{} to {}{held}", percent(Some(low)), percent(Some(high))),
            );
            let middle = percent(point.ours.map(|[_, middle, _]| middle));
            table += &format!(" {middle} | {range} | {} |", percent(point.linear));
        }
        table.push('\n');
    }
    table
}

/// One of [`AT`] over all cases.
fn at(cases: &[Case], index: usize) -> Vec<Point> {
    cases.iter().filter_map(|case| case.points.get(index).copied()).collect()
}

fn middle(point: &Point) -> Option<f64> {
    point.ours.map(|[_, middle, _]| middle)
}

fn summary(cases: &[Case]) -> String {
    let mut table = "| at | within 15 %: merge-ctl | linear | range holds the truth | median error: \
                     merge-ctl | linear | median width of the range |\n|---|---|---|---|---|---|---|\n"
        .to_owned();
    for (index, word) in AT.iter().enumerate() {
        let points = at(cases, index);
        let median = |figures: Vec<f64>| {
            Spread::of(figures)
                .map_or_else(|| "–".to_owned(), |spread| format!("{:.0} %", spread.median * 100.0))
        };
        let all = points.len();
        table += &format!(
            "| {word} | {} of {all} | {} of {all} | {} of {all} | {} | {} | {} |\n",
            points.iter().filter(|point| close(middle(point))).count(),
            points.iter().filter(|point| close(point.linear)).count(),
            points.iter().filter(|point| point.held()).count(),
            median(points.iter().filter_map(|point| Some(middle(point)?.abs())).collect()),
            median(points.iter().filter_map(|point| Some(point.linear?.abs())).collect()),
            median(points.iter().filter_map(|p| p.ours.map(|[low, _, high]| high - low)).collect()),
        );
    }
    table
}

fn verdict(cases: &[Case]) -> String {
    let met = (0..AT.len()).all(|index| {
        let points = at(cases, index);
        let right = points.iter().filter(|point| close(middle(point)) && point.held()).count();
        !points.is_empty() && right as f64 >= AIM * points.len() as f64
    });
    let word = if met { "met" } else { "missed" };
    format!("Within 15 % and inside the range in 9 of 10 merges at each point: the aim is {word}.")
}
