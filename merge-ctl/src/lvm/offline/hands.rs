//! The steps of an offline merge of a logical volume, done: by lvm2's own commands, by its lock, and
//! by private devices of device-mapper.
//!
//! A private device is made under a name of ours, opened for us alone, told to go when it is closed
//! (deferred removal), and only then renamed to what lvm2 would call it. So whatever kills this
//! process, the device goes with it, and no name ever stands in lvm2's way longer than we live; while
//! we live, an activation finds the name taken and fails, even one that ignores LVM's lock.

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::captured::{Below, Captured};
use super::{Hands, Seen, StepError, Unfit};
use crate::dm::{Control, Device, DmErrorKind, Host, Operation, Subject, nodes};
use crate::harmless;
use crate::lvm::lock::GroupLock;
use crate::lvm::lvm2::{Lvm, MergeStart};
use crate::lvm::names::{Layer, VolumeUuid};
use crate::offline::{Devices, Target};

/// How long others may take that change the group, or have a private device open.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often LVM is made to look whether the merge is done.
const NUDGE_EVERY: Duration = Duration::from_secs(10);
const TRY_EVERY: Duration = Duration::from_millis(50);

/// See the module.
pub struct LvmHands<'a> {
    control: &'a Control,
    lvm: Lvm,
    captured: Captured,
    lock: Option<GroupLock>,
    lock_patience: Duration,
    nudged: Option<Instant>,
}

impl<'a> LvmHands<'a> {
    /// Ready for the first step.
    pub fn new(control: &'a Control, lvm: Lvm, captured: Captured) -> Self {
        Self { control, lvm, captured, lock: None, lock_patience: PATIENCE, nudged: None }
    }

    /// The same, waiting no longer than this for LVM's lock.
    #[must_use]
    pub fn with_lock_patience(mut self, patience: Duration) -> Self {
        self.lock_patience = self.lock_patience.min(patience);
        self
    }

    /// A private device, open.
    fn make(&self, below: &Below) -> Result<Target, StepError> {
        let (name, uuid) = (below.private_name(), below.private_uuid());
        let dev = self.control.create(&name, Some(&uuid))?.dev;
        let device = Subject::name(&name).expecting(dev);
        self.control.load(device, &below.table, false)?;
        self.control.resume_unannounced(device)?;
        let path = nodes::kernel_path(dev).ok_or_else(|| StepError::Io {
            what: format!("device {dev} has no node"),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        let target = Target::open(&path, below.label())?;
        self.control.remove(device, true)?;
        self.control.rename_unannounced(device, &below.name).map_err(|error| {
            if error.kind == DmErrorKind::Busy && error.operation == Operation::Rename {
                StepError::Unfit(Unfit::Activated)
            } else {
                error.into()
            }
        })?;
        Ok(target)
    }

    fn remove(&self, below: &Below) -> Result<(), StepError> {
        let begun = Instant::now();
        loop {
            match self.control.remove(Subject::uuid(&below.private_uuid()), false) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind == DmErrorKind::NoSuchDevice => return Ok(()),
                Err(error) if error.kind == DmErrorKind::Busy && begun.elapsed() < PATIENCE => {
                    thread::sleep(TRY_EVERY);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn active(&self) -> Result<Vec<String>, StepError> {
        Ok(self.captured.active_in(&Host::read(self.control)?))
    }

    /// The origin's device, where it has one.
    fn origin(&self) -> Result<Option<Device>, StepError> {
        let top = VolumeUuid { layer: Layer::Top, ..self.captured.real.uuid.clone() }.to_string();
        Ok(Host::read(self.control)?.devices.into_iter().find(|device| device.info.uuid == top))
    }
}

/// Makes what was written to a disk durable, whoever wrote it. Opened for reading only: udev would
/// scan the disk after a writer.
fn flush(disk: &Path) -> Result<(), StepError> {
    let flushed = File::open(disk).and_then(|file| file.sync_all());
    flushed.map_err(|source| StepError::Io {
        what: format!("{} cannot be flushed", harmless::path(disk)),
        source,
    })
}

impl Hands for LvmHands<'_> {
    type Devices = Devices;

    fn captured(&self) -> &Captured {
        &self.captured
    }

    fn deactivate(&mut self) -> Result<(), StepError> {
        let names = &self.captured.names;
        self.lvm.deactivate(&names.vg, &names.origin)?;
        if self.active()?.is_empty() { Ok(()) } else { Err(Unfit::StillActive.into()) }
    }

    fn activate(&mut self) -> Result<(), StepError> {
        let names = &self.captured.names;
        self.lvm.activate(&names.vg, &names.origin)?;
        if self.origin()?.is_some() { Ok(()) } else { Err(Unfit::NotActivated.into()) }
    }

    fn record(&mut self) -> Result<MergeStart, StepError> {
        let names = &self.captured.names;
        Ok(self.lvm.merge_in_background(&names.vg, &names.snapshot)?)
    }

    fn flush(&mut self) -> Result<(), StepError> {
        for disk in self.lvm.disks_of(&self.captured.names.vg)? {
            flush(&disk)?;
        }
        Ok(())
    }

    fn lock(&mut self) -> Result<(), StepError> {
        let directory = self.lvm.lock_directory()?;
        let vg = &self.captured.names.vg;
        let lock = GroupLock::take(&directory, vg, self.lock_patience).map_err(|source| {
            StepError::Io {
                what: format!("{}/V_{vg} cannot be locked", harmless::path(&directory)),
                source,
            }
        })?;
        self.lock = Some(lock);
        Ok(())
    }

    fn unlock(&mut self) {
        self.lock = None;
    }

    fn look(&mut self) -> Result<Seen, StepError> {
        let vg = &self.captured.names.vg;
        Ok(Seen {
            volumes: self.lvm.volumes_of(vg)?,
            segments: self.lvm.segments_of(vg)?,
            active: self.active()?,
            changed_disks: self.captured.changed_disks(),
        })
    }

    fn hold(&mut self) -> Result<Devices, StepError> {
        // lvm2 makes the data's device first, so that name is taken first.
        let origin = self.make(&self.captured.real)?;
        let cow = self.make(&self.captured.cow)?;
        Ok(Devices { origin, cow })
    }

    fn let_go(&mut self) -> Result<(), StepError> {
        self.remove(&self.captured.cow)?;
        self.remove(&self.captured.real)
    }

    fn has_dropped(&mut self) -> Result<bool, StepError> {
        let names = &self.captured.names;
        let volumes = self.lvm.volumes_of(&names.vg)?;
        if !volumes.iter().any(|it| it.vg == names.vg && it.lv == names.snapshot) {
            // The metadata says so before the table is swapped.
            return Ok(self.origin()?.is_none_or(|device| device.merge().is_none()));
        }
        if self.nudged.is_none_or(|at| at.elapsed() >= NUDGE_EVERY) {
            self.nudged = Some(Instant::now());
            self.lvm.poll(&names.vg, &names.origin)?;
        }
        Ok(false)
    }
}
