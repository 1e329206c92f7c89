//! `cargo xtask test`: everything that must hold, on the host and on real kernels.

mod harness;
mod in_vm;
mod shares;

use std::ffi::OsString;
use std::num::NonZero;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use self::in_vm::InVm;
use crate::crash::Cuts;
use crate::kernels::{self, ByHand, Choice, Kernel};
use crate::prometheus::{self, Prometheus};
use crate::run::say;
use crate::workspace::Workspace;
use crate::{boot, build, crash, ebpf, fuzz, lint, package, setup, supply};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kernels to test on: names with commas between, or all; every test runs on each of them
    ///
    /// Without it: on two, 6.1 and the newest; what takes long and judges merge-ctl rather than the kernel
    /// is shared out between them.
    #[arg(long, value_name = "NAMES", conflicts_with = "kernel_image")]
    kernels: Option<String>,
    #[command(flatten)]
    by_hand: ByHand,
    /// Leave out the tests in VMs
    #[arg(long)]
    no_vm: bool,
    /// Leave out format, lints, documentation and the check of dependencies
    #[arg(long)]
    no_lint: bool,
    /// Leave out the minute of fuzzing, as a FILTER does
    #[arg(long)]
    no_fuzz: bool,
    /// Only the tests whose names contain this
    #[arg(last = true, value_name = "FILTER")]
    filter: Vec<OsString>,
}

/// So often the power is cut on each kernel here; `cargo xtask crash` does it more often.
const POWER_CUTS: Cuts = Cuts { count: 3, round: None, seed: 2, only: None, lie: false };
/// The same with merges offline: while copying, flushing and clearing.
const OFFLINE_POWER_CUTS: Cuts = Cuts { only: Some(crash::Kind::Offline), ..POWER_CUTS };

/// What of our environment the tests in a VM are given.
const PASSED_ON: [&str; 3] = ["CRASH_KILLS", "CRASH_SEED", "DIFFERENTIAL_SEED"];

/// How far what only computes steps back.
const NICE: i32 = 10;

/// How a step went: its name, what there is to say about it, whether it counts as passed.
struct Verdict {
    step: String,
    result: String,
    passed: bool,
}

impl Verdict {
    fn of(step: &str, result: Result<()>) -> Self {
        Self::telling(step, result.map(|()| "passed".to_owned()))
    }

    /// A step that has something to say when it passes.
    fn telling(step: &str, result: Result<String>) -> Self {
        let (result, passed) = match result {
            Ok(said) => (said, true),
            Err(error) => (format!("FAILED: {error:#}"), false),
        };
        Self { step: step.to_owned(), result, passed }
    }
}

/// Runs all of it, also after a failure, and sums up; returns the exit status.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<u8> {
    let choices = match args.by_hand.choice() {
        Some(choice) => vec![choice],
        None => kernels::parse_list(args.kernels.as_deref().unwrap_or(kernels::DEFAULT))?
            .into_iter()
            .map(Choice::Named)
            .collect(),
    };
    setup::tools(workspace)?;
    ebpf::build(workspace)?;
    let prometheus = prometheus::ensure(workspace);
    let prometheus = prometheus.as_ref();
    let whole = args.filter.is_empty();
    // A VM waits for slow disks for most of its time: what only computes goes on beside it.
    let verdicts = thread::scope(|scope| {
        let here =
            scope.spawn(|| on_this_machine(workspace, args, prometheus, whole && !args.no_vm));
        let shared_out = args.kernels.is_none() && whole;
        let kernels = match on_kernels(workspace, &choices, args, prometheus, shared_out) {
            Ok(verdicts) => verdicts,
            Err(error) => vec![Verdict::of("tests in VMs", Err(error))],
        };
        joined(here.join()).into_iter().chain(kernels).collect::<Vec<_>>()
    });
    Ok(sum_up(&verdicts))
}

/// What needs no kernel but the one that runs, the boots, and the package.
fn on_this_machine(
    workspace: &Workspace,
    args: &Args,
    prometheus: Option<&Prometheus>,
    boots: bool,
) -> Vec<Verdict> {
    let mut verdicts = thread::scope(|scope| {
        joined(scope.spawn(|| computing(workspace, args, prometheus)).join())
    });
    if boots {
        verdicts.push(Verdict::telling("boot", boot::shortly(workspace)));
        verdicts.push(Verdict::telling("package", package::shortly(workspace)));
    }
    verdicts
}

/// What only computes, in a thread that lets the VMs go first.
fn computing(workspace: &Workspace, args: &Args, prometheus: Option<&Prometheus>) -> Vec<Verdict> {
    // It is a courtesy: without it things are slower, and the same.
    let _ = rustix::process::nice(NICE);
    let mut verdicts = Vec::new();
    if !args.no_lint {
        verdicts.push(Verdict::of("lint", lint::run(workspace)));
        verdicts.push(Verdict::telling("supply", supply::shortly(workspace)));
    }
    verdicts.push(Verdict::of("host", on_host(workspace, &args.filter, prometheus)));
    if !args.no_fuzz && args.filter.is_empty() {
        verdicts.push(Verdict::telling("fuzz", fuzz::for_a_minute(workspace)));
    }
    verdicts
}

fn on_host(
    workspace: &Workspace,
    filter: &[OsString],
    prometheus: Option<&Prometheus>,
) -> Result<()> {
    say("tests on the host");
    let mut cargo = workspace.cargo();
    if let Some(Prometheus { promtool, .. }) = prometheus {
        cargo.env("PROMTOOL", promtool);
    }
    cargo.args(["test", "--quiet", "--workspace", "--exclude", "merge-ebpf", "--"]).args(filter);
    cargo.run()
}

fn on_kernels(
    workspace: &Workspace,
    choices: &[Choice],
    args: &Args,
    prometheus: Option<&Prometheus>,
    shared_out: bool,
) -> Result<Vec<Verdict>> {
    if args.no_vm {
        return Ok(Vec::new());
    }
    let filter = &args.filter;
    let prometheus = prometheus.map(|it| it.server.as_path());
    let programs = [build::merge_ctl(workspace)?, build::vm_tests(workspace)?];
    shares::check(&names_of_tests(&programs[1])?)?;
    build::vm_example(workspace, "crash")?;
    let mut verdicts = Vec::new();
    let mut kernels = Vec::new();
    for choice in choices {
        // A kernel that cannot be had must not hide what the others say.
        match kernels::ensure(workspace, choice, false) {
            Ok(kernel) => kernels.push(kernel),
            Err(error) => verdicts.push(Verdict::of(&format!("{choice}"), Err(error))),
        }
    }
    let places: Vec<_> = kernels.iter().enumerate().collect();
    // A VM emulates its processors in one thread, so one for each of ours loses nothing.
    let side_by_side = thread::available_parallelism().map_or(1, NonZero::get);
    for some in places.chunks(side_by_side) {
        let on_one = |place: usize, kernel: &Kernel| {
            let mut selection = filter.clone();
            if shared_out && kernels.len() == shares::KERNELS {
                selection.extend(shares::left_out(place));
            }
            let label = (some.len() > 1).then(|| kernel.name.clone());
            let programs = [programs[0].as_path(), &programs[1]];
            let variables = &passed_on();
            let in_vm = InVm { workspace, kernel, programs, label, variables, prometheus };
            on_kernel(&in_vm, &selection, filter.is_empty())
        };
        verdicts.extend(thread::scope(|scope| {
            let all: Vec<_> =
                some.iter().map(|(place, kernel)| scope.spawn(|| on_one(*place, kernel))).collect();
            all.into_iter().flat_map(|one| joined(one.join())).collect::<Vec<_>>()
        }));
    }
    Ok(verdicts)
}

/// The names of the tests in a program.
fn names_of_tests(program: &Path) -> Result<Vec<String>> {
    let listed = Command::new(program)
        .args(["--list", "--ignored"])
        .output()
        .context("the tests for VMs cannot be listed")?;
    ensure!(listed.status.success(), "the tests for VMs cannot be listed: {}", listed.status);
    let listed = String::from_utf8(listed.stdout)?;
    Ok(listed.lines().filter_map(|line| Some(line.strip_suffix(": test")?.to_owned())).collect())
}

/// What the tests in a VM are given of our environment.
fn passed_on() -> Vec<(&'static str, OsString)> {
    PASSED_ON.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))).collect()
}

/// The verdicts of a thread, also of one that panicked.
fn joined(outcome: thread::Result<Vec<Verdict>>) -> Vec<Verdict> {
    outcome.unwrap_or_else(|_| {
        vec![Verdict::of("tests", Err(anyhow!("a thread of the tests panicked")))]
    })
}

/// Runs the tests selected on one kernel; where it is `everything`, the power cuts too, and a test that may
/// have failed by chance gets a second try.
fn on_kernel(in_vm: &InVm<'_>, selection: &[OsString], everything: bool) -> Vec<Verdict> {
    if !everything {
        return vec![in_vm.run(selection)];
    }
    let (workspace, kernel) = (in_vm.workspace, in_vm.kernel);
    let cut = |what: &str, cuts| {
        let outcome = crash::power_cuts(workspace, kernel, cuts);
        Verdict::telling(&format!("{what} on {}", kernel.name), outcome)
    };
    vec![
        cut("power cuts", &POWER_CUTS),
        cut("offline power cuts", &OFFLINE_POWER_CUTS),
        in_vm.run_with_second_try(selection),
    ]
}

/// Only the tests that kill merge-ctl, which `filter` names, so many times; whether they passed.
pub(crate) fn kills(
    workspace: &Workspace,
    kernel: &Kernel,
    filter: &str,
    (kills, seed): (u32, u64),
) -> Result<bool> {
    let programs = [build::merge_ctl(workspace)?, build::vm_tests(workspace)?];
    let variables =
        [("CRASH_KILLS", kills.to_string().into()), ("CRASH_SEED", seed.to_string().into())];
    let programs = [programs[0].as_path(), &programs[1]];
    let in_vm =
        InVm { workspace, kernel, programs, label: None, variables: &variables, prometheus: None };
    let verdict = in_vm.run(&[filter.into()]);
    println!("{}  {}", verdict.step, verdict.result);
    Ok(verdict.passed)
}

fn sum_up(verdicts: &[Verdict]) -> u8 {
    println!();
    let width = verdicts.iter().map(|verdict| verdict.step.len()).max().unwrap_or(0);
    for Verdict { step, result, .. } in verdicts {
        println!("{step:width$}  {result}");
    }
    let failed = verdicts.iter().filter(|verdict| !verdict.passed).count();
    println!("{} of {} steps passed, {failed} failed", verdicts.len() - failed, verdicts.len());
    u8::from(failed > 0)
}
