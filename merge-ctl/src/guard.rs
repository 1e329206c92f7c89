//! A second process that puts things right when this one dies in the middle.
//!
//! While a device is suspended, or a setting of the kernel is not what it was, only somebody who
//! remembers can bring the old state back. A [`Guard`] is a process of its own that knows its
//! [`Duty`] and waits on a pipe. Released, it goes away; if the pipe closes before (killed, crashed,
//! panicked), it does its duty at once. It is in a session of its own and takes no notice of the
//! signals that end a command, so what kills the one does not kill the other by the way.
//!
//! Where both are killed, what is on disk remains: see the files that the duties name.

use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde::{Deserialize, Serialize};

/// The hidden subcommand that a guard runs.
pub const SUBCOMMAND: &str = "guard";

const READY: &str = "ready";
const RELEASED: &str = "released";

/// What is to be done when nobody else does it any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "duty", rename_all = "kebab-case")]
pub enum Duty {
    /// Bring the devices of a merge to rest: all old tables, or all new ones, nothing suspended.
    Devices {
        /// The merge's journal.
        journal: PathBuf,
    },
    /// Put the throttle back to what it was.
    Throttle {
        /// What says what it was.
        lease: PathBuf,
    },
}

/// A guard on its post. Dropped without [`Guard::release`], it does its duty.
#[derive(Debug)]
pub struct Guard {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Starts a guard, and returns when it is ready to act.
    ///
    /// # Errors
    /// Where no process can be started, or it is not ready: then nothing is guarded.
    pub fn begin(duty: &Duty) -> io::Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipe = child.stdin.take();
        let said = child.stdout.take();
        let mut guard = Self { child, pipe };
        guard.say(&serde_json::to_string(duty)?)?;
        let mut answer = String::new();
        if let Some(said) = said {
            BufReader::new(said).read_line(&mut answer)?;
        }
        if answer.trim_end() != READY {
            return Err(io::Error::other("the guard is not ready"));
        }
        Ok(guard)
    }

    /// Sends the guard away, its duty undone: there is nothing left to put right.
    ///
    /// # Errors
    /// Where it cannot be told; then it does its duty.
    pub fn release(mut self) -> io::Result<()> {
        self.say(RELEASED)
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        let pipe = self.pipe.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(pipe, "{line}")?;
        pipe.flush()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // What it does is to be done when this returns. Nobody is left to tell of a failure; the
        // guard itself says on standard error what it could not do.
        let _ = self.child.wait();
    }
}

/// The guard's own side: takes its duty from standard input, prepares, says that it is ready, and
/// tells whether it is needed, once that is known.
///
/// # Errors
/// Where the duty is none, or `prepare` fails: the one who asked then learns that nobody guards.
pub fn stand<P>(prepare: impl FnOnce(&Duty) -> io::Result<P>) -> io::Result<Option<P>> {
    rustix::process::setsid()?;
    let mut lines = io::stdin().lock().lines();
    let duty = lines.next().ok_or(io::ErrorKind::UnexpectedEof)??;
    let prepared = prepare(&serde_json::from_str(&duty)?)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{READY}")?;
    out.flush()?;
    // A line that is cut off comes from somebody who died in the middle of it.
    let released = matches!(lines.next(), Some(Ok(line)) if line == RELEASED);
    Ok((!released).then_some(prepared))
}
