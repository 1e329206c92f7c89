//! Whether the exceptions can be merged, and how many there are.

use super::facts::StoreView;
use super::{Code, Facts, Finding};
use crate::dm::{Device, Host, SnapshotArgs, SnapshotStatus, Usage};
use crate::human;
use crate::lvm::names;
use crate::safe_path;
use crate::units::Sectors;

/// From this fill on, writes that come before the merge could make the snapshot invalid.
const NEARLY_FULL: f64 = 0.95;

/// What its status says, and its COW device.
pub(super) fn look(
    host: &Host,
    device: &Device,
    args: &SnapshotArgs,
    facts: &Facts,
) -> Vec<Finding> {
    let label = device.label();
    let mut found = Vec::new();
    if !args.persistence.is_on_disk() {
        found.push(Finding::stop(
            Code::Transient,
            format!(
                "{label} is transient (N): its exceptions are in memory, and the kernel merges only \
                 persistent ones (P)."
            ),
            "Copy the snapshot's content to the origin by hand while nobody uses the origin, if that \
             is what you want.",
        ));
    }
    let merged_into = args.real.number().and_then(|real| host.origin_over(real));
    found.extend(status(device, merged_into.unwrap_or(device)));
    let cow = args.cow.number().map_or_else(|| args.cow.to_string(), |cow| host.label_of(cow));
    found.extend(facts.store.as_ref().and_then(|view| on_disk(device, &cow, view)));
    found.into_iter().map(|finding| finding.about(label.clone())).collect()
}

/// Data that has to be copied back; none where the status does not tell.
pub(super) fn to_merge(device: &Device) -> Sectors {
    let usage = device.status.as_ref().and_then(SnapshotStatus::usage);
    usage.map_or(Sectors(0), |usage| usage.exceptions())
}

/// `origin` is where a merge of it would have failed.
fn status(device: &Device, origin: &Device) -> Vec<Finding> {
    let label = device.label();
    let lost = "What it held cannot be had back from it; restore from a backup, and remove it.";
    let look = "Look at `dmsetup status` and the kernel log.";
    let stop = match &device.status {
        Some(SnapshotStatus::Usage(usage)) => return fill(device, usage),
        Some(SnapshotStatus::Invalid) => Finding::stop(
            Code::Invalid,
            format!(
                "{label} is invalid: the kernel has given it up, most often because its COW \
                     device was full."
            ),
            lost,
        ),
        Some(SnapshotStatus::Overflow) => Finding::stop(
            Code::Overflow,
            format!("{label} has overflowed: its COW device is full and changes were lost."),
            lost,
        ),
        Some(SnapshotStatus::MergeFailed) => Finding::stop(
            Code::MergeFailed,
            format!("An earlier merge of {label} failed."),
            safe_path::way_out(&origin.label(), origin.owner()),
        ),
        Some(SnapshotStatus::Unknown(text)) => Finding::stop(
            Code::StatusUnknown,
            format!(
                "The state of {label} is not known: the kernel says {}.",
                crate::harmless::quoted(text)
            ),
            look,
        ),
        None => Finding::stop(
            Code::StatusUnknown,
            format!("The state of {label} is not known: the kernel tells none."),
            look,
        ),
    };
    vec![stop]
}

/// A merge reads the exceptions from the COW device, whatever the kernel has in memory.
fn on_disk(device: &Device, cow: &str, view: &StoreView) -> Option<Finding> {
    let what = match view {
        StoreView::Sound => return None,
        StoreView::New => "holds no exception store (zeroes where its header should be)".to_owned(),
        StoreView::Invalid => "holds an exception store that is marked invalid".to_owned(),
        StoreView::Damaged(why) => format!("holds an exception store that cannot be right: {why}"),
        StoreView::Unreadable(why) => return Some(unreadable(device, cow, why)),
        StoreView::Behind { on_disk, in_kernel } => format!(
            "holds {} of the {} that the kernel counts",
            human::bytes(on_disk.bytes()),
            human::bytes(in_kernel.bytes())
        ),
    };
    let label = device.label();
    Some(Finding::stop(
        Code::StoreDamaged,
        format!(
            "{cow}, the COW device of {label}, {what}. A merge reads it anew, and what is not there \
             is not merged."
        ),
        format!(
            "The kernel still knows the exceptions: copy what you need from {label} elsewhere while \
             it is active, and do not deactivate it before. If somebody is writing to it just now, \
             try again when it is quiet."
        ),
    ))
}

/// The kernel would come upon the same place, in mid-merge, and give up there.
fn unreadable(device: &Device, cow: &str, why: &str) -> Finding {
    let label = device.label();
    Finding::stop(
        Code::StoreUnreadable,
        format!(
            "The exceptions of {label} cannot be read to their end from {cow}, its COW device: {why}. \
             A merge reads them from there, and would fail in the middle."
        ),
        format!(
            "The kernel still knows the exceptions: copy what you need from {label} elsewhere while \
             it is active. Or, with both taken down, copy the COW device to a sound disk, and merge \
             from there if nothing of it was lost."
        ),
    )
}

fn fill(device: &Device, usage: &Usage) -> Vec<Finding> {
    let label = device.label();
    if usage.is_empty() {
        let words = format!(
            "{label} holds no change: nothing was written to it or to its origin since it was taken, \
             and the merge has nothing to copy."
        );
        return vec![Finding::note(Code::NothingToMerge, words)];
    }
    let size = human::bytes(usage.total.bytes());
    let mut found = vec![Finding::note(
        Code::Fill,
        format!(
            "{label} fills {} of its {size}; {} are copied back.",
            human::percent(usage.fraction()),
            human::bytes(usage.exceptions().bytes())
        ),
    )];
    if usage.fraction() >= NEARLY_FULL {
        let way_out = if names::is_lvm(&device.info.uuid) {
            "Begin soon, or make it larger first: lvextend."
        } else {
            "Begin soon, or make its COW device larger first."
        };
        let words = format!(
            "{label} is nearly full ({} of {size}): until the merge begins, writes to the origin go \
             on filling it, and once it is full it is lost.",
            human::percent(usage.fraction())
        );
        found.push(Finding::warn(Code::NearlyFull, words, way_out));
    }
    found
}
