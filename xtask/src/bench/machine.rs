//! The machine, the day and the commit that a figure belongs to.

use std::fs;

use anyhow::{Context as _, Result};

use crate::run::Command;
use crate::workspace::Workspace;

/// Where and when something was measured; made before it is.
pub(super) struct Stamp {
    date: String,
    commit: String,
    machine: String,
    kernel: String,
    load: String,
}

impl Stamp {
    /// As it is now.
    pub(super) fn now(workspace: &Workspace) -> Result<Self> {
        let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?.trim().to_owned();
        let load = fs::read_to_string("/proc/loadavg")?;
        let load = load.split_whitespace().next().context("no load average")?.to_owned();
        Ok(Self { date, commit: commit(workspace), machine: processor()?, kernel: kernel()?, load })
    }

    /// The line above a result.
    pub(super) fn line(&self, how: &[String]) -> String {
        let Self { date, commit, machine, kernel, load } = self;
        let how: String = how.iter().map(|how| format!("; {how}")).collect();
        format!("*Measured {date}, {commit}: {machine}, Linux {kernel}, load {load} before{how}.*")
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        let [date, commit, machine, kernel, load] =
            ["2026-01-02", "commit abc", "a processor, 2 cores", "6.18", "0.1"].map(str::to_owned);
        Self { date, commit, machine, kernel, load }
    }
}

/// What is checked out, and whether it is what was measured.
fn commit(workspace: &Workspace) -> String {
    let git = |words: &[&str]| Command::new("git").args(words).dir(&workspace.root).output();
    let Ok(commit) = git(&["rev-parse", "--short=10", "HEAD"]) else {
        return "no git commit".to_owned();
    };
    // The document is what a bench itself changes.
    let changes = git(&["status", "--porcelain", "--untracked-files=no", "--", ":!docs"]);
    let changed = changes.is_ok_and(|changes| !changes.trim().is_empty());
    let changed = if changed { " with changes" } else { "" };
    format!("commit {}{changed}", commit.trim())
}

/// Its processor and its cores, and whether it is a virtual machine.
fn processor() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism()?;
    let model = model.map_or("unknown processor", |(_, model)| model);
    let is_virtual = cpus.split_whitespace().any(|word| word == "hypervisor");
    let class = if is_virtual { ", a virtual machine" } else { "" };
    Ok(format!("{model}, {cores} cores{class}"))
}

/// The version of its kernel; what a distributor or a hoster appends is left out.
pub(super) fn kernel() -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(version(release.trim()).to_owned())
}

/// The numbers that a release begins with.
pub(super) fn version(release: &str) -> &str {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
    &release[..end]
}

/// For the header of what was measured in a VM.
pub(super) fn in_vm(kernel: &str) -> String {
    format!("in QEMU without KVM, Linux {kernel}")
}

/// For the header.
pub(super) fn rounds(rounds: u32) -> String {
    format!("{rounds} round{}", if rounds == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_one_line() {
        let line = Stamp::for_tests().line(&[rounds(7), in_vm("6.1.192")]);
        let expected = "*Measured 2026-01-02, commit abc: a processor, 2 cores, Linux 6.18, load 0.1 \
                        before; 7 rounds; in QEMU without KVM, Linux 6.1.192.*";
        assert_eq!(line, expected);
        assert_eq!(rounds(1), "1 round");
    }

    #[test]
    fn a_release_is_cut_to_its_version() {
        assert_eq!(version("6.18.44-hosted-v6"), "6.18.44");
        assert_eq!(version("7.3"), "7.3");
    }
}
