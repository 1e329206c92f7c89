//! What tells a disk from every other, also after a reboot has given it another number or name.
//!
//! Source: `/sys/dev/block/M:m`. A serial number or a world-wide name comes from the hardware (or
//! the hypervisor); without either, only name and size are left, and they prove little.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::units::{DeviceNumber, Sectors};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskIdentity {
    /// The kernel's name: `sda1`.
    pub name: String,
    /// How long it is.
    pub size: Sectors,
    /// Where it begins on its disk, if it is a partition.
    pub partition_start: Option<Sectors>,
    /// The disk's serial number.
    pub serial: Option<String>,
    /// The disk's world-wide identifier.
    pub wwid: Option<String>,
    /// The file behind it, if it is a loop device.
    pub backing_file: Option<String>,
}

impl DiskIdentity {
    /// Reads it.
    ///
    /// # Errors
    /// From sysfs: no such device.
    pub fn read(dev: DeviceNumber) -> io::Result<Self> {
        Self::read_from(&fs::canonicalize(format!("/sys/dev/block/{dev}"))?)
    }

    fn read_from(directory: &Path) -> io::Result<Self> {
        let number = |name: &str| -> io::Result<Sectors> {
            let text = fs::read_to_string(directory.join(name))?;
            text.trim().parse().map(Sectors).map_err(io::Error::other)
        };
        let is_partition = directory.join("partition").exists();
        let disk = if is_partition { directory.parent().unwrap_or(directory) } else { directory };
        let text = |names: &[&str]| names.iter().find_map(|name| word(&disk.join(name)));
        Ok(Self {
            name: directory.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            size: number("size")?,
            partition_start: is_partition.then(|| number("start")).transpose()?,
            serial: text(&["serial", "device/serial"]),
            wwid: text(&["wwid", "device/wwid"]),
            backing_file: word(&directory.join("loop/backing_file")),
        })
    }

    /// Whether there is more to it than a name and a size.
    pub const fn is_certain(&self) -> bool {
        self.serial.is_some() || self.wwid.is_some() || self.backing_file.is_some()
    }

    /// Whether this may be the disk that `before` was. Where neither has more than a name and a
    /// size, the names must agree.
    pub fn may_be(&self, before: &Self) -> bool {
        let place = |disk: &Self| (disk.size, disk.partition_start);
        let mark =
            |disk: &Self| (disk.serial.clone(), disk.wwid.clone(), disk.backing_file.clone());
        place(self) == place(before)
            && mark(self) == mark(before)
            && (before.is_certain() || self.name == before.name)
    }
}

/// All block devices of this machine that are there now.
///
/// # Errors
/// From sysfs. A device that goes away meanwhile is left out.
pub fn all() -> io::Result<Vec<(DeviceNumber, DiskIdentity)>> {
    let mut disks = Vec::new();
    for entry in fs::read_dir("/sys/dev/block")? {
        let name = entry?.file_name();
        let number = super::DeviceRef::parse(&name.to_string_lossy()).number();
        let Some(dev) = number else { continue };
        disks.extend(DiskIdentity::read(dev).ok().map(|identity| (dev, identity)));
    }
    Ok(disks)
}

fn word(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let word = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!word.is_empty()).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, serial: Option<&str>) -> DiskIdentity {
        DiskIdentity {
            name: name.to_owned(),
            size: Sectors(100),
            partition_start: None,
            serial: serial.map(str::to_owned),
            wwid: None,
            backing_file: None,
        }
    }

    #[test]
    fn a_serial_number_outweighs_a_name_and_nothing_outweighs_a_size() {
        assert!(disk("vdb", Some("7")).may_be(&disk("vda", Some("7"))));
        assert!(!disk("vda", Some("8")).may_be(&disk("vda", Some("7"))));
        assert!(!disk("vda", None).may_be(&disk("vda", Some("7"))));
        assert!(disk("vda", None).may_be(&disk("vda", None)));
        assert!(!disk("vdb", None).may_be(&disk("vda", None)));
        let longer = DiskIdentity { size: Sectors(101), ..disk("vda", Some("7")) };
        assert!(!longer.may_be(&disk("vda", Some("7"))));
        let part = DiskIdentity { partition_start: Some(Sectors(1)), ..disk("vda1", Some("7")) };
        assert!(!part.may_be(&disk("vda", Some("7"))) && part.may_be(&part));
    }

    #[test]
    fn a_directory_of_sysfs_is_read() {
        let root = tempfile::tempdir().unwrap();
        let part = root.path().join("vda/vda1");
        fs::create_dir_all(&part).unwrap();
        for (file, text) in [
            ("vda/serial", "origin-1\n"),
            ("vda/size", "400\n"),
            ("vda/vda1/size", "300\n"),
            ("vda/vda1/start", "64\n"),
            ("vda/vda1/partition", "1\n"),
        ] {
            fs::write(root.path().join(file), text).unwrap();
        }
        let read = DiskIdentity::read_from(&part).unwrap();
        let expected = DiskIdentity {
            size: Sectors(300),
            partition_start: Some(Sectors(64)),
            ..disk("vda1", Some("origin-1"))
        };
        assert_eq!(read, expected);
        DiskIdentity::read_from(root.path()).unwrap_err();
    }
}
