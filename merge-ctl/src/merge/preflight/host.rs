//! What is true of the whole host: privilege, kernel, throttle, other merges.

use super::facts::{MergeTarget, StateDirectory};
use super::{Code, Facts, Finding, Severity};
use crate::dm::{Device, Host};
use crate::harmless::quoted;
use crate::sample::Owner;

/// What matters for any merge.
pub(super) fn look(host: &Host, device: &Device, facts: &Facts) -> Vec<Finding> {
    let mut found: Vec<_> = privilege(facts, device.owner()).into_iter().collect();
    found.extend(kernel(facts));
    found.extend(throttle(facts));
    found.extend(other_merges(host, device));
    found.extend(facts.not_seen.iter().map(|what| Finding::note(Code::Probes, what)));
    found.extend(facts.not_known.iter().map(|what| Finding::note(Code::NotKnown, what)));
    found
}

/// What may be said where not even the devices can be listed.
pub(super) fn without_devices(facts: &Facts) -> Vec<Finding> {
    let mut found: Vec<_> = privilege(facts, Owner::DeviceMapper).into_iter().collect();
    found.extend(throttle(facts));
    found.extend(facts.not_known.iter().map(|what| Finding::note(Code::NotKnown, what)));
    found
}

fn privilege(facts: &Facts, owner: Owner) -> Option<Finding> {
    let has = facts.privilege?;
    let stop = |words: &str| Some(Finding::stop(Code::Privilege, words, "Run it as root."));
    if !has.admin {
        return stop("Starting a merge needs root (CAP_SYS_ADMIN).");
    }
    match owner {
        Owner::Lvm if !has.root => stop("lvm2, which merges this volume, needs root."),
        Owner::DeviceMapper if !has.lock_memory => stop(
            "CAP_IPC_LOCK is missing: merge-ctl must not be paged out while it has devices \
             suspended.",
        ),
        _ => None,
    }
}

fn kernel(facts: &Facts) -> Option<Finding> {
    match facts.merge_target? {
        MergeTarget::There => None,
        MergeTarget::ToBeLoaded => Some(Finding::note(
            Code::Kernel,
            "The kernel's module dm-snapshot is not loaded; it is there, and is loaded when needed.",
        )),
        MergeTarget::Missing => Some(Finding::stop(
            Code::Kernel,
            "This kernel has no target snapshot-merge, and there is no module dm-snapshot for it.",
            "Boot a kernel with CONFIG_DM_SNAPSHOT, or install the modules of this one.",
        )),
    }
}

fn throttle(facts: &Facts) -> Option<Finding> {
    let percent = facts.throttle_percent.filter(|percent| *percent != 100)?;
    Some(Finding::note(
        Code::Throttled,
        format!(
            "snapshot_copy_throttle is {percent} (percent; 100 is off): this merge will be slowed \
             down, as is every other copy for a snapshot on this host."
        ),
    ))
}

fn other_merges(host: &Host, device: &Device) -> Option<Finding> {
    let real = device.snapshot().and_then(|args| args.real.number()).or_else(|| device.origin_of());
    let others: Vec<_> = host
        .merges()
        .filter(|merge| merge.info.dev != device.info.dev && merge.origin_of() != real)
        .map(Device::label)
        .collect();
    if others.is_empty() {
        return None;
    }
    let words = format!(
        "Another merge is there: into {}. The kernel's throttle is one for all merges, and disks and \
         processors are shared.",
        others.join(", ")
    );
    Some(Finding::note(Code::OtherMerge, words))
}

/// What our own steps need besides: a journal of them.
pub(super) fn own_steps(facts: &Facts) -> Option<Finding> {
    let elsewhere = |path: &str| {
        format!("Make {} writable, or name another directory: MERGE_CTL_STATE_DIR.", quoted(path))
    };
    match facts.state.as_ref()? {
        StateDirectory::Writable { volatile: false, .. } => None,
        StateDirectory::Writable { path, .. } => Some(Finding {
            way_out: "Name a directory on a disk (MERGE_CTL_STATE_DIR), not on the origin."
                .to_owned(),
            ..Finding::new(
                Severity::Warn,
                Code::StateVolatile,
                format!(
                    "{path} is in memory: after a reboot in mid-merge `merge-ctl resume` would know \
                     nothing of the merge."
                ),
            )
        }),
        StateDirectory::Unwritable { path, why } => Some(Finding::stop(
            Code::StateDirectory,
            format!("The journal of the merge cannot be kept in {path}: {why}."),
            elsewhere(path),
        )),
    }
}
