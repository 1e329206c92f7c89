//! `merge-ctl record`, `replay` and `report`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use merge_ctl::recording::Speed;

use super::values::{absolute, duration};
use super::{NAMES, Output, Watching};

/// `merge-ctl record`.
#[derive(Debug, Args)]
pub(crate) struct Record {
    /// The merging origins
    #[arg(value_name = "ORIGIN",
          help = format!("The merging origins, {NAMES}; without one, all merges of this host, and \
                          those that begin meanwhile"))]
    pub(crate) origins: Vec<String>,
    /// The file to make. Nothing that exists is overwritten
    #[arg(short, long, value_name = "FILE", value_parser = absolute)]
    pub(crate) output: PathBuf,
    /// What is watched of it.
    #[command(flatten)]
    pub(crate) watching: Watching,
}

/// `merge-ctl replay`.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The recording
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// What to show [default: tui on a terminal, plain elsewhere]. Lines and JSON come as fast as they
    /// can, and are those that there were
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Output>,
    /// Time between two lines of progress [default: that of the command that recorded]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) interval: Option<Duration>,
    /// How many times as fast as it was to begin with: 1 to 1000, or max
    #[arg(long, default_value = "1", value_parser = Speed::parse)]
    pub(crate) speed: Speed,
}

/// `merge-ctl report`.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// The recording, or the merging origin
    #[arg(value_name = "FILE|ORIGIN",
          help = format!("The recording, or the merging origin, {NAMES}"))]
    pub(crate) subject: PathBuf,
    /// The file to make: .html, .md or .json. Nothing that exists is overwritten
    #[arg(short, long, value_name = "FILE", value_parser = absolute)]
    pub(crate) output: PathBuf,
    /// What is watched of a merge that goes on.
    #[command(flatten)]
    pub(crate) watching: Watching,
}
