//! Where the fields that the programs read lie in the running kernel, from its BTF.
//!
//! What differs: below Linux 5.12 a bio points to its disk and `block_bio_queue` hands out the queue
//! first; `bio.bi_iter` has moved in 7.3; `block_device.bd_dev` moves often. Modules tell their
//! types only from 5.11 on: before that, a snapshot's devices are not known until its first copy.

use std::path::Path;

use super::btf::{Btf, BtfError};

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const DM_SNAPSHOT: &str = "/sys/kernel/btf/dm_snapshot";

/// All that is known of the running kernel's types.
pub(super) struct Layout {
    /// `block_device.bd_dev`.
    pub(super) bdev_dev: Option<u64>,
    /// Nothing where a part of it is missing.
    pub(super) bio: Option<BioLayout>,
    pub(super) snapshot: SnapshotLayout,
}

/// Where a bio tells what the programs ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BioLayout {
    pub(super) device: Device,
    pub(super) opf: u64,
    pub(super) sector: u64,
    pub(super) size: u64,
    /// Whether `block_bio_queue` hands out the queue before the bio.
    pub(super) queue_first: bool,
}

/// How a bio names its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Device {
    /// `bio.bi_bdev`.
    Bdev { bi_bdev: u64 },
    /// `bio.bi_disk` and the partition's number.
    Disk { bi_disk: u64, bi_partno: u64, major: u64, first_minor: u64 },
}

/// Where dm-snapshot and device-mapper keep their devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SnapshotLayout {
    pub(super) store_snap: u64,
    pub(super) dm_dev_bdev: u64,
    pub(super) region_bdev: u64,
    /// `dm_snapshot.cow` and `.origin`, where the module tells its types.
    pub(super) devices: Option<(u64, u64)>,
}

impl Layout {
    /// Whether the running kernel tells its types at all.
    pub(super) fn is_there() -> bool {
        Path::new(VMLINUX).exists()
    }

    /// Reads the running kernel's. Without BTF of dm-snapshot only its devices are missing.
    ///
    /// # Errors
    /// The kernel's own BTF cannot be read, or the module's is damaged.
    pub(super) fn of_running_kernel() -> Result<Self, BtfError> {
        let kernel = Btf::read(Path::new(VMLINUX), None)?;
        let module = Path::new(DM_SNAPSHOT);
        if !module.exists() {
            return Ok(Self::new(&kernel, &kernel));
        }
        let module = Btf::read(module, Some(&kernel))?;
        Ok(Self::new(&kernel, &module))
    }

    fn new(kernel: &Btf<'_>, module: &Btf<'_>) -> Self {
        Self {
            bdev_dev: kernel.offset("block_device", "bd_dev"),
            bio: BioLayout::new(kernel),
            snapshot: SnapshotLayout::new(module),
        }
    }
}

impl BioLayout {
    fn new(kernel: &Btf<'_>) -> Option<Self> {
        Some(Self {
            device: Device::new(kernel)?,
            opf: kernel.offset("bio", "bi_opf")?,
            sector: kernel.offset("bio", "bi_iter.bi_sector")?,
            size: kernel.offset("bio", "bi_iter.bi_size")?,
            queue_first: kernel.tracepoint_arguments("block_bio_queue")? == 2,
        })
    }
}

impl Device {
    fn new(kernel: &Btf<'_>) -> Option<Self> {
        if let Some(bi_bdev) = kernel.offset("bio", "bi_bdev") {
            return Some(Self::Bdev { bi_bdev });
        }
        Some(Self::Disk {
            bi_disk: kernel.offset("bio", "bi_disk")?,
            bi_partno: kernel.offset("bio", "bi_partno")?,
            major: kernel.offset("gendisk", "major")?,
            first_minor: kernel.offset("gendisk", "first_minor")?,
        })
    }
}

impl SnapshotLayout {
    /// The defaults held from 5.10 to 7.3.
    fn new(module: &Btf<'_>) -> Self {
        let cow = module.offset("dm_snapshot", "cow");
        let origin = module.offset("dm_snapshot", "origin");
        Self {
            store_snap: module.offset("dm_exception_store", "snap").unwrap_or(8),
            dm_dev_bdev: module.offset("dm_dev", "bdev").unwrap_or(0),
            region_bdev: module.offset("dm_io_region", "bdev").unwrap_or(0),
            devices: cow.zip(origin),
        }
    }
}
