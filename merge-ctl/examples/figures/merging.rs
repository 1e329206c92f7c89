//! Devices made through the library: no process is started for them, which takes long in a VM.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use merge_ctl::dm::{Control, DeviceId, DmErrorKind, SnapshotStatus, Table, nodes};

use super::disk::{Disk, command};
use super::made::Made;

/// How often a merge is looked at: the look takes the snapshot's lock.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Loads what a merge needs.
pub(crate) fn load_modules() -> Result<()> {
    command("modprobe", &["dm-snapshot"]).map(drop)
}

/// A device of device-mapper, until it is dropped.
pub(crate) struct Device<'a> {
    control: &'a Control,
    pub(crate) name: String,
}

impl<'a> Device<'a> {
    /// Makes one with a table, and a node for it.
    pub(crate) fn new(control: &'a Control, name: &str, table: &str) -> Result<Self> {
        control.create(name, None)?;
        let device = Self { control, name: name.to_owned() };
        device.load(table)?;
        control.resume(name)?;
        let dev = control.info(DeviceId::Name(name))?.dev;
        nodes::ensure(name, dev).with_context(|| format!("no node for {name}"))?;
        Ok(device)
    }

    pub(crate) fn load(&self, table: &str) -> Result<()> {
        let parsed = Table::parse(table).with_context(|| table.to_owned())?;
        self.control.load(self.name.as_str(), &parsed, false)?;
        Ok(())
    }

    pub(crate) fn path(&self) -> String {
        format!("/dev/mapper/{}", self.name)
    }

    /// Waits until the kernel has merged all.
    pub(crate) fn wait_until_merged(&self) -> Result<()> {
        loop {
            match self.control.status(DeviceId::Name(&self.name), true)?.snapshot() {
                Some(SnapshotStatus::Usage(usage)) if usage.is_empty() => return Ok(()),
                Some(SnapshotStatus::Usage(_)) => thread::sleep(LOOK_EVERY),
                other => bail!("{}: the merge says {other:?}", self.name),
            }
        }
    }
}

impl Drop for Device<'_> {
    fn drop(&mut self) {
        // Deferred: somebody may look at it right now.
        if let Err(error) = self.control.remove(self.name.as_str(), true)
            && error.kind != DmErrorKind::NoSuchDevice
        {
            eprintln!("figures: {error}");
        }
        let _ = std::fs::remove_file(self.path());
    }
}

/// The table of the merge of a made store.
pub(crate) fn merge_table(made: Made, real: &Disk, cow: &Disk) -> String {
    let sectors = made.origin_bytes() / 512;
    let (real, cow) = (real.name(), cow.name());
    format!("0 {sectors} snapshot-merge {real} {cow} P {}", made.chunk_sectors())
}

/// Makes the store and has the kernel merge it; seconds from the resume to the empty store.
pub(crate) fn merge(
    control: &Control,
    name: &str,
    made: Made,
    (real, cow): (&Disk, &Disk),
) -> Result<f64> {
    made.write(cow)?;
    let idle = format!("0 {} linear {} 0", made.origin_bytes() / 512, real.name());
    let device = Device::new(control, name, &idle)?;
    // The store is read when the table is loaded, which is not the merge.
    device.load(&merge_table(made, real, cow))?;
    let begun = Instant::now();
    control.resume(name)?;
    device.wait_until_merged()?;
    Ok(begun.elapsed().as_secs_f64())
}
