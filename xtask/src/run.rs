//! Running other programs, with errors that say which one and how it ended.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{self, ExitStatus, Stdio};

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

    /// Runs it and returns what it wrote to stdout.
    pub(crate) fn output(&mut self) -> Result<String> {
        let text = self.stdout_whatever_status()?;
        match text {
            (status, text) if status.success() => Ok(text),
            (status, _) => bail!("{} failed: {status}", self.name.display()),
        }
    }

    /// As [`Self::output`] for programs whose exit status is part of the answer.
    pub(crate) fn stdout_whatever_status(&mut self) -> Result<(ExitStatus, String)> {
        self.inner.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = self.inner.spawn().with_context(|| self.cannot())?;
        let output = child.wait_with_output().with_context(|| self.cannot())?;
        Ok((output.status, String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Says nothing while it succeeds; on failure what it wrote to stderr is part of the error.
    pub(crate) fn quietly(&mut self) -> Result<()> {
        self.inner.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let output = self.inner.output().with_context(|| self.cannot())?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}\n{}", self.name.display(), output.status, said.trim_end());
    }

    /// Runs cargo without its closing line, so that a build with nothing to do is silent and what
    /// follows has stderr to itself. Returns its stdout.
    pub(crate) fn cargo_build(&mut self) -> Result<String> {
        self.inner.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.inner.spawn().with_context(|| self.cannot())?;
        let stderr = child.stderr.take();
        let relay = std::thread::spawn(move || {
            for line in stderr.into_iter().flat_map(|pipe| BufReader::new(pipe).lines()).flatten() {
                if !line.trim_start().starts_with("Finished ") {
                    eprintln!("{line}");
                }
            }
        });
        let output = child.wait_with_output().with_context(|| self.cannot())?;
        let relayed = relay.join();
        self.check(output.status)?;
        if relayed.is_err() {
            bail!("what {} said could not be shown", self.name.display());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
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

/// Says on stderr what is being done, for steps that take more than a moment.
pub(crate) fn say(what: impl std::fmt::Display) {
    eprintln!("==> {what}");
}
