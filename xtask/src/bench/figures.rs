//! Runs `merge-ctl/examples/figures` in a VM, and finds figures among the lines that it prints.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::machine;
use super::ratios::Spread;
use crate::build;
use crate::kernels::{self, Choice};
use crate::run::{Command, say};
use crate::vm::Vm;
use crate::workspace::Workspace;

const NAME: &str = "figures";
/// Far longer than it takes: a VM that hangs must not hold up the others.
const TIMEOUT: Duration = Duration::from_secs(40 * 60);

/// Lines of words: what was measured, then the figures.
pub(super) struct Report {
    lines: Vec<Vec<String>>,
    /// For the header.
    pub(super) vm: String,
}

/// Runs it with these words on a kernel of that name.
pub(super) fn in_vm(
    workspace: &Workspace,
    kernel: &str,
    memory_mib: u32,
    words: &[String],
) -> Result<Report> {
    let kernel = kernels::ensure(workspace, &Choice::Named(kernels::parse(kernel)?), false)?;
    let mut vm = Vm::new(kernel);
    vm.memory_mib = memory_mib;
    vm.timeout = Some(TIMEOUT);
    vm.copies = vec![build::merge_ctl(workspace)?, build::vm_example(workspace, NAME)?];
    say(format_args!("{} on kernel {}", words.join(" "), vm.kernel.version));
    let mut command: Vec<OsString> = vec![NAME.into()];
    command.extend(words.iter().map(OsString::from));
    let mut output = Vec::new();
    let status = vm.run_into(workspace, &command, &mut output, &mut std::io::stderr())?;
    let output = String::from_utf8_lossy(&output);
    if status != 0 {
        bail!("the VM's command ended with status {status} after:\n{output}");
    }
    Ok(Report::of(&output, machine::in_vm(&vm.kernel.version)))
}

/// How much longer the VM's processor takes for the same work than this one: the median of a few.
pub(super) fn slower_in_vm(workspace: &Workspace, report: &Report) -> Result<f64> {
    let program = build::vm_example(workspace, NAME)?;
    let mut here = Vec::new();
    for _ in 0..3 {
        let said = Command::new(&program).arg("spin").output()?;
        here.extend(Report::of(&said, String::new()).values(&["spin"], 0));
    }
    let here = Spread::of(here).context("no spin on this host")?.median;
    Ok(report.spread(&["spin"], 0)?.median / here)
}

impl Report {
    pub(super) fn of(output: &str, vm: String) -> Self {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        Self { lines: output.lines().map(words).collect(), vm }
    }

    /// The figure at this place behind these words, of all lines that begin with them.
    pub(super) fn values(&self, words: &[&str], place: usize) -> Vec<f64> {
        let mine = self.lines.iter().filter_map(|line| {
            let (first, rest) = line.split_at_checked(words.len())?;
            (first == words).then(|| rest.get(place)?.parse().ok())?
        });
        mine.collect()
    }

    /// Their median and quartiles.
    pub(super) fn spread(&self, words: &[&str], place: usize) -> Result<Spread> {
        Spread::of(self.values(words, place))
            .with_context(|| format!("no {} in the report", words.join(" ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_behind_their_words() {
        let report = Report::of("a b 1 2\na c 3 4\na b 5 6\nnoise\n", String::new());
        assert_eq!(report.values(&["a", "b"], 1), [2.0, 6.0]);
        assert_eq!(report.spread(&["a", "b"], 0).unwrap().median, 3.0);
        assert!(report.spread(&["b"], 0).is_err());
        assert!(report.values(&["a", "c"], 2).is_empty());
    }
}
