//! What an offline merge must know of a volume before the volume is taken down: where its data and
//! its exceptions lie. Of a volume that is active the kernel tells; of one that is not, LVM's metadata
//! ([`super::layout`]).

use std::io;

use super::layout::{self, Disk};
use super::{Names, StepError, Unfit};
use crate::dm::{Device, DiskIdentity, Host, SnapshotArgs, Table, nodes};
use crate::harmless;
use crate::lvm::lvm2::{GroupDisk, Part, Segment};
use crate::lvm::names::{Layer, VolumeName, VolumeUuid};
use crate::sample::Owner;
use crate::units::DeviceNumber;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// What is merged.
    pub names: Names,
    /// Whether the volume was active before we came.
    pub found_active: bool,
    /// The origin's data.
    pub real: Below,
    /// The snapshot's exceptions.
    pub cow: Below,
    /// The disks below both, as they were.
    pub disks: Vec<(DeviceNumber, DiskIdentity)>,
    /// Where LVM says that both lie.
    pub segments: Vec<Segment>,
}

/// One of the two devices right below the volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Below {
    /// Its device-mapper name in LVM.
    pub name: String,
    /// Its UUID in LVM.
    pub uuid: VolumeUuid,
    /// Its table.
    pub table: Table,
}

impl Below {
    /// What people are told: `vg/data-real`.
    pub fn label(&self) -> String {
        VolumeName::from_dm(&self.name).map_or_else(|| self.name.clone(), |name| name.to_string())
    }

    /// The UUID of our private device over the same places.
    pub fn private_uuid(&self) -> String {
        let layer = if self.uuid.layer == Layer::Cow { "cow" } else { "real" };
        format!("{}{}{}-{layer}", super::leftovers::UUID_PREFIX, self.uuid.vg, self.uuid.lv)
    }

    /// Its name until it gets the one that LVM would use.
    pub fn private_name(&self) -> String {
        let layer = if self.uuid.layer == Layer::Cow { "cow" } else { "real" };
        format!("merge-ctl-{}-{layer}", self.uuid.lv)
    }

    /// The volume's UUID as LVM writes it, without its hyphens.
    fn is_of(&self, segment: &Segment) -> bool {
        segment.volume.chars().filter(|letter| *letter != '-').eq(self.uuid.lv.chars())
    }
}

impl Captured {
    /// From what the kernel shows of the snapshot; `segments` are those of the whole group.
    ///
    /// # Errors
    /// [`Unfit`] where the volume does not simply lie on disks; from sysfs.
    pub fn of(
        host: &Host,
        names: Names,
        args: &SnapshotArgs,
        found_active: bool,
        segments: &[Segment],
    ) -> Result<Self, StepError> {
        let (real, cow) = (layer(host, args.real.number())?, layer(host, args.cow.number())?);
        Self::over(names, found_active, real, cow, segments)
    }

    fn over(
        names: Names,
        found_active: bool,
        real: Below,
        cow: Below,
        segments: &[Segment],
    ) -> Result<Self, StepError> {
        let mut disks = Vec::new();
        for dev in real.table.devices().into_iter().chain(cow.table.devices()) {
            if disks.iter().all(|(known, _)| *known != dev) {
                disks.push((dev, identity(dev)?));
            }
        }
        let mut captured = Self { names, found_active, real, cow, disks, segments: Vec::new() };
        captured.segments = captured.own(segments);
        if captured.segments.is_empty() {
            return Err(Unfit::NoSegments.into());
        }
        Ok(captured)
    }

    /// From what LVM's metadata says of the group, for volumes that are not active.
    ///
    /// # Errors
    /// [`Unfit`] where the volume does not simply lie on disks, or what is said of it does not add up;
    /// from sysfs.
    pub fn on_record(
        host: &Host,
        names: Names,
        parts: &[Part],
        disks: &[GroupDisk],
        segments: &[Segment],
    ) -> Result<Self, StepError> {
        let known = disks.iter().map(known_disk).collect::<Result<Vec<_>, _>>()?;
        let real = below(&names, &names.origin, Layer::Real, parts, &known)?;
        let cow = below(&names, &names.snapshot, Layer::Cow, parts, &known)?;
        if let Some(below) = [&real, &cow].into_iter().find(|it| is_over_lvm(host, &it.table)) {
            return Err(Unfit::NotPlain(below.label()).into());
        }
        Self::over(names, false, real, cow, segments)
    }

    /// Devices of LVM's that are there of the origin or the snapshot.
    pub fn active_in(&self, host: &Host) -> Vec<String> {
        let ours = [&self.real.uuid, &self.cow.uuid];
        let is_ours = |uuid: &str| {
            VolumeUuid::parse(uuid)
                .is_some_and(|uuid| ours.iter().any(|it| (&it.vg, &it.lv) == (&uuid.vg, &uuid.lv)))
        };
        let active = host.devices.iter().filter(|device| is_ours(&device.info.uuid));
        active.map(|device| device.info.name.clone()).collect()
    }

    /// Those of a group's segments that are the origin's or the snapshot's, in order.
    pub fn own(&self, segments: &[Segment]) -> Vec<Segment> {
        let is_own = |it: &&Segment| self.real.is_of(it) || self.cow.is_of(it);
        let mut own: Vec<_> = segments.iter().filter(is_own).cloned().collect();
        own.sort();
        own
    }

    /// Disks that are not what they were.
    pub fn changed_disks(&self) -> Vec<String> {
        let is_same = |dev: DeviceNumber, before: &DiskIdentity| {
            DiskIdentity::read(dev).is_ok_and(|now| now == *before)
        };
        let changed = self.disks.iter().filter(|(dev, before)| !is_same(*dev, before));
        changed.map(|(dev, before)| format!("{} ({dev})", before.name)).collect()
    }
}

fn identity(dev: DeviceNumber) -> Result<DiskIdentity, StepError> {
    DiskIdentity::read(dev)
        .map_err(|source| StepError::Io { what: format!("cannot identify the disk {dev}"), source })
}

fn known_disk(disk: &GroupDisk) -> Result<Disk, StepError> {
    let path = disk.path.clone();
    let cannot = |source| StepError::Io {
        what: format!("cannot find the disk {}", harmless::path(&path)),
        source,
    };
    let dev = nodes::block_device_of(&path).map_err(cannot)?;
    let dev = dev.ok_or_else(|| cannot(io::ErrorKind::NotFound.into()))?;
    let size = identity(dev)?.size;
    Ok(Disk { path, dev, data_start: disk.data_start, size })
}

fn below(
    names: &Names,
    volume: &str,
    layer: Layer,
    parts: &[Part],
    disks: &[Disk],
) -> Result<Below, StepError> {
    let own: Vec<_> = parts.iter().filter(|part| part.name == volume).collect();
    let first = own.first().ok_or(Unfit::NoSegments)?;
    let plain = |id: &str| id.chars().filter(|letter| *letter != '-').collect::<String>();
    let uuid =
        VolumeUuid { vg: plain(&first.group), lv: plain(&first.volume), layer: layer.clone() };
    let name = VolumeName { layer, ..VolumeName::new(&names.vg, volume) };
    let table = layout::table(&name.to_string(), &own, disks)?;
    Ok(Below { name: name.to_dm(), uuid, table })
}

fn layer(host: &Host, dev: Option<DeviceNumber>) -> Result<Below, StepError> {
    let device = dev.and_then(|dev| host.by_dev(dev)).ok_or_else(|| StepError::Io {
        what: "the devices below the snapshot are not there".to_owned(),
        source: io::ErrorKind::NotFound.into(),
    })?;
    let uuid = VolumeUuid::parse(&device.info.uuid).ok_or_else(|| unfit(device))?;
    let is_plain =
        |line: &crate::dm::TableLine| ["linear", "striped"].contains(&line.target.kind());
    if !device.table.0.iter().all(is_plain)
        || device.table.devices().is_empty()
        || is_over_lvm(host, &device.table)
    {
        return Err(unfit(device));
    }
    Ok(Below { name: device.info.name.clone(), uuid, table: device.table.clone() })
}

fn is_over_lvm(host: &Host, table: &Table) -> bool {
    let is_lvm = |dev: DeviceNumber| host.by_dev(dev).is_some_and(|it| it.owner() == Owner::Lvm);
    table.devices().into_iter().any(is_lvm)
}

fn unfit(device: &Device) -> StepError {
    Unfit::NotPlain(device.label()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dm::host::tests::picture;

    const REAL: Option<DeviceNumber> = Some(DeviceNumber { major: 253, minor: 0 });

    fn with_real(table: &str) -> Result<Below, StepError> {
        let mut host = picture();
        host.devices[0].table = Table::parse(table).unwrap();
        layer(&host, REAL)
    }

    #[test]
    fn what_lies_on_disks_is_captured_and_has_a_name_of_its_own() {
        let below =
            with_real("0 65536 linear 7:0 2048\n65536 65536 striped 2 128 7:0 9 8:1 8").unwrap();
        assert_eq!(below.label(), "vg/data-real");
        assert!(below.private_uuid().starts_with("MERGECTL-VVVV"), "{}", below.private_uuid());
        assert!(below.private_uuid().ends_with("-real") && below.private_uuid().len() < 129);
        assert!(below.private_name().len() < 128 && below.private_name() != below.name);
        let own = Segment {
            volume: "data00-0000-0000-0000-0000-0000-000000".into(),
            start: "0".into(),
            ranges: String::new(),
        };
        assert!(below.is_of(&own));
        assert!(!below.is_of(&Segment { volume: "snap00-0000".into(), ..own }));
    }

    #[test]
    fn what_lvm_builds_of_other_volumes_is_refused() {
        for table in [
            "0 131072 raid raid1 3 0 region_size 4096 2 253:4 253:5",
            "0 131072 thin 7:0 1",
            "0 65536 linear 7:0 0\n65536 65536 error",
            // One of LVM's own devices below.
            "0 131072 linear 253:4 0",
        ] {
            let error = with_real(table).unwrap_err();
            assert!(matches!(error, StepError::Unfit(Unfit::NotPlain(_))), "{table}: {error}");
        }
    }
}
