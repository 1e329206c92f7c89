//! Carries steps out on this machine's devices.

use std::thread;
use std::time::{Duration, Instant};

use super::executor::{Executor, Seen, Step};
use super::journal::Record;
use crate::dm::device::{Removal, Slot};
use crate::dm::error::Operation;
use crate::dm::{
    Control, Device, DeviceId, DmError, DmErrorKind, Host, Subject, SuspendOptions, Table, nodes,
};
use crate::harmless::printable;
use crate::units::DeviceNumber;

/// How often a removal is tried again: after a resume udev's helpers look at a device for a moment.
const REMOVE_TRIES: u32 = 20;
/// Between two such tries.
const REMOVE_PAUSE: Duration = Duration::from_millis(50);
/// How long the requests of an engine that was killed may take to end. Until then the kernel keeps
/// its devices open for it alone, and so does not load what would use them.
const LOAD_PATIENCE: Duration = Duration::from_secs(30);

/// The real executor. It changes only the devices that it was made for, and each only while its
/// name still means the device that was looked at.
#[derive(Debug)]
pub struct LiveExecutor<'a> {
    control: &'a Control,
    devices: Vec<(String, DeviceNumber)>,
    /// Those that have had no table yet, and so have no node.
    created: Vec<String>,
    notes: Vec<String>,
    load_patience: Duration,
}

impl<'a> LiveExecutor<'a> {
    /// For these devices.
    pub fn new<'d>(control: &'a Control, devices: impl IntoIterator<Item = &'d Device>) -> Self {
        let (mut known, mut created) = (Vec::new(), Vec::new());
        for Device { info, .. } in devices {
            known.push((info.name.clone(), info.dev));
            // Whoever made it was interrupted before it had a node.
            if !info.live_table {
                created.push(info.name.clone());
            }
        }
        Self { control, devices: known, created, notes: Vec::new(), load_patience: Duration::ZERO }
    }

    /// For the devices of a merge that are there: those of its names that still have its UUIDs.
    pub fn of_merge(control: &'a Control, host: &Host, record: &Record) -> Self {
        let snapshot = record.snapshot.as_ref().map(|snapshot| &snapshot.device);
        let named = std::iter::once(&record.origin).chain(snapshot);
        let devices = named.filter_map(|named| {
            host.by_name(&named.name).filter(|device| device.info.uuid == named.uuid)
        });
        let load_patience = if record.offline { LOAD_PATIENCE } else { Duration::ZERO };
        Self { load_patience, ..Self::new(control, devices) }
    }

    /// What went otherwise than it should and did no harm.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Without a flush, so that nothing waits for a device that is suspended.
    fn see(&self, name: &str) -> Result<Option<Seen>, DmError> {
        let id = DeviceId::Name(name);
        let status = self.control.status(id, true)?;
        if self.number(name).is_none_or(|expected| expected != status.info.dev) {
            return Ok(None);
        }
        let inactive = match status.info.inactive_table {
            true => Some(self.control.table(id, Slot::Inactive)?),
            false => None,
        };
        let live = self.control.table(id, Slot::Live)?;
        let snapshot = status.snapshot();
        Ok(Some(Seen {
            live,
            inactive,
            suspended: status.info.suspended,
            status: snapshot,
            open_count: status.info.open_count,
        }))
    }

    fn number(&self, name: &str) -> Option<DeviceNumber> {
        self.devices.iter().find(|(known, _)| known == name).map(|(_, dev)| *dev)
    }

    fn create(&mut self, name: &str, uuid: &str) -> Result<(), DmError> {
        let created = self.control.create(name, (!uuid.is_empty()).then_some(uuid))?;
        self.devices.retain(|(known, _)| known != name);
        self.devices.push((name.to_owned(), created.dev));
        self.created.push(name.to_owned());
        Ok(())
    }

    /// Waits for whoever has what the table uses open for himself alone, as long as there is patience.
    fn load(&self, subject: Subject<'_>, table: &Table) -> Result<(), DmError> {
        let deadline = Instant::now() + self.load_patience;
        loop {
            match self.control.load(subject, table, false) {
                Err(error) if error.kind == DmErrorKind::Busy && Instant::now() < deadline => {
                    thread::sleep(REMOVE_PAUSE);
                }
                outcome => return outcome.map(drop),
            }
        }
    }

    /// A device that was made here gets its node with its first table.
    fn resume(&mut self, name: &str, subject: Subject<'_>) -> Result<(), DmError> {
        let info = self.control.resume(subject)?;
        if let Some(new) = self.created.iter().position(|created| created == name) {
            self.created.swap_remove(new);
            if let Err(error) = nodes::ensure(name, info.dev) {
                self.notes.push(format!("/dev/mapper/{name} could not be made: {error}"));
            }
        }
        Ok(())
    }

    /// Removes a device. One that somebody keeps open goes once they close it, or, with `at_once`,
    /// stays.
    fn remove(
        &mut self,
        name: &str,
        dev: Option<DeviceNumber>,
        at_once: bool,
    ) -> Result<(), DmError> {
        match self.try_to_remove(subject(name, dev), at_once)? {
            Removal::Deferred => self.notes.push(format!(
                "{} was opened by somebody; it goes away when it is closed.",
                printable(name)
            )),
            Removal::Done => {
                let forgotten = dev.map(|dev| nodes::forget(name, dev)).transpose();
                if let Err(error) = forgotten {
                    self.notes.push(format!(
                        "/dev/mapper/{} could not be unlinked: {error}",
                        printable(name)
                    ));
                }
            }
        }
        Ok(())
    }

    fn try_to_remove(&self, subject: Subject<'_>, at_once: bool) -> Result<Removal, DmError> {
        for _ in 1..REMOVE_TRIES {
            match self.control.remove(subject, false) {
                Err(error) if error.kind == DmErrorKind::Busy => thread::sleep(REMOVE_PAUSE),
                result => return result,
            }
        }
        // Somebody keeps it open.
        self.control.remove(subject, !at_once)
    }
}

/// A device that this executor was not made for.
fn not_ours(name: &str) -> DmError {
    DmError {
        operation: Operation::Info,
        device: name.to_owned(),
        errno: None,
        kind: DmErrorKind::NoSuchDevice,
        meaning: "it is not the device that was looked at".to_owned(),
    }
}

/// A device by its name, with the number that it must still have.
fn subject(name: &str, dev: Option<DeviceNumber>) -> Subject<'_> {
    let subject = Subject::name(name);
    dev.map_or(subject, |dev| subject.expecting(dev))
}

impl Executor for LiveExecutor<'_> {
    fn look(&mut self, name: &str) -> Result<Option<Seen>, DmError> {
        match self.see(name) {
            Err(error) if error.kind == DmErrorKind::NoSuchDevice => Ok(None),
            outcome => outcome,
        }
    }

    fn act(&mut self, step: &Step) -> Result<(), DmError> {
        let name = step.device();
        let dev = self.number(name);
        if dev.is_none() && !matches!(step, Step::Create(..)) {
            return Err(not_ours(name));
        }
        let subject = subject(name, dev);
        match step {
            Step::Create(_, uuid) => self.create(name, uuid),
            Step::Load(_, table) => self.load(subject, table),
            Step::Clear(_) => self.control.clear(subject).map(drop),
            Step::Suspend(_) => self.control.suspend(subject, SuspendOptions::default()).map(drop),
            Step::Resume(_) => self.resume(name, subject),
            Step::Remove(_) => self.remove(name, dev, false),
            Step::RemoveUnused(_) => self.remove(name, dev, true),
        }
    }
}
