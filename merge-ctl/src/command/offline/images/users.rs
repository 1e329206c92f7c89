//! Who else uses an image, as far as `/proc` and `/sys` tell. What cannot be seen the kernel still
//! refuses, where it is a device that is held.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use merge_ctl::dm::holders::{Holder, holders_of};
use merge_ctl::harmless;
use merge_ctl::merge::preflight::{Obstacle, Refusal};
use merge_ctl::units::DeviceNumber;

use super::identity::{FileId, Identity, shown_by};

/// How often an image that is in use is looked at again.
const SCAN_TRIES: u32 = 8;
/// Between two such looks.
const SCAN_PAUSE: Duration = Duration::from_millis(200);

/// Refuses what anybody uses, with names; who only scans it is gone in a moment.
pub(super) fn refuse(identity: &Identity, label: &str) -> Result<(), Refusal> {
    let mut users = users_of(identity);
    for _ in 1..SCAN_TRIES {
        if users.is_empty() {
            return Ok(());
        }
        thread::sleep(SCAN_PAUSE);
        users = users_of(identity);
    }
    if users.is_empty() {
        return Ok(());
    }
    Err(Refusal {
        obstacle: Obstacle::InUse,
        reason: format!("{label} is in use: {}.", users.join("; ")),
        way_out: "Whoever uses it would see half a merge, or spoil it: stop that first.".to_owned(),
    })
}

fn users_of(identity: &Identity) -> Vec<String> {
    match identity {
        Identity::Device { dev, .. } => of_device(*dev),
        Identity::File(file) => of_file(*file),
    }
}

/// Of a device, and of its partitions.
fn of_device(dev: DeviceNumber) -> Vec<String> {
    let of_it = holders_of(dev).unwrap_or_default().0;
    let mut users: Vec<_> = of_it.iter().map(ToString::to_string).collect();
    for (name, partition) in partitions(dev) {
        let of_it = holders_of(partition).unwrap_or_default().0;
        let of_it = of_it.iter().map(|user| format!("{}: {user}", harmless::printable(&name)));
        users.extend(of_it);
    }
    users
}

fn partitions(dev: DeviceNumber) -> Vec<(String, DeviceNumber)> {
    let entries = fs::read_dir(format!("/sys/dev/block/{dev}/")).into_iter().flatten().flatten();
    let partition = |entry: fs::DirEntry| {
        fs::metadata(entry.path().join("partition")).ok()?;
        Some((entry.file_name().to_string_lossy().into_owned(), number(&entry.path())?))
    };
    entries.filter_map(partition).collect()
}

/// The number in a device's directory.
fn number(directory: &std::path::Path) -> Option<DeviceNumber> {
    let text = fs::read_to_string(directory.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some(DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

/// Of a file: loop devices that show it, and processes that have it open.
fn of_file(file: FileId) -> Vec<String> {
    let loops = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let shows = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let dev = name.starts_with("loop").then(|| number(&entry.path()))??;
        (shown_by(dev).ok()?.file == file).then(|| format!("shown by /dev/{name}"))
    };
    let mut users: Vec<_> = loops.filter_map(shows).collect();
    users.extend(processes_with(file).iter().map(ToString::to_string));
    users
}

fn processes_with(file: FileId) -> Vec<Holder> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, entry.path()))
    });
    let holder = |(pid, directory): (u32, PathBuf)| {
        let mut open = fs::read_dir(directory.join("fd")).into_iter().flatten().flatten();
        let is_it = |fd: fs::DirEntry| {
            fs::metadata(fd.path()).is_ok_and(|metadata| FileId::of(&metadata) == file)
        };
        let has = pid != std::process::id() && open.any(is_it);
        // A process may end at any moment.
        let comm = || fs::read_to_string(directory.join("comm")).unwrap_or_default();
        has.then(|| Holder::Process { comm: comm().trim_end().to_owned(), pid })
    };
    pids.filter_map(holder).collect()
}
