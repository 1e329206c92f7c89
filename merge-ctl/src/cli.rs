//! The command line as clap reads it. Manual pages and completions are made from these types.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_STATUS: &str = "\
Exit status:
  0  done
  1  another error
  2  wrong usage
  3  still merging, or all is merged and the merge still has to be finished
  5  the merge failed, or the snapshot is invalid
  6  a privilege or a kernel feature is missing
  8  refused, and nothing was changed";

const EXPLAIN_STATUS: &str = "\
Exit status:
  0  explained, also where the merge has failed
  1  another error
  2  wrong usage
  6  a privilege or a kernel feature is missing";

const NAMES: &str = "as vg/lv, /dev/vg/lv, /dev/mapper/NAME, a device-mapper name, or /dev/dm-N";

/// Roll a volume back to its snapshot: start the merge, see live what it does and why it is slow,
/// finish it safely.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_STATUS, propagate_version = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Merge a snapshot back into its origin, show it live, and finish it
    ///
    /// The origin becomes what the snapshot holds; what was written to the origin since the
    /// snapshot was taken is lost, and a merge that has begun cannot be called off. Leaving the
    /// live view does not stop the merge.
    #[command(after_help = EXIT_STATUS)]
    Start(Start),
    /// Show a merge live, whoever started it
    #[command(after_help = EXIT_STATUS)]
    Monitor(Monitor),
    /// Finish a merge that has nothing left to do: make the origin a plain device again
    #[command(after_help = EXIT_STATUS)]
    Finish(Finish),
    /// Say in words why a merge is slow or stands still, and what can be done about it
    ///
    /// Of a snapshot that is not merging, say what its merge would be like. The causes are
    /// described in docs/causes.md.
    #[command(after_help = EXPLAIN_STATUS)]
    Explain(Explain),
    /// List every snapshot, origin and merge on this host
    Status(Status),
}

/// `merge-ctl start`.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// The snapshot to merge
    #[arg(help = format!("The snapshot to merge, {NAMES}"))]
    pub(crate) snapshot: String,
    /// Do not ask before the merge begins
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// How to show the merge.
    #[command(flatten)]
    pub(crate) live: Live,
}

/// `merge-ctl monitor`.
#[derive(Debug, Args)]
pub(crate) struct Monitor {
    /// The merging origin
    #[arg(help = format!("The merging origin, {NAMES}; without it, the only merge of this host, \
                          or a list to choose from"))]
    pub(crate) origin: Option<String>,
    /// How to show the merge.
    #[command(flatten)]
    pub(crate) live: Live,
}

/// `merge-ctl finish`.
#[derive(Debug, Args)]
pub(crate) struct Finish {
    /// The origin whose merge is done
    #[arg(help = format!("The origin whose merge is done, {NAMES}"))]
    pub(crate) origin: String,
}

/// `merge-ctl explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The merging origin, or a snapshot
    #[arg(value_name = "ORIGIN|SNAPSHOT",
          help = format!("The merging origin, or a snapshot, {NAMES}; or a file with its exceptions"))]
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

/// How to show a merge live.
#[derive(Debug, Args)]
pub(crate) struct Live {
    /// What to show [default: tui on a terminal, plain elsewhere]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Output>,
    /// What the eBPF programs may watch
    #[arg(long, value_enum, default_value_t = Probes::Full)]
    pub(crate) probes: Probes,
    /// Time between two lines of progress, 200ms at the least
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    pub(crate) interval: Duration,
    /// Call it a stall when something waits for longer than this
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5s")]
    pub(crate) stall_after: Duration,
    /// Print what the eBPF programs have to say of themselves to stderr
    #[arg(short, long)]
    pub(crate) verbose: bool,
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

/// A duration with its unit: `250ms`, `5s`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let number_ends = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(number_ends);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        _ => return Err("give a number with a unit: 250ms, 5s or 2m".to_owned()),
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms)) {
        Some(0) => Err("must be longer than nothing".to_owned()),
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => Err("give a whole number with a unit: 250ms, 5s or 2m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_duration_needs_a_unit_and_a_length() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for nonsense in ["", "5", "s", "0s", "-1s", "1.5s", "5 s", "99999999999999999999s"] {
            assert!(duration(nonsense).is_err(), "{nonsense:?}");
        }
    }
}
