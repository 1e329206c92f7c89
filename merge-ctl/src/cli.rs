//! The command line as clap reads it. Manual pages and completions are made from these types.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::path::{self, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand, ValueEnum};
use merge_ctl::recording::Speed;
use merge_ctl::throttle::goal::DEFAULT_FLOOR_PERCENT;
use merge_ctl::throttle::{Goal, Percentile, Profile, Target};

use crate::exit::Usage;

use crate::command::hooks::HookCommand;

const EXIT_STATUS: &str = "\
Exit status:
  0  done
  1  another error
  2  wrong usage
  3  still merging; all is merged and the merge still has to be finished; or LVM begins it at the
     next activation
  4  still merging, and the merge stood still when it was left
  5  the merge failed, or the snapshot is invalid
  6  a privilege or a kernel feature is missing
  7  the time was over (--give-up-after, wait --timeout; --time-limit before anything was begun)
  8  refused, and nothing was changed
Of several merges the one that ended worst counts: 5 before 1, 2, 8, 6, 7, 4, 3 and 0.";

const FINISH_STATUS: &str = "\
Exit status:
  0  finished: the origin is a plain device again
  1  another error
  2  wrong usage, or no such volume
  3  still merging, or lvm2 was asked to finish it and has not for a minute
  5  the merge failed, or its exceptions are invalid
  6  a privilege or a kernel feature is missing
  8  refused, and nothing was changed";

const READ_STATUS: &str = "\
Exit status:
  0  done
  1  another error
  2  wrong usage, or no such volume
  5  the snapshot is invalid
  6  a privilege or a kernel feature is missing
  8  refused: there is nothing to read, its device is suspended, or the file to make exists";

const STATUS_STATUS: &str = "\
Exit status:
  0  listed, whatever state the merges are in
  1  another error
  2  wrong usage, or no such volume
  6  a privilege or a kernel feature is missing";

const WAIT_STATUS: &str = "\
Exit status:
  0  no merge goes on, and none is to come: it has been finished, or there was none when asked
  1  another error, or the origin carries no merge any more and its end was not seen
  2  wrong usage, or no such volume
  3  not finished, and waiting makes no sense: LVM begins it at the next activation, or all is
     merged and nobody has finished it for 5 s (20 s where lvm2 has to, which looks every 15 s)
  4  stalled for longer than --stall-after
  5  the merge failed, or the snapshot is invalid
  6  a privilege or a kernel feature is missing
  7  not done when --timeout was over";

const EXPLAIN_STATUS: &str = "\
Exit status:
  0  explained, also where the merge has failed
  1  another error
  2  wrong usage
  6  a privilege or a kernel feature is missing
  8  refused: there are no exceptions to read, or their device is suspended";

const REPLAY_STATUS: &str = "\
Exit status:
  0  shown to its end, or to where whoever recorded was stopped; or you have left
  1  parts of the file are damaged, or it is no recording, or cannot be read
  2  wrong usage";

const REPORT_STATUS: &str = "\
Exit status of a report of a recording:
  0  the report is made
  1  it is made, and parts of the recording are damaged; or it is no recording, or there is another error
  2  wrong usage
  8  refused: the file to make exists
Of a merge that goes on, the report is made, and the exit status is that of monitor: 0 finished, 3 still merging or not
finished, 4 stalled, 5 failed, 6 a privilege or a kernel feature is missing.";

const THROTTLE_STATUS: &str = "\
Exit status:
  0  done: the merge is finished; the setting was shown or reset
  1  another error, or somebody else has changed the setting meanwhile
  2  wrong usage
  3  still merging, or all is merged and the merge still has to be finished
  5  the merge failed, or the snapshot is invalid
  6  a privilege or a kernel feature is missing
  8  refused: another process throttles";

const DOCTOR_STATUS: &str = "\
Exit status:
  0  all that a merge needs is there, of logical volumes or of plain device-mapper devices
  1  another error
  2  wrong usage
  6  something without which nothing can be merged is missing, or cannot be seen: a privilege, or
     a part of the kernel";

const EXPORT_STATUS: &str = "\
Exit status:
  0  a signal has ended it
  1  another error: the address or the directory cannot be used
  2  wrong usage
  6  a privilege is missing";

/// Where metrics are told if nothing else is said.
const EXPORT_PORT: u16 = 9946;

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
    ///
    /// Several snapshots are all checked before the first is begun. They are begun one after the
    /// other; where one cannot begin, those behind it are left as they are.
    #[command(after_help = EXIT_STATUS)]
    Start(Start),
    /// Show a merge live, or all of them, whoever started them
    ///
    /// Without --throttle, --write-latency and hooks it keeps only the capabilities that looking needs:
    /// docs/metrics.md.
    #[command(after_help = EXIT_STATUS)]
    Monitor(Monitor),
    /// Wait until a merge is done, and say in the exit status how it ended
    ///
    /// Changes nothing, reads no exceptions, and looks at the kernel's status five times a second.
    /// Nothing being merged is no error: a merge that was started a moment ago may have been
    /// finished already, so that `start --yes …; wait …` means what it says.
    #[command(after_help = WAIT_STATUS)]
    Wait(Wait),
    /// Go on with a merge after a crash or a reboot, show it live, and finish it
    ///
    /// What was begun is in a journal on disk, with the devices below. Whatever state these are in, they
    /// are brought to where the merge goes on: tables are loaded, what is suspended is resumed, after
    /// a reboot the origin is made again. A merge of LVM has no journal: LVM goes on with it when the
    /// volume is activated.
    ///
    /// A merge that has failed must not be suspended and resumed: the kernel would destroy data. Its
    /// device is taken down and made anew (a volume of LVM is deactivated and activated again), once
    /// the devices below answer again, nobody uses it, and somebody has agreed or said --yes.
    #[command(after_help = EXIT_STATUS)]
    Resume(Resume),
    /// Finish a merge that has nothing left to do: make the origin a plain device again
    #[command(after_help = FINISH_STATUS)]
    Finish(Finish),
    /// Say in words why a merge is slow or stands still, and what can be done about it
    ///
    /// Of a snapshot that is not merging, say what its merge would be like. The causes are
    /// described in docs/causes.md.
    #[command(after_help = EXPLAIN_STATUS)]
    Explain(Explain),
    /// List every snapshot, origin and merge on this host, and the merges that were interrupted
    #[command(after_help = STATUS_STATUS)]
    Status(Status),
    /// Save what a snapshot has to merge, without any data: for a bug report, or to look at elsewhere
    ///
    /// The file holds the header and the list of changed chunks (which chunk of the origin is kept
    /// where on the COW device), packed, and none of their content. Every command that reads a
    /// snapshot's exceptions reads such a file in its place. A damaged store is saved as it is.
    ///
    /// The snapshot may be in use, or be merged meanwhile: the file then holds what was there when
    /// it was read.
    #[command(after_help = READ_STATUS)]
    Dump(Dump),
    /// Say what a merge will do before it is started: runs, bytes, flushes, time, other snapshots
    ///
    /// Reads the list of changed chunks, and changes nothing. Where the devices are there, they are
    /// read for about a second to find out how fast they answer; without that the time is not known,
    /// unless what a run and a byte cost is given. Of a merge that goes on it tells what is left.
    #[command(after_help = READ_STATUS)]
    Plan(Plan),
    /// Follow merges and keep all that is seen in a file, for `merge-ctl replay`
    ///
    /// Shows nothing, and ends when the merges are over, or at Ctrl-C: they go on. The file holds what was
    /// read of the merges, names of devices and processes among it, and no data (docs/recording.md). What
    /// was recorded can be read at any time, whatever happens to this process or the machine.
    #[command(after_help = EXIT_STATUS)]
    Record(Record),
    /// Show a recording in the dashboard, with pause, speed and seek, or as lines or JSON
    ///
    /// Needs no privilege and no device. What cannot be read of a damaged file is named, and the rest is
    /// shown.
    #[command(after_help = REPLAY_STATUS)]
    Replay(Replay),
    /// Tell of a merge in a file: a page with figures, a text for a ticket, or a trace
    ///
    /// Of a recording, or of a merge that goes on: that is followed to its end or to Ctrl-C, and goes on. The
    /// ending of the file's name says what is made: .html is one page that is whole by itself, .md a text for a
    /// ticket, .json a trace for Perfetto or chrome://tracing. The same recording gives the same bytes
    /// (docs/report.md).
    #[command(after_help = REPORT_STATUS)]
    Report(Report),
    /// Slow a merge down while it lasts: to a share of the time, or so that writes keep to a latency
    ///
    /// Stays and prints a line a second of what came of it; when the merge ends, or you leave, the
    /// setting is put back to what it was. It is one for all snapshots of the host. Without a percentage,
    /// a profile or a latency it shows the present setting and who has made it. See docs/throttle.md.
    #[command(after_help = THROTTLE_STATUS)]
    Throttle(Throttle),
    /// Say what works on this host, what does not, what that costs, and how to get it
    ///
    /// Looks at the kernel, its modules, types and addresses, attaches each probe and takes it off again,
    /// and looks at privileges, device-mapper, lvm2, io_uring, the throttle and the terminal. It changes
    /// nothing, and loads no module. Without root it tells what can be seen then. The checks are described
    /// in docs/doctor.md.
    #[command(after_help = DOCTOR_STATUS)]
    Doctor(Doctor),
    /// Tell all merges and snapshots of this host as metrics, for Prometheus and OpenTelemetry
    ///
    /// Follows every merge, whoever started it, and looks at the fill of snapshots that do not merge.
    /// Changes nothing, and shows nothing. Without an option it answers at http://127.0.0.1:9946/metrics.
    /// The metrics, alert rules, a dashboard and what privileges are needed: docs/metrics.md.
    #[command(after_help = EXPORT_STATUS)]
    Export(Export),
    /// Wait for the death of another merge-ctl, and put right what it leaves behind
    #[command(hide = true)]
    Guard,
}

/// `merge-ctl doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

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

/// Where to keep what is shown.
#[derive(Debug, Args)]
pub(crate) struct RecordTo {
    /// Record all that is shown in this file, for `merge-ctl replay`. Nothing that exists is overwritten;
    /// a disk that is full ends the recording, and the merge goes on
    #[arg(long, value_name = "FILE", value_parser = absolute)]
    pub(crate) record: Option<PathBuf>,
}

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
    /// What the eBPF programs may watch
    #[arg(long, value_enum, default_value_t = Probes::Full)]
    pub(crate) probes: Probes,
    /// Call it a stall when something waits for longer than this
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5s")]
    pub(crate) stall_after: Duration,
}

impl Record {
    /// The same as a live command is told.
    pub(crate) fn live(&self) -> Live {
        Live::unseen(self.probes, self.stall_after)
    }
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
    /// Of a merge that goes on: what the eBPF programs may watch
    #[arg(long, value_enum, default_value_t = Probes::Full)]
    pub(crate) probes: Probes,
    /// Of a merge that goes on: call it a stall when something waits for longer than this
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5s")]
    pub(crate) stall_after: Duration,
}

impl Report {
    /// The same as a live command is told.
    pub(crate) fn live(&self) -> Live {
        Live::unseen(self.probes, self.stall_after)
    }
}

/// `merge-ctl export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Where to answer over HTTP [default: 127.0.0.1:9946, or nowhere with --textfile or --otlp]. There
    /// is no encryption and no password: leave it on this host, or see to who can reach it
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Keep the file merge-ctl.prom in this directory, for node_exporter's textfile collector
    #[arg(long, value_name = "DIRECTORY", value_parser = absolute)]
    pub(crate) textfile: Option<PathBuf>,
    /// Push to an OpenTelemetry collector: OTLP over HTTP, in JSON, without TLS; the path is /v1/metrics
    /// and the port 4318 where none is given
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,
    /// Time between two pushes
    #[arg(long, value_name = "DURATION", value_parser = pace, default_value = "15s", requires = "otlp")]
    pub(crate) otlp_interval: Duration,
    /// Time between two samples of merges
    #[arg(long, value_name = "DURATION", value_parser = pace, default_value = "1s")]
    pub(crate) interval: Duration,
    /// Time between two looks at snapshots that do not merge
    #[arg(long, value_name = "DURATION", value_parser = pace, default_value = "15s")]
    pub(crate) snapshot_interval: Duration,
    /// What the eBPF programs may watch, while something is merged
    #[arg(long, value_enum, default_value_t = Probes::Full)]
    pub(crate) probes: Probes,
    /// Call it a stall when something waits for longer than this
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5s")]
    pub(crate) stall_after: Duration,
    /// Tell the merges of a recording in place of this host's, as fast as they went: to try alerts and a
    /// dashboard. Needs no privilege
    #[arg(long, value_name = "FILE", value_parser = absolute)]
    pub(crate) replay: Option<PathBuf>,
}

impl Export {
    /// Where to answer over HTTP.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        let elsewhere = self.textfile.is_some() || self.otlp.is_some();
        let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, EXPORT_PORT));
        self.listen.or((!elsewhere).then_some(usual))
    }
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

/// `merge-ctl throttle`.
#[derive(Debug, Args)]
pub(crate) struct Throttle {
    /// The merging origin
    #[arg(help = format!("The merging origin, {NAMES}"))]
    pub(crate) origin: Option<String>,
    /// The share of the time in which copies may be under way: 30%; 100% is no throttle
    #[arg(value_parser = percent, conflicts_with_all = ["profile", "write_latency"])]
    pub(crate) percent: Option<u32>,
    /// A named target: gentle (99 % of the writes below 10 ms), balanced (30 ms), fast (95 % below
    /// 100 ms)
    #[arg(long, value_enum, conflicts_with = "write_latency")]
    pub(crate) profile: Option<ProfileName>,
    /// A latency to hold.
    #[command(flatten)]
    pub(crate) goal: ThrottleGoal,
    /// Put the setting back to what a dead throttler found, or to 100 %
    #[arg(long, conflicts_with_all = ["origin", "percent", "profile", "write_latency"])]
    pub(crate) reset: bool,
    /// What to print [default: plain]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<LineOutput>,
    /// The same as --output json
    #[arg(long)]
    pub(crate) json: bool,
    /// What the eBPF programs may watch
    #[arg(long, value_enum, default_value_t = Probes::Full)]
    pub(crate) probes: Probes,
    /// Time between two lines
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    pub(crate) interval: Duration,
}

/// A latency that a throttle is to hold.
#[derive(Debug, Args)]
pub(crate) struct ThrottleGoal {
    /// Keep application writes on the origin below this, and give the merge all the rest: 5ms
    #[arg(long, value_name = "DURATION", value_parser = cost_ns)]
    pub(crate) write_latency: Option<f64>,
    /// How many of a hundred writes must keep to it, from 50 to 99.9 [default: 99]
    #[arg(long, value_name = "PERCENT", value_parser = percentile, requires = "write_latency")]
    pub(crate) percentile: Option<Percentile>,
    /// The lowest setting that a loop may use, from 1%, so that the merge never starves [default: 5%,
    /// or the profile's]
    #[arg(long, value_name = "PERCENT", value_parser = floor)]
    pub(crate) floor: Option<u32>,
}

/// The named targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProfileName {
    /// The applications come first: 99 % of the writes below 10 ms, floor 3 %
    Gentle,
    /// Both have their share: 99 % of the writes below 30 ms, floor 10 %
    Balanced,
    /// The merge comes first: 95 % of the writes below 100 ms, floor 30 %
    Fast,
}

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::Gentle => Self::Gentle,
            ProfileName::Balanced => Self::Balanced,
            ProfileName::Fast => Self::Fast,
        }
    }
}

/// A percentage, or a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// This percentage.
    Percent(u32),
    /// This profile.
    Profile(ProfileName),
}

impl Throttle {
    /// What is wanted; none where nothing is.
    ///
    /// # Errors
    /// Where it does not fit together.
    pub(crate) fn wanted(&self) -> Result<Option<(Goal, Option<Profile>)>, Usage> {
        let profile = self.profile.map(Wanted::Profile);
        self.goal.with(self.percent.map(Wanted::Percent).or(profile))
    }
}

impl ThrottleGoal {
    /// What is wanted, with what was said elsewhere; none where nothing is.
    ///
    /// # Errors
    /// Where it does not fit together.
    pub(crate) fn with(
        &self,
        also: Option<Wanted>,
    ) -> Result<Option<(Goal, Option<Profile>)>, Usage> {
        let (target, profile) = match (also, self.write_latency) {
            (None, None) if self.floor.is_none() => return Ok(None),
            (Some(Wanted::Percent(percent)), None) if self.floor.is_none() => {
                return Ok(Some((Goal::Fixed { percent }, None)));
            }
            (Some(Wanted::Profile(name)), None) => {
                let profile = Profile::from(name);
                (profile.target(), Some(profile))
            }
            (None, Some(latency_ns)) => {
                let percentile = self.percentile.unwrap_or(Percentile::P99);
                let (latency_ns, floor_percent) = (latency_ns as u64, DEFAULT_FLOOR_PERCENT);
                (Target { latency_ns, percentile, floor_percent }, None)
            }
            _ => {
                return Err(Usage(
                    "give a percentage, or a profile, or a latency; a floor belongs to the last two"
                        .to_owned(),
                ));
            }
        };
        let floor_percent = self.floor.unwrap_or(target.floor_percent);
        Ok(Some((Goal::WriteLatency(Target { floor_percent, ..target }), profile)))
    }
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
    fn unseen(probes: Probes, stall_after: Duration) -> Self {
        Self {
            output: None,
            probes,
            interval: Duration::from_secs(1),
            stall_after,
            verbose: false,
            throttle: None,
            throttle_goal: ThrottleGoal { write_latency: None, percentile: None, floor: None },
            hooks: HookOptions { on_stall: None, on_done: None },
        }
    }
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

/// A time between two looks: more often would be in the merge's way.
fn pace(text: &str) -> Result<Duration, String> {
    let pace = duration(text)?;
    if pace < Duration::from_millis(200) {
        return Err("must be 200ms or longer".to_owned());
    }
    Ok(pace)
}

/// A file's name that means the same from another directory.
fn absolute(text: &str) -> Result<PathBuf, String> {
    path::absolute(text).map_err(|error| error.to_string())
}

/// A whole number of percent, with its sign or without: `30%`, `30`.
fn percent(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    match number.parse() {
        Ok(percent) if percent <= 100 => Ok(percent),
        _ => Err("give a whole number of percent: 30%".to_owned()),
    }
}

/// A percentage or a profile.
fn wanted(text: &str) -> Result<Wanted, String> {
    match ProfileName::from_str(text, false) {
        Ok(profile) => Ok(Wanted::Profile(profile)),
        Err(_) => percent(text)
            .map(Wanted::Percent)
            .map_err(|_| "give a percentage (30%) or gentle, balanced or fast".to_owned()),
    }
}

fn floor(text: &str) -> Result<u32, String> {
    match percent(text)? {
        0 => Err("must be 1% at the least".to_owned()),
        percent => Ok(percent),
    }
}

fn percentile(text: &str) -> Result<Percentile, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().unwrap_or(f64::NAN);
    Percentile::of_percent(number).ok_or_else(|| "give a number from 50 to 99.9".to_owned())
}

/// A short time with its unit, in nanoseconds: `25ms`, `1.5ms`, `800us`.
fn cost_ns(text: &str) -> Result<f64, String> {
    const UNITS: [(&str, f64); 4] = [("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];
    with_unit(text, &UNITS, "give a number with a unit: 800us, 25ms or 0.1s")
}

/// A number of bytes with its unit, a second or not: `100MiB`, `1.5GB`, `100MiB/s`.
fn bytes(text: &str) -> Result<f64, String> {
    const KIB: f64 = 1024.0;
    const UNITS: [(&str, f64); 7] = [
        ("KiB", KIB),
        ("MiB", KIB * KIB),
        ("GiB", KIB * KIB * KIB),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("B", 1.0),
    ];
    let text = text.strip_suffix("/s").unwrap_or(text);
    with_unit(text, &UNITS, "give bytes a second with a unit: 100MiB, 1.5GB or 800KiB")
}

/// A number of bytes with its unit, whole and not 0.
fn byte_count(text: &str) -> Result<NonZeroU64, String> {
    NonZeroU64::new(bytes(text)? as u64).ok_or_else(|| "give a byte at least".to_owned())
}

fn with_unit(text: &str, units: &[(&str, f64)], help: &str) -> Result<f64, String> {
    let number_ends = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(number_ends);
    let scale = units.iter().find(|(name, _)| *name == unit).map(|(_, scale)| scale);
    match (number.parse::<f64>(), scale) {
        (Ok(number), Some(scale)) if number > 0.0 && number < 1e9 => Ok(number * scale),
        (Ok(0.0), Some(_)) => Err("must be more than nothing".to_owned()),
        _ => Err(help.to_owned()),
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

    fn goal(words: &[&str]) -> Result<Option<(Goal, Option<Profile>)>, String> {
        let words = ["merge-ctl", "throttle", "vg/data"].iter().chain(words);
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::Throttle(options) = cli.command else { unreachable!() };
        options.wanted().map_err(|error| error.to_string())
    }

    #[test]
    fn a_live_command_takes_a_percentage_or_a_profile() {
        assert_eq!(wanted("30%"), Ok(Wanted::Percent(30)));
        assert_eq!(wanted("gentle"), Ok(Wanted::Profile(ProfileName::Gentle)));
        assert!(wanted("slowly").is_err() && wanted("300%").is_err());
    }

    #[test]
    fn a_throttle_has_one_goal() {
        assert_eq!(goal(&["30%"]), Ok(Some((Goal::Fixed { percent: 30 }, None))));
        assert_eq!(goal(&["0"]), Ok(Some((Goal::Fixed { percent: 0 }, None))));
        assert_eq!(goal(&[]), Ok(None));
        let target = |latency_ns, tenths: f64, floor_percent| {
            let percentile = Percentile::of_percent(tenths).unwrap();
            Goal::WriteLatency(Target { latency_ns, percentile, floor_percent })
        };
        let latency = ["--write-latency", "5ms"];
        assert_eq!(goal(&latency), Ok(Some((target(5_000_000, 99.0, 5), None))));
        let all = [&latency[..], &["--percentile", "99.9", "--floor", "20%"]].concat();
        assert_eq!(goal(&all), Ok(Some((target(5_000_000, 99.9, 20), None))));
        let fast = goal(&["--profile", "fast", "--floor", "40"]).unwrap().unwrap();
        assert_eq!(fast, (target(100_000_000, 95.0, 40), Some(Profile::Fast)));
        for nonsense in [
            &["101%"][..],
            &["-1%"],
            &["30%", "--profile", "fast"],
            &["30%", "--floor", "5%"],
            &["--floor", "0"],
            &["--write-latency", "5"],
            &["--write-latency", "5ms", "--percentile", "100"],
            &["--write-latency", "5ms", "--profile", "fast"],
            &["--percentile", "99"],
            &["30%", "--reset"],
        ] {
            assert!(goal(nonsense).is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn costs_need_a_unit_and_may_have_a_fraction() {
        assert_eq!(cost_ns("25ms"), Ok(25e6));
        assert_eq!(cost_ns("1.5ms"), Ok(1.5e6));
        assert_eq!((cost_ns("800us"), cost_ns("800µs")), (Ok(8e5), Ok(8e5)));
        assert_eq!(bytes("100MiB"), Ok(104_857_600.0));
        assert_eq!((bytes("1.5GB/s"), bytes("7B")), (Ok(1.5e9), Ok(7.0)));
        for nonsense in ["", "5", "ms", "0ms", "-1ms", "1..5ms", "5 ms", "5m", "inf", "9e9ms"] {
            assert!(cost_ns(nonsense).is_err(), "{nonsense:?}");
        }
        for nonsense in ["100", "MiB", "0MiB", "100mib", "100MiB/m", "99999999999GiB"] {
            assert!(bytes(nonsense).is_err(), "{nonsense:?}");
        }
    }
}
