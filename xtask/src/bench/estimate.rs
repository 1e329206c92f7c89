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

use super::findings::{Claim, Findings};
use super::machine;
use super::ratios::Spread;
use crate::build;
use crate::kernels::{self, Choice};
use crate::run::{Command, say};
use crate::vm::Vm;
use crate::workspace::Workspace;

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

/// Measures.
pub(super) fn run(workspace: &Workspace, args: &Args) -> Result<Findings> {
    let (output, how) = match &args.replay {
        Some(file) => (replay(workspace, file)?, "replayed".to_owned()),
        None => merge(workspace, args)?,
    };
    let cases = cases(&output)?;
    let how = vec![format!("{} merges", cases.len()), how];
    let body = format!("{}\n{}", summary(&cases), table(&cases));
    Ok(Findings { how, body, claims: vec![verdict(&cases)] })
}

/// Has a VM merge; returns what was printed there, and in what VM.
fn merge(workspace: &Workspace, args: &Args) -> Result<(String, String)> {
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
    let output = String::from_utf8_lossy(&output).into_owned();
    if status != 0 {
        let merges = cases(&output).map_or(0, |cases| cases.len());
        bail!("after {merges} merges the VM's command ended with status {status}");
    }
    Ok((output, machine::in_vm(&vm.kernel.version)))
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

fn verdict(cases: &[Case]) -> Claim {
    let right = |index: usize| {
        let points = at(cases, index);
        points.iter().filter(|point| close(middle(point)) && point.held()).count()
    };
    let worst = (0..AT.len()).map(right).min().unwrap_or(0);
    let met = !cases.is_empty() && worst as f64 >= AIM * cases.len() as f64;
    Claim::judged(
        "predicted time of a merge within 15 % and inside its range, at 10, 25 and 50 % of it",
        "9 of 10 merges",
        format!("{worst} of {}", cases.len()),
        met,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(middle_s: f64) -> Value {
        let point = serde_json::json!({
            "low_s": middle_s - 1.0, "middle_s": middle_s, "high_s": middle_s + 1.0, "linear_s": 30.0,
        });
        serde_json::json!({
            "case": "x", "total_s": 20.0, "runs": 7, "points": [point.clone(), point.clone(), point],
        })
    }

    #[test]
    fn a_prediction_counts_by_its_distance_and_its_range() {
        let cases = [20.5, 22.0].map(|middle_s| Case::of(&case(middle_s)).unwrap());
        assert_eq!(verdict(&cases[..1]).met, Some(true));
        let told = verdict(&cases);
        assert_eq!((told.figure.as_str(), told.met), ("1 of 2", Some(false)));
        assert!(table(&cases).contains("| +10 % | +5 % to +15 %, **missed** | +50 % |"));
        assert!(summary(&cases).contains("| 2 of 2 | 0 of 2 | 1 of 2 | 6 % | 50 % | 10 % |"));
        assert_eq!(verdict(&[]).met, Some(false));
    }
}
