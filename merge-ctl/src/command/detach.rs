//! `start --detach`: the merge goes on without this terminal.
//!
//! Preflight and the question are the foreground's. Then merge-ctl runs once more, with the same
//! arguments, as a transient unit where systemd runs, else as a daemon: in a session of its own, its
//! standard output and error in a log file. The foreground waits until the merge has begun, or tells
//! why it has not, with the other one's words and exit status.

mod news;
mod systemd;

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use merge_ctl::dm::Device;
use merge_ctl::harmless::{self, argument};
use merge_ctl::human;
use merge_ctl::merge::preflight::Plan;
use merge_ctl::state_dir;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{chdir, setsid, umask};
use serde::Serialize;

use super::terminal;
use crate::cli::{Output, Start};
use crate::exit::{self, Exit};

use news::{Caller, Inbox};
pub(crate) use news::{News, Teller};

/// What names the socket to the detached one.
const DETACHED: &str = "--detached";
/// What was agreed to here is not asked again there.
const LOSE_SIBLINGS: &str = "--lose-siblings";
/// A log is read later, and by the page.
const INTERVAL: &str = "--interval";
const SELDOM: &str = "10s";
/// systemd runs where this is (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";
const SYSTEMD_RUN: [&str; 2] = ["/usr/bin/systemd-run", "/bin/systemd-run"];
/// How long the detached one may take to call.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// Starts the detached one for merges that preflight has let pass, and waits until they have begun.
/// One process drives them all; it is named after the first origin.
///
/// # Errors
/// Where it cannot be started, or dies without a word.
pub(crate) fn detach(
    plans: &[Plan<'_>],
    options: &Start,
    lose_siblings: bool,
) -> anyhow::Result<ExitCode> {
    let plan = plans.first().context("there is nothing to merge")?;
    let inbox =
        Inbox::open().context("cannot make a socket to hear from the detached merge-ctl")?;
    let stem = systemd::stem(&plan.origin.info.name, &plan.origin.info.dev.to_string());
    let arguments = arguments(env::args_os().skip(1), inbox.path(), lose_siblings);
    let mut home = if systemd_runs() {
        Home::unit(&stem, &plan.origin.label(), &arguments)?
    } else {
        Home::daemon(&stem, &arguments)?
    };
    let mut caller = home.wait_for_call(&inbox)?;
    let Some((pid, news)) = caller.next()? else {
        bail!("the detached merge-ctl died before the merge began. {}", home.log_hint());
    };
    let status = match &news {
        News::Waits => Exit::Done as u8,
        News::Scheduled { .. } => Exit::StillMerging as u8,
        News::Begun { status, words } | News::Ended { status, words } => {
            if !words.is_empty() {
                terminal::tell(&harmless::printable_lines(words));
            }
            *status
        }
    };
    if !matches!(news, News::Ended { .. }) {
        let recording = options.record.record.as_deref();
        let told = Told { plans, pid, news: &news, home: &home, recording };
        let json = options.live.output == Some(Output::Json);
        writeln!(io::stdout(), "{}", if json { told.json() } else { told.words() })?;
    }
    Ok(ExitCode::from(status))
}

/// Whether a detached merge-ctl becomes a unit of systemd.
pub(crate) fn systemd_runs() -> bool {
    Path::new(SYSTEMD).is_dir()
}

/// What makes units.
pub(crate) fn systemd_run() -> Option<&'static Path> {
    SYSTEMD_RUN.map(Path::new).into_iter().find(|path| path.exists())
}

/// Our own arguments, for a merge-ctl that is detached and tells `socket` of it. They begin with
/// the subcommand; what comes first after it is ours, so that a `--` of the user does no harm.
fn arguments(
    own: impl IntoIterator<Item = OsString>,
    socket: &Path,
    lose_siblings: bool,
) -> Vec<OsString> {
    let mut all: Vec<OsString> = own.into_iter().collect();
    let asked = |name: &str| {
        let mut names = all.iter().take_while(|argument| *argument != "--");
        names.any(|argument| argument.as_bytes().starts_with(name.as_bytes()))
    };
    let mut ours: Vec<OsString> = vec![DETACHED.into(), socket.into()];
    if lose_siblings && !asked(LOSE_SIBLINGS) {
        ours.push(LOSE_SIBLINGS.into());
    }
    if !asked(INTERVAL) {
        ours.extend([INTERVAL, SELDOM].map(OsString::from));
    }
    let after_the_subcommand = all.len().min(1);
    all.splice(after_the_subcommand..after_the_subcommand, ours);
    all
}

/// What a detached merge-ctl lives in.
enum Home {
    /// A unit of systemd.
    Unit {
        /// Its name.
        name: String,
    },
    /// A session of its own.
    Daemon {
        /// Its process.
        child: Child,
        /// Where it writes.
        log: PathBuf,
    },
}

impl Home {
    fn unit(stem: &str, label: &str, own: &[OsString]) -> anyhow::Result<Self> {
        let program = env::current_exe().context("cannot tell where merge-ctl itself is")?;
        if !program.exists() {
            bail!("{} was replaced while it runs: call it once more", program.display());
        }
        let run = systemd_run().context("systemd runs, but there is no /usr/bin/systemd-run")?;
        let name = systemd::unit(stem);
        // The hooks are looked for once more there.
        let handed_on = [state_dir::VARIABLE, "PATH"];
        let value_of = |name: &'static str| Some((name, env::var_os(name)?));
        let environment: Vec<_> = handed_on.into_iter().filter_map(value_of).collect();
        let directory = env::current_dir().ok();
        let unit = systemd::Unit {
            name: &name,
            label: &human::printable(label),
            environment: &environment,
            directory: directory.as_deref(),
        };
        let output = Command::new(run)
            .args(systemd::arguments(&unit, &program, own))
            .env_clear()
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {}", run.display()))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            bail!("{} failed ({}): {}", run.display(), output.status, words.trim());
        }
        Ok(Self::Unit { name })
    }

    fn daemon(stem: &str, arguments: &[OsString]) -> anyhow::Result<Self> {
        let directory = state_dir::lasting().join("log");
        let log = directory.join(format!("{stem}.log"));
        let open = || {
            state_dir::make(&directory)?;
            File::options().create(true).append(true).mode(0o600).open(&log)
        };
        let out = open().with_context(|| format!("cannot write {}", log.display()))?;
        let err = out.try_clone()?;
        let child = Command::new("/proc/self/exe")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .context("cannot start a detached merge-ctl")?;
        Ok(Self::Daemon { child, log })
    }

    fn wait_for_call(&mut self, inbox: &Inbox) -> anyhow::Result<Caller> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(caller) = inbox.caller()? {
                return Ok(caller);
            }
            if let Self::Daemon { child, .. } = self
                && let Some(status) = child.try_wait()?
            {
                bail!("the detached merge-ctl ended at once ({status}). {}", self.log_hint());
            }
            thread::sleep(PAUSE);
        }
        bail!("the detached merge-ctl does not call. {}", self.log_hint())
    }

    /// The command, or the file, that shows what it says.
    fn log(&self) -> String {
        match self {
            Self::Unit { name } => format!("journalctl -u '{name}'"),
            Self::Daemon { log, .. } => harmless::path(log),
        }
    }

    fn log_hint(&self) -> String {
        format!("What it said: {}", self.log())
    }

    fn unit_name(&self) -> Option<&str> {
        match self {
            Self::Unit { name } => Some(name),
            Self::Daemon { .. } => None,
        }
    }
}

/// What the foreground says before it goes.
struct Told<'a> {
    plans: &'a [Plan<'a>],
    pid: u32,
    news: &'a News,
    home: &'a Home,
    /// What it records to.
    recording: Option<&'a Path>,
}

impl Told<'_> {
    fn words(&self) -> String {
        let label = |device: &Device| human::printable(&device.label());
        let origins: Vec<_> = self.plans.iter().map(|plan| label(plan.origin)).collect();
        let origins = origins.join(", ");
        let what = match self.news {
            News::Scheduled { words } => {
                return format!(
                    "{origins} is in use, so LVM has recorded the merge and begins it at the next \
                     activation. lvm2 says: {}",
                    human::printable(words)
                );
            }
            News::Waits => "waits for a quiet moment, and then merges",
            News::Begun { .. } | News::Ended { .. } => "merges",
        };
        let unit = match self.home.unit_name() {
            Some(unit) => format!(", unit {unit}"),
            None => String::new(),
        };
        let mut lines = vec![format!("merge-ctl {what} without this terminal:")];
        for plan in self.plans {
            lines.push(format!("  {} ◀ {}", label(plan.origin), label(plan.snapshot)));
        }
        lines.push(format!("  driven by  process {}{unit}", self.pid));
        lines.extend(self.plans.iter().map(|plan| {
            format!("  watch it   merge-ctl monitor {}", argument(&label(plan.origin)))
        }));
        lines.push("  all        merge-ctl status".to_owned());
        if let Some(path) = self.recording {
            lines.push(format!("  recording  {}", harmless::path(path)));
        }
        lines.push(format!("  log        {}", self.home.log()));
        lines.join("\n")
    }

    /// One object an origin.
    fn json(&self) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            schema: u32,
            #[serde(rename = "type")]
            kind: &'static str,
            origin: &'a str,
            #[serde(flatten)]
            news: &'a News,
            pid: u32,
            unit: Option<&'a str>,
            log: String,
        }
        let line = |plan: &Plan<'_>| {
            let line = Line {
                schema: merge_ctl::output::json::SCHEMA,
                kind: "detached",
                origin: &plan.origin.info.name,
                news: self.news,
                pid: self.pid,
                unit: self.home.unit_name(),
                log: self.home.log(),
            };
            // Nothing in it can fail to be written.
            harmless::json(&line).unwrap_or_default()
        };
        self.plans.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// The detached one's side: leaves the terminal's session, and calls the foreground.
///
/// # Errors
/// Where it cannot leave. A foreground that is gone is fine: the merge was agreed to.
pub(crate) fn settle(socket: &Path) -> anyhow::Result<Teller> {
    match setsid() {
        // A unit has a session of its own.
        Ok(_) | Err(Errno::PERM) => {}
        Err(errno) => return Err(io::Error::from(errno)).context("cannot leave the terminal"),
    }
    umask(Mode::from_raw_mode(0o077));
    chdir("/").context("cannot go to /")?;
    Ok(Teller::call(socket).unwrap_or_default())
}

/// What the foreground is told of an end that came before the merge began.
pub(crate) fn ended(error: &anyhow::Error) -> News {
    News::Ended { status: exit::of(error) as u8, words: exit::words(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detached_one_is_told_whom_to_call_before_anything_else() {
        let detached = |own: &[&str]| {
            let all = arguments(own.iter().map(OsString::from), Path::new("/run/x"), false);
            all.into_iter().map(|argument| argument.into_string().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(
            detached(&["start", "--detach", "--yes", "--", "--interval"]).join(" "),
            "start --detached /run/x --interval 10s --detach --yes -- --interval"
        );
        assert_eq!(
            detached(&["start", "--detach", "--interval=1s", "x"]).join(" "),
            "start --detached /run/x --detach --interval=1s x"
        );
    }

    #[test]
    fn what_was_agreed_to_is_handed_on() {
        let own = ["start", "x"].map(OsString::from);
        let all = arguments(own, Path::new("/run/x"), true);
        assert!(all.contains(&LOSE_SIBLINGS.into()), "{all:?}");
    }

    #[test]
    fn an_end_before_the_begin_keeps_its_status_and_its_words() {
        let error = anyhow::Error::new(exit::Usage("no".to_owned())).context("tried");
        assert_eq!(ended(&error), News::Ended { status: 2, words: "tried: no".to_owned() });
    }
}
