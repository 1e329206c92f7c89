//! What the controller asks of device-mapper. It decides; an executor looks and acts: the real one
//! through ioctls, and in tests one that fails where it is told to.

use std::fmt;

use crate::dm::{DmError, SnapshotStatus, Table};
use crate::harmless::printable;

/// A change to one device, by its device-mapper name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a device without a table, by its name and, if it is not empty, its UUID.
    Create(String, String),
    /// Load a table into the inactive slot.
    Load(String, Table),
    /// Empty the inactive slot.
    Clear(String),
    /// Let I/O in flight end, and hold what comes.
    Suspend(String),
    /// Make the inactive table, if there is one, the live one, and let I/O go on.
    Resume(String),
    /// Remove the device; at once, or when the last process has closed it.
    Remove(String),
    /// Remove the device at once, or, where somebody has it open, not at all.
    RemoveUnused(String),
}

impl Step {
    /// The device that changes.
    pub fn device(&self) -> &str {
        match self {
            Self::Create(device, _)
            | Self::Load(device, _)
            | Self::Clear(device)
            | Self::Suspend(device)
            | Self::Resume(device)
            | Self::Remove(device)
            | Self::RemoveUnused(device) => device,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = printable(self.device());
        match self {
            Self::Create(..) => write!(f, "create {device}"),
            Self::Load(_, table) => write!(f, "load `{table}` into {device}"),
            Self::Clear(_) => write!(f, "clear the inactive table of {device}"),
            Self::Suspend(_) => write!(f, "suspend {device}"),
            Self::Resume(_) => write!(f, "resume {device}"),
            Self::Remove(_) => write!(f, "remove {device}"),
            Self::RemoveUnused(_) => write!(f, "remove {device}, unless it is in use"),
        }
    }
}

/// A device at one instant: both its tables, and what the kernel says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The table that serves I/O; empty where there is none.
    pub live: Table,
    /// The one that waits for the next resume.
    pub inactive: Option<Table>,
    /// Whether it is suspended.
    pub suspended: bool,
    /// What the kernel says of it, where it is a snapshot or a merge.
    pub status: Option<SnapshotStatus>,
    /// How many have it open.
    pub open_count: u32,
}

/// Looks at devices and carries out steps.
pub trait Executor {
    /// Looks at a device; nothing where there is none of that name, or another one than is meant.
    ///
    /// # Errors
    /// Where device-mapper does not tell.
    fn look(&mut self, name: &str) -> Result<Option<Seen>, DmError>;

    /// Carries out one step.
    ///
    /// # Errors
    /// What device-mapper answered. The step may then be half done: a resume may have swapped the
    /// tables and left the device suspended.
    fn act(&mut self, step: &Step) -> Result<(), DmError>;
}
