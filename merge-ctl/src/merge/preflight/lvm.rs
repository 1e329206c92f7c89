//! What LVM's metadata says, against what the kernel shows.

use super::facts::LvmView;
use super::{Code, Facts, Finding, kind};
use crate::dm::Device;
use crate::harmless::argument;
use crate::lvm::lvm2::Volume;
use crate::lvm::names::VolumeName;

/// A snapshot and its origin of one group.
pub(super) fn look(device: &Device, origin: &Device, facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if origin.info.open_count > 0 {
        found.push(delays(origin, facts));
    }
    match &facts.lvm {
        None => {}
        Some(LvmView::Missing) => found.push(Finding::stop(
            Code::LvmMissing,
            format!("{} belongs to LVM, and lvm2 is not installed here.", device.label()),
            "Install lvm2: nobody else may merge its volumes.",
        )),
        Some(LvmView::Unreadable(why)) => found.push(Finding::stop(
            Code::LvmUnreadable,
            format!("What LVM knows of {} cannot be read: {why}.", device.label()),
            "See what `lvs -a` says.",
        )),
        Some(LvmView::Volumes(volumes)) => found.extend(against(volumes, device, origin)),
    }
    found
}

fn delays(origin: &Device, facts: &Facts) -> Finding {
    let label = origin.label();
    let volume = argument(&label);
    let holders = facts.holders_of(origin.info.dev);
    let who = if holders.0.is_empty() { String::new() } else { format!(" ({holders})") };
    Finding::warn(
        Code::LvmDelays,
        format!(
            "{label} is in use{who}: LVM will record the merge, and begin it at the next \
                 activation of {label}."
        ),
        format!(
            "To merge now, stop or unmount what uses it first; else later, when nothing does: \
             lvchange -an {volume} && lvchange -ay {volume}. For a root volume: reboot."
        ),
    )
    .about(label)
}

fn against(volumes: &[Volume], device: &Device, origin: &Device) -> Vec<Finding> {
    let (label, into) = (device.label(), origin.label());
    let (Some(snapshot), Some(volume)) = (of(volumes, device), of(volumes, origin)) else {
        return vec![
            Finding::stop(
                Code::LvmDisagrees,
                format!("LVM's metadata has no {label}, or no {into}; the kernel has both."),
                "See what `lvs -a` and `dmsetup info -c` say; LVM must know a volume to merge it.",
            )
            .about(label),
        ];
    };
    let mut found = Vec::new();
    if snapshot.is_merging_snapshot() || volume.is_merging_origin() {
        found.push(scheduled(&label, &into));
    } else if snapshot.origin != volume.lv {
        let words = format!(
            "LVM's metadata says that {label} is a snapshot of {}; in the kernel it is one of {into}.",
            if snapshot.origin.is_empty() { "nothing" } else { &snapshot.origin }
        );
        let way_out = "Deactivate and activate both, so that the kernel has what LVM says.";
        found.push(Finding::stop(Code::LvmDisagrees, words, way_out).about(&label));
    }
    found.extend(group(snapshot));
    found.extend([(snapshot, &label), (volume, &into)].into_iter().filter_map(locked));
    found
}

fn of<'a>(volumes: &'a [Volume], device: &Device) -> Option<&'a Volume> {
    let VolumeName { vg, lv, .. } = device.volume()?;
    volumes.iter().find(|volume| volume.vg == vg && volume.lv == lv)
}

fn scheduled(label: &str, into: &str) -> Finding {
    let volume = argument(into);
    Finding::stop(
        Code::LvmScheduled,
        format!("LVM has recorded the merge of {label} already, and begins it at the next activation \
                 of {into}."),
        format!(
            "Stop or unmount what uses {into}, then: lvchange -an {volume} && lvchange -ay {volume}. \
             For a root volume: reboot."
        ),
    )
    .about(into)
}

fn group(volume: &Volume) -> Vec<Finding> {
    let vg = &volume.vg;
    let mut found = Vec::new();
    if volume.is_in_partial_group() {
        found.push(Finding::stop(
            Code::LvmPartial,
            format!("The volume group {vg} is partial: one of its disks is missing."),
            "Bring the disk back first: lvm2 changes no metadata without it.",
        ));
    }
    if volume.is_in_exported_group() {
        let words = format!("The volume group {vg} is exported.");
        found.push(Finding::stop(
            Code::LvmLocked,
            words,
            format!("vgimport {} first.", argument(vg)),
        ));
    }
    if volume.is_in_read_only_group() {
        let words = format!("The volume group {vg} is read-only.");
        let way_out = "Find out who made it so: its metadata (vgcfgbackup) has no flag WRITE, and lvm2 has \
                       no option that sets it.";
        found.push(Finding::stop(Code::LvmLocked, words, way_out));
    }
    found
}

fn locked((volume, label): (&Volume, &String)) -> Option<Finding> {
    let words = format!("LVM has locked {label}: a move or a conversion of it is under way.");
    let way_out = "Wait for its end, or end it (pvmove --abort).";
    volume.is_locked().then(|| Finding::stop(Code::LvmLocked, words, way_out).about(label))
}

/// One half is LVM's and the other is not.
pub(super) fn half(device: &Device, origin: &Device) -> Finding {
    Finding::stop(
        Code::OwnersDiffer,
        format!(
            "{} and its origin {} do not both belong to one volume group of LVM, nor to nobody.",
            device.label(),
            origin.label()
        ),
        "merge-ctl does not touch a volume of LVM behind LVM's back: merge it with the tool that set \
         it up.",
    )
    .about(device.label())
}

/// A merge in the kernel of which LVM's metadata knows nothing: the next activation would show a mix
/// of old and new.
pub(super) fn unaware(device: &Device, facts: &Facts) -> Option<Finding> {
    let Some(LvmView::Volumes(volumes)) = &facts.lvm else { return None };
    device.merge()?;
    let volume = of(volumes, device)?;
    if volume.is_merging_origin()
        || volumes.iter().any(|it| it.origin == volume.lv && it.is_merging_snapshot())
    {
        return None;
    }
    let label = device.label();
    Some(
        Finding::stop(
            Code::LvmUnaware,
            format!("The kernel merges into {label}, and LVM's metadata knows nothing of it: after \
                     the next activation {label} would be a mix of old and new data."),
            "Do not deactivate it before the merge is done. Save LVM's metadata (vgcfgbackup) and ask \
             somebody who knows LVM well.",
        )
        .about(label),
    )
}

/// What LVM knows of a volume that has no device; nothing where it does not know it either.
pub fn absent(volumes: &[Volume], vg: &str, lv: &str) -> Option<Finding> {
    let volume = volumes.iter().find(|volume| volume.vg == vg && volume.lv == lv)?;
    let label = format!("{vg}/{lv}");
    let of = |lv: &str| argument(&format!("{vg}/{lv}"));
    if volume.is_thin() {
        return Some(kind::thin(&label));
    }
    if volume.is_merging_snapshot() {
        return Some(
            Finding::stop(
                Code::AlreadyMerging,
                format!(
                    "{label} is being merged into {vg}/{}, or will be at its next activation.",
                    volume.origin
                ),
                format!("Watch it: merge-ctl monitor {}.", of(&volume.origin)),
            )
            .about(label),
        );
    }
    let top = if volume.origin.is_empty() { lv } else { &volume.origin };
    Some(
        Finding::stop(
            Code::LvmInactive,
            format!("{label} is not active: LVM knows it, and the kernel has no device of it."),
            format!("Activate it: lvchange -ay {}.", of(top)),
        )
        .about(label),
    )
}
