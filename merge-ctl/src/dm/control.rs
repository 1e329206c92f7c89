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

use super::device::{
    DeviceId, DeviceInfo, DeviceStatus, ListedDevice, Removal, Slot, StatusLine, Subject,
    SuspendOptions, TargetVersion,
};
use super::error::{DmError, Operation};
use super::ioctl::{Buffer, Command, HEADER_BYTES, Header, flag};
use super::payload::{parse_list, parse_target_lines, parse_targets, table_bytes};
use super::target::{Table, TableLine, Target};
use crate::harmless;
use crate::units::DeviceNumber;

const CONTROL_PATH: &str = "/dev/mapper/control";
/// The interface that is spoken. The kernel takes any minor up to its own.
const INTERFACE: [u32; 3] = [4, 0, 0];
/// Answers of ordinary length fit at once.
const FIRST_BUFFER_BYTES: usize = 16 * 1024;
/// No answer is that long; a kernel that says so is not believed.
const LARGEST_BUFFER_BYTES: usize = 64 * 1024 * 1024;
/// Tells udev's rules that this event is no by-product (`DM_UDEV_PRIMARY_SOURCE_FLAG`, in the upper
/// half of the cookie), so that they make the device's links. Nobody waits on this cookie.
const UDEV_PRIMARY_SOURCE: u32 = 0x0040 << 16;
/// Tells udev's rules to make no links, to look for nothing on the device and to tell nobody of it
/// (`DM_UDEV_DISABLE_{DM,SUBSYSTEM,DISK,OTHER}_RULES_FLAG`).
const UDEV_NOTHING: u32 = 0x000f << 16;

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

// The header alone is the smallest answer; the first buffer must hold it.
const _: () = assert!(FIRST_BUFFER_BYTES > HEADER_BYTES);
