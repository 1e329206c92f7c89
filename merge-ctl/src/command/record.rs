//! `merge-ctl record ORIGIN… -o FILE`: what `monitor` would show, into a file alone.

use std::process::ExitCode;

use merge_ctl::harmless;

use super::recording::Recording;
use super::terminal;
use super::unseen::Unseen;
use crate::cli::{self, Record};

/// Records the merges until all are over or the user leaves.
pub(crate) async fn run(options: &Record) -> anyhow::Result<ExitCode> {
    let as_live = cli::Live::unseen(options.watching);
    Recording::check(Some(&options.output))?;
    let unseen = Unseen::begin(&options.origins, &options.output, &as_live)?;
    let recording = Recording::asked_for(Some(&options.output), "record", &as_live)?;
    let path = harmless::path(&options.output);
    terminal::tell(&format!(
        "recording the merge into {} in {path}. Ctrl-C ends the recording, and the merge goes on",
        unseen.names()
    ));
    Ok(unseen.live(recording, options.origins.is_empty(), &as_live).run().await?.into())
}
