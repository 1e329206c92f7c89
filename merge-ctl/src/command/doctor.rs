//! `merge-ctl doctor`: what works here, what does not, what that costs, how to get it. Changes nothing.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use merge_ctl::doctor::facts::Systemd;
use merge_ctl::doctor::{self, gather};
use merge_ctl::output::doctor as output;

use super::{detach, terminal};
use crate::cli::Doctor;
use crate::exit::Exit;

/// Prints what was found.
///
/// # Errors
/// Where it cannot be written.
pub(crate) fn run(options: &Doctor) -> anyhow::Result<ExitCode> {
    let systemd = Systemd { runs: detach::systemd_runs(), run: detach::systemd_run().is_some() };
    let report = doctor::examine(&gather::all(systemd));
    let exit = if report.is_ready() { Exit::Done } else { Exit::Missing };
    let text = match options.json {
        true => output::json(&report, exit as u8) + "\n",
        false => terminal::for_stdout(&output::text(&report)).into_owned(),
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write the answer")?;
    Ok(exit.into())
}
