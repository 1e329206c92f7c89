//! Carries steps out on this machine's devices.

use std::thread;
use std::time::Duration;

use super::executor::{Executor, Step};
use crate::dm::control::Removal;
use crate::dm::{Control, Device, DmError, DmErrorKind, Subject, SuspendOptions, nodes};
use crate::harmless::printable;
use crate::units::DeviceNumber;

/// How often a removal is tried again: after a resume udev's helpers look at a device for a moment.
const REMOVE_TRIES: u32 = 20;
/// Between two such tries.
const REMOVE_PAUSE: Duration = Duration::from_millis(50);

/// The real executor. It changes only the devices that it was made for, and each only while its
/// name still means the device that was looked at.
#[derive(Debug)]
pub struct LiveExecutor<'a> {
    control: &'a Control,
    devices: Vec<(String, DeviceNumber)>,
    notes: Vec<String>,
}

impl<'a> LiveExecutor<'a> {
    /// For these devices.
    pub fn new<'d>(control: &'a Control, devices: impl IntoIterator<Item = &'d Device>) -> Self {
        let devices =
            devices.into_iter().map(|device| (device.info.name.clone(), device.info.dev)).collect();
        Self { control, devices, notes: Vec::new() }
    }

    /// What went otherwise than it should and did no harm.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn create(&mut self, name: &str, uuid: &str) -> Result<(), DmError> {
        let created = self.control.create(name, (!uuid.is_empty()).then_some(uuid))?;
        self.devices.retain(|(known, _)| known != name);
        self.devices.push((name.to_owned(), created.dev));
        Ok(())
    }

    fn remove(&mut self, name: &str, dev: Option<DeviceNumber>) -> Result<(), DmError> {
        match self.try_to_remove(subject(name, dev))? {
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

    fn try_to_remove(&self, subject: Subject<'_>) -> Result<Removal, DmError> {
        for _ in 1..REMOVE_TRIES {
            match self.control.remove(subject, false) {
                Err(error) if error.kind == DmErrorKind::Busy => thread::sleep(REMOVE_PAUSE),
                result => return result,
            }
        }
        // Somebody keeps it open. It goes by itself once they close it.
        self.control.remove(subject, true)
    }
}

/// A device by its name, with the number that it must still have.
fn subject(name: &str, dev: Option<DeviceNumber>) -> Subject<'_> {
    let subject = Subject::name(name);
    dev.map_or(subject, |dev| subject.expecting(dev))
}

impl Executor for LiveExecutor<'_> {
    fn act(&mut self, step: &Step) -> Result<(), DmError> {
        let name = step.device();
        let dev = self.devices.iter().find(|(known, _)| known == name).map(|(_, dev)| *dev);
        let subject = subject(name, dev);
        match step {
            Step::Create(_, uuid) => self.create(name, uuid),
            Step::Load(_, table) => self.control.load(subject, table, false).map(drop),
            Step::Clear(_) => self.control.clear(subject).map(drop),
            Step::Suspend(_) => self.control.suspend(subject, SuspendOptions::default()).map(drop),
            Step::Resume(_) => self.control.resume(subject).map(drop),
            Step::Remove(_) => self.remove(name, dev),
        }
    }
}
