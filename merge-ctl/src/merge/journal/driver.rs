//! Who drives a merge: one process at a time may change its devices, the others only look.
//!
//! A lock on a file that nobody ever removes, held by the process and given back by the kernel when
//! it dies. It says nothing of what was done: that is in the journal.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::state_dir;

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
    _lock: File,
}

impl Driver {
    /// Takes the right at once.
    ///
    /// # Errors
    /// [`DriverError::Taken`] where another process has it.
    pub fn take(origin: &str) -> Result<Self, DriverError> {
        let path = path_of(origin);
        let failed = |source| DriverError::Io { path: path.clone(), source };
        let mut file = open(origin).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(DriverError::Taken { origin: origin.to_owned(), pid: pid(&mut file) });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        file.set_len(0)
            .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()))
            .map_err(failed)?;
        Ok(Self { _lock: file })
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
    let mut file = File::open(path_of(origin)).ok()?;
    // A lock for many: it is refused only while somebody drives, and gone when this returns.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => pid(&mut file),
        _ => None,
    }
}

fn open(origin: &str) -> io::Result<File> {
    state_dir::make(&directory())?;
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).open(path_of(origin))
}

fn pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.read_to_string(&mut text).ok()?;
    text.parse().ok()
}

fn directory() -> PathBuf {
    state_dir::of_this_boot().join("drivers")
}

fn path_of(origin: &str) -> PathBuf {
    directory().join(super::file_name(origin))
}
