//! Who is going to begin a merge, and waits for the moment: nothing is changed yet, and whoever
//! waits for the merge must not take that for its end.

use std::io;

use super::pid_lock::{self, PidLock};

const SORT: &str = "intents";

/// The intent to begin the merge into an origin, as long as this lives.
#[derive(Debug)]
pub struct Intent {
    // Where another process has the same intent, that one is as good.
    _lock: Option<PidLock>,
}

impl Intent {
    /// Makes it known.
    ///
    /// # Errors
    /// Where there can be no file for it.
    pub fn announce(origin: &str) -> io::Result<Self> {
        Ok(Self { _lock: PidLock::take(&pid_lock::path_of(SORT, origin))?.ok() })
    }
}

/// The process that is going to begin the merge into an origin.
pub fn announced_by(origin: &str) -> Option<u32> {
    pid_lock::holder(&pid_lock::path_of(SORT, origin))
}
