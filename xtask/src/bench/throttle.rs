//! `cargo xtask bench throttle`: what a throttle does for an application's writes, and what it costs the
//! merge: none, two fixed settings, and the closed loop.
//!
//! The merges are `merge-ctl/examples/throttle.rs`, which runs in a VM; here they are put into a table.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::findings::{Claim, Findings};
use super::machine;
use super::ratios::Spread;
use crate::build;
use crate::kernels::{self, Choice};
use crate::run::say;
use crate::vm::Vm;
use crate::workspace::Workspace;

/// A merge at a tenth of its speed takes minutes.
const TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60);
/// The disk is in memory.
const MEMORY_MIB: u32 = 3072;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each way to throttle is tried
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// 5.10, 6.1, 6.12, sid or experimental
    #[arg(long, value_name = "NAME", default_value = kernels::DEFAULT_VM)]
    kernel: String,
    /// Only these: none, "fixed 50 %", "fixed 10 %", loop
    #[arg(value_name = "VARIANT")]
    variants: Vec<String>,
}

/// Measures.
pub(super) fn run(workspace: &Workspace, args: &Args) -> Result<Findings> {
    let kernel = kernels::ensure(workspace, &Choice::Named(kernels::parse(&args.kernel)?), false)?;
    let mut vm = Vm::new(kernel);
    vm.memory_mib = MEMORY_MIB;
    vm.timeout = Some(TIMEOUT);
    vm.copies = vec![build::merge_ctl(workspace)?, build::vm_example(workspace, "throttle")?];
    say(format_args!(
        "merges on kernel {}, four a round, some minutes each round",
        vm.kernel.version
    ));
    let mut command: Vec<OsString> = vec!["throttle".into(), args.rounds.to_string().into()];
    command.extend(args.variants.iter().map(OsString::from));
    let mut output = Vec::new();
    let status = vm.run_into(workspace, &command, &mut output, &mut std::io::stderr())?;
    let output = String::from_utf8_lossy(&output).into_owned();
    if status != 0 {
        bail!("the VM's command ended with status {status} after:\n{output}");
    }
    let outcomes = outcomes(&output)?;
    let how = vec![machine::rounds(args.rounds), machine::in_vm(&vm.kernel.version)];
    Ok(Findings { how, body: table(&outcomes)?, claims: claims(&outcomes) })
}

/// What the loop does for the writes, and what that costs the merge.
fn claims(outcomes: &[Value]) -> Vec<Claim> {
    let of = |name, field| median(outcomes, name, field);
    let (Some(free), Some(held)) = (of("none", "percentile_ms"), of("loop", "percentile_ms"))
    else {
        return Vec::new();
    };
    let [target, percentile] =
        ["target_ms", "percentile"].map(|field| outcomes[0][field].as_f64().unwrap_or(f64::NAN));
    let mut claims = vec![Claim::judged(
        format!("throttle as a closed loop: p{percentile} of an application's writes"),
        format!("≤ {target} ms"),
        format!("{held:.0} ms, {free:.0} ms without"),
        held <= target,
    )];
    if let (Some(free), Some(held)) = (of("none", "merge_s"), of("loop", "merge_s")) {
        let times = format!("{:.1} times the time", held / free);
        claims.push(Claim::plain("what that costs the merge", times));
    }
    claims
}

/// A merge, in the example's words.
fn outcomes(output: &str) -> Result<Vec<Value>> {
    let lines = output.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// A row for each variant, in the order in which they came first.
fn table(outcomes: &[Value]) -> Result<String> {
    let first = outcomes.first().context("no merge was measured")?;
    let (target, percentile) = (&first["target_ms"], &first["percentile"]);
    let mut table = format!(
        "| throttle | merges | merge time, median | of no throttle | seconds with p{percentile} above \
         {target} ms | writes above {target} ms | p50 | p{percentile} | p99 |\n\
         |---|---|---|---|---|---|---|---|---|\n"
    );
    let mut names: Vec<&str> = Vec::new();
    for name in outcomes.iter().filter_map(|outcome| outcome["variant"].as_str()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let free = median(outcomes, "none", "merge_s");
    for name in names {
        let figure = |field: &str| median(outcomes, name, field).unwrap_or(f64::NAN);
        let merge_s = figure("merge_s");
        let above = figure("intervals_above") / figure("intervals");
        table += &format!(
            "| {name} | {} | {merge_s:.0} s | {} | {:.0} % | {:.1} % | {:.1} ms | {:.1} ms | {:.0} ms |\n",
            of(outcomes, name, "merge_s").count(),
            free.map_or_else(|| "–".to_owned(), |free| format!("{:.1}", merge_s / free)),
            above * 100.0,
            figure("slow_share") * 100.0,
            figure("p50_ms"),
            figure("percentile_ms"),
            figure("p99_ms"),
        );
    }
    Ok(table)
}

fn of<'a>(outcomes: &'a [Value], name: &'a str, field: &'a str) -> impl Iterator<Item = f64> + 'a {
    let mine = outcomes.iter().filter(move |outcome| outcome["variant"] == name);
    mine.filter_map(move |outcome| outcome[field].as_f64())
}

fn median(outcomes: &[Value], name: &str, field: &str) -> Option<f64> {
    Spread::of(of(outcomes, name, field)).map(|spread| spread.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_each_variant_with_medians() {
        let line = |variant, merge_s| {
            format!(
                "{{\"variant\": \"{variant}\", \"target_ms\": 15, \"percentile\": 90, \"merge_s\": \
                 {merge_s}, \"intervals\": 10, \"intervals_above\": 4, \"slow_share\": 0.125, \
                 \"p50_ms\": 4.0, \"percentile_ms\": 9.0, \"p99_ms\": 31.0}}\n"
            )
        };
        let output: String =
            [line("none", 10.0), line("loop", 30.0), line("none", 12.0), line("none", 11.0)]
                .concat();
        let outcomes = outcomes(&output).unwrap();
        assert_eq!(claims(&outcomes)[0].met, Some(true));
        assert_eq!(claims(&outcomes)[1].figure, "2.7 times the time");
        let table = table(&outcomes).unwrap();
        let row = "| loop | 1 | 30 s | 2.7 | 40 % | 12.5 % | 4.0 ms | 9.0 ms | 31 ms |";
        assert!(table.contains("| none | 3 | 11 s | 1.0 |") && table.contains(row), "{table}");
        assert!(super::table(&[]).is_err());
    }
}
