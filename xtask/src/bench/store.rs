//! `cargo xtask bench store`: how many exceptions merge-ctl reads in a second, and how close to the
//! device it comes.
//!
//! On the host, stores of three kinds lie in sparse files, in the page cache. Each figure comes from
//! a process of its own, so its peak memory is that of the pass; each round makes every pass once,
//! in an order that changes. What is judged is the rate by processor time: a pass has one thread and
//! waits for nothing, so that is what one core does, whatever else the machine has to do.
//!
//! In a VM, one store lies on a device that answers late, and what counts is how long its areas take.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::findings::{Claim, Findings};
use super::ratios::Spread;
use super::{machine, stop};
use crate::build;
use crate::kernels::{self, Choice};
use crate::run::{Command, say};
use crate::vm::Vm;
use crate::workspace::Workspace;

const KINDS: [&str; 3] = ["sequential", "random", "mixed"];
/// The exceptions that one core is to check, search for duplicates and make runs of, in a second.
const AIM_PER_S: f64 = 20e6;
const VM_TIMEOUT: Duration = Duration::from_secs(15 * 60);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many exceptions a store has
    #[arg(long, default_value_t = 20_000_000, value_parser = clap::value_parser!(u64).range(1..=1 << 28))]
    exceptions: u64,
    /// How many rounds on the host
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Where the stores lie while it lasts: 16 bytes an exception and kind, sparse files
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How many areas the store on the device has
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    areas: u64,
    /// How late the device answers
    #[arg(long, value_name = "MS", default_value_t = 1)]
    delay_ms: u32,
    /// How many rounds in the VM
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    device_rounds: u32,
    /// Leave the device out
    #[arg(long)]
    no_vm: bool,
}

/// What is measured on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Pass {
    Read,
    Bits,
    Walk,
    WalkRuns,
    Backwards,
    Survey,
}

impl Pass {
    const ALL: [Self; 6] =
        [Self::Read, Self::Bits, Self::Walk, Self::WalkRuns, Self::Backwards, Self::Survey];

    /// Its name for the example program.
    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Bits => "bits",
            Self::Walk => "walk",
            Self::WalkRuns => "walk-runs",
            Self::Backwards => "backwards",
            Self::Survey => "survey",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Read => "reading the areas, nothing else",
            Self::Bits => "the same, and a bit set for each old chunk",
            Self::Walk => "walk forwards, every entry checked",
            Self::WalkRuns => "walk forwards and runs",
            Self::Backwards => "walk backwards and runs",
            Self::Survey => "checks, duplicates and runs",
        }
    }
}

/// The passes of one kind over one kind of store.
#[derive(Default)]
struct Column {
    /// Exceptions a second, by the clock and by processor time.
    by_clock: Vec<f64>,
    by_core: Vec<f64>,
    peak_kib: Vec<f64>,
}

type Columns = BTreeMap<(usize, Pass), Column>;

/// Measures.
pub(super) fn run(workspace: &Workspace, args: &Args) -> Result<Findings> {
    let program = build::example(workspace, "store")?;
    let columns = on_host(&program, args)?;
    let mut body = format!(
        "Stores of {} exceptions each, chunks of 4 KiB, origin of 1 TiB:\n\n{}",
        args.exceptions,
        passes_table(&columns)
    );
    if !args.no_vm {
        body = format!("{body}\n{}", on_device(workspace, args)?);
    }
    Ok(Findings { how: vec![machine::rounds(args.rounds)], body, claims: verdict(&columns) })
}

fn on_host(program: &Path, args: &Args) -> Result<Columns> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("merge-bench-");
    let dir = args.dir.as_ref().map_or_else(|| builder.tempdir(), |dir| builder.tempdir_in(dir))?;
    let mut columns = Columns::new();
    for (kind, name) in KINDS.into_iter().enumerate() {
        let file = dir.path().join(name);
        say(format_args!("{name}: making the store, then {} rounds", args.rounds));
        let exceptions = args.exceptions.to_string();
        Command::new(program).arg("make").arg(&file).args([name, &exceptions]).quietly()?;
        // Into the page cache.
        once(program, &file, Pass::Read, args)?;
        let mut passes = Pass::ALL;
        for _ in 0..args.rounds {
            for pass in passes {
                stop::check()?;
                let report = once(program, &file, pass, args)?;
                columns.entry((kind, pass)).or_default().add(&report)?;
            }
            passes.rotate_left(1);
        }
        std::fs::remove_file(file)?;
    }
    Ok(columns)
}

/// Makes one pass; returns the program's report.
fn once(program: &Path, file: &Path, pass: Pass, args: &Args) -> Result<String> {
    let report = Command::new(program).arg("pass").arg(file).arg(pass.name()).output()?;
    let told: u64 = figure(&report, "exceptions")?;
    // The bare passes count whole areas, also the one where the store ends.
    if told.abs_diff(args.exceptions) > 256 {
        bail!("{}: {told} exceptions, not {}", pass.title(), args.exceptions);
    }
    Ok(report)
}

/// The value in the line `name value`.
fn figure<T: FromStr>(report: &str, name: &str) -> Result<T> {
    let line = report.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = line.and_then(|value| value.parse().ok());
    value.with_context(|| format!("no {name} in the report:\n{report}"))
}

impl Column {
    fn add(&mut self, report: &str) -> Result<()> {
        let exceptions: f64 = figure(report, "exceptions")?;
        self.by_clock.push(exceptions / figure::<f64>(report, "wall_s")?);
        self.by_core.push(exceptions / figure::<f64>(report, "cpu_s")?);
        self.peak_kib.push(figure(report, "peak_kib")?);
        Ok(())
    }
}

fn passes_table(columns: &Columns) -> String {
    let mut table =
        "| store | pass | M exceptions/s of one core, median | quartiles | by the clock, \
                     median | peak memory, MiB |\n|---|---|---|---|---|---|\n"
            .to_owned();
    table.extend(columns.iter().filter_map(|((kind, pass), column)| row(*kind, *pass, column)));
    table
}

fn row(kind: usize, pass: Pass, column: &Column) -> Option<String> {
    let of = |figures: &[f64]| Spread::of(figures.iter().map(|figure| figure / 1e6));
    let Spread { low, median, high } = of(&column.by_core)?;
    let clock = of(&column.by_clock)?.median;
    let peak_mib = column.peak_kib.iter().copied().fold(0.0, f64::max) / 1024.0;
    Some(format!(
        "| {} | {} | {median:.1} | {low:.1} to {high:.1} | {clock:.1} | {peak_mib:.1} |\n",
        KINDS[kind],
        pass.title()
    ))
}

fn verdict(columns: &Columns) -> Vec<Claim> {
    let verdicts = KINDS.into_iter().enumerate().filter_map(|(kind, name)| {
        let column = columns.get(&(kind, Pass::Survey))?;
        let rate = Spread::of(column.by_core.iter().copied())?.median;
        Some(Claim::judged(
            format!("exceptions checked, searched and made runs of by one core, {name} store"),
            format!("≥ {:.0} M/s", AIM_PER_S / 1e6),
            format!("{:.1} M/s", rate / 1e6),
            rate >= AIM_PER_S,
        ))
    });
    verdicts.collect()
}

/// The ways to read a device, as the example program names them.
const WAYS: [(&str, &str); 5] = [
    ("one-by-one", "merge-ctl, one read after the other"),
    ("ahead", "merge-ctl, forwards"),
    ("backwards", "merge-ctl, backwards"),
    ("fio-16", "fio, libaio, queue depth 16"),
    ("fio-32", "fio, libaio, queue depth 32"),
];

fn on_device(workspace: &Workspace, args: &Args) -> Result<String> {
    let named = kernels::parse(kernels::DEFAULT_VM)?;
    let mut vm = Vm::new(kernels::ensure(workspace, &Choice::Named(named), false)?);
    vm.copies = vec![build::vm_example(workspace, "store")?];
    vm.timeout = Some(VM_TIMEOUT);
    say(format_args!("a slow device on kernel {} ({})", vm.kernel.name, vm.kernel.version));
    let words = [args.areas, args.delay_ms.into(), args.device_rounds.into()];
    let mut command: Vec<OsString> = vec!["store".into(), "device".into()];
    command.extend(words.map(|word| word.to_string().into()));
    let mut report = Vec::new();
    let status = vm.run_into(workspace, &command, &mut report, &mut std::io::stderr())?;
    if status != 0 {
        bail!("the measurement in the VM failed: exit status {status}");
    }
    device_table(&String::from_utf8_lossy(&report), args)
}

fn device_table(report: &str, args: &Args) -> Result<String> {
    let mut table = format!(
        "{} areas of 4 KiB, each 1 MiB from the next, in a VM, on a device that is to answer after {} ms:\n\n\
         | reader | areas/s, median | quartiles | of fio at depth 32 |\n|---|---|---|---|\n",
        args.areas, args.delay_ms
    );
    let rates = |way: &str| {
        let lines = report.lines().filter_map(|line| line.strip_prefix(way)?.strip_prefix(' '));
        let seconds = lines.filter_map(|value| value.trim().parse::<f64>().ok());
        let rates = Spread::of(seconds.map(|seconds| args.areas as f64 / seconds));
        rates.with_context(|| format!("no {way} in the report:\n{report}"))
    };
    let fio = rates("fio-32")?.median;
    for (way, title) in WAYS {
        let Spread { low, median, high } = rates(way)?;
        let share = median / fio;
        table += &format!("| {title} | {median:.0} | {low:.0} to {high:.0} | {share:.2} |\n");
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_their_whole_name() {
        assert_eq!(figure::<u64>("runs 3\nruns_s 4\n", "runs_s").unwrap(), 4);
        assert_eq!(figure::<u64>("runs_s 4\nruns 3\n", "runs").unwrap(), 3);
        assert!(figure::<u64>("walk 4\n", "runs").is_err());
    }

    #[test]
    fn the_aim_is_judged_by_the_survey_on_one_core() {
        let mut columns = Columns::new();
        for (pass, cpu_s) in [(Pass::Survey, 2.0), (Pass::Walk, 0.1)] {
            let report = format!("exceptions 30000000\nwall_s 3\ncpu_s {cpu_s}\npeak_kib 2048\n");
            columns.entry((1, pass)).or_default().add(&report).unwrap();
        }
        let told = verdict(&columns);
        assert_eq!((told[0].figure.as_str(), told[0].met), ("15.0 M/s", Some(false)));
        assert!(passes_table(&columns).contains("| 15.0 | 15.0 to 15.0 | 10.0 | 2.0 |"));
    }
}
