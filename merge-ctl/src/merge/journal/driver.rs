//! Who drives a merge: one process at a time may change its devices, the others only look.
//!
//! A lock that the kernel gives back when the process dies. It says nothing of what was done: that is
//! in the journal.

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::pid_lock::{self, PidLock};

/// How long whoever dies, or his guard, may take to let go.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// Why one does not drive.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// Somebody else does.
    #[error("the merge into {origin} is driven by {}", process(*pid))]
    Taken {
        /// The origin.
        origin: String,
        /// Who it is, where it can be told.
        pid: Option<u32>,
    },
    /// The lock cannot be had.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was answered.
        source: io::Error,
    },
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another merge-ctl".to_owned(), |pid| format!("merge-ctl, process {pid}"))
}

/// The right to change the devices of one merge, as long as this lives.
#[derive(Debug)]
pub struct Driver {
    _lock: PidLock,
}

impl Driver {
    /// Takes the right at once.
    ///
    /// # Errors
    /// [`DriverError::Taken`] where another process has it.
    pub fn take(origin: &str) -> Result<Self, DriverError> {
        let path = path_of(origin);
        match PidLock::take(&path) {
            Ok(Ok(lock)) => Ok(Self { _lock: lock }),
            Ok(Err(pid)) => Err(DriverError::Taken { origin: origin.to_owned(), pid }),
            Err(source) => Err(DriverError::Io { path, source }),
        }
    }

    /// The same, with patience for somebody who is about to let go.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_patiently(origin: &str) -> Result<Self, DriverError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Self::take(origin) {
                Err(DriverError::Taken { .. }) if Instant::now() < deadline => thread::sleep(PAUSE),
                outcome => return outcome,
            }
        }
    }
}

/// The process that drives the merge into an origin; nothing where none does, or none can be seen.
pub fn driver_of(origin: &str) -> Option<u32> {
    pid_lock::holder(&path_of(origin))
}

/// When that process, or the last one, began to drive, in seconds since 1970, UTC.
pub fn since(origin: &str) -> Option<u64> {
    // Whoever takes the lock writes its number into the file.
    let written = std::fs::metadata(path_of(origin)).and_then(|file| file.modified()).ok()?;
    Some(written.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

fn path_of(origin: &str) -> PathBuf {
    pid_lock::path_of("drivers", origin)
}
