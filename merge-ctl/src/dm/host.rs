//! All device-mapper devices of this machine at one instant, and what can be asked of that picture.
//!
//! Reading it is one function; everything else is pure, so that decisions on it are tested with
//! pictures made by hand. A device that goes away while the picture is taken is not in it.

use super::control::Control;
use super::device::{DeviceId, DeviceInfo, Slot};
use super::error::{DmError, DmErrorKind};
use super::status::SnapshotStatus;
use super::target::{SnapshotArgs, Table, Target};
use crate::harmless;
use crate::lvm::names::{self, Layer, VolumeName, VolumeUuid};
use crate::sample::Owner;
use crate::units::{DeviceNumber, Sectors};

/// A device with its live table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The device itself.
    pub info: DeviceInfo,
    /// Its live table; empty where it has none.
    pub table: Table,
    /// What the kernel says of it, where it is a snapshot or a merge.
    pub status: Option<SnapshotStatus>,
}

impl Device {
    /// What its users call it: `vg/lv` where it is LVM's, else the device-mapper name. Printable.
    pub fn label(&self) -> String {
        let volume = self.volume().map(|volume| volume.to_string());
        harmless::printable(volume.as_ref().unwrap_or(&self.info.name))
    }

    /// The logical volume, where it is one.
    pub fn volume(&self) -> Option<VolumeName> {
        VolumeUuid::parse(&self.info.uuid).and_then(|_| VolumeName::from_dm(&self.info.name))
    }

    /// The snapshot that LVM named this COW device after. It has no device of its own while it is
    /// merged.
    pub fn snapshot_of_lvm(&self) -> Option<VolumeName> {
        let VolumeName { vg, lv, layer } = self.volume()?;
        (layer == Layer::Cow).then(|| VolumeName::new(vg, lv))
    }

    /// Who has to finish a merge on it.
    pub fn owner(&self) -> Owner {
        if names::is_lvm(&self.info.uuid) { Owner::Lvm } else { Owner::DeviceMapper }
    }

    /// Its size.
    pub fn size(&self) -> Sectors {
        self.table.length()
    }

    /// The arguments, where it is a snapshot that is not merging.
    pub fn snapshot(&self) -> Option<&SnapshotArgs> {
        match self.table.only()? {
            Target::Snapshot(args) => Some(args),
            _ => None,
        }
    }

    /// The arguments, where it is an origin that a snapshot is being merged into.
    pub fn merge(&self) -> Option<&SnapshotArgs> {
        match self.table.only()? {
            Target::SnapshotMerge(args) => Some(args),
            _ => None,
        }
    }

    /// The device with the data, where it is an origin, merging or not.
    pub fn origin_of(&self) -> Option<DeviceNumber> {
        match self.table.only()? {
            Target::SnapshotOrigin { real } => real.number(),
            Target::SnapshotMerge(args) => args.real.number(),
            _ => None,
        }
    }
}

/// The picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// All devices, by name.
    pub devices: Vec<Device>,
}

impl Host {
    /// Takes the picture.
    ///
    /// # Errors
    /// As [`Control::list`] and [`Control::status`].
    pub fn read(control: &Control) -> Result<Self, DmError> {
        let mut devices = Vec::new();
        for listed in control.list()? {
            match read_device(control, &listed.name) {
                Ok(device) => devices.push(device),
                Err(error) if error.kind == DmErrorKind::NoSuchDevice => {}
                Err(error) => return Err(error),
            }
        }
        devices.sort_by(|a, b| a.info.name.cmp(&b.info.name));
        Ok(Self { devices })
    }

    /// The device of a name.
    pub fn by_name(&self, name: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.info.name == name)
    }

    /// The device of a number.
    pub fn by_dev(&self, dev: DeviceNumber) -> Option<&Device> {
        self.devices.iter().find(|device| device.info.dev == dev)
    }

    /// Origins that a snapshot is being merged into.
    pub fn merges(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| device.merge().is_some())
    }

    /// Snapshots that are not merging.
    pub fn snapshots(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| device.snapshot().is_some())
    }

    /// Origins that nothing is merged into.
    pub fn origins(&self) -> impl Iterator<Item = &Device> {
        self.devices
            .iter()
            .filter(|device| device.merge().is_none() && device.origin_of().is_some())
    }

    /// Snapshots of the data on `real`; a merging one is not among them.
    pub fn snapshots_of(&self, real: DeviceNumber) -> impl Iterator<Item = &Device> {
        self.snapshots().filter(move |device| {
            device.snapshot().is_some_and(|args| args.real.number() == Some(real))
        })
    }

    /// Snapshots of the data on `real`, without the one of the number `except`.
    pub fn siblings_of(
        &self,
        real: DeviceNumber,
        except: DeviceNumber,
    ) -> impl Iterator<Item = &Device> {
        self.snapshots_of(real).filter(move |device| device.info.dev != except)
    }

    /// What users mount: the device whose table is `snapshot-origin` or `snapshot-merge` over
    /// `real`.
    pub fn origin_over(&self, real: DeviceNumber) -> Option<&Device> {
        self.devices.iter().find(|device| device.origin_of() == Some(real))
    }

    /// What a snapshot is merged into: the origin over the same data.
    pub fn origin_of_snapshot(&self, snapshot: &Device) -> Option<&Device> {
        self.origin_over(snapshot.snapshot()?.real.number()?)
    }

    /// The merge of the snapshot that LVM calls by this device-mapper name. While it merges, LVM has
    /// either no device of that name, or one on which every read fails.
    pub fn merge_of_lvm_snapshot(&self, name: &str) -> Option<&Device> {
        self.merges().find(|merge| {
            let cow = merge.merge().and_then(|args| self.by_dev(args.cow.number()?));
            cow.and_then(Device::snapshot_of_lvm).is_some_and(|snapshot| snapshot.to_dm() == name)
        })
    }

    /// What a device's number is called: its label, or the number where it is not of
    /// device-mapper.
    pub fn label_of(&self, dev: DeviceNumber) -> String {
        self.by_dev(dev).map_or_else(|| dev.to_string(), Device::label)
    }
}

fn read_device(control: &Control, name: &str) -> Result<Device, DmError> {
    let id = DeviceId::Name(name);
    let table = control.table(id, Slot::Live)?;
    let status = control.status(id, true)?;
    Ok(Device { status: status.snapshot(), info: status.info, table })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A device with a table and a status as the kernel prints them.
    pub(crate) fn device(minor: u32, name: &str, table: &str, status: &str) -> Device {
        Device {
            info: DeviceInfo {
                name: name.into(),
                dev: DeviceNumber { major: 253, minor },
                live_table: true,
                target_count: 1,
                ..DeviceInfo::default()
            },
            table: Table::parse(table).unwrap(),
            status: (!status.is_empty()).then(|| SnapshotStatus::parse(status)),
        }
    }

    /// An origin with two snapshots, and another that is merging; both on LVM's names, the first
    /// LVM's indeed.
    pub(crate) fn picture() -> Host {
        let mut devices = vec![
            device(0, "vg-data-real", "0 131072 linear 7:0 2048", ""),
            device(1, "vg-data", "0 131072 snapshot-origin 253:0", ""),
            device(2, "vg-snap-cow", "0 81920 linear 7:0 133120", ""),
            device(3, "vg-snap", "0 131072 snapshot 253:0 253:2 P 8", "4112/81920 32"),
            device(4, "vg-other-cow", "0 81920 linear 7:0 233120", ""),
            device(5, "vg-other", "0 131072 snapshot 253:0 253:4 P 8", "Invalid"),
            device(6, "root-real", "0 262144 linear 7:1 0", ""),
            device(7, "root", "0 262144 snapshot-merge 253:6 253:8 P 16", "2080/16384 32"),
            device(8, "root-cow", "0 16384 linear 7:1 262144", ""),
        ];
        for device in &mut devices[..6] {
            let lv = device.info.name.split('-').nth(1).unwrap();
            let layer = device.info.name.splitn(3, '-').nth(2).map(|layer| format!("-{layer}"));
            device.info.uuid =
                format!("LVM-{}{lv:0<32}{}", "V".repeat(32), layer.unwrap_or_default());
        }
        devices[1].info.open_count = 1;
        Host { devices }
    }

    fn names<'a>(devices: impl Iterator<Item = &'a Device>) -> Vec<&'a str> {
        devices.map(|device| device.info.name.as_str()).collect()
    }

    #[test]
    fn the_picture_tells_origins_snapshots_and_merges() {
        let host = picture();
        assert_eq!(names(host.merges()), ["root"]);
        assert_eq!(names(host.origins()), ["vg-data"]);
        assert_eq!(names(host.snapshots()), ["vg-snap", "vg-other"]);
        let snap = host.by_name("vg-snap").unwrap();
        let real = snap.snapshot().unwrap().real.number().unwrap();
        assert_eq!(names(host.siblings_of(real, snap.info.dev)), ["vg-other"]);
        assert_eq!(host.origin_of_snapshot(snap).unwrap().info.name, "vg-data");
        assert_eq!(host.label_of(real), "vg/data-real");
        assert_eq!((snap.label(), snap.owner()), ("vg/snap".into(), Owner::Lvm));
        let root = host.by_name("root").unwrap();
        assert_eq!((root.owner(), root.label()), (Owner::DeviceMapper, "root".into()));
    }

    #[test]
    fn a_cow_device_of_lvm_tells_its_snapshot() {
        let host = picture();
        let told = |name| host.by_name(name).unwrap().snapshot_of_lvm();
        assert_eq!(told("vg-snap-cow"), Some(VolumeName::new("vg", "snap")));
        assert_eq!([told("root-cow"), told("vg-snap"), told("vg-data-real")], [None, None, None]);
    }

    #[test]
    fn a_hyphen_alone_does_not_make_a_volume() {
        assert_eq!(picture().by_name("root-cow").unwrap().label(), "root-cow");
    }
}
