//! Whether a snapshot may be merged, and how: decided from a picture of the host and a few facts,
//! before anything is changed.
//!
//! What always holds: everything that is in the way is found, not only the first; nothing is changed
//! and nothing is asked here ([`gather`] reads what is asked for); when unsure, it refuses. The
//! findings have severities and codes of a closed list: `docs/preflight.md`.

pub mod facts;
mod finding;
pub mod gather;
mod host;
mod kind;
mod lvm;
mod origin;
mod rest;
mod siblings;
mod store;
mod users;

use super::handover::Handover;
use crate::dm::holders::Holders;
use crate::dm::{Device, Host, SnapshotArgs, Table, Target};
use crate::lvm::names::VolumeName;
use crate::sample::Owner;
use crate::units::{DeviceNumber, Sectors};

pub use self::facts::Facts;
pub use self::finding::{Code, Finding, Report, Severity};
pub use self::lvm::absent;
pub(super) use self::rest::at_rest;

/// Why a merge is refused, and what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}\n{way_out}")]
pub struct Refusal {
    /// What sort of obstacle it is.
    pub obstacle: Obstacle,
    /// What is in the way.
    pub reason: String,
    /// What to do about it.
    pub way_out: String,
}

impl Refusal {
    /// Both in one. What a script is told is the first.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            obstacle: self.obstacle,
            reason: format!("{self}\n{}", other.reason),
            way_out: other.way_out,
        }
    }
}

/// Obstacles that call for different answers of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// What was asked for does not fit what is there.
    Unfit,
    /// Somebody has a device open. It may be a scan that is over in a moment.
    InUse,
    /// A snapshot is being merged into this origin already.
    AlreadyMerging,
    /// A privilege or a part of the kernel is missing.
    Missing,
    /// The merge still runs.
    StillMerging,
    /// The merge failed, or its store is invalid.
    Failed,
}

/// What is merged, and how.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// The snapshot.
    pub snapshot: &'a Device,
    /// What it is merged into.
    pub origin: &'a Device,
    /// The snapshot's table.
    pub args: SnapshotArgs,
    /// Data in the snapshot that has to be copied back.
    pub to_merge: Sectors,
    /// The way.
    pub way: Way,
    /// What is worth knowing before it begins, a sentence each: the warnings.
    pub notes: Vec<String>,
}

/// The two ways to begin a merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// By our own steps.
    DeviceMapper(Box<Handover>),
    /// By lvm2, which has to know of it.
    Lvm {
        /// The volume group.
        vg: String,
        /// The snapshot's volume.
        snapshot: String,
        /// The origin's volume.
        origin: String,
        /// Whether somebody uses the origin, so that LVM will put the merge off.
        origin_in_use: bool,
    },
}

/// Who holds a device open, as far as anybody can tell.
pub trait HoldersOf {
    /// The holders of one device.
    fn holders_of(&self, dev: DeviceNumber) -> Holders;
}

impl<F: Fn(DeviceNumber) -> Holders> HoldersOf for F {
    fn holders_of(&self, dev: DeviceNumber) -> Holders {
        self(dev)
    }
}

/// Decides whether and how `device` is merged into its origin, from the picture and who holds the
/// devices open: the quick look, good for repeating while somebody scans a device.
/// [`examine`] looks at everything.
///
/// # Errors
/// All that is in the way.
pub fn check<'a>(
    host: &'a Host,
    device: &'a Device,
    holders: &impl HoldersOf,
) -> Result<Plan<'a>, Refusal> {
    let origin = host.origin_of_snapshot(device);
    let open = [Some(device), origin].into_iter().flatten().filter(|it| it.info.open_count > 0);
    let holders = open.map(|it| (it.info.dev, holders.holders_of(it.info.dev))).collect();
    examine(host, device, &Facts { holders, ..Facts::default() }).into_plan()
}

/// Looks at everything that is known before `device` is merged into its origin.
pub fn examine<'a>(host: &'a Host, device: &'a Device, facts: &Facts) -> Report<'a> {
    let mut found = host::look(host, device, facts);
    let args = match kind::snapshot(host, device) {
        Ok(args) => args,
        Err(what) => {
            found.push(what.about(device.label()));
            found.extend(lvm::unaware(device, facts));
            return Report::new(found, None);
        }
    };
    found.extend(store::look(host, device, args, facts));
    found.extend(rest::look(host, device, args, facts));
    found.extend(users::of_snapshot(device, facts));
    found.extend(siblings::look(host, device, args, facts));
    let origin = match origin::find(host, device, args) {
        Ok(origin) => origin,
        Err(what) => {
            found.push(what);
            return Report::new(found, None);
        }
    };
    found.extend(origin::look(device, origin));
    found.extend(rest::of_origin(origin));
    let plan = match way(host, device, origin, args, facts, &mut found) {
        Ok(way) => Some(Plan {
            snapshot: device,
            origin,
            args: args.clone(),
            to_merge: store::to_merge(device),
            way,
            notes: Vec::new(),
        }),
        Err(what) => {
            found.push(what);
            None
        }
    };
    let mut report = Report::new(found, plan);
    report.origin = Some(origin.label());
    report
}

fn way(
    host: &Host,
    device: &Device,
    origin: &Device,
    args: &SnapshotArgs,
    facts: &Facts,
    found: &mut Vec<Finding>,
) -> Result<Way, Finding> {
    match (device.owner(), origin.owner()) {
        (Owner::Lvm, Owner::Lvm) => {
            found.extend(lvm::look(device, origin, facts));
            by_lvm(device, origin)
        }
        (Owner::DeviceMapper, Owner::DeviceMapper) => {
            found.extend(users::of_origin(origin, facts));
            found.extend(users::below(host, args, facts));
            found.extend(host::own_steps(facts));
            Ok(Way::DeviceMapper(Box::new(handover(device, origin, args))))
        }
        _ => Err(lvm::half(device, origin)),
    }
}

fn by_lvm(device: &Device, origin: &Device) -> Result<Way, Finding> {
    let names = (device.volume(), origin.volume());
    match names {
        (Some(VolumeName { vg, lv: snapshot, .. }), Some(VolumeName { vg: same, lv, .. }))
            if vg == same =>
        {
            Ok(Way::Lvm { vg, snapshot, origin: lv, origin_in_use: origin.info.open_count > 0 })
        }
        _ => Err(lvm::half(device, origin)),
    }
}

fn handover(snapshot: &Device, origin: &Device, args: &SnapshotArgs) -> Handover {
    let merging = Target::SnapshotMerge(args.clone());
    Handover {
        origin: origin.info.name.clone(),
        origin_before: origin.table.clone(),
        origin_merging: Table::single(origin.size(), merging),
        snapshot: snapshot.info.name.clone(),
        snapshot_error: Table::single(snapshot.size(), Target::Error),
    }
}

pub(super) fn refusal(reason: impl Into<String>, way_out: impl Into<String>) -> Refusal {
    Refusal { obstacle: Obstacle::Unfit, reason: reason.into(), way_out: way_out.into() }
}

fn join(words: &[String], none: &str) -> String {
    if words.is_empty() { none.to_owned() } else { words.join(", ") }
}

#[cfg(test)]
pub(super) mod tests;
