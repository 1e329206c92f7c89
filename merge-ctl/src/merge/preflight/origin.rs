//! What the snapshot is merged into.

use super::kind::already_merging;
use super::{Code, Finding};
use crate::dm::{Device, Host, SnapshotArgs};

/// The origin, or why there is none.
pub(super) fn find<'a>(
    host: &'a Host,
    device: &Device,
    args: &SnapshotArgs,
) -> Result<&'a Device, Finding> {
    let label = device.label();
    host.origin_of_snapshot(device).ok_or_else(|| {
        let real = args.real.number().map_or_else(|| args.real.to_string(), |dev| host.label_of(dev));
        Finding::stop(
            Code::NoOrigin,
            format!("No snapshot-origin device lies over {real}, the data below {label}."),
            "The merge target has to take the place of one: create it, and use the volume through it.",
        )
        .about(label)
    })
}

/// Whether it can take the snapshot's content.
pub(super) fn look(device: &Device, origin: &Device) -> Vec<Finding> {
    let (label, into) = (device.label(), origin.label());
    let mut found = Vec::new();
    if origin.merge().is_some() {
        found.push(already_merging(origin));
    }
    if origin.size() != device.size() {
        let bytes = |device: &Device| crate::human::bytes(device.size().bytes());
        let words = format!(
            "{label} ({}) and its origin {into} ({}) differ in size.",
            bytes(device),
            bytes(origin)
        );
        let way_out = "Somebody has resized one of them; bring both to the same size first.";
        found.push(Finding::stop(Code::SizesDiffer, words, way_out).about(&into));
    }
    if origin.info.read_only {
        let words = format!("The origin {into} is read-only.");
        found.push(Finding::stop(Code::ReadOnly, words, "Make it writable first.").about(into));
    }
    found
}
