//! Whether all is as it must be before anything is copied. Pure.

use super::captured::Captured;
use super::{Names, Seen};
use crate::harmless::printable;

/// What is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Somebody was faster.
    #[error("somebody has activated it meanwhile, so the kernel merges")]
    Activated,
    /// LVM's metadata does not say that the snapshot is merged.
    #[error("LVM's metadata does not say that it merges")]
    NotRecorded,
    /// There are other snapshots of the origin.
    #[error("the origin has other snapshots: {}", printable(.0))]
    Siblings(String),
    /// The volume has been moved or resized.
    #[error("the volume lies elsewhere on its disks now: it was moved or resized meanwhile")]
    Moved,
    /// A disk is not the one that it was.
    #[error("these disks are not what they were: {}", printable(.0))]
    Disks(String),
    /// LVM does not say where it lies.
    #[error("LVM does not say where the volume lies on its disks")]
    NoSegments,
    /// It is a RAID, a cache, or something else that LVM builds of several volumes.
    #[error(
        "{} does not simply lie on disks: LVM builds it of other volumes, which are gone while it is \
         not active",
        printable(.0)
    )]
    NotPlain(String),
    /// LVM's metadata says of its places what cannot be.
    #[error("what LVM's metadata says of where it lies does not add up: {}", printable(.0))]
    Layout(String),
    /// Deactivated, and yet there.
    #[error("lvm2 says that it has deactivated it, and its devices are still there")]
    StillActive,
    /// Activated, and yet not there.
    #[error("lvm2 says that it has activated it, and there is no device of it")]
    NotActivated,
    /// LVM takes long.
    #[error("LVM has not dropped it in a minute")]
    NotDropped,
}

/// Whether LVM's metadata says that the snapshot is merged.
pub(super) fn is_recorded(seen: &Seen, names: &Names) -> bool {
    seen.volumes.iter().any(|it| {
        (&it.vg, &it.lv, &it.origin) == (&names.vg, &names.snapshot, &names.origin)
            && it.is_merging_snapshot()
    })
}

/// Judges what is there while the group is locked.
pub(super) fn check(seen: &Seen, captured: &Captured) -> Result<(), Unfit> {
    if !seen.active.is_empty() {
        return Err(Unfit::Activated);
    }
    if !is_recorded(seen, &captured.names) {
        return Err(Unfit::NotRecorded);
    }
    let siblings = siblings(seen, &captured.names);
    if !siblings.is_empty() {
        return Err(Unfit::Siblings(siblings.join(", ")));
    }
    if captured.own(&seen.segments) != captured.segments {
        return Err(Unfit::Moved);
    }
    if !seen.changed_disks.is_empty() {
        return Err(Unfit::Disks(seen.changed_disks.join(", ")));
    }
    Ok(())
}

fn siblings(seen: &Seen, names: &Names) -> Vec<String> {
    let is_one = |it: &&crate::lvm::lvm2::Volume| {
        it.vg == names.vg && it.origin == names.origin && it.lv != names.snapshot
    };
    seen.volumes.iter().filter(is_one).map(|it| format!("{}/{}", it.vg, it.lv)).collect()
}
