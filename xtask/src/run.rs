//! Running other programs, with errors that say which one and how it ended.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{self, ExitStatus, Output, Stdio};
use std::thread;

use anyhow::{Context as _, Result, bail};

/// A program to run to its end; anything but success is an error that names it.
pub(crate) struct Command {
    name: OsString,
    inner: process::Command,
}

impl Command {
    /// Runs `program`, found on PATH unless it is a path.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let inner = process::Command::new(program.as_ref());
        Self { name: program.as_ref().to_owned(), inner }
    }

    pub(crate) fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.inner.arg(arg);
        self
    }

    pub(crate) fn args(&mut self, args: impl IntoIterator<Item: AsRef<OsStr>>) -> &mut Self {
        self.inner.args(args);
        self
    }

    pub(crate) fn env(&mut self, key: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.inner.env(key, value);
        self
    }

    pub(crate) fn unset(&mut self, key: &str) -> &mut Self {
        self.inner.env_remove(key);
        self
    }

    pub(crate) fn dir(&mut self, dir: &Path) -> &mut Self {
        self.inner.current_dir(dir);
        self
    }

    /// Runs it with our own streams, its stdout on our stderr: stdout belongs to results.
    pub(crate) fn run(&mut self) -> Result<()> {
        let status = self.inner.stdin(Stdio::null()).stdout(std::io::stderr()).status();
        self.check(status.with_context(|| self.cannot())?)
    }

    /// Runs it and returns what it wrote to stdout; what it wrote to stderr shows if it fails.
    pub(crate) fn output(&mut self) -> Result<String> {
        let output = self.captured()?;
        self.check_said(&output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// As [`Self::output`] for programs that may fail and yet answer; stderr is not kept.
    pub(crate) fn stdout_whatever_status(&mut self) -> Result<(ExitStatus, String)> {
        let output = self.captured()?;
        Ok((output.status, String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Says nothing while it succeeds; on failure what it wrote to stderr is part of the error.
    pub(crate) fn quietly(&mut self) -> Result<()> {
        self.output().map(drop)
    }

    /// Runs cargo so that a build with nothing to do is silent, one with something to do says
    /// `what` once, and only warnings and errors follow. Returns its stdout.
    pub(crate) fn cargo_build(&mut self, what: &str) -> Result<String> {
        self.inner.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.inner.spawn().with_context(|| self.cannot())?;
        let stderr = child.stderr.take();
        let what = what.to_owned();
        let relay = thread::spawn(move || stderr.map(|pipe| relay_cargo(pipe, &what)));
        let output = child.wait_with_output().with_context(|| self.cannot())?;
        let relayed = relay.join();
        self.check(output.status)?;
        if relayed.is_err() {
            bail!("what {} said could not be shown", self.name.display());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it and gives each line that it writes to stderr to `tell`; its stdout goes to our stderr.
    pub(crate) fn run_telling(&mut self, mut tell: impl FnMut(&str)) -> Result<()> {
        self.inner.stdin(Stdio::null()).stdout(std::io::stderr()).stderr(Stdio::piped());
        let mut child = self.inner.spawn().with_context(|| self.cannot())?;
        let mut lines = child.stderr.take().map(BufReader::new);
        let mut line = Vec::new();
        while let Some(lines) = &mut lines
            && lines.read_until(b'\n', &mut line).with_context(|| self.cannot())? > 0
        {
            tell(String::from_utf8_lossy(&line).trim_end_matches('\n'));
            line.clear();
        }
        self.check(child.wait().with_context(|| self.cannot())?)
    }

    fn captured(&mut self) -> Result<Output> {
        self.inner.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.inner.output().with_context(|| self.cannot())
    }

    fn check_said(&self, output: &Output) -> Result<()> {
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}\n{}", self.name.display(), output.status, said.trim_end());
    }

    fn check(&self, status: ExitStatus) -> Result<()> {
        if !status.success() {
            bail!("{} failed: {status}", self.name.display());
        }
        Ok(())
    }

    fn cannot(&self) -> String {
        format!("cannot run {}", self.name.display())
    }
}

/// Passes on what matters of cargo's progress.
fn relay_cargo(pipe: impl Read, what: &str) {
    const PROGRESS: [&str; 7] =
        ["Compiling", "Checking", "Downloading", "Downloaded", "Updating", "Locking", "Adding"];
    let mut said = false;
    for line in BufReader::new(pipe).lines().map_while(Result::ok) {
        let first = line.split_whitespace().next().unwrap_or_default();
        if PROGRESS.contains(&first) {
            if !said {
                say(what);
            }
            said = true;
        } else if !matches!(first, "Finished" | "Executable") {
            eprintln!("{line}");
        }
    }
}

/// Says on stderr what is being done, for steps that take more than a moment.
pub(crate) fn say(what: impl std::fmt::Display) {
    eprintln!("==> {what}");
}
