//! What preflight is told besides the picture of the host. Data only: [`super::gather`] reads it, a
//! test writes it down. What is not known is `None`, or empty, and stops nothing by itself.

use crate::dm::holders::Holders;
use crate::lvm::lvm2::Volume;
use crate::plan::siblings::SiblingPlan;
use crate::units::{DeviceNumber, Sectors};

/// All facts.
#[derive(Debug, Default)]
pub struct Facts {
    /// Who holds which device open.
    pub holders: Vec<(DeviceNumber, Holders)>,
    /// The devices below the snapshot, down to the disks.
    pub below: Vec<Below>,
    /// What LVM's metadata says; none where the volume is not LVM's.
    pub lvm: Option<LvmView>,
    /// Whether the kernel can merge; none where that was not asked.
    pub merge_target: Option<MergeTarget>,
    /// What this process may do; none where that was not asked.
    pub privilege: Option<Privilege>,
    /// Whether a journal can be kept; none where that was not asked.
    pub state: Option<StateDirectory>,
    /// The kernel's throttle in percent.
    pub throttle_percent: Option<u32>,
    /// What the COW device holds; none where not read.
    pub store: Option<StoreView>,
    /// What a merge does to the siblings, counted from the exceptions; none where not counted.
    pub siblings: Option<Vec<SiblingPlan>>,
    /// What will not be seen of the merge, in sentences.
    pub not_seen: Vec<String>,
    /// What could not be looked at, in sentences.
    pub not_known: Vec<String>,
}

impl Facts {
    pub(super) fn holders_of(&self, dev: DeviceNumber) -> Holders {
        let found = self.holders.iter().find(|(known, _)| *known == dev);
        found.map(|(_, holders)| holders.clone()).unwrap_or_default()
    }
}

/// A device below a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Below {
    /// Its number.
    pub dev: DeviceNumber,
    /// What it is called.
    pub label: String,
    /// What dmsetup takes for it; none where it is not device-mapper's.
    pub for_dmsetup: Option<String>,
    /// Whether it is one of the two right below, the origin's data or the COW device.
    pub is_next: bool,
    /// Whether it is suspended.
    pub suspended: bool,
    /// Whether it cannot be written.
    pub read_only: bool,
    /// Its smallest write, in bytes; none where not known.
    pub block_bytes: Option<u64>,
}

/// What the exception store on the COW device looks like, beside what the kernel has in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreView {
    /// All that the kernel knows is there.
    Sound,
    /// There is none: zeroes where its header should be.
    New,
    /// It says of itself that it is not valid.
    Invalid,
    /// It cannot be right, for this reason.
    Damaged(String),
    /// It cannot be read to its end, for this reason.
    Unreadable(String),
    /// Exceptions that the kernel has are missing.
    Behind {
        /// Metadata and data on the device, as the status line counts them.
        on_disk: Sectors,
        /// What the status line says.
        in_kernel: Sectors,
    },
}

/// What LVM's metadata says.
#[derive(Debug)]
pub enum LvmView {
    /// lvm2 is not installed.
    Missing,
    /// It could not tell, for this reason.
    Unreadable(String),
    /// All volumes of the group.
    Volumes(Vec<Volume>),
}

/// Whether the kernel has the target `snapshot-merge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeTarget {
    /// It is there.
    There,
    /// Its module is not loaded, and will be.
    ToBeLoaded,
    /// This kernel has no such module.
    Missing,
}

/// What this process may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privilege {
    /// Change devices of device-mapper (`CAP_SYS_ADMIN`).
    pub admin: bool,
    /// Lock its memory (`CAP_IPC_LOCK`), which it does while devices are suspended.
    pub lock_memory: bool,
    /// Be root, as lvm2 wants it.
    pub root: bool,
}

/// The directory for journals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateDirectory {
    /// It can be written.
    Writable {
        /// Where it is.
        path: String,
        /// Whether it is in memory, and gone after a reboot.
        volatile: bool,
    },
    /// It cannot.
    Unwritable {
        /// Where it is, or would be.
        path: String,
        /// What the kernel answers.
        why: String,
    },
}
