//! lvm2's own lock on a volume group, held by us: who wants to change the group or to activate one
//! of its volumes waits; who only looks (`lvs`) does not.
//!
//! lvm2 locks the file `V_GROUP` in `global/locking_dir` with `flock`: shared to read, exclusive to
//! change metadata and to activate (`lib/misc/lvm-flock.c`, `lock_file`; `lib/metadata/metadata.c`,
//! `vg_read`). It removes the file after use, so whoever got the lock looks whether the file is still
//! the one that others open. We take it shared: that keeps out every change, and none who reads.
//!
//! What always holds: the lock goes with the process, however it ends, and no program that we start
//! inherits it. What it does not hold off: commands that are told not to lock (`--nolocking`,
//! `--sysinit` where the directory cannot be had), and other hosts.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Between two tries.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// The lock, as long as this lives.
#[derive(Debug)]
pub struct GroupLock {
    _file: File,
}

impl GroupLock {
    /// Takes it, once whoever changes the group is done; waits so long at most.
    ///
    /// # Errors
    /// `TimedOut` where somebody still changes the group then; from the file system.
    pub fn take(directory: &Path, group: &str, patience: Duration) -> io::Result<Self> {
        let path = directory.join(format!("V_{group}"));
        std::fs::create_dir_all(directory)?;
        let begun = Instant::now();
        loop {
            if let Some(file) = attempt(&path)? {
                return Ok(Self { _file: file });
            }
            if begun.elapsed() >= patience {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "somebody holds it"));
            }
            thread::sleep(TRY_EVERY);
        }
    }
}

/// The locked file; nothing where somebody else has it, or has just removed it.
fn attempt(path: &PathBuf) -> io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    }
    let ours = file.metadata()?;
    let is_it = match std::fs::metadata(path) {
        Ok(there) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    Ok(is_it.then_some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked_by_another(path: &Path, how: FlockOperation) -> File {
        let file = OpenOptions::new().create(true).append(true).read(true).open(path).unwrap();
        flock(&file, how).unwrap();
        file
    }

    #[test]
    fn it_waits_for_who_changes_and_goes_beside_who_reads() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("V_vg");
        let writer = locked_by_another(&path, FlockOperation::LockExclusive);
        let error = GroupLock::take(directory.path(), "vg", Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(writer);
        // Waits, as below.
        let _reader = locked_by_another(&path, FlockOperation::LockShared);
        GroupLock::take(directory.path(), "vg", Duration::ZERO).unwrap();
    }

    #[test]
    fn while_it_is_held_nobody_changes_and_everybody_reads() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("below/V_vg");
        let lock = GroupLock::take(&directory.path().join("below"), "vg", Duration::ZERO).unwrap();
        let file = File::open(&path).unwrap();
        flock(&file, FlockOperation::NonBlockingLockShared).unwrap();
        flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap_err();
        drop(lock);
        // Waits: a program that another test starts right now has the lock too, until its `exec`.
        flock(&file, FlockOperation::LockExclusive).unwrap();
    }

    #[test]
    fn a_file_that_was_removed_is_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("V_vg");
        let writer = locked_by_another(&path, FlockOperation::LockExclusive);
        std::fs::remove_file(&path).unwrap();
        let _ours = GroupLock::take(directory.path(), "vg", Duration::ZERO).unwrap();
        drop(writer);
        let file = File::open(&path).unwrap();
        flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap_err();
    }
}
