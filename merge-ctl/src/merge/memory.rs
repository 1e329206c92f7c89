//! Keeps this process in memory while a device is suspended.
//!
//! If our own pages, or those of a library, lay on the suspended device, reading one back would
//! wait for a resume that only we can ask for.

use std::io::{self, Write as _};

use rustix::mm::{MlockAllFlags, mlockall, munlockall};

/// All memory of the process is locked as long as this lives.
#[derive(Debug)]
pub struct LockedMemory(());

impl LockedMemory {
    /// Locks what there is and what will be.
    ///
    /// # Errors
    /// Where the limit on locked memory is too low and the process may not exceed it.
    pub fn lock() -> io::Result<Self> {
        mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)?;
        Ok(Self(()))
    }
}

impl Drop for LockedMemory {
    fn drop(&mut self) {
        if let Err(error) = munlockall() {
            // Whoever read it may be gone, and a panic here could come between two steps of a merge.
            _ = writeln!(io::stderr(), "merge-ctl: memory stays locked: {error}");
        }
    }
}
