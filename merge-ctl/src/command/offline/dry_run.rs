//! `--dry-run`: what would be done, for people or as one JSON object. Nothing is opened for writing, and
//! nothing is changed.

use std::io::{self, Write};

use merge_ctl::output::dry_run::{self, DryRun};

use super::super::terminal;
use crate::cli::{Output, Start};

/// Prints the object where a program reads, else `words`, which end with their newline.
///
/// # Errors
/// What cannot be printed.
pub(super) fn print(run: &DryRun<'_>, words: &str, options: &Start) -> anyhow::Result<()> {
    let text = match options.live.output {
        Some(Output::Json) => dry_run::json(run)? + "\n",
        _ => terminal::for_stdout(words).into_owned(),
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())?;
    Ok(())
}

/// The steps with their numbers, a line each.
pub(super) fn numbered(steps: &[String]) -> String {
    steps.iter().zip(1..).map(|(step, number)| format!("{number:3}. {step}\n")).collect()
}
