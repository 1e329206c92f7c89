//! Reads the facts that preflight wants: the only place here that asks anybody anything. Nothing is
//! changed, and nothing that is read may keep it waiting for long: a suspended device is not read,
//! and counting exceptions ends after two seconds at the latest.
//!
//! Sources: `/sys/dev/block`, `/proc/self/status`, `/lib/modules`, lvm2, the COW devices.

mod bounded;
mod counting;
mod exceptions;
pub(crate) mod privilege;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD};

use self::privilege::Capabilities;
use super::facts::{Below, Facts, LvmView, MergeTarget, StateDirectory};
use super::{Code, Finding, host as hosts};
use crate::dm::{Control, Device, DeviceInfo, Host, Table, holders, resolve, throttle};
use crate::harmless;
use crate::lvm::lvm2::{Lvm, LvmError};
use crate::sample::Owner;
use crate::state_dir;
use crate::units::DeviceNumber;

/// How long the exceptions of snapshot and siblings are read at most.
const COUNTING: Duration = Duration::from_secs(2);
/// `RAMFS_MAGIC` and `TMPFS_MAGIC` of `include/uapi/linux/magic.h`.
const IN_MEMORY: [u64; 2] = [0x8584_58f6, 0x0102_1994];

/// Everything that can be known of a merge of `device`.
pub fn all(control: &Control, host: &Host, device: &Device) -> Facts {
    let mut facts = Facts { below: below(host, device), ..of_this_process() };
    facts.holders = users(host, device);
    facts.merge_target = merge_target(control, &mut facts.not_known);
    let suspended = facts.below.iter().any(|it| it.suspended) || device.info.suspended;
    match device.volume() {
        Some(volume) if !suspended => facts.lvm = Some(lvm_view(&volume.vg)),
        Some(volume) => facts.not_known.push(format!(
            "What LVM knows of {} was not asked: it would wait for what is suspended.",
            volume.vg
        )),
        None => {}
    }
    if device.owner() == Owner::DeviceMapper {
        facts.state = Some(state_directory(&state_dir::lasting()));
    }
    if !suspended {
        facts.store = exceptions::look(device, COUNTING);
        match counting::siblings(host, device, COUNTING) {
            Ok(siblings) => facts.siblings = siblings,
            Err(why) => facts.not_known.push(why),
        }
    }
    facts
}

/// What can be said where device-mapper may not be asked, of what was named; nothing where there is
/// no such device either.
///
/// # Errors
/// [`resolve::ResolveError`].
pub fn unprivileged(given: &str) -> Result<Vec<Finding>, resolve::ResolveError> {
    let host = from_sysfs();
    let device = resolve::resolve(&host, given)?;
    let label = device.label();
    let mut facts = of_this_process();
    facts.not_known.push(format!(
        "Whether {label} is a snapshot, how full it is, what becomes of its siblings and what LVM \
         says: device-mapper tells it to root only."
    ));
    let mut found = hosts::without_devices(&facts);
    found.extend(super::rest::of_origin(device));
    let users = holders::holders_of(device.info.dev).unwrap_or_default();
    if !users.0.is_empty() {
        let words = format!("{label} is in use ({users}), as far as can be seen without root.");
        found.push(Finding::note(Code::NotKnown, words).about(label));
    }
    Ok(found)
}

/// What LVM says of a group.
pub fn lvm_view(vg: &str) -> LvmView {
    match Lvm::find().and_then(|lvm| lvm.volumes_of(vg)) {
        Ok(volumes) => LvmView::Volumes(volumes),
        Err(LvmError::Missing) => LvmView::Missing,
        Err(error) => LvmView::Unreadable(error.to_string()),
    }
}

fn of_this_process() -> Facts {
    let capabilities = Capabilities::of_this_process().ok();
    Facts {
        privilege: capabilities.as_ref().map(Capabilities::privilege),
        throttle_percent: throttle::read().ok().flatten(),
        not_seen: capabilities.as_ref().map(Capabilities::not_seen).unwrap_or_default(),
        ..Facts::default()
    }
}

/// Who holds the snapshot, its origin and the devices right below open.
fn users(host: &Host, device: &Device) -> Vec<(DeviceNumber, holders::Holders)> {
    let origin = host.origin_of_snapshot(device);
    let open = [Some(device), origin].into_iter().flatten().filter(|it| it.info.open_count > 0);
    let args = device.snapshot().filter(|_| device.owner() == Owner::DeviceMapper);
    let next = args.into_iter().flat_map(|args| [args.real.number(), args.cow.number()]).flatten();
    let wanted: Vec<_> = open.map(|it| it.info.dev).chain(next).collect();
    // A holder that cannot be found is still in the kernel's count, which is what decides.
    wanted.into_iter().map(|dev| (dev, holders::holders_of(dev).unwrap_or_default())).collect()
}

pub(crate) fn merge_target(control: &Control, not_known: &mut Vec<String>) -> Option<MergeTarget> {
    match control.targets() {
        Ok(targets) if targets.iter().any(|it| it.kind == "snapshot-merge") => {
            Some(MergeTarget::There)
        }
        Ok(_) => Some(if is_module_there("dm-snapshot") {
            MergeTarget::ToBeLoaded
        } else {
            MergeTarget::Missing
        }),
        Err(error) => {
            not_known.push(format!("Whether the kernel can merge: {error}."));
            None
        }
    }
}

/// Whether a module, with hyphens in its name, is among those of the running kernel.
pub(crate) fn is_module_there(name: &str) -> bool {
    let Some(directory) = modules_directory() else { return false };
    let file = format!("/{name}.ko");
    ["modules.dep", "modules.builtin"]
        .iter()
        .any(|list| fs::read_to_string(directory.join(list)).is_ok_and(|it| it.contains(&file)))
}

/// Where the modules of the running kernel are, or should be.
pub(crate) fn modules_directory() -> Option<PathBuf> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(PathBuf::from("/lib/modules").join(release.trim()))
}

/// Whether files can be kept in a directory, which need not be there yet.
pub(crate) fn state_directory(directory: &Path) -> StateDirectory {
    let path = harmless::path(directory);
    let there = directory.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    if let Err(errno) = rustix::fs::accessat(CWD, there, Access::WRITE_OK, AtFlags::EACCESS) {
        return StateDirectory::Unwritable { path, why: errno.to_string() };
    }
    let volatile = rustix::fs::statfs(there)
        .is_ok_and(|statistics| IN_MEMORY.contains(&(statistics.f_type as u64 & 0xffff_ffff)));
    StateDirectory::Writable { path, volatile }
}

/// All that lies below a device, down to the disks.
fn below(host: &Host, device: &Device) -> Vec<Below> {
    let mut found: Vec<Below> = Vec::new();
    let mut to_see: Vec<_> = slaves(device.info.dev).into_iter().map(|dev| (dev, true)).collect();
    while let Some((dev, is_next)) = to_see.pop() {
        if found.iter().all(|known| known.dev != dev) {
            found.push(one_below(host, dev, is_next));
            to_see.extend(slaves(dev).into_iter().map(|dev| (dev, false)));
        }
    }
    found
}

fn sys(dev: DeviceNumber) -> PathBuf {
    PathBuf::from(format!("/sys/dev/block/{dev}"))
}

fn slaves(dev: DeviceNumber) -> Vec<DeviceNumber> {
    let Ok(entries) = fs::read_dir(sys(dev).join("slaves")) else { return Vec::new() };
    let number = |path: PathBuf| {
        let text = fs::read_to_string(path.join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some(DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? })
    };
    entries.flatten().filter_map(|entry| number(entry.path())).collect()
}

fn one_below(host: &Host, dev: DeviceNumber, is_next: bool) -> Below {
    let directory = sys(dev);
    let is_one =
        |file: &str| fs::read_to_string(directory.join(file)).is_ok_and(|it| it.trim() == "1");
    // A partition has the queue of its disk.
    let block = ["queue", "../queue"].iter().find_map(|queue| {
        fs::read_to_string(directory.join(queue).join("logical_block_size")).ok()
    });
    let known = host.by_dev(dev);
    let kernel_name = || {
        let name = fs::read_link(&directory).ok()?.file_name()?.to_string_lossy().into_owned();
        Some(harmless::printable(&name))
    };
    Below {
        dev,
        label: known.map(Device::label).or_else(kernel_name).unwrap_or_else(|| dev.to_string()),
        for_dmsetup: known.map(|it| harmless::for_dmsetup(&it.info.name, dev)),
        is_next,
        suspended: is_one("dm/suspended"),
        read_only: is_one("ro"),
        block_bytes: block.and_then(|text| text.trim().parse().ok()).filter(|bytes| *bytes > 0),
    }
}

/// The devices of device-mapper without their tables, which only root may see.
fn from_sysfs() -> Host {
    let entries = fs::read_dir("/sys/dev/block").into_iter().flatten().flatten();
    let devices = entries.filter_map(|entry| bare_device(&entry.path()).ok().flatten()).collect();
    Host { devices }
}

fn bare_device(directory: &Path) -> io::Result<Option<Device>> {
    let read = |file: &str| -> io::Result<String> {
        let text = harmless::from_bytes(&fs::read(directory.join(file))?);
        Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    };
    let number = read("dev")?;
    let Some((major, minor)) = number.split_once(':') else { return Ok(None) };
    let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { return Ok(None) };
    let info = DeviceInfo {
        name: read("dm/name")?,
        uuid: read("dm/uuid")?,
        dev: DeviceNumber { major, minor },
        suspended: read("dm/suspended")? == "1",
        read_only: read("ro")? == "1",
        live_table: true,
        ..DeviceInfo::default()
    };
    Ok(Some(Device { info, table: Table(Vec::new()), status: None }))
}
