//! A file that one process holds locked, with its number in it. The kernel gives the lock back when
//! the process dies; nobody ever removes the file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::state_dir;

/// The lock, as long as this lives.
#[derive(Debug)]
pub(super) struct PidLock {
    _file: File,
}

impl PidLock {
    /// Takes it at once; the holder's number as the error where another process has it, as far as
    /// that can be told.
    pub(super) fn take(path: &Path) -> io::Result<Result<Self, Option<u32>>> {
        state_dir::make(path.parent().unwrap_or(Path::new("/")))?;
        let mut options = File::options();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(Err(pid(&mut file))),
            Err(errno) => return Err(errno.into()),
        }
        file.set_len(0)?;
        file.write_all(std::process::id().to_string().as_bytes())?;
        Ok(Ok(Self { _file: file }))
    }
}

/// The process that holds a lock; nothing where none does, or none can be seen.
pub(super) fn holder(path: &Path) -> Option<u32> {
    let mut file = File::open(path).ok()?;
    // A lock for many: it is refused only while somebody holds it, and gone when this returns.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => pid(&mut file),
        _ => None,
    }
}

/// The lock of an origin among those of a sort.
pub(super) fn path_of(sort: &str, origin: &str) -> PathBuf {
    state_dir::of_this_boot().join(sort).join(super::file_name(origin))
}

fn pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.read_to_string(&mut text).ok()?;
    text.parse().ok()
}
