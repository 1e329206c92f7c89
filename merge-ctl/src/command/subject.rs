//! What a user names with `SNAPSHOT|COW|FILE`, found and ready to be read.
//!
//! A path of a regular file is that file: a copy of a COW device, or a dump. No device-mapper is
//! asked then, so files can be read anywhere and by anybody. Everything else is a device: a snapshot
//! under any of its names, its COW device, an origin that a snapshot is being merged into, or a block
//! device that device-mapper knows nothing of.
//!
//! Nothing is changed here, and no exception is read before [`Subject::open`].

mod find;

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use merge_ctl::dm::target::Persistence;
use merge_ctl::dm::{
    Control, Device, DmError, DmErrorKind, Host, SnapshotArgs, SnapshotStatus, disk_stats, nodes,
};
use merge_ctl::harmless;
use merge_ctl::merge::preflight::{Obstacle, Refusal};
use merge_ctl::store::{AnySource, Opened, Store};
use merge_ctl::units::{ChunkSize, DeviceNumber, Sectors};

use self::find::Found;
use crate::exit::Usage;

const ACCEPTED: &str = "Accepted are a snapshot (vg/lv, /dev/vg/lv, /dev/mapper/NAME, a \
    device-mapper name, /dev/dm-N), the COW device below one, an origin that a snapshot is being \
    merged into, and a file: a copy of a COW device, or what `merge-ctl dump` wrote.";

/// Something with exceptions in it.
#[derive(Debug)]
pub(crate) struct Subject {
    /// What people call it: `vg/snap`, a device-mapper name, a path.
    pub(crate) label: String,
    /// Where its exceptions are read from.
    pub(crate) source: AnySource,
    /// How large the origin is; nothing where only the exceptions are there.
    pub(crate) origin_size: Option<Sectors>,
    /// What device-mapper says of it; nothing for a file, and for a device that belongs to no
    /// snapshot.
    pub(crate) devices: Option<Devices>,
    /// Whether it is a device that belongs to no snapshot: it may hold anything.
    is_plain_device: bool,
}

/// A snapshot, or a merge, with the devices below it.
#[derive(Debug)]
pub(crate) struct Devices {
    /// All devices at the moment when it was found.
    pub(crate) host: Host,
    /// The snapshot, as people call it. Nothing while it is merged by other means than LVM's: then
    /// it has neither a device nor a name.
    pub(crate) snapshot: Option<String>,
    /// The origin, as people call it; nothing where none is active.
    pub(crate) origin: Option<String>,
    /// Whether it is being merged.
    pub(crate) merging: bool,
    /// What the kernel says of it.
    pub(crate) status: Option<SnapshotStatus>,
    /// The chunk size in the table: what the kernel uses, and what the header says.
    pub(crate) chunk_size: ChunkSize,
    /// The device with the origin's data.
    pub(crate) real: Disk,
    /// The device with the exceptions.
    pub(crate) cow: Disk,
    /// Other snapshots of the same data.
    pub(crate) siblings: Vec<Sibling>,
}

/// A block device below a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    /// Its number.
    pub(crate) dev: DeviceNumber,
    /// Its node, under the kernel's own name for it.
    pub(crate) path: PathBuf,
}

/// Another snapshot of the same data.
#[derive(Debug)]
pub(crate) struct Sibling {
    /// What people call it.
    pub(crate) label: String,
    /// The device with its exceptions.
    pub(crate) cow: Disk,
    /// Its chunk size.
    pub(crate) chunk_size: ChunkSize,
    /// Where its exceptions are: only those of a persistent one can be read.
    pub(crate) persistence: Persistence,
    /// What the kernel says of it, its fill among it.
    pub(crate) status: Option<SnapshotStatus>,
}

/// What there is to read, on a source that stays with its [`Subject`].
#[derive(Debug)]
pub(crate) enum Content<'a> {
    /// Zeroes where the header should be: no snapshot ever used it. No exception, and no chunk size.
    New,
    /// A store.
    Store(Store<&'a AnySource>),
}

impl Subject {
    /// Finds what a user named.
    ///
    /// # Errors
    /// [`Usage`] where the name means nothing that has exceptions; [`DmError`] where only
    /// device-mapper could tell, and it cannot be asked; [`Refusal`] for a transient snapshot;
    /// [`merge_ctl::store::StoreError`] where it cannot be opened.
    pub(crate) fn find(given: &str) -> anyhow::Result<Self> {
        let path = Path::new(given);
        if path.is_file() {
            return Self::of_path(path);
        }
        let node = nodes::block_device_of(path).ok().flatten();
        let host = match Control::open().and_then(|control| Host::read(&control)) {
            Ok(host) => host,
            Err(error) if node.is_some() && error.kind == DmErrorKind::KernelFeatureMissing => {
                return Self::of_path(path);
            }
            Err(error) => return Err(cannot_ask(given, node, error)),
        };
        match find::find(&host, given, node) {
            Ok(Found::Snapshot(device)) => Self::of_device(&host, device, device.snapshot()),
            Ok(Found::Merge(device)) => Self::of_device(&host, device, device.merge()),
            Ok(Found::Plain(dev)) => Self::of_plain(&host, given, dev),
            Err(error) => Err(Usage(not_found(path, &error)).into()),
        }
    }

    fn of_plain(host: &Host, given: &str, dev: DeviceNumber) -> anyhow::Result<Self> {
        let label = plain_label(given, host, dev);
        refuse_suspended(&label, dev)?;
        Ok(Self { label, is_plain_device: true, ..Self::of_path(&disk(dev)?.path)? })
    }

    fn of_path(path: &Path) -> anyhow::Result<Self> {
        let source = AnySource::open(path)?;
        let origin_size = source.origin_size();
        Ok(Self {
            label: harmless::path(path),
            source,
            origin_size,
            devices: None,
            is_plain_device: false,
        })
    }

    /// Of a snapshot's device, or a merging origin's, whose table has these arguments.
    fn of_device(
        host: &Host,
        device: &Device,
        args: Option<&SnapshotArgs>,
    ) -> anyhow::Result<Self> {
        let args = args.with_context(|| format!("{} is no snapshot", device.label()))?;
        if !args.persistence.is_on_disk() {
            return Err(transient(&device.label()).into());
        }
        let devices = Devices::of(host, device, args)?;
        let label = devices.snapshot.clone().unwrap_or_else(|| device.label());
        let source = AnySource::open(&devices.cow.path)?;
        let origin_size = Some(device.size());
        Ok(Self { label, source, origin_size, devices: Some(devices), is_plain_device: false })
    }

    fn status(&self) -> Option<&SnapshotStatus> {
        self.devices.as_ref()?.status.as_ref()
    }

    /// How much metadata the kernel says to be in use; 0 where it says nothing.
    pub(crate) fn metadata_in_use(&self) -> Sectors {
        self.status().and_then(SnapshotStatus::usage).map_or(Sectors(0), |usage| usage.metadata)
    }

    /// Sees to it that reading ends.
    ///
    /// # Errors
    /// [`Refusal`] where the COW device is suspended.
    pub(crate) fn refuse_suspended(&self) -> Result<(), Refusal> {
        let Some(devices) = &self.devices else { return Ok(()) };
        refuse_suspended(&devices.host.label_of(devices.cow.dev), devices.cow.dev)
    }

    /// Reads the header.
    ///
    /// # Errors
    /// [`Refusal`] where the snapshot is invalid: its exceptions may not be used; or as in
    /// [`Self::refuse_suspended`]. [`Usage`] for a device that is no snapshot's and begins with zeroes. [`merge_ctl::store::StoreError`] where there is no exception store, or it cannot be read.
    pub(crate) fn open(&self) -> anyhow::Result<Content<'_>> {
        if self.status() == Some(&SnapshotStatus::Invalid) {
            return Err(invalid(&self.label).into());
        }
        self.refuse_suspended()?;
        let opened = Store::open(&self.source, self.origin_size)
            .with_context(|| format!("cannot read the exceptions of {}", self.label))?;
        match opened {
            // An origin whose merge is over looks like this too, if its own data begins with zeroes.
            Opened::New if self.is_plain_device => Err(no_exceptions(&self.label).into()),
            Opened::New => Ok(Content::New),
            Opened::Usable(store) => {
                Ok(Content::Store(store.with_metadata_in_use(self.metadata_in_use())))
            }
            Opened::Invalid => Err(invalid(&self.label).into()),
        }
    }
}

impl Devices {
    fn of(host: &Host, device: &Device, args: &SnapshotArgs) -> anyhow::Result<Self> {
        let merging = device.merge().is_some();
        let (real, cow) = (disk_of(args.real.number())?, disk_of(args.cow.number())?);
        let of_lvm = || Some(host.by_dev(cow.dev)?.snapshot_of_lvm()?.to_string());
        let siblings = host
            .snapshots_of(real.dev)
            .filter(|other| other.snapshot().is_some_and(|other| other.cow != args.cow))
            .filter_map(|other| sibling(other).transpose())
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            snapshot: if merging { of_lvm() } else { Some(device.label()) },
            origin: host.origin_over(real.dev).map(Device::label),
            merging,
            status: device.status.clone(),
            chunk_size: args.chunk_size,
            siblings,
            real,
            cow,
            host: host.clone(),
        })
    }
}

fn sibling(device: &Device) -> anyhow::Result<Option<Sibling>> {
    let Some(args) = device.snapshot() else { return Ok(None) };
    Ok(Some(Sibling {
        label: device.label(),
        cow: disk_of(args.cow.number())?,
        chunk_size: args.chunk_size,
        persistence: args.persistence,
        status: device.status.clone(),
    }))
}

fn disk_of(dev: Option<DeviceNumber>) -> anyhow::Result<Disk> {
    disk(dev.context("a table of the kernel's names a device without its number")?)
}

fn disk(dev: DeviceNumber) -> anyhow::Result<Disk> {
    let path = nodes::kernel_path(dev).with_context(|| format!("device {dev} has no node"))?;
    Ok(Disk { dev, path })
}

/// As it was named, or as it is called where it was named by its number.
fn plain_label(given: &str, host: &Host, dev: DeviceNumber) -> String {
    host.by_dev(dev).map_or_else(|| harmless::printable(given), Device::label)
}

fn cannot_ask(given: &str, node: Option<DeviceNumber>, error: DmError) -> anyhow::Error {
    let what = if node.is_some() {
        format!("whose exceptions are on {} is not known", harmless::quoted(given))
    } else {
        let path = Path::new(given);
        let file = wrong_file(path)
            .unwrap_or_else(|| format!("there is no file {}", harmless::quoted(given)));
        format!("{file}, and whether a device is called so is not known")
    };
    anyhow::Error::new(error).context(what)
}

/// What a path leads to, where that is neither nothing nor something to read exceptions from.
fn wrong_file(path: &Path) -> Option<String> {
    let kind = path.metadata().ok()?.file_type();
    if kind.is_dir() {
        return Some(format!("{} is a directory", harmless::path(path)));
    }
    let is_wrong = !kind.is_file() && !kind.is_block_device();
    is_wrong
        .then(|| format!("{} is neither a regular file nor a block device", harmless::path(path)))
}

fn not_found(path: &Path, error: &find::NotFound) -> String {
    match wrong_file(path) {
        Some(wrong) => format!("{wrong}; {error}\n{ACCEPTED}"),
        None => format!("{error}\n{ACCEPTED}"),
    }
}

fn no_exceptions(label: &str) -> Usage {
    Usage(format!(
        "{label} belongs to no snapshot, and there are no exceptions on it: it begins with zeroes.\n\
         `merge-ctl status` lists the snapshots and merges of this host. {ACCEPTED}"
    ))
}

fn transient(label: &str) -> Refusal {
    Refusal {
        obstacle: Obstacle::Unfit,
        reason: format!("{label} is a transient snapshot (N in its table)"),
        way_out: "Its exceptions are in the kernel's memory only: nobody can read them, and it \
                  cannot be merged."
            .to_owned(),
    }
}

/// A read of a suspended device waits until it is resumed, and cannot be called off.
fn refuse_suspended(label: &str, dev: DeviceNumber) -> Result<(), Refusal> {
    if !disk_stats::read(dev).is_ok_and(|facts| facts.suspended) {
        return Ok(());
    }
    Err(Refusal {
        obstacle: Obstacle::Unfit,
        reason: format!("{label} is suspended, and a read would wait until it is resumed"),
        way_out: format!(
            "Whoever suspended it has to resume it: dmsetup resume {}.",
            harmless::for_dmsetup("", dev)
        ),
    })
}

fn invalid(label: &str) -> Refusal {
    Refusal {
        obstacle: Obstacle::Failed,
        reason: format!("the exceptions of {label} are invalid"),
        way_out: "The kernel gave the snapshot up, most often because its COW device was full. It \
                  cannot be merged, and what it held is lost; `merge-ctl dump` still saves the \
                  list of what it held, for a look at it."
            .to_owned(),
    }
}

#[cfg(test)]
mod tests;
