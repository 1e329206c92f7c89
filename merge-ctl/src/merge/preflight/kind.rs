//! What the device is: a snapshot that can be merged, or what else.

use super::{Code, Finding, join};
use crate::dm::{Device, Host, SnapshotArgs, SnapshotStatus, Target};
use crate::harmless::argument;
use crate::safe_path;

/// The snapshot's arguments, or what it is instead.
pub(super) fn snapshot<'a>(host: &Host, device: &'a Device) -> Result<&'a SnapshotArgs, Finding> {
    if let Some(args) = device.snapshot() {
        return Ok(args);
    }
    if device.merge().is_some() {
        return Err(already_merging(device));
    }
    if let Some(origin) = merge_of(host, device) {
        return Err(already_merging(origin));
    }
    if let Some(real) = device.origin_of() {
        return Err(is_origin(
            device,
            &host.snapshots_of(real).map(Device::label).collect::<Vec<_>>(),
        ));
    }
    if device.table.only().map(Target::kind) == Some("thin") {
        return Err(thin(&device.label()));
    }
    Err(no_snapshot(host, device))
}

/// Somebody has begun already.
pub(super) fn already_merging(origin: &Device) -> Finding {
    let label = origin.label();
    let (words, way_out) = match origin.status {
        Some(SnapshotStatus::MergeFailed) => (
            format!("The merge into {label} has failed."),
            safe_path::way_out(&label, origin.owner()),
        ),
        _ => (
            format!("A snapshot is already being merged into {label}."),
            format!("Watch it: merge-ctl monitor {}.", argument(&label)),
        ),
    };
    Finding::stop(Code::AlreadyMerging, words, way_out).about(label)
}

/// The origin that a snapshot of LVM is being merged into, whose own device only fails then.
fn merge_of<'a>(host: &'a Host, device: &Device) -> Option<&'a Device> {
    let volume = device.volume()?;
    host.merges().find(|merge| {
        let cow = merge.merge().and_then(|args| args.cow.number()).and_then(|dev| host.by_dev(dev));
        cow.and_then(Device::snapshot_of_lvm).as_ref() == Some(&volume)
    })
}

fn is_origin(device: &Device, snapshots: &[String]) -> Finding {
    let label = device.label();
    let way_out = match snapshots {
        [] => "It has no snapshot that could be merged into it.".to_owned(),
        [only] => format!("Name the snapshot: merge-ctl start {}.", argument(only)),
        _ => "Name the snapshot that is to be merged into it.".to_owned(),
    };
    Finding::stop(
        Code::IsOrigin,
        format!("{label} is not a snapshot: it is the origin of {}.", join(snapshots, "none")),
        way_out,
    )
}

/// A thin snapshot shares blocks with its origin: there is nothing to copy back.
pub(super) fn thin(label: &str) -> Finding {
    Finding::stop(
        Code::ThinVolume,
        format!("{label} is a thin volume, not a snapshot with exceptions of its own."),
        format!(
            "A thin snapshot is not copied back, it takes its origin's place, in an instant: \
             lvconvert --merge {}.",
            argument(label)
        ),
    )
    .about(label)
}

fn no_snapshot(host: &Host, device: &Device) -> Finding {
    let (label, kind) = (device.label(), device.table.only().map(Target::kind));
    let what = match kind {
        Some(kind) => {
            format!("{label} is not a snapshot but {}.", crate::harmless::printable(kind))
        }
        None if device.table.0.is_empty() => format!("{label} is not a snapshot: it has no table."),
        None => format!("{label} is not a snapshot but several targets in a row."),
    };
    let snapshots: Vec<_> = host.snapshots().map(Device::label).collect();
    let there = format!("Snapshots on this host: {}.", join(&snapshots, "none"));
    Finding::stop(Code::NotASnapshot, what, there)
}
