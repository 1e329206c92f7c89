//! `merge-ctl monitor`, `wait`, `explain`, `status`, `plan`, `dump` and `doctor`: what looks, and changes nothing.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values::{bytes, cost_ns, duration};
use super::{HookOptions, Live, NAMES, Probes, RecordTo};

/// `merge-ctl monitor`.
#[derive(Debug, Args)]
pub(crate) struct Monitor {
    /// The merging origin
    #[arg(help = format!("The merging origin, {NAMES}; without it, all merges of this host, and \
                          those that begin meanwhile"))]
    pub(crate) origin: Option<String>,
    /// Whether to keep it.
    #[command(flatten)]
    pub(crate) record: RecordTo,
    /// How to show the merge.
    #[command(flatten)]
    pub(crate) live: Live,
}

/// `merge-ctl wait`.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// The origin that a snapshot is merged into
    #[arg(help = format!("The origin that a snapshot is merged into, {NAMES}"))]
    pub(crate) origin: String,
    /// What to wait for
    #[arg(long, value_enum, default_value_t = Until::Finished)]
    pub(crate) until: Until,
    /// Wait for so long at the most
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Return when something waits for longer than this
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) stall_after: Option<Duration>,
    /// Print one JSON object at the end
    #[arg(long)]
    pub(crate) json: bool,
    /// Say nothing on stderr but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// What the eBPF programs may watch; with none, the end may be seen 200 ms late
    #[arg(long, value_enum, default_value_t = Probes::Full)]
    pub(crate) probes: Probes,
    /// The operator's own commands.
    #[command(flatten)]
    pub(crate) hooks: HookOptions,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Until {
    /// The kernel has merged the last chunk
    Merged,
    /// And the origin is a plain device again
    Finished,
}

/// `merge-ctl explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The merging origin, or a snapshot, or a recording
    #[arg(value_name = "ORIGIN|SNAPSHOT|RECORDING",
          help = format!("The merging origin, or a snapshot, {NAMES}; a file with its exceptions; or \
          a recording: all that it holds counts"))]
    pub(crate) name: String,
    /// Watch a merge for so long; less where all is certain before
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub(crate) duration: Duration,
    /// What the eBPF programs may watch
    #[arg(long, value_enum, default_value_t = Probes::Full)]
    pub(crate) probes: Probes,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `merge-ctl status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Only this volume
    #[arg(help = format!("Only this volume, {NAMES}"))]
    pub(crate) name: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `merge-ctl plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// What is to be merged
    #[arg(value_name = "SNAPSHOT|COW|FILE", help = format!("A snapshot, {NAMES}; the COW device \
          below one; or a file: a copy of a COW device, or a dump"))]
    pub(crate) subject: String,
    /// What a run of one chunk costs, as another merge has shown: 25ms, 800us
    #[arg(long, value_name = "DURATION", value_parser = cost_ns, requires = "byte_rate")]
    pub(crate) run_cost: Option<f64>,
    /// How many bytes a second are copied: 100MiB, 1.5GB
    #[arg(long, value_name = "BYTES", value_parser = bytes, requires = "run_cost")]
    pub(crate) byte_rate: Option<f64>,
    /// Do not read the devices to find out how fast they are
    #[arg(long)]
    pub(crate) no_calibrate: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// List every run, in the order in which they will be merged
    #[arg(long)]
    pub(crate) runs: bool,
}

/// `merge-ctl dump`.
#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// What to save
    #[arg(value_name = "SNAPSHOT|COW|FILE", help = format!("The snapshot, {NAMES}; the COW device \
          below one; an origin that a snapshot is being merged into; or a file with a copy of a COW \
          device"))]
    pub(crate) subject: String,
    /// The file to make, or - for standard output. Nothing that exists is overwritten
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// `merge-ctl doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
