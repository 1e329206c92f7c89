//! Whether the devices are at rest: nobody has suspended them or is about to change them, and what
//! lies below can be written in chunks.

use super::facts::Below;
use super::{Code, Facts, Finding, Refusal};
use crate::dm::{Device, Host, SnapshotArgs};
use crate::harmless::for_dmsetup;
use crate::human;

/// Snapshot and origin, or one of them: nothing may stand between our steps.
pub(in crate::merge) fn at_rest(device: &Device) -> Result<(), Refusal> {
    match in_other_hands(device).into_iter().next() {
        None => Ok(()),
        Some(found) => Err(super::refusal(found.words, found.way_out)),
    }
}

/// The snapshot, and what lies below it.
pub(super) fn look(
    host: &Host,
    device: &Device,
    args: &SnapshotArgs,
    facts: &Facts,
) -> Vec<Finding> {
    let mut found = in_other_hands(device);
    for below in &facts.below {
        found.extend(below_at_rest(below));
        found.extend(blocks(below, args));
    }
    let next = [&args.real, &args.cow].into_iter().filter_map(|it| host.by_dev(it.number()?));
    found.extend(next.filter(|below| below.info.inactive_table).map(second_table_below));
    found
}

/// The origin.
pub(super) fn of_origin(origin: &Device) -> Vec<Finding> {
    in_other_hands(origin)
}

/// A device that is suspended, or has a second table, is in somebody else's hands.
fn in_other_hands(device: &Device) -> Vec<Finding> {
    let label = device.label();
    let name = for_dmsetup(&device.info.name, device.info.dev);
    let mut found = Vec::new();
    if device.info.suspended {
        found.push(suspended(&label, &name));
    }
    if device.info.inactive_table {
        found.push(Finding::stop(
            Code::SecondTable,
            format!("{label} has a second table loaded: somebody is about to change it."),
            format!("If nobody is: dmsetup clear {name}."),
        ));
    }
    found.into_iter().map(|finding| finding.about(label.clone())).collect()
}

fn suspended(label: &str, name: &str) -> Finding {
    Finding::stop(
        Code::Suspended,
        format!("{label} is suspended: all I/O on it waits."),
        format!("Find out who did it and why; this ends it: dmsetup resume {name}."),
    )
    .about(label)
}

fn second_table_below(device: &Device) -> Finding {
    let label = device.label();
    Finding::warn(
        Code::SecondTable,
        format!("{label}, below, has a second table loaded: somebody is about to change it."),
        format!("If nobody is: dmsetup clear {}.", for_dmsetup(&device.info.name, device.info.dev)),
    )
    .about(label)
}

fn below_at_rest(below: &Below) -> Vec<Finding> {
    let label = &below.label;
    let mut found = Vec::new();
    if below.suspended {
        let name = below.for_dmsetup.clone().unwrap_or_else(|| for_dmsetup("", below.dev));
        found.push(suspended(label, &name));
    }
    if below.read_only {
        found.push(
            Finding::stop(
                Code::ReadOnly,
                format!("{label}, below the snapshot or its origin, is read-only."),
                "Make it writable first: blockdev --setrw, or what made it read-only.",
            )
            .about(label),
        );
    }
    found
}

/// The kernel refuses a table whose chunks are no multiple of the blocks of both devices
/// (`dm_exception_store_set_chunk_size` in `drivers/md/dm-exception-store.c`).
fn blocks(below: &Below, args: &SnapshotArgs) -> Option<Finding> {
    let block_bytes = below.block_bytes.filter(|_| below.is_next)?;
    let chunk_bytes = args.chunk_size.bytes();
    if chunk_bytes.is_multiple_of(block_bytes) {
        return None;
    }
    let words = format!(
        "A chunk of {} is smaller than a block of {}, which is {}: the kernel refuses to merge.",
        human::io_size(chunk_bytes),
        below.label,
        human::io_size(block_bytes)
    );
    let way_out = "Put the data on a device with smaller blocks (dd), or copy the snapshot's content \
                   to the origin by hand.";
    Some(Finding::stop(Code::ChunkBelowBlock, words, way_out).about(&below.label))
}
