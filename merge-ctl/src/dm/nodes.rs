//! Nodes in `/dev`: which device is where, and `/dev/mapper/NAME` where no udev runs: in a VM, an
//! initramfs, a container.
//!
//! What always holds: only a node directly in `/dev/mapper` is changed, only one that stands for the
//! very device that was created or removed, and never a symbolic link (those are udev's).

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode};

use crate::harmless;
use crate::units::DeviceNumber;

const DIRECTORY: &str = "/dev/mapper";
/// There while udev runs.
const UDEV_SOCKET: &str = "/run/udev/control";
const UDEV_PATIENCE: Duration = Duration::from_secs(2);

/// Whether udev runs, and makes the nodes.
pub fn udev_runs() -> bool {
    Path::new(UDEV_SOCKET).exists()
}

/// Sees to it that `/dev/mapper/NAME` is there, for a device that was created and resumed: waits a
/// moment for udev where it runs, else makes the node. Returns its path.
///
/// # Errors
/// From the file system; also where the path stands for something else.
pub fn ensure(name: &str, dev: DeviceNumber) -> io::Result<PathBuf> {
    let path = path_of(Path::new(DIRECTORY), name)?;
    let patience = if udev_runs() { UDEV_PATIENCE } else { Duration::ZERO };
    let deadline = Instant::now() + patience;
    while !path.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    if path.exists() {
        return match block_device_of(&path)? {
            Some(found) if found == dev => Ok(path),
            _ => Err(io::Error::other(format!(
                "{} is not device {dev}",
                harmless::printable(&path.to_string_lossy())
            ))),
        };
    }
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP;
    rustix::fs::mknodat(CWD, &path, FileType::BlockDevice, mode, dev.to_user())?;
    Ok(path)
}

/// Unlinks `/dev/mapper/NAME` after the device was removed, where it is a real node of that device.
/// Returns whether there was one.
///
/// # Errors
/// From the file system.
pub fn forget(name: &str, dev: DeviceNumber) -> io::Result<bool> {
    forget_in(Path::new(DIRECTORY), name, dev)
}

fn forget_in(directory: &Path, name: &str, dev: DeviceNumber) -> io::Result<bool> {
    let path = path_of(directory, name)?;
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let stale =
        metadata.file_type().is_block_device() && DeviceNumber::from_user(metadata.rdev()) == dev;
    if stale {
        std::fs::remove_file(path)?;
    }
    Ok(stale)
}

/// The number of the block device that a path leads to; nothing where it leads to something else.
///
/// # Errors
/// From the file system.
pub fn block_device_of(path: &Path) -> io::Result<Option<DeviceNumber>> {
    let metadata = path.metadata()?;
    let is_device = metadata.file_type().is_block_device();
    Ok(is_device.then(|| DeviceNumber::from_user(metadata.rdev())))
}

/// Where the kernel's own name for a block device lies in `/dev`, also where no udev makes links;
/// nothing where there is no such device.
pub fn kernel_path(dev: DeviceNumber) -> Option<PathBuf> {
    let link = std::fs::read_link(format!("/sys/dev/block/{dev}")).ok()?;
    Some(PathBuf::from("/dev").join(link.file_name()?))
}

fn path_of(directory: &Path, name: &str) -> io::Result<PathBuf> {
    // device-mapper refuses such names itself; here they would lead out of the directory.
    if name.is_empty() || name.contains('/') || [".", "..", "control"].contains(&name) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} is no device name"),
        ));
    }
    Ok(directory.join(OsString::from_vec(harmless::to_bytes(name))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_files_and_strange_names_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let dev = DeviceNumber { major: 253, minor: 0 };
        std::fs::write(directory.path().join("file"), "x").unwrap();
        std::os::unix::fs::symlink("/dev/null", directory.path().join("link")).unwrap();
        for name in ["file", "link", "absent"] {
            assert!(!forget_in(directory.path(), name, dev).unwrap(), "{name}");
        }
        assert!(directory.path().join("file").exists());
        assert!(directory.path().join("link").exists());
        for name in ["", "..", "a/b", "control"] {
            assert!(forget_in(directory.path(), name, dev).is_err(), "{name}");
        }
    }
}
