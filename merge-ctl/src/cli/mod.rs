//! The command line as clap reads it. Manual pages and completions are made from these types.

mod exit_status;
mod export;
mod live;
mod looking;
mod merging;
mod recordings;
mod throttle;
mod values;

use clap::{Parser, Subcommand};

use self::exit_status::{
    DOCTOR_STATUS, EXIT_STATUS, EXPLAIN_STATUS, EXPORT_STATUS, FINISH_STATUS, READ_STATUS,
    REPLAY_STATUS, REPORT_STATUS, STATUS_STATUS, THROTTLE_STATUS, WAIT_STATUS,
};
pub(crate) use self::export::Export;
pub(crate) use self::live::{HookOptions, LineOutput, Live, Output, Probes, RecordTo, Watching};
pub(crate) use self::looking::{Doctor, Dump, Explain, Monitor, Plan, Status, Until, Wait};
pub(crate) use self::merging::{Finish, Resume, Start, WhenQuiet};
pub(crate) use self::recordings::{Record, Replay, Report};
pub(crate) use self::throttle::Throttle;

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
    /// Of a recording, or of a merge that goes on: that is followed to its end or to Ctrl-C, and goes on;
    /// --probes and --stall-after are for it alone. The ending of the file's name says what is made: .html is one page that is whole by itself, .md a text for a
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
