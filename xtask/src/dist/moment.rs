//! The one time that is in what is published.

use std::env;

use anyhow::{Context as _, Result};

use crate::run::Command;
use crate::workspace::Workspace;

const VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// Seconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(pub(super) u64);

impl Moment {
    /// `SOURCE_DATE_EPOCH`, or the time of the last commit.
    pub(super) fn of(workspace: &Workspace) -> Result<Self> {
        let text = match env::var(VARIABLE) {
            Ok(text) => text,
            Err(_) => Command::new("git")
                .args(["log", "-1", "--format=%ct"])
                .dir(&workspace.root)
                .output()
                .with_context(|| format!("no commit tells the time; set {VARIABLE}"))?,
        };
        let seconds = text.trim().parse();
        Ok(Self(seconds.with_context(|| format!("{VARIABLE}={text} is no time"))?))
    }

    /// As date(1) writes it in this format, in UTC and English.
    pub(super) fn written(self, format: &str) -> Result<String> {
        let mut date = Command::new("date");
        date.env("LC_ALL", "C").args(["--utc", "--date", &format!("@{}", self.0), format]);
        Ok(date.output()?.trim().to_owned())
    }

    /// Told to a program that makes a part of it.
    pub(super) fn tell(self, command: &mut Command) -> &mut Command {
        command.env(VARIABLE, self.0.to_string()).env("LC_ALL", "C").env("TZ", "UTC")
    }
}
