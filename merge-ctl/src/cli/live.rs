//! How merges are watched and shown.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::throttle::{ThrottleGoal, Wanted, wanted};
use super::values::{absolute, duration};
use crate::command::hooks::HookCommand;

/// How to show a merge live.
#[derive(Debug, Args)]
pub(crate) struct Live {
    /// What to show [default: tui on a terminal, plain elsewhere]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Output>,
    /// What is watched of it.
    #[command(flatten)]
    pub(crate) watching: Watching,
    /// Time between two lines of progress, 200ms at the least
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    pub(crate) interval: Duration,
    /// Print what the eBPF programs have to say of themselves to stderr
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Slow the merge down while it is shown: to a share of the time (30%), or by a profile (gentle,
    /// balanced, fast)
    #[arg(long, value_name = "PERCENT|PROFILE", value_parser = wanted)]
    pub(crate) throttle: Option<Wanted>,
    /// A latency to hold meanwhile.
    #[command(flatten)]
    pub(crate) throttle_goal: ThrottleGoal,
    /// The operator's own commands.
    #[command(flatten)]
    pub(crate) hooks: HookOptions,
}

impl Live {
    /// What follows merges and shows nothing is told so.
    pub(crate) fn unseen(watching: Watching) -> Self {
        Self {
            output: None,
            watching,
            interval: Duration::from_secs(1),
            verbose: false,
            throttle: None,
            throttle_goal: ThrottleGoal { write_latency: None, percentile: None, floor: None },
            hooks: HookOptions { on_stall: None, on_done: None },
        }
    }
}

/// What is watched of merges.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Watching {
    /// What the eBPF programs may watch
    #[arg(long, value_enum, default_value_t = Probes::Full)]
    pub(crate) probes: Probes,
    /// Call it a stall when something waits for longer than this
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5s")]
    pub(crate) stall_after: Duration,
}

/// The operator's own commands. A command that is not there is found out here, before anything
/// begins.
#[derive(Debug, Args)]
pub(crate) struct HookOptions {
    /// Run a command when a stall begins, with the facts in its environment (docs/hooks.md); no
    /// shell is involved
    #[arg(long, value_name = "COMMAND", value_parser = HookCommand::parse)]
    pub(crate) on_stall: Option<HookCommand>,
    /// Run a command when the merge is over, finished or failed
    #[arg(long, value_name = "COMMAND", value_parser = HookCommand::parse)]
    pub(crate) on_done: Option<HookCommand>,
}

/// Where to keep what is shown.
#[derive(Debug, Args)]
pub(crate) struct RecordTo {
    /// Record all that is shown in this file, for `merge-ctl replay`. Nothing that exists is overwritten;
    /// a disk that is full ends the recording, and the merge goes on
    #[arg(long, value_name = "FILE", value_parser = absolute)]
    pub(crate) record: Option<PathBuf>,
}

/// What a live command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A dashboard that fills the terminal
    Tui,
    /// A line a second, and a summary
    Plain,
    /// A stream of JSON objects, one a line
    Json,
}

/// What a command without a dashboard prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LineOutput {
    /// A line a second, and a summary
    Plain,
    /// A stream of JSON objects, one a line
    Json,
}

/// What the eBPF programs may watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Probes {
    /// All that this kernel lets them
    Full,
    /// Application I/O on the origin only
    Block,
    /// Nothing: read the kernel's status line alone
    None,
}
