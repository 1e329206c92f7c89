//! The tests in a VM on one kernel, and what is said of them.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::Verdict;
use super::harness::{Failure, Reader, Report};
use crate::kernels::Kernel;
use crate::labelled::Labelled;
use crate::run::say;
use crate::vm::Vm;
use crate::workspace::Workspace;

/// All tests take a quarter of an hour on one kernel in an emulated VM, more beside other work; what
/// takes much longer hangs.
const TIMEOUT: Duration = Duration::from_secs(40 * 60);

/// So many failures may be chance on a busy machine; more of them have a cause.
const CHANCES: usize = 3;

/// What is run, and on what.
pub(super) struct InVm<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) kernel: &'a Kernel,
    /// merge-ctl, and the program with the tests.
    pub(super) programs: [&'a Path; 2],
    /// Before each line of output.
    pub(super) label: Option<String>,
    /// The tests' environment.
    pub(super) variables: &'a [(&'a str, OsString)],
    /// The server that scrapes a merge; without it that test is left out.
    pub(super) prometheus: Option<&'a Path>,
}

/// What only runs with a Prometheus, which is large and so goes into no VM that has no use for it.
const WITH_PROMETHEUS: &str = "export::a_merge_is_scraped_by_prometheus";

/// How the test program ended, and what the harness in it said last.
type Ending = (Result<u8>, Option<Report>);

impl InVm<'_> {
    /// Runs the tests that these arguments of the harness select.
    pub(super) fn run(&self, selection: &[OsString]) -> Verdict {
        let (result, passed) = judge(&self.end(selection));
        Verdict { step: self.step(), result, passed }
    }

    /// The same, and those that may have failed by chance once more, with nothing before them. Who
    /// passes then has passed, and is named.
    pub(super) fn run_with_second_try(&self, selection: &[OsString]) -> Verdict {
        let first = self.end(selection);
        let (result, passed) = judge(&first);
        let step = self.step();
        let (Ok(_), Some(Report { passed: count, failures, .. })) = first else {
            return Verdict { step, result, passed };
        };
        if passed || !are_chances(&failures) {
            return Verdict { step, result, passed };
        }
        say(format_args!("{} of the tests on {step} once more", failures.len()));
        let mut selection = vec![OsString::from("--exact")];
        selection.extend(failures.iter().map(|failure| OsString::from(&failure.test)));
        let (again, passed) = judge(&self.end(&selection));
        let result = if passed {
            let (count, second) = (count + failures.len() as u64, failures.len());
            format!("{count} passed, {second} of them at the second try{}", told(&failures))
        } else {
            format!("{result}\n  at the second try: {again}")
        };
        Verdict { step, result, passed }
    }

    fn step(&self) -> String {
        format!("kernel {} ({})", self.kernel.name, self.kernel.version)
    }

    fn end(&self, selection: &[OsString]) -> Ending {
        say(format_args!("tests on {}", self.step()));
        let program = self.programs[1].file_name().unwrap_or_default().to_owned();
        let mut command = vec![OsString::from("env")];
        for (name, value) in self.variables {
            let mut variable = OsString::from(format!("{name}="));
            variable.push(value);
            command.push(variable);
        }
        command.extend([program, "--ignored".into(), "--test-threads=1".into()]);
        command.extend(selection.iter().cloned());
        let mut vm = Vm::new(self.kernel.clone());
        vm.copies = self.programs.map(Path::to_owned).into();
        match self.prometheus {
            Some(server) if selects(selection, WITH_PROMETHEUS) => {
                vm.copies.push(server.to_owned());
            }
            Some(_) => {}
            None => command.extend(["--skip".into(), WITH_PROMETHEUS.into()]),
        }
        vm.timeout = Some(TIMEOUT);
        let mut reader = Reader::new(Labelled::new(std::io::stdout(), self.label.clone()));
        let mut errors = Labelled::new(std::io::stderr(), self.label.clone());
        let status = vm.run_into(self.workspace, &command, &mut reader, &mut errors);
        (status, reader.report())
    }
}

/// Passed only if the program says so, its closing line says so, and a test ran at all.
fn judge((status, report): &Ending) -> (String, bool) {
    match (status, report) {
        (Err(error), _) => (format!("FAILED: {error:#}"), false),
        (Ok(status), None) => (format!("FAILED: no result, exit status {status}"), false),
        (Ok(0), Some(Report { passed: 0, failed: 0, .. })) => {
            ("FAILED: no test ran".to_owned(), false)
        }
        (Ok(0), Some(Report { passed, failed: 0, .. })) => (format!("{passed} passed"), true),
        (Ok(status), Some(Report { passed, failed, failures })) => {
            let told = told(failures);
            (format!("{passed} passed, {failed} FAILED, exit status {status}{told}"), false)
        }
    }
}

/// Whether the harness would run a test of this name.
fn selects(selection: &[OsString], test: &str) -> bool {
    let is_part = |argument: &OsString| argument.to_str().is_some_and(|part| test.contains(part));
    let (mut filters, mut arguments) = (Vec::new(), selection.iter());
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--skip") if arguments.next().is_some_and(is_part) => return false,
            Some("--skip" | "--exact") => {}
            _ => filters.push(argument),
        }
    }
    filters.is_empty() || filters.into_iter().any(is_part)
}

fn are_chances(failures: &[Failure]) -> bool {
    (1..=CHANCES).contains(&failures.len()) && failures.iter().all(Failure::may_be_chance)
}

/// Each with its reason, on lines of their own.
fn told(failures: &[Failure]) -> String {
    let told = |failure: &Failure| {
        let words = failure.words.iter().map(|line| format!("\n    {line}"));
        format!("\n  {}{}", failure.test, words.collect::<String>())
    };
    failures.iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(passed: u64, failed: u64) -> Report {
        Report { passed, failed, failures: Vec::new() }
    }

    fn failure(words: &str) -> Failure {
        Failure { test: "a::b".to_owned(), words: vec![words.to_owned()] }
    }

    #[test]
    fn no_test_no_result_and_a_bad_status_fail() {
        assert_eq!(judge(&(Ok(0), Some(report(2, 0)))), ("2 passed".to_owned(), true));
        for ending in [
            (Ok(0), Some(report(0, 0))),
            (Ok(0), None),
            (Ok(101), Some(report(1, 1))),
            (Ok(101), Some(report(2, 0))),
            (Err(anyhow::anyhow!("no VM")), Some(report(2, 0))),
        ] {
            assert!(!judge(&ending).1, "{ending:?}");
        }
    }

    #[test]
    fn what_the_harness_would_run_is_known() {
        let selects = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            selects(&arguments, "one::test")
        };
        assert!(selects(&[]) && selects(&["two::", "one::"]) && selects(&["--skip", "two::"]));
        assert!(selects(&["--exact", "one::test"]));
        assert!(!selects(&["two::"]) && !selects(&["--skip", "one::"]));
        assert!(!selects(&["one::", "--skip", "test"]));
    }

    #[test]
    fn a_failure_is_told_with_its_words() {
        let failures = vec![failure("too late")];
        let (result, passed) = judge(&(Ok(101), Some(Report { passed: 1, failed: 1, failures })));
        assert!(!passed);
        assert_eq!(result, "1 passed, 1 FAILED, exit status 101\n  a::b\n    too late");
    }

    #[test]
    fn few_failures_may_be_chance_and_wrong_content_never_is() {
        assert!(are_chances(&[failure("too late")]));
        assert!(!are_chances(&[]));
        assert!(!are_chances(&vec![failure("too late"); CHANCES + 1]));
        assert!(!are_chances(&[failure("too late"), failure("the origin differs from it")]));
    }
}
