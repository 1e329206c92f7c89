//! The control device: each command of device-mapper that a merge needs, as one method.
//!
//! What always holds: a command that changes a device names it by name or UUID, never by number,
//! because numbers are reused; a [`Subject`] can carry the number that is expected, and then the
//! name is looked up first and refused where it belongs to another device now. Between that look
//! and the change there is a gap that device-mapper offers no way to close.
//!
//! Sources: `drivers/md/dm-ioctl.c`, `include/uapi/linux/dm-ioctl.h`. All methods want
//! `CAP_SYS_ADMIN`: without, [`DmErrorKind::Privilege`](super::DmErrorKind::Privilege).

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use super::error::{DmError, Operation};
use super::ioctl::{Buffer, Command, HEADER_BYTES, Header, flag, text_at, u32_at, u64_at};
use super::status::SnapshotStatus;
use super::target::{Table, TableLine, Target};
use crate::harmless;
use crate::units::{DeviceNumber, Sectors};

const CONTROL_PATH: &str = "/dev/mapper/control";
/// The interface that is spoken. The kernel takes any minor up to its own.
const INTERFACE: [u32; 3] = [4, 0, 0];
/// Answers of ordinary length fit at once.
const FIRST_BUFFER_BYTES: usize = 16 * 1024;
/// No answer is that long; a kernel that says so is not believed.
const LARGEST_BUFFER_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of `struct dm_target_spec`; its parameters follow at once.
const TARGET_SPEC_BYTES: usize = 40;
/// Bytes of a target's type in it, the closing NUL included (`DM_MAX_TYPE_NAME`).
const TYPE_BYTES: usize = 16;
/// Tells udev's rules that this event is no by-product (`DM_UDEV_PRIMARY_SOURCE_FLAG`, in the upper
/// half of the cookie), so that they make the device's links. Nobody waits on this cookie.
const UDEV_PRIMARY_SOURCE: u32 = 0x0040 << 16;
/// Tells udev's rules to make no links, to look for nothing on the device and to tell nobody of it
/// (`DM_UDEV_DISABLE_{DM,SUBSYSTEM,DISK,OTHER}_RULES_FLAG`).
const UDEV_NOTHING: u32 = 0x000f << 16;

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
    fn label(self) -> String {
        match self {
            Self::Name(text) | Self::Uuid(text) => text.to_owned(),
            Self::Dev(dev) => dev.to_string(),
        }
    }
}

/// The device that is to be changed: by name or UUID, with the number that it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    id: DeviceId<'a>,
    expected: Option<DeviceNumber>,
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
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// The open control device.
#[derive(Debug)]
pub struct Control {
    file: File,
    version: [u32; 3],
}

impl AsFd for Control {
    /// For `poll`: readable once any device changed after [`Control::arm_poll`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Control {
    /// Opens `/dev/mapper/control` and checks that the kernel speaks version 4. Opening the node may
    /// load the module `dm_mod`.
    ///
    /// # Errors
    /// `Privilege`; `KernelFeatureMissing` where there is no device-mapper or another version of it.
    pub fn open() -> Result<Self, DmError> {
        let failed = |error: std::io::Error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            DmError::from_errno(Operation::Open, CONTROL_PATH, errno)
        };
        let file = File::options().read(true).write(true).open(CONTROL_PATH).map_err(failed)?;
        let mut control = Self { file, version: INTERFACE };
        control.version = control.call(&Request::new(Operation::Open, Command::Version))?.version;
        Ok(control)
    }

    /// The version of the kernel's interface.
    pub const fn version(&self) -> [u32; 3] {
        self.version
    }

    /// All devices. Never blocks for long.
    ///
    /// # Errors
    /// `BadAnswer`, `Privilege`.
    pub fn list(&self) -> Result<Vec<ListedDevice>, DmError> {
        let request = Request::new(Operation::List, Command::ListDevices);
        let answer = self.exchange(&request)?;
        parse_list(answer.data()).ok_or_else(|| request.bad_answer("a broken list of devices"))
    }

    /// The targets that the kernel knows at this moment: those built in, and those of modules that
    /// are loaded. Loading a table loads a missing module, so a target that is not listed may still
    /// be had.
    ///
    /// # Errors
    /// `BadAnswer`, `Privilege`.
    pub fn targets(&self) -> Result<Vec<TargetVersion>, DmError> {
        let request = Request::new(Operation::Targets, Command::ListVersions);
        let answer = self.exchange(&request)?;
        parse_targets(answer.data()).ok_or_else(|| request.bad_answer("a broken list of targets"))
    }

    /// A device's state. Does not block.
    ///
    /// # Errors
    /// `NoSuchDevice`, `Privilege`.
    pub fn info(&self, id: DeviceId<'_>) -> Result<DeviceInfo, DmError> {
        self.call(&Request::of(Operation::Info, Command::DevStatus, id)).map(DeviceInfo::from)
    }

    /// A device's table; empty where the slot is empty. Does not block.
    ///
    /// # Errors
    /// `NoSuchDevice`, `Privilege`, `BadAnswer`.
    pub fn table(&self, id: DeviceId<'_>, slot: Slot) -> Result<Table, DmError> {
        let slot_flag = if slot == Slot::Inactive { flag::QUERY_INACTIVE_TABLE } else { 0 };
        let request = Request::of(Operation::Table, Command::TableStatus, id)
            .with_flags(flag::STATUS_TABLE | slot_flag);
        let lines = self.target_lines(&request, slot)?.lines;
        let line = |line: StatusLine| TableLine {
            start: line.start,
            length: line.length,
            target: Target::parse(&line.kind, &line.text),
        };
        Ok(Table(lines.into_iter().map(line).collect()))
    }

    /// What the targets of the live table say. `no_flush` keeps thin devices from committing first;
    /// snapshots do not care. A snapshot takes its write lock for it: at most ten times a second.
    ///
    /// # Errors
    /// `NoSuchDevice`, `Privilege`, `BadAnswer`.
    pub fn status(&self, id: DeviceId<'_>, no_flush: bool) -> Result<DeviceStatus, DmError> {
        let request = Request::of(Operation::Status, Command::TableStatus, id)
            .with_flags(if no_flush { flag::NO_FLUSH } else { 0 });
        self.target_lines(&request, Slot::Live)
    }

    /// Loads a table into the inactive slot, in place of one that may be there. The live table goes
    /// on. The targets' constructors run here: a persistent snapshot reads its whole exception store
    /// now, so it blocks on reads of the COW device.
    ///
    /// # Errors
    /// `Refused` where a target does not like its line (for `snapshot-merge` also: a merge of this
    /// snapshot runs already); `Busy`, `NoSuchDevice`, `OtherDevice`, `Privilege`.
    pub fn load<'a>(
        &self,
        subject: impl Into<Subject<'a>>,
        table: &Table,
        read_only: bool,
    ) -> Result<DeviceInfo, DmError> {
        let flags = if read_only { flag::READ_ONLY } else { 0 };
        let mut request =
            self.change(Operation::Load, Command::TableLoad, subject.into())?.with_flags(flags);
        request.header.target_count = table.0.len() as u32;
        request.data = table_bytes(table).ok_or_else(|| {
            DmError::from_errno(Operation::Load, &request.label, Errno::NAMETOOLONG)
        })?;
        self.call(&request).map(DeviceInfo::from)
    }

    /// Drops the table in the inactive slot; nothing happens where it is empty. The dropped
    /// targets' destructors run here.
    ///
    /// # Errors
    /// `NoSuchDevice`, `OtherDevice`, `Privilege`.
    pub fn clear<'a>(&self, subject: impl Into<Subject<'a>>) -> Result<DeviceInfo, DmError> {
        let request = self.change(Operation::Clear, Command::TableClear, subject.into())?;
        self.call(&request).map(DeviceInfo::from)
    }

    /// Suspends a device: new I/O waits. Nothing happens where it is suspended already. Blocks until
    /// I/O in flight is done, until a file system is frozen (`lock_fs`), and on a merging device
    /// until the run in progress is committed (`stop_merge`).
    ///
    /// # Errors
    /// `Interrupted` by a signal while it waited: the device is not suspended then; `NoSuchDevice`,
    /// `OtherDevice`, `Busy`, `Privilege`.
    pub fn suspend<'a>(
        &self,
        subject: impl Into<Subject<'a>>,
        options: SuspendOptions,
    ) -> Result<DeviceInfo, DmError> {
        let lock = if options.lock_fs { 0 } else { flag::SKIP_LOCKFS };
        let flush = if options.flush { 0 } else { flag::NO_FLUSH };
        let request = self
            .change(Operation::Suspend, Command::DevSuspend, subject.into())?
            .with_flags(flag::SUSPEND | lock | flush);
        self.call(&request).map(DeviceInfo::from)
    }

    /// Resumes a device. A table in the inactive slot becomes live first; a device that still runs
    /// is then suspended for it, frozen and flushed. Resuming into `snapshot-merge` sets up the
    /// first run in this call, which may wait for copies into sibling snapshots and for
    /// application writes in flight.
    ///
    /// # Errors
    /// `Refused` where no table is there, or where a target's `preresume` says no (a merge whose
    /// source is not suspended). In the second case **the new table is live and the device stays
    /// suspended**: the way back is to load the old table and to resume again. `NoSuchDevice`,
    /// `OtherDevice`, `Privilege`.
    pub fn resume<'a>(&self, subject: impl Into<Subject<'a>>) -> Result<DeviceInfo, DmError> {
        self.resume_telling(subject.into(), UDEV_PRIMARY_SOURCE)
    }

    /// The same for a device that is nobody's business: udev makes no links to it, and neither it nor
    /// anybody whom it tells looks for file systems or disks of LVM on it.
    ///
    /// # Errors
    /// As [`Control::resume`].
    pub fn resume_unannounced<'a>(
        &self,
        subject: impl Into<Subject<'a>>,
    ) -> Result<DeviceInfo, DmError> {
        self.resume_telling(subject.into(), UDEV_NOTHING)
    }

    fn resume_telling(&self, subject: Subject<'_>, udev: u32) -> Result<DeviceInfo, DmError> {
        let mut request = self.change(Operation::Resume, Command::DevSuspend, subject)?;
        request.header.event_nr = udev;
        self.call(&request).map(DeviceInfo::from)
    }

    /// Gives a device that is nobody's business another name; its UUID stays, and whoever has it open
    /// notices nothing (`dm_hash_rename`). Its node is not touched.
    ///
    /// # Errors
    /// `Busy` where the new name is taken; `NoSuchDevice`, `OtherDevice`, `Refused` for a name that
    /// is none; `Privilege`.
    pub fn rename_unannounced<'a>(
        &self,
        subject: impl Into<Subject<'a>>,
        name: &str,
    ) -> Result<(), DmError> {
        let mut request = self.change(Operation::Rename, Command::DevRename, subject.into())?;
        request.header.event_nr = UDEV_NOTHING;
        request.data = harmless::to_bytes(name);
        request.data.push(0);
        self.call(&request).map(drop)
    }

    /// Creates a device without a table. Its nodes are not made here: [`super::nodes`].
    ///
    /// # Errors
    /// `Busy` where the name or the UUID is taken; `Refused` for a name that is none; `Privilege`.
    pub fn create(&self, name: &str, uuid: Option<&str>) -> Result<DeviceInfo, DmError> {
        let id = DeviceId::Name(name);
        let mut request = Request::of(Operation::Create, Command::DevCreate, id);
        uuid.unwrap_or_default().clone_into(&mut request.header.uuid);
        self.call(&request).map(DeviceInfo::from)
    }

    /// Removes a device with its tables. With `deferred`, one that is in use goes once it is closed.
    /// Blocks on the targets' destructors: on a merging device until the run in progress is
    /// committed. Its node is not removed here: [`super::nodes`].
    ///
    /// # Errors
    /// `Busy` where it is in use and `deferred` is not set; `NoSuchDevice`, `OtherDevice`,
    /// `Privilege`.
    pub fn remove<'a>(
        &self,
        subject: impl Into<Subject<'a>>,
        deferred: bool,
    ) -> Result<Removal, DmError> {
        let mut request = self
            .change(Operation::Remove, Command::DevRemove, subject.into())?
            .with_flags(if deferred { flag::DEFERRED_REMOVE } else { 0 });
        request.header.event_nr = UDEV_PRIMARY_SOURCE;
        let put_off = self.call(&request)?.flags & flag::DEFERRED_REMOVE != 0;
        Ok(if put_off { Removal::Deferred } else { Removal::Done })
    }

    /// From now on `poll` on this control device reports it readable once any device is created,
    /// removed, renamed, gets a new table or raises an event. The end of a merge is none of these.
    ///
    /// # Errors
    /// `KernelFeatureMissing` before interface 4.37 (Linux 4.13); `Privilege`.
    pub fn arm_poll(&self) -> Result<(), DmError> {
        self.call(&Request::new(Operation::ArmPoll, Command::DevArmPoll)).map(drop)
    }

    /// A request that changes a device, after the number that was expected has been compared.
    fn change(
        &self,
        operation: Operation,
        command: Command,
        subject: Subject<'_>,
    ) -> Result<Request, DmError> {
        let request = Request::of(operation, command, subject.id);
        let Some(expected) = subject.expected else { return Ok(request) };
        let look = Request::of(operation, Command::DevStatus, subject.id);
        let found = DeviceNumber::from_user(self.call(&look)?.dev);
        if found == expected {
            Ok(request)
        } else {
            Err(DmError::other_device(operation, &request.label, expected, found))
        }
    }

    fn target_lines(&self, request: &Request, slot: Slot) -> Result<DeviceStatus, DmError> {
        let answer = self.exchange(request)?;
        let info = DeviceInfo::from(answer.header());
        let present = if slot == Slot::Live { info.live_table } else { info.inactive_table };
        let count = if present { info.target_count } else { 0 };
        let lines = parse_target_lines(answer.data(), count)
            .ok_or_else(|| request.bad_answer("a broken list of targets"))?;
        Ok(DeviceStatus { info, lines })
    }

    fn call(&self, request: &Request) -> Result<Header, DmError> {
        self.exchange(request).map(|answer| answer.header())
    }

    /// One command, repeated with a larger buffer while the kernel says that the answer does not
    /// fit. Only answers with data can be too long, and these change nothing.
    fn exchange(&self, request: &Request) -> Result<Buffer, DmError> {
        let failed = |errno| DmError::from_errno(request.operation, &request.label, errno);
        let mut bytes = FIRST_BUFFER_BYTES;
        while bytes <= LARGEST_BUFFER_BYTES {
            let mut buffer = Buffer::new(&request.header, &request.data, bytes).map_err(failed)?;
            buffer.call(&self.file, request.command).map_err(failed)?;
            if buffer.header().flags & flag::BUFFER_FULL == 0 {
                return Ok(buffer);
            }
            bytes *= 4;
        }
        Err(request.bad_answer(format!("it does not fit into {LARGEST_BUFFER_BYTES} bytes")))
    }
}

/// A command, ready to be sent.
struct Request {
    operation: Operation,
    command: Command,
    label: String,
    header: Header,
    data: Vec<u8>,
}

impl Request {
    fn new(operation: Operation, command: Command) -> Self {
        let header = Header { version: INTERFACE, ..Header::default() };
        Self { operation, command, label: String::new(), header, data: Vec::new() }
    }

    fn of(operation: Operation, command: Command, id: DeviceId<'_>) -> Self {
        let mut request = Self { label: id.label(), ..Self::new(operation, command) };
        // The kernel wants exactly one of the three.
        match id {
            DeviceId::Name(name) => name.clone_into(&mut request.header.name),
            DeviceId::Uuid(uuid) => uuid.clone_into(&mut request.header.uuid),
            DeviceId::Dev(dev) => request.header.dev = dev.to_user(),
        }
        request
    }

    fn with_flags(mut self, flags: u32) -> Self {
        self.header.flags |= flags;
        self
    }

    fn bad_answer(&self, what: impl Into<String>) -> DmError {
        DmError::bad_answer(self.operation, &self.label, what)
    }
}

/// A table as `DM_TABLE_LOAD` takes it: each `next` counts from the start of its own line, and
/// lines begin at multiples of eight. Nothing where a target's type is too long.
fn table_bytes(table: &Table) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for line in &table.0 {
        let (kind, params) = (line.target.kind(), harmless::to_bytes(&line.target.params()));
        if kind.len() >= TYPE_BYTES {
            return None;
        }
        let length = (TARGET_SPEC_BYTES + params.len() + 1).next_multiple_of(8);
        let end = bytes.len() + length;
        bytes.extend_from_slice(&line.start.0.to_ne_bytes());
        bytes.extend_from_slice(&line.length.0.to_ne_bytes());
        bytes.extend_from_slice(&0_i32.to_ne_bytes());
        bytes.extend_from_slice(&(length as u32).to_ne_bytes());
        bytes.extend_from_slice(kind.as_bytes());
        bytes.resize(end - length + TARGET_SPEC_BYTES, 0);
        bytes.extend_from_slice(&params);
        bytes.resize(end, 0);
    }
    Some(bytes)
}

/// Lines as `DM_TABLE_STATUS` gives them: each `next` counts from the first line (`retrieve_status`).
fn parse_target_lines(data: &[u8], count: u32) -> Option<Vec<StatusLine>> {
    let mut lines = Vec::new();
    let mut at = 0;
    for _ in 0..count {
        let spec = data.get(at..)?;
        lines.push(StatusLine {
            start: Sectors(u64_at(spec, 0)?),
            length: Sectors(u64_at(spec, 8)?),
            kind: text_at(spec.get(..TARGET_SPEC_BYTES)?, TARGET_SPEC_BYTES - TYPE_BYTES),
            text: text_at(spec, TARGET_SPEC_BYTES).trim_end().to_owned(),
        });
        at = u32_at(spec, 20)? as usize;
    }
    Some(lines)
}

/// `struct dm_name_list`: each `next` counts from its own start, 0 ends it. Where there is no device
/// the kernel gives no data, or a first device of number 0.
fn parse_list(data: &[u8]) -> Option<Vec<ListedDevice>> {
    let mut devices = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let dev = u64_at(rest, 0)?;
        let next = u32_at(rest, 8)? as usize;
        if dev != 0 {
            devices
                .push(ListedDevice { name: text_at(rest, 12), dev: DeviceNumber::from_user(dev) });
        }
        if next == 0 {
            break;
        }
        rest = rest.get(next..)?;
    }
    Some(devices)
}

/// `struct dm_target_versions`: as above.
fn parse_targets(data: &[u8]) -> Option<Vec<TargetVersion>> {
    let mut targets = Vec::new();
    let mut rest = data;
    // A kernel without any target answers with no data at all.
    while !rest.is_empty() {
        let next = u32_at(rest, 0)? as usize;
        let version = [u32_at(rest, 4)?, u32_at(rest, 8)?, u32_at(rest, 12)?];
        targets.push(TargetVersion { kind: text_at(rest, 16), version });
        if next == 0 {
            break;
        }
        rest = rest.get(next..)?;
    }
    Some(targets)
}

// The header alone is the smallest answer; the first buffer must hold it.
const _: () = assert!(FIRST_BUFFER_BYTES > HEADER_BYTES);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_loaded_line_is_aligned_and_points_past_itself() {
        let table = Table::parse("0 8 linear 8:1 0\n8 8 error").unwrap();
        let bytes = table_bytes(&table).unwrap();
        // 40 bytes and "8:1 0\0" make 46, rounded up to 48; then 40 and a NUL make 48 too.
        assert_eq!(bytes.len(), 96);
        assert_eq!(u32_at(&bytes, 20), Some(48));
        assert_eq!(text_at(&bytes, 24), "linear");
        assert_eq!(text_at(&bytes, 40), "8:1 0");
        assert_eq!(u64_at(&bytes, 48), Some(8));
        assert_eq!(text_at(&bytes, 72), "error");
    }

    #[test]
    fn status_lines_are_found_from_the_start_of_the_data() {
        let table = Table::parse("0 8 linear 8:1 0\n8 8 snapshot x\n16 8 error").unwrap();
        let mut bytes = table_bytes(&table).unwrap();
        // As the kernel fills `next` in for status: counted from the first line.
        for (line, next) in [(0, 48_u32), (48, 96)] {
            bytes[line + 20..line + 24].copy_from_slice(&next.to_ne_bytes());
        }
        let lines = parse_target_lines(&bytes, 3).unwrap();
        let kinds: Vec<_> = lines.iter().map(|line| (line.start.0, line.kind.as_str())).collect();
        assert_eq!(kinds, [(0, "linear"), (8, "snapshot"), (16, "error")]);
        assert_eq!(lines[1].text, "x");
    }

    #[test]
    fn a_list_may_be_empty() {
        assert_eq!(parse_list(&[0; 16]), Some(vec![]));
        assert_eq!(parse_list(&[]), Some(vec![]));
        assert_eq!(parse_targets(&[]), Some(vec![]));
    }

    proptest! {
        #[test]
        fn no_answer_of_the_kernel_panics(data in prop::collection::vec(any::<u8>(), 0..200), count: u32) {
            let lines = parse_target_lines(&data, count % 8);
            prop_assert!(lines.is_none_or(|lines| lines.len() == (count % 8) as usize));
            prop_assert!(parse_list(&data).is_none_or(|list| list.len() <= data.len()));
            prop_assert!(parse_targets(&data).is_none_or(|list| list.len() <= data.len()));
        }
    }
}
