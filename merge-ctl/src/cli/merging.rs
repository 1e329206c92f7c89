//! `merge-ctl start`, `resume` and `finish`: what changes a volume.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::values::{absolute, byte_count, duration};
use super::{Live, NAMES, RecordTo};

/// `merge-ctl start`.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// The snapshots to merge
    #[arg(value_name = "SNAPSHOT", required_unless_present = "cow_device",
          help = format!("The snapshot to merge, {NAMES}; or several of different origins"))]
    pub(crate) snapshots: Vec<String>,
    /// Do not ask before the merge begins
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Go on without this terminal: under systemd as a unit of its own, else as a daemon
    ///
    /// Checks and asks here, and returns once the other process has begun the merge, or waits for a
    /// quiet moment. That process follows the merge and finishes it; what it says is in systemd's
    /// journal, or in a log file that is named.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Where the foreground waits for news
    #[arg(long, value_name = "SOCKET", hide = true)]
    pub(crate) detached: Option<PathBuf>,
    /// When to begin.
    #[command(flatten)]
    pub(crate) quiet: WhenQuiet,
    /// Accept that other snapshots of the origin are lost: the merge copies into them, and one that
    /// is full becomes invalid
    #[arg(long)]
    pub(crate) lose_siblings: bool,
    /// Only say what is in the way and what is worth knowing, and change nothing. The exit status is
    /// 0 where nothing stops the merge, 8 where something does, 6 where that is a privilege or a part
    /// of the kernel. The findings are described in docs/preflight.md
    #[arg(long, conflicts_with_all = ["output", "probes", "interval", "stall_after", "verbose", "record"])]
    pub(crate) check: bool,
    /// With --check, print one JSON object
    #[arg(long, requires = "check")]
    pub(crate) json: bool,
    /// Whether to merge without the kernel, and how.
    #[command(flatten)]
    pub(crate) offline: Offline,
    /// Whether to keep it.
    #[command(flatten)]
    pub(crate) record: RecordTo,
    /// How to show the merge.
    #[command(flatten)]
    pub(crate) live: Live,
}

/// A merge by merge-ctl's own engine.
#[derive(Debug, Args)]
pub(crate) struct Offline {
    /// Copy everything here, at the speed of the devices, while nobody uses the origin, instead of
    /// letting the kernel merge one run at a time
    ///
    /// The origin and the snapshot must be unused, and the origin has no other snapshots. Ctrl-C stops
    /// it; what is left is merged by the kernel then.
    #[arg(long, conflicts_with_all = ["when_quiet", "lose_siblings", "detach", "probes", "throttle", "write_latency", "floor"])]
    pub(crate) offline: bool,
    /// Read back all that was copied, and compare it, before the exceptions are cleared
    #[arg(long, requires = "offline")]
    pub(crate) verify: bool,
    /// Copy no more than this many bytes a second: 100MiB
    #[arg(long, value_name = "BYTES", value_parser = byte_count, requires = "offline")]
    pub(crate) bandwidth: Option<NonZeroU64>,
    /// Memory to use: 256MiB
    #[arg(long, value_name = "BYTES", value_parser = byte_count, requires = "offline")]
    pub(crate) memory: Option<NonZeroU64>,
    /// How many requests may be under way at once: 128
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=4096), requires = "offline")]
    pub(crate) requests: Option<u32>,
    /// Without device-mapper: merge into this device or file
    #[arg(long, value_name = "PATH", requires_all = ["offline", "cow_device"])]
    pub(crate) origin_device: Option<PathBuf>,
    /// Without device-mapper: the device or file with the exceptions
    #[arg(long, value_name = "PATH", requires_all = ["offline", "origin_device"], conflicts_with = "snapshots")]
    pub(crate) cow_device: Option<PathBuf>,
    /// Only say what would be done, and change nothing
    #[arg(long, requires = "offline")]
    pub(crate) dry_run: bool,
    /// Merge what LVM has on record for the next activation of this volume, before it is activated
    ///
    /// The name is the origin's or the snapshot's. The volume must not be active, and is not active
    /// afterwards; its next activation finds nothing left to merge. Where nothing is on record, nothing
    /// is done, and the exit status is 0. For an initramfs: docs/offline.md, "At boot".
    #[arg(long, requires = "offline", conflicts_with = "cow_device")]
    pub(crate) scheduled: bool,
    /// Stop after this time, counted from the start of the command, as Ctrl-C would: 90s, 10m
    ///
    /// What is left is merged as after Ctrl-C; the exit status is 3, or 7 where nothing was begun.
    /// Once the exceptions are being cleared, the limit is not heeded: that takes a moment.
    #[arg(long, value_name = "DURATION", value_parser = time_limit, requires = "offline")]
    pub(crate) time_limit: Option<TimeLimit>,
}

/// When something is to be over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimit {
    /// As it was given.
    pub(crate) after: Duration,
    /// That long after the command line was read.
    pub(crate) at: Instant,
}

impl TimeLimit {
    /// Whether it is over.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.at
    }

    /// How long it is still, nothing where it is over.
    pub(crate) fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

fn time_limit(text: &str) -> Result<TimeLimit, String> {
    let after = duration(text)?;
    let at = Instant::now().checked_add(after).ok_or("too long a time")?;
    Ok(TimeLimit { after, at })
}

/// When to begin a merge.
#[derive(Debug, Args)]
pub(crate) struct WhenQuiet {
    /// Begin once hardly anybody writes to the origin, so that no write waits for the first run
    ///
    /// Quiet means that over the whole time nothing was in flight at nine of ten looks, nor at the
    /// last one, and nothing at all in the chunks that are merged first. Without probes it is not
    /// known where writes go, and nothing may be in flight at any look.
    #[arg(long)]
    pub(crate) when_quiet: bool,
    /// For how long the origin has to be quiet
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, default_value = "5s",
          requires = "when_quiet")]
    pub(crate) quiet_for: Duration,
    /// Wait no longer than this; then nothing was changed, and the exit status is 7
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "when_quiet")]
    pub(crate) give_up_after: Option<Duration>,
}

/// `merge-ctl resume`.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The origin of the merge
    #[arg(help = format!("The origin of the merge, {NAMES}; without it, all that were begun and \
                          not finished"))]
    pub(crate) origin: Option<String>,
    /// Do not ask before a merge begins anew, a failed one is taken down, or a disk is used that is
    /// known by its name alone
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Record all that is shown of that one merge in this file, for `merge-ctl replay`. Nothing that exists
    /// is overwritten; a disk that is full ends the recording, and the merge goes on
    #[arg(long, value_name = "FILE", value_parser = absolute, requires = "origin")]
    pub(crate) record: Option<PathBuf>,
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
