//! How a device is named in a question to the kernel, and what the answers say of one.

use super::ioctl::{Header, flag};
use super::status::SnapshotStatus;
use crate::units::{DeviceNumber, Sectors};

/// How a device is named in a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceId<'a> {
    /// By its name.
    Name(&'a str),
    /// By its UUID.
    Uuid(&'a str),
    /// By its number. Numbers are reused: good for a look, not for a change.
    Dev(DeviceNumber),
}

impl DeviceId<'_> {
    pub(super) fn label(self) -> String {
        match self {
            Self::Name(text) | Self::Uuid(text) => text.to_owned(),
            Self::Dev(dev) => dev.to_string(),
        }
    }
}

/// The device that is to be changed: by name or UUID, with the number that it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    pub(super) id: DeviceId<'a>,
    pub(super) expected: Option<DeviceNumber>,
}

impl<'a> Subject<'a> {
    /// By name.
    pub const fn name(name: &'a str) -> Self {
        Self { id: DeviceId::Name(name), expected: None }
    }

    /// By UUID.
    pub const fn uuid(uuid: &'a str) -> Self {
        Self { id: DeviceId::Uuid(uuid), expected: None }
    }

    /// The number that it must have; looked up before the change.
    #[must_use]
    pub const fn expecting(self, dev: DeviceNumber) -> Self {
        Self { expected: Some(dev), ..self }
    }
}

impl<'a> From<&'a str> for Subject<'a> {
    fn from(name: &'a str) -> Self {
        Self::name(name)
    }
}

/// The device as it was seen: its name, and the number that it must still have.
impl<'a> From<&'a DeviceInfo> for Subject<'a> {
    fn from(info: &'a DeviceInfo) -> Self {
        Self::name(&info.name).expecting(info.dev)
    }
}

/// What the kernel says of a device itself (`__dev_status`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its name.
    pub name: String,
    /// Its UUID; empty where it has none.
    pub uuid: String,
    /// Its number.
    pub dev: DeviceNumber,
    /// How many hold it open, other devices and mounts included.
    pub open_count: u32,
    /// Whether it is suspended.
    pub suspended: bool,
    /// Whether the kernel suspended it for its own ends.
    pub internally_suspended: bool,
    /// Whether it is read-only.
    pub read_only: bool,
    /// Whether it has a live table.
    pub live_table: bool,
    /// Whether a table waits in the inactive slot.
    pub inactive_table: bool,
    /// Whether it goes away once it is closed.
    pub deferred_remove: bool,
    /// Targets of the table that was asked about.
    pub target_count: u32,
    /// How many events it has raised. A merge raises none.
    pub event_nr: u32,
    /// Whether the command that answered made the kernel tell udev.
    pub uevent_generated: bool,
}

impl From<Header> for DeviceInfo {
    fn from(header: Header) -> Self {
        let has = |flag| header.flags & flag != 0;
        Self {
            dev: DeviceNumber::from_user(header.dev),
            open_count: header.open_count.try_into().unwrap_or(0),
            suspended: has(flag::SUSPEND),
            internally_suspended: has(flag::INTERNAL_SUSPEND),
            read_only: has(flag::READ_ONLY),
            live_table: has(flag::ACTIVE_PRESENT),
            inactive_table: has(flag::INACTIVE_PRESENT),
            deferred_remove: has(flag::DEFERRED_REMOVE),
            uevent_generated: has(flag::UEVENT_GENERATED),
            target_count: header.target_count,
            event_nr: header.event_nr,
            name: header.name,
            uuid: header.uuid,
        }
    }
}

/// A device in the list of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedDevice {
    /// Its name.
    pub name: String,
    /// Its number.
    pub dev: DeviceNumber,
}

/// A target that the kernel knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetVersion {
    /// Its type.
    pub kind: String,
    /// Its version.
    pub version: [u32; 3],
}

/// Which of a device's two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The one that serves I/O.
    Live,
    /// The one that waits for the next resume.
    Inactive,
}

/// What one target of a device says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusLine {
    /// Where it begins.
    pub start: Sectors,
    /// How long it is.
    pub length: Sectors,
    /// The target's type.
    pub kind: String,
    /// What it says.
    pub text: String,
}

/// A device's state with what its targets say, of one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceStatus {
    /// The device.
    pub info: DeviceInfo,
    /// Its targets, in the order of their places.
    pub lines: Vec<StatusLine>,
}

impl DeviceStatus {
    /// The snapshot's status, where the device is one `snapshot` or `snapshot-merge` target.
    pub fn snapshot(&self) -> Option<SnapshotStatus> {
        match self.lines.as_slice() {
            [line] if ["snapshot", "snapshot-merge"].contains(&line.kind.as_str()) => {
                Some(SnapshotStatus::parse(&line.text))
            }
            _ => None,
        }
    }

    /// Whether its only target is `snapshot-merge`.
    pub fn is_merging(&self) -> bool {
        matches!(self.lines.as_slice(), [line] if line.kind == "snapshot-merge")
    }
}

/// How a device is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuspendOptions {
    /// Freeze a mounted file system, so that what is below is consistent.
    pub lock_fs: bool,
    /// Let I/O that is queued inside the device finish first; else it stays queued.
    pub flush: bool,
}

impl Default for SuspendOptions {
    /// As the kernel does without flags: freeze and flush.
    fn default() -> Self {
        Self { lock_fs: true, flush: true }
    }
}

/// What became of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The device is gone.
    Done,
    /// It is in use and goes once it is closed.
    Deferred,
}
