//! Exit codes, and the one place that turns an error into a message and a code.

use std::process::ExitCode;

/// How a command ended, as scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Another error.
    Error = 1,
    /// Wrong usage.
    Usage = 2,
    /// Still merging, or merged and not finished.
    StillMerging = 3,
    /// The merge failed, or the snapshot is invalid.
    Failed = 5,
    /// A privilege or a kernel feature is missing.
    Missing = 6,
    /// Refused; nothing was changed.
    Refused = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
