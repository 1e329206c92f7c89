//! What becomes of the other snapshots of the origin: a merge copies into each of them what it
//! overwrites, and one that is full is lost.
//!
//! First from the figures of the status lines alone, which often suffices: a sibling that has room
//! for as many chunks as are merged has room for those that it lacks. Where it does not suffice, the
//! facts hold what was counted from the exceptions.

use super::{Code, Facts, Finding, store};
use crate::dm::{Device, Host, SnapshotArgs, SnapshotStatus};
use crate::harmless::argument;
use crate::human;
use crate::plan::siblings::{Fate, SiblingPlan};
use crate::planner::Fill;
use crate::sample::Owner;

/// What is said of the siblings.
pub(super) fn look(
    host: &Host,
    device: &Device,
    args: &SnapshotArgs,
    facts: &Facts,
) -> Vec<Finding> {
    let plans = match &facts.siblings {
        Some(counted) => counted.clone(),
        None => bounds(host, device, args),
    };
    let mut found: Vec<_> = plans.iter().filter_map(|plan| finding(plan, device.owner())).collect();
    found.extend(larger_chunks(host, device, args));
    found
}

/// What the status lines alone tell of each sibling: at most how many chunks are copied into it.
pub(super) fn bounds(host: &Host, device: &Device, args: &SnapshotArgs) -> Vec<SiblingPlan> {
    let Some(real) = args.real.number() else { return Vec::new() };
    let merged = store::to_merge(device).0.div_ceil(args.chunk_size.sectors());
    host.siblings_of(real, device.info.dev)
        .filter_map(|sibling| Some(bound(sibling, sibling.snapshot()?, args, merged)))
        .collect()
}

fn bound(device: &Device, own: &SnapshotArgs, args: &SnapshotArgs, merged: u64) -> SiblingPlan {
    let touched = args.chunk_size.sectors().div_ceil(own.chunk_size.sectors());
    let high = merged.saturating_mul(touched).min(own.chunk_size.chunks_in(device.size()));
    let room = fill(device, own).map(|fill| {
        let exceptions = fill.allocated.saturating_sub(fill.metadata).0 / own.chunk_size.sectors();
        fill.room(own.chunk_size, Some(exceptions))
    });
    let fate = match room {
        _ if is_lost(device) => Fate::LostAlready,
        Some(room) if high <= room => Fate::Kept,
        _ if high == 0 => Fate::Kept,
        _ => Fate::Unclear,
    };
    SiblingPlan {
        label: device.label(),
        chunk_bytes: own.chunk_size.bytes(),
        copies_low: 0,
        copies_high: high,
        room,
        fate,
    }
}

/// Whether there is nothing left to lose.
pub(super) fn is_lost(sibling: &Device) -> bool {
    matches!(sibling.status, Some(SnapshotStatus::Invalid | SnapshotStatus::Overflow))
}

/// How full its COW device is, where its status tells.
pub(super) fn fill(sibling: &Device, args: &SnapshotArgs) -> Option<Fill> {
    let usage = sibling.status.as_ref().and_then(SnapshotStatus::usage)?;
    Some(Fill {
        total: usage.total,
        allocated: usage.allocated,
        metadata: usage.metadata,
        persistent: args.persistence.is_on_disk(),
    })
}

fn finding(plan: &SiblingPlan, owner: Owner) -> Option<Finding> {
    let (label, copies) = (&plan.label, copies(plan));
    let found = match plan.fate {
        Fate::Kept if plan.copies_high == 0 => return None,
        Fate::Kept => Finding::note(
            Code::SiblingCopies,
            format!("Into the snapshot {label} of the same origin {copies} copied; it has room."),
        ),
        Fate::Overflows => Finding::warn(
            Code::SiblingLost,
            format!(
                "The snapshot {label} of the same origin WILL BE LOST: {copies} copied into it, and \
                 it has room for {}.",
                room(plan)
            ),
            larger(plan, owner),
        ),
        Fate::Unclear => Finding::warn(
            Code::SiblingAtRisk,
            format!(
                "The snapshot {label} of the same origin may be lost: {copies} copied into it, and \
                 it has room for {}.",
                room(plan)
            ),
            larger(plan, owner),
        ),
        Fate::LostAlready => Finding::note(
            Code::SiblingInvalid,
            format!(
                "The snapshot {label} of the same origin is invalid already; nothing is copied \
                 into it."
            ),
        ),
    };
    Some(found.about(label))
}

/// How it gets room enough.
fn larger(plan: &SiblingPlan, owner: Owner) -> String {
    let chunks = plan.copies_high.saturating_sub(plan.room.unwrap_or(0));
    let lacking = chunks.saturating_mul(plan.chunk_bytes);
    // Metadata comes on top: 16 bytes a chunk, and a chunk of slack.
    let bytes = lacking + lacking.div_ceil(32) + 2 * plan.chunk_bytes;
    match owner {
        Owner::Lvm => {
            let mib = bytes.div_ceil(1 << 20).max(1);
            format!("Make it larger before: lvextend -L +{mib}M {}.", argument(&plan.label))
        }
        Owner::DeviceMapper => {
            format!("Make its COW device larger before, by {} at least.", human::bytes(bytes))
        }
    }
}

/// `3 chunks of 4 KiB have to be`, or what can be said of their number.
fn copies(plan: &SiblingPlan) -> String {
    let size = human::io_size(plan.chunk_bytes);
    let (low, high) = (plan.copies_low, plan.copies_high);
    let chunks = if low == high {
        human::counted(high, "chunk")
    } else if low == 0 {
        format!("at most {}", human::counted(high, "chunk"))
    } else {
        format!("{} to {}", human::count(low), human::counted(high, "chunk"))
    };
    let have = if high == 1 { "has" } else { "have" };
    format!("{chunks} of {size} {have} to be")
}

fn room(plan: &SiblingPlan) -> String {
    plan.room.map_or_else(|| "an unknown number".to_owned(), human::count)
}

/// A sibling with larger chunks copies more than what is merged.
fn larger_chunks(host: &Host, device: &Device, args: &SnapshotArgs) -> Vec<Finding> {
    let Some(real) = args.real.number() else { return Vec::new() };
    let larger = host.siblings_of(real, device.info.dev).filter_map(|sibling| {
        let own = sibling.snapshot()?.chunk_size;
        (own.sectors() > args.chunk_size.sectors() && !is_lost(sibling)).then_some((sibling, own))
    });
    larger
        .map(|(sibling, own)| {
            let label = sibling.label();
            let words = format!(
                "{label} has chunks of {}, the merge of {}: for a run of one chunk it copies up to {} \
                 times as much.",
                human::io_size(own.bytes()),
                human::io_size(args.chunk_size.bytes()),
                human::count(own.sectors() / args.chunk_size.sectors())
            );
            Finding::note(Code::ChunkSizesDiffer, words).about(label)
        })
        .collect()
}
