//! `cargo xtask bench all`: every bench, one after the other, each into its section of the document.
//!
//! A bench that fails leaves its old section and does not keep the others from running; it is told at
//! the end. Each section is written as soon as it is measured, so an interrupted run keeps what it has.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};

use super::{Bench, SECTIONS, one, stop};
use crate::run::say;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// As few rounds and as little data as each bench takes, to see that they work: figures to throw
    /// away, which are only printed unless --document says where to put them
    #[arg(long)]
    pub(super) quick: bool,
    /// Only these
    #[arg(value_name = "BENCH", value_parser = clap::builder::PossibleValuesParser::new(SECTIONS.map(|section| section.name)))]
    names: Vec<String>,
}

/// Measures all; fails at the end where one has failed.
pub(super) fn run(workspace: &Workspace, args: &Args, document: Option<&Path>) -> Result<()> {
    let begun = Instant::now();
    let mut failed = Vec::new();
    for section in SECTIONS {
        if !args.names.is_empty() && !args.names.iter().any(|name| name == section.name) {
            continue;
        }
        stop::check()?;
        let began = Instant::now();
        say(format_args!("bench {}", section.name));
        let words = if args.quick { section.quick } else { &[] };
        let bench = Bench::of(section.name, words)?;
        if let Err(error) = one(workspace, &bench, document) {
            // What a signal has broken is no failure of the bench.
            stop::check()?;
            eprintln!("error: bench {}: {error:#}; its section stays as it was", section.name);
            failed.push(section.name);
        }
        say(format_args!("bench {} took {:.0?}", section.name, began.elapsed()));
    }
    say(format_args!("all took {:.0?}", begun.elapsed()));
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(", "));
    }
    Ok(())
}
