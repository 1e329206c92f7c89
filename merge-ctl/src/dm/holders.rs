//! Who holds a block device open: what an operator has to stop before it can be changed.
//!
//! Sources: `/proc/self/mountinfo`, `/proc/swaps`, `/sys/dev/block/…/holders`, `/proc/*/fd`. What is
//! not found there (another mount namespace, a kernel thread, an export) still counts in the
//! kernel's open count, so an empty list does not prove that nobody holds it. Processes that
//! end during the search are not in it.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::nodes;
use crate::harmless;
use crate::units::DeviceNumber;

/// Somebody who holds a block device open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A mounted file system.
    Mount {
        /// Where.
        path: PathBuf,
    },
    /// Swap space.
    Swap,
    /// Another block device above it.
    Device {
        /// Its device-mapper name, or the kernel's name for it.
        name: String,
    },
    /// A process with the device open.
    Process {
        /// Its name.
        comm: String,
        /// Its number.
        pid: u32,
    },
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount { path } => write!(f, "mounted on {}", harmless::path(path)),
            Self::Swap => f.write_str("used as swap"),
            Self::Device { name } => write!(f, "below {}", harmless::printable(name)),
            Self::Process { comm, pid } => write!(f, "{}[{pid}]", harmless::printable(comm)),
        }
    }
}

/// All holders of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders(pub Vec<Holder>);

impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, holder) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("; ")?;
            }
            holder.fmt(f)?;
        }
        Ok(())
    }
}

/// Everybody who can be seen to hold a device open, this process excepted.
///
/// # Errors
/// Where `/proc` cannot be read.
pub fn holders_of(dev: DeviceNumber) -> io::Result<Holders> {
    let mut holders = mounts_of(&read(Path::new("/proc/self/mountinfo"))?, dev);
    if is_swap(&read_if_there(Path::new("/proc/swaps"))?, dev) {
        holders.push(Holder::Swap);
    }
    holders.extend(devices_above(Path::new("/sys/dev/block"), dev)?);
    holders.extend(processes_with(dev)?);
    Ok(Holders(holders))
}

/// Any bytes: a path or a name in it need not be UTF-8.
fn read(path: &Path) -> io::Result<String> {
    fs::read(path).map(|bytes| harmless::from_bytes(&bytes))
}

fn read_if_there(path: &Path) -> io::Result<String> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

/// The third word is the device, the fifth the mount point with blanks written in octal
/// (proc_pid_mountinfo(5)).
fn mounts_of(mountinfo: &str, dev: DeviceNumber) -> Vec<Holder> {
    let wanted = dev.to_string();
    let mount = |line: &str| {
        let mut words = line.split(' ').skip(2);
        let is_it = words.next()? == wanted;
        let path = path_of(words.nth(1)?);
        is_it.then_some(Holder::Mount { path })
    };
    mountinfo.lines().filter_map(mount).collect()
}

fn path_of(word: &str) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(word)))
}

/// `\040` and its like, as `mangle_path` in `fs/seq_file.c` writes them.
fn unescape(text: &str) -> Vec<u8> {
    let text = harmless::to_bytes(text);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_slice();
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(byte) = escaped.filter(|_| first == b'\\') {
            bytes.push(byte);
            rest = &after[3..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    bytes
}

fn is_swap(swaps: &str, dev: DeviceNumber) -> bool {
    let path = |line: &str| line.split_ascii_whitespace().next().map(path_of);
    swaps
        .lines()
        .skip(1)
        .filter_map(path)
        .any(|path| nodes::block_device_of(&path).is_ok_and(|found| found == Some(dev)))
}

fn devices_above(sys_dev_block: &Path, dev: DeviceNumber) -> io::Result<Vec<Holder>> {
    let directory = sys_dev_block.join(dev.to_string()).join("holders");
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut holders = Vec::new();
    for entry in entries {
        let entry = entry?;
        let kernel_name = entry.file_name().to_string_lossy().into_owned();
        let dm_name = read_if_there(&entry.path().join("dm/name"))?;
        let name = if dm_name.is_empty() { kernel_name } else { one_line(&dm_name) };
        holders.push(Holder::Device { name });
    }
    Ok(holders)
}

fn processes_with(dev: DeviceNumber) -> io::Result<Vec<Holder>> {
    let mut holders = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if pid != std::process::id() && has_open(&entry.path().join("fd"), dev) {
            // The process may end at any moment; its number is still worth telling.
            let comm = read(&entry.path().join("comm")).unwrap_or_default();
            holders.push(Holder::Process { comm: one_line(&comm), pid });
        }
    }
    Ok(holders)
}

/// Without the newline that the kernel adds; one before it belongs to the name.
fn one_line(text: &str) -> String {
    text.strip_suffix('\n').unwrap_or(text).to_owned()
}

/// Whether one of a process's files is the device. A process that ended, or that may not be looked
/// into, has none that we see.
fn has_open(fds: &Path, dev: DeviceNumber) -> bool {
    let Ok(entries) = fs::read_dir(fds) else { return false };
    entries.flatten().any(|entry| {
        fs::metadata(entry.path()).is_ok_and(|file| {
            file.file_type().is_block_device() && DeviceNumber::from_user(file.rdev()) == dev
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_device_and_blanks_come_back() {
        let text = "36 35 253:1 / /mnt/my\\040data rw - ext4 /dev/mapper/x rw\n\
                    37 35 253:10 / /other rw - ext4 /dev/mapper/y rw\n";
        let found = Holders(mounts_of(text, DeviceNumber { major: 253, minor: 1 }));
        assert_eq!(found.to_string(), "mounted on /mnt/my data");
    }

    #[test]
    fn broken_escapes_stay() {
        assert_eq!(unescape("a\\04"), b"a\\04");
        assert_eq!(unescape("a\\0é"), "a\\0é".as_bytes());
        assert_eq!(unescape("\\134040"), b"\\040");
    }

    #[test]
    fn devices_above_are_named() {
        let sys = tempfile::tempdir().unwrap();
        let above = sys.path().join("253:0/holders/dm-4/dm");
        fs::create_dir_all(&above).unwrap();
        fs::write(above.join("name"), "vg-data\n").unwrap();
        fs::create_dir_all(sys.path().join("253:0/holders/md0")).unwrap();
        let dev = DeviceNumber { major: 253, minor: 0 };
        let mut names: Vec<_> =
            devices_above(sys.path(), dev).unwrap().iter().map(Holder::to_string).collect();
        names.sort();
        assert_eq!(names, ["below md0", "below vg-data"]);
        assert!(devices_above(sys.path(), DeviceNumber { minor: 9, ..dev }).unwrap().is_empty());
    }

    #[test]
    fn several_holders_read_as_one_sentence() {
        let holders = Holders(vec![
            Holder::Mount { path: "/mnt".into() },
            Holder::Process { comm: "postgres".into(), pid: 812 },
        ]);
        assert_eq!(holders.to_string(), "mounted on /mnt; postgres[812]");
    }
}
