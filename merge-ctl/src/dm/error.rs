//! What the kernel answered, with what it means in that operation.
//!
//! Always carried: the operation, the device, the errno. The meaning is what can be known from
//! `drivers/md/dm-ioctl.c` and `dm-snap.c`; where several things share an errno the text says so,
//! because the kernel's own sentence is in its log only.

use std::fmt;

use rustix::io::Errno;

use crate::harmless;
use crate::units::DeviceNumber;

/// What was asked of device-mapper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Open `/dev/mapper/control` and agree on a version.
    Open,
    /// List all devices.
    List,
    /// List the targets that the kernel knows.
    Targets,
    /// Read a device's state.
    Info,
    /// Read a table.
    Table,
    /// Read the targets' status.
    Status,
    /// Load a table into the inactive slot.
    Load,
    /// Drop the inactive table.
    Clear,
    /// Suspend a device.
    Suspend,
    /// Resume a device, with the inactive table where one is there.
    Resume,
    /// Create a device.
    Create,
    /// Remove a device.
    Remove,
    /// Give a device another name.
    Rename,
    /// Ask for a notice when any device changes.
    ArmPoll,
}

/// In words that the device's name can follow.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::List => "list devices",
            Self::Targets => "list targets",
            Self::Info => "read the state of",
            Self::Table => "read the table of",
            Self::Status => "read the status of",
            Self::Load => "load a table into",
            Self::Clear => "drop the inactive table of",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Create => "create",
            Self::Remove => "remove",
            Self::Rename => "rename",
            Self::ArmPoll => "arm the notice of changes",
        })
    }
}

/// What kind of failure it is: what a caller decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmErrorKind {
    /// Root, or `CAP_SYS_ADMIN`, is needed.
    Privilege,
    /// The kernel has no device-mapper, or not what was asked of it.
    KernelFeatureMissing,
    /// There is no such device.
    NoSuchDevice,
    /// The name belongs to another device than the one that was meant.
    OtherDevice {
        /// The one that was meant.
        expected: DeviceNumber,
        /// The one that has the name now.
        found: DeviceNumber,
    },
    /// The device, or its name, is in use.
    Busy,
    /// The kernel refused what was asked.
    Refused,
    /// A signal came in between; it can be repeated.
    Interrupted,
    /// The kernel's answer makes no sense.
    BadAnswer,
    /// Anything else.
    Other,
}

/// A failed operation of device-mapper.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct DmError {
    /// What was asked.
    pub operation: Operation,
    /// Of which device, by name, UUID or number; empty where none.
    pub device: String,
    /// The kernel's answer; none where it never came to a call, or the call succeeded.
    pub errno: Option<Errno>,
    /// What kind of failure it is.
    pub kind: DmErrorKind,
    /// What it means here, and what to do next, where that can be known.
    pub meaning: String,
}

impl fmt::Display for DmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device-mapper: cannot {}", self.operation)?;
        if !self.device.is_empty() {
            write!(f, " {}", harmless::printable(&self.device))?;
        }
        if let Some(errno) = self.errno {
            write!(f, ": {errno}")?;
        }
        if !self.meaning.is_empty() {
            write!(f, ": {}", self.meaning)?;
        }
        Ok(())
    }
}

impl DmError {
    pub(super) fn from_errno(operation: Operation, device: &str, errno: Errno) -> Self {
        let (kind, meaning) = meaning(operation, errno);
        Self { operation, device: device.into(), errno: Some(errno), kind, meaning: meaning.into() }
    }

    pub(super) fn bad_answer(operation: Operation, device: &str, what: impl Into<String>) -> Self {
        Self {
            operation,
            device: device.into(),
            errno: None,
            kind: DmErrorKind::BadAnswer,
            meaning: what.into(),
        }
    }

    pub(super) fn other_device(
        operation: Operation,
        name: &str,
        expected: DeviceNumber,
        found: DeviceNumber,
    ) -> Self {
        Self {
            operation,
            device: name.into(),
            errno: None,
            kind: DmErrorKind::OtherDevice { expected, found },
            meaning: format!(
                "the name belongs to device {found} now, {expected} was meant: somebody replaced \
                 it; look at it again"
            ),
        }
    }
}

/// What an errno means in an operation.
fn meaning(operation: Operation, errno: Errno) -> (DmErrorKind, &'static str) {
    match (operation, errno) {
        (_, Errno::ACCESS | Errno::PERM) if operation != Operation::Load => {
            (DmErrorKind::Privilege, "root (CAP_SYS_ADMIN) is needed")
        }
        (Operation::Open, _) => meaning_of_open(errno),
        (Operation::Load, _) => meaning_of_load(errno),
        (_, Errno::NXIO) => (DmErrorKind::NoSuchDevice, "there is no such device (any more)"),
        (_, Errno::NOTTY) => {
            (DmErrorKind::KernelFeatureMissing, "this kernel's device-mapper lacks the operation")
        }
        (_, Errno::INTR) => (DmErrorKind::Interrupted, "a signal came in between; repeat it"),
        (Operation::Create, Errno::BUSY) => {
            (DmErrorKind::Busy, "a device with this name or UUID is there already")
        }
        (Operation::Rename, Errno::BUSY) => (DmErrorKind::Busy, "the new name is taken"),
        (Operation::Create, Errno::INVAL) => (DmErrorKind::Refused, "not a name for a device"),
        (Operation::Remove, Errno::BUSY) => {
            (DmErrorKind::Busy, "the device is in use: mounted, open, or below another device")
        }
        (Operation::Resume, Errno::INVAL) => (
            DmErrorKind::Refused,
            "there is no table to resume with, or a target refused: the exceptions of a snapshot \
             can be taken over only while that snapshot is suspended; the kernel log has the reason",
        ),
        (Operation::Suspend, Errno::BUSY) => {
            (DmErrorKind::Busy, "its file system is frozen by somebody else")
        }
        (_, Errno::INVAL) => (DmErrorKind::Refused, "the kernel log has the reason"),
        (_, Errno::BUSY) => (DmErrorKind::Busy, "it is in use"),
        _ => (DmErrorKind::Other, ""),
    }
}

fn meaning_of_open(errno: Errno) -> (DmErrorKind, &'static str) {
    match errno {
        Errno::NOENT | Errno::NXIO | Errno::NODEV => (
            DmErrorKind::KernelFeatureMissing,
            "this kernel has no device-mapper, or it is not loaded: try `modprobe dm_mod`",
        ),
        Errno::INVAL | Errno::NOTTY => (
            DmErrorKind::KernelFeatureMissing,
            "this kernel's device-mapper speaks another interface than version 4",
        ),
        _ => (DmErrorKind::Other, ""),
    }
}

/// A load runs the constructors of the targets (`snapshot_ctr` and its like), so its errors come
/// from many places.
fn meaning_of_load(errno: Errno) -> (DmErrorKind, &'static str) {
    match errno {
        Errno::ACCESS => (
            DmErrorKind::Privilege,
            "root (CAP_SYS_ADMIN) is needed, or a device of the table is read-only",
        ),
        Errno::PERM => (
            DmErrorKind::Refused,
            "the kernel forbids it: a device of the table may not be used for this (the kernel \
             log has the reason)",
        ),
        Errno::NXIO => {
            (DmErrorKind::NoSuchDevice, "there is no such device, or a device of the table is gone")
        }
        Errno::NODEV | Errno::NOENT => {
            (DmErrorKind::NoSuchDevice, "a device that the table names is not there")
        }
        Errno::BUSY => (
            DmErrorKind::Busy,
            "a device of the table is in use by somebody who excludes others (a mount, MD, swap)",
        ),
        Errno::INVAL => (
            DmErrorKind::Refused,
            "a target refused its line: an unknown target (is its module loaded?), a wrong \
             argument, a device that is too small, or a snapshot that is already merging; the \
             kernel log has the reason",
        ),
        Errno::NOMEM => (DmErrorKind::Other, "the kernel is short of memory"),
        _ => (DmErrorKind::Other, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_errno_means_what_the_operation_makes_of_it() {
        let kind = |operation, errno| DmError::from_errno(operation, "x", errno).kind;
        assert_eq!(kind(Operation::Info, Errno::NXIO), DmErrorKind::NoSuchDevice);
        assert_eq!(kind(Operation::Open, Errno::NXIO), DmErrorKind::KernelFeatureMissing);
        assert_eq!(kind(Operation::List, Errno::ACCESS), DmErrorKind::Privilege);
        assert_eq!(kind(Operation::Load, Errno::PERM), DmErrorKind::Refused);
    }

    #[test]
    fn the_text_names_operation_device_answer_and_meaning() {
        let text = DmError::from_errno(Operation::Remove, "vg-snap", Errno::BUSY).to_string();
        for part in ["cannot remove vg-snap", "busy", "in use"] {
            assert!(text.contains(part), "{part:?} is missing in {text:?}");
        }
    }
}
