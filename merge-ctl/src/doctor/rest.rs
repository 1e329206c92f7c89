//! The rest: throttle, io_uring, udev, systemd, the terminal.

use super::check::{Check, Code};
use super::facts::{Facts, Systemd, Throttle, Udev};
use crate::dm::throttle::OFF;

pub(super) fn look(facts: &Facts) -> Vec<Check> {
    vec![throttle(facts), io_uring(facts), udev(facts), systemd(facts), terminal(facts)]
}

fn throttle(facts: &Facts) -> Check {
    let code = Code::Throttle;
    let Some(Throttle { percent, writable, holder }) = &facts.throttle else {
        return Check::unknown(code, "The throttle was not looked at.");
    };
    match (percent, holder) {
        (Err(why), _) => Check::degraded(code, format!("The throttle cannot be read: {why}."))
            .costs("Whether copies are slowed down is not known.")
            .way_out("Run it as root."),
        (Ok(None), _) => {
            Check::unknown(code, "The throttle is there only once dm-snapshot is loaded.")
        }
        (Ok(Some(OFF)), _) if !writable => {
            Check::degraded(code, "Nothing is throttled, and it may not be set.")
                .costs("`merge-ctl throttle` cannot slow a merge down.")
                .way_out("Run it as root.")
        }
        (Ok(Some(OFF)), None) => Check::ok(code, "Nothing is throttled."),
        (Ok(Some(percent)), Some((pid, origin))) => Check::ok(
            code,
            format!(
                "Process {pid} of merge-ctl holds it at {percent} %, for the merge into {origin}."
            ),
        ),
        (Ok(Some(percent)), None) => {
            Check::degraded(code, format!("snapshot_copy_throttle is {percent} (percent)."))
                .costs(
                    "Every merge and every other copy for a snapshot on this host is slowed down.",
                )
                .way_out("merge-ctl throttle --reset")
        }
    }
}

fn io_uring(facts: &Facts) -> Check {
    let code = Code::IoUring;
    match &facts.io_uring {
        None => Check::unknown(code, "io_uring was not tried."),
        Some(Ok(())) => Check::ok(code, "Offline merges can make their requests by io_uring."),
        Some(Err(why)) => {
            let forbidden = facts.io_uring_disabled.is_some_and(|how| how > 0);
            Check::degraded(code, format!("There is no io_uring: {why}."))
                .costs("Offline merges make their requests by threads.")
                .way_out(if forbidden {
                    "sysctl kernel.io_uring_disabled=0"
                } else {
                    "Boot a kernel with CONFIG_IO_URING; a container may forbid it."
                })
        }
    }
}

fn udev(facts: &Facts) -> Check {
    let code = Code::Udev;
    match facts.udev {
        None => Check::unknown(code, "Whether udev runs was not looked at."),
        Some(Udev { runs: true, told_off: false }) => Check::ok(code, "udev runs."),
        Some(Udev { runs: true, told_off: true }) => {
            Check::degraded(code, "udev runs, and DM_DISABLE_UDEV tells lvm2 not to wait for it.")
                .costs("lvm2 and udev may both make a node, and get in each other's way.")
                .way_out("unset DM_DISABLE_UDEV")
        }
        Some(Udev { runs: false, told_off: true }) => Check::ok(
            code,
            "udev does not run, and lvm2 is told so (DM_DISABLE_UDEV); merge-ctl makes its own nodes.",
        ),
        Some(Udev { runs: false, told_off: false }) => Check::degraded(code, "udev does not run.")
            .costs("lvm2 may wait for it for ever; merge-ctl makes its own nodes.")
            .way_out("export DM_DISABLE_UDEV=1"),
    }
}

fn systemd(facts: &Facts) -> Check {
    let code = Code::Systemd;
    match facts.systemd {
        None => Check::unknown(code, "Whether systemd runs was not looked at."),
        Some(Systemd { runs: true, run: true }) => {
            Check::ok(code, "A detached merge becomes a unit of systemd.")
        }
        Some(Systemd { runs: true, run: false }) => {
            Check::missing(code, "systemd runs, but there is no /usr/bin/systemd-run.")
                .costs("`merge-ctl start --detach` does not work.")
                .way_out("Install systemd whole.")
        }
        Some(Systemd { runs: false, .. }) => Check::degraded(code, "systemd does not run.")
            .costs("`merge-ctl start --detach` makes a daemon with a log file in place of a unit."),
    }
}

fn terminal(facts: &Facts) -> Check {
    let code = Code::Terminal;
    let Some(terminal) = facts.terminal else {
        return Check::unknown(
            code,
            "Standard output is no terminal: lines are printed there in place of the dashboard.",
        );
    };
    match terminal.size {
        _ if terminal.dumb => Check::degraded(code, "TERM is not set, or `dumb`.")
            .costs("The dashboard may not be drawn as it should.")
            .way_out("Use --output plain, or set TERM to what the terminal is."),
        None => Check::degraded(code, "The terminal does not tell its size.")
            .costs("The dashboard cannot be drawn.")
            .way_out("Use --output plain, or set the size: stty rows 24 cols 80"),
        Some((columns, rows)) if terminal.has_room => {
            Check::ok(code, format!("{columns} columns and {rows} rows: the dashboard fits."))
        }
        Some((columns, rows)) => {
            Check::degraded(code, format!("The terminal has {columns} columns and {rows} rows."))
                .costs("The dashboard shows the most important lines only.")
                .way_out("Make it larger: 80 columns and 24 rows show all of it.")
        }
    }
}
