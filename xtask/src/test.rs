//! `cargo xtask test`: everything that must hold, on the host and on real kernels.

use std::ffi::OsString;
use std::io::Write;
use std::num::NonZero;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::crash::Cuts;
use crate::kernels::{self, ByHand, Choice, Kernel};
use crate::labelled::Labelled;
use crate::run::say;
use crate::vm::Vm;
use crate::workspace::Workspace;
use crate::{boot, build, crash, ebpf, fuzz, lint, setup};

/// All tests take a quarter of an hour on one kernel in an emulated VM, more beside other work; what
/// takes much longer hangs.
const TIMEOUT: Duration = Duration::from_secs(40 * 60);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kernels to test on: names with commas between, or all
    #[arg(long, value_name = "NAMES", default_value = kernels::DEFAULT, conflicts_with = "kernel_image")]
    kernels: String,
    #[command(flatten)]
    by_hand: ByHand,
    /// Leave out the tests in VMs
    #[arg(long)]
    no_vm: bool,
    /// Leave out format, lints and documentation
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
const POWER_CUTS: Cuts = Cuts { count: 3, seed: 2, only: None, lie: false };
/// The same with merges offline: while copying, flushing and clearing.
const OFFLINE_POWER_CUTS: Cuts = Cuts { only: Some(crash::Kind::Offline), ..POWER_CUTS };

/// What of our environment the tests in a VM are given.
const PASSED_ON: [&str; 3] = ["CRASH_KILLS", "CRASH_SEED", "DIFFERENTIAL_SEED"];

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
        None => kernels::parse_list(&args.kernels)?.into_iter().map(Choice::Named).collect(),
    };
    setup::tools(workspace)?;
    ebpf::build(workspace)?;
    let mut verdicts = Vec::new();
    if !args.no_lint {
        verdicts.push(Verdict::of("lint", lint::run(workspace)));
    }
    verdicts.push(Verdict::of("host", on_host(workspace, &args.filter)));
    if !args.no_fuzz && args.filter.is_empty() {
        verdicts.push(Verdict::telling("fuzz", fuzz::for_a_minute(workspace)));
    }
    if !args.no_vm {
        verdicts.extend(on_kernels(workspace, &choices, &args.filter)?);
        if args.filter.is_empty() {
            verdicts.push(Verdict::telling("boot", boot::shortly(workspace)));
        }
    }
    Ok(sum_up(&verdicts))
}

fn on_host(workspace: &Workspace, filter: &[OsString]) -> Result<()> {
    say("tests on the host");
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--quiet", "--workspace", "--exclude", "merge-ebpf", "--"]).args(filter);
    cargo.run()
}

fn on_kernels(
    workspace: &Workspace,
    choices: &[Choice],
    filter: &[OsString],
) -> Result<Vec<Verdict>> {
    let programs = [build::merge_ctl(workspace)?, build::vm_tests(workspace)?];
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
    // A VM emulates its processors in one thread, so one for each of ours loses nothing.
    let side_by_side = thread::available_parallelism().map_or(1, NonZero::get);
    for kernels in kernels.chunks(side_by_side) {
        let labels = kernels.len() > 1;
        let on_one = |kernel: &Kernel| {
            let label = labels.then(|| kernel.name.clone());
            on_kernel(workspace, kernel, [&programs[0], &programs[1]], label, filter)
        };
        verdicts.extend(thread::scope(|scope| {
            let all: Vec<_> =
                kernels.iter().map(|kernel| scope.spawn(move || on_one(kernel))).collect();
            all.into_iter().flat_map(|one| joined(one.join())).collect::<Vec<_>>()
        }));
    }
    Ok(verdicts)
}

/// The verdicts of a thread, also of one that panicked.
fn joined(outcome: thread::Result<Vec<Verdict>>) -> Vec<Verdict> {
    outcome.unwrap_or_else(|_| vec![Verdict::of("a kernel", Err(anyhow!("its tests panicked")))])
}

/// All that runs on one kernel: with a filter, the power cuts are left out.
fn on_kernel(
    workspace: &Workspace,
    kernel: &Kernel,
    programs: [&Path; 2],
    label: Option<String>,
    filter: &[OsString],
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    if filter.is_empty() {
        let cuts = crash::power_cuts(workspace, kernel, &POWER_CUTS);
        verdicts.push(Verdict::telling(&format!("power cuts on {}", kernel.name), cuts));
        let cuts = crash::power_cuts(workspace, kernel, &OFFLINE_POWER_CUTS);
        verdicts.push(Verdict::telling(&format!("offline power cuts on {}", kernel.name), cuts));
    }
    let passed_on = PASSED_ON.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let passed_on: Vec<_> = passed_on.collect();
    verdicts.push(in_vm(workspace, kernel.clone(), programs, label, (&passed_on, filter)));
    verdicts
}

/// Runs the tests whose names contain `filter` in a VM, with these variables in their environment.
fn in_vm(
    workspace: &Workspace,
    kernel: Kernel,
    programs: [&Path; 2],
    label: Option<String>,
    (variables, filter): (&[(&str, OsString)], &[OsString]),
) -> Verdict {
    let step = format!("kernel {} ({})", kernel.name, kernel.version);
    say(format_args!("tests on {step}"));
    let program = programs[1].file_name().unwrap_or_default().to_owned();
    let mut command = vec![OsString::from("env")];
    for (name, value) in variables {
        let mut variable = OsString::from(format!("{name}="));
        variable.push(value);
        command.push(variable);
    }
    command.extend([program, "--ignored".into(), "--test-threads=1".into()]);
    command.extend(filter.iter().cloned());
    let mut vm = Vm::new(kernel);
    vm.copies = programs.map(Path::to_owned).into();
    vm.timeout = Some(TIMEOUT);
    let mut tally = Tally::new(Labelled::new(std::io::stdout(), label.clone()));
    let mut errors = Labelled::new(std::io::stderr(), label);
    let status = vm.run_into(workspace, &command, &mut tally, &mut errors);
    tally.verdict(step, status)
}

/// Only the tests that kill merge-ctl, which `filter` names, so many times; whether they passed.
pub(crate) fn kills(
    workspace: &Workspace,
    kernel: Kernel,
    filter: &str,
    (kills, seed): (u32, u64),
) -> Result<bool> {
    let programs = [build::merge_ctl(workspace)?, build::vm_tests(workspace)?];
    let variables =
        [("CRASH_KILLS", kills.to_string().into()), ("CRASH_SEED", seed.to_string().into())];
    let programs = [programs[0].as_path(), &programs[1]];
    let verdict = in_vm(workspace, kernel, programs, None, (&variables, &[filter.into()]));
    println!("{}  {}", verdict.step, verdict.result);
    Ok(verdict.passed)
}

/// Passes output on, and reads the test harness's closing line out of it.
struct Tally<W> {
    to: W,
    line: Vec<u8>,
    closing: Option<Closing>,
}

/// `test result: ok. 12 passed; 0 failed; …`
#[derive(Debug, PartialEq, Eq)]
struct Closing {
    passed: u64,
    failed: u64,
}

impl<W: Write> Tally<W> {
    fn new(to: W) -> Self {
        Self { to, line: Vec::new(), closing: None }
    }

    /// Passed only if the program says so, its closing line says so, and a test ran at all.
    fn verdict(&self, step: String, status: Result<u8>) -> Verdict {
        let (result, passed) = match (status, &self.closing) {
            (Err(error), _) => (format!("FAILED: {error:#}"), false),
            (Ok(status), None) => (format!("FAILED: no result, exit status {status}"), false),
            (Ok(0), Some(Closing { passed: 0, failed: 0 })) => {
                ("FAILED: no test ran".to_owned(), false)
            }
            (Ok(0), Some(Closing { passed, failed: 0 })) => (format!("{passed} passed"), true),
            (Ok(status), Some(Closing { passed, failed })) => {
                (format!("{passed} passed, {failed} FAILED, exit status {status}"), false)
            }
        };
        Verdict { step, result, passed }
    }
}

impl<W: Write> Write for Tally<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        for &byte in &bytes[..written] {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            self.closing = closing(&String::from_utf8_lossy(&line)).or(self.closing.take());
        }
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

fn closing(line: &str) -> Option<Closing> {
    let counts = line.strip_prefix("test result: ")?;
    let count = |what: &str| {
        let words: Vec<_> = counts.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
        let at = words.iter().position(|word| *word == what)?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    };
    Some(Closing { passed: count("passed")?, failed: count("failed")? })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(output: &str, status: u8) -> Verdict {
        let mut tally = Tally::new(Vec::new());
        tally.write_all(output.as_bytes()).unwrap();
        assert_eq!(tally.to, output.as_bytes());
        tally.verdict("kernel".into(), Ok(status))
    }

    #[test]
    fn tests_that_ran_and_passed_pass() {
        let output = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored\n";
        assert_eq!(verdict(output, 0).result, "2 passed");
        assert!(verdict(output, 0).passed);
    }

    #[test]
    fn no_test_no_result_and_a_bad_status_fail() {
        assert!(!verdict("test result: ok. 0 passed; 0 failed; 9 filtered out\n", 0).passed);
        assert!(!verdict("running 2 tests\n", 0).passed);
        assert!(!verdict("test result: FAILED. 1 passed; 1 failed;\n", 101).passed);
        assert!(!verdict("test result: ok. 2 passed; 0 failed;\n", 101).passed);
    }
}
