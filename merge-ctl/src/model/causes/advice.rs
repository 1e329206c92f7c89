//! What an operator can do about each cause, most useful first: things that can be done now, and
//! where nothing can, what to do the next time.

use super::slow::Side;
use crate::harmless::argument;
use crate::model::{Model, State, Writer};
use crate::safe_path;
use crate::sample::Owner;

const SAFE_TO_LEAVE: &str =
    "Need not be watched: the merge goes on by itself, and every run that is committed is durable.";

fn list<const N: usize>(advice: [String; N]) -> Vec<String> {
    advice.into()
}

fn safe_to_leave() -> String {
    SAFE_TO_LEAVE.to_owned()
}

pub(super) fn fragmentation(model: &Model) -> Vec<String> {
    let mut advice = Vec::from_iter(rest_offline(model));
    advice.extend([
        "Take other load off the devices: nothing shortens a fragmented merge while the kernel \
         does it, but every run waits for its few small I/Os to be answered."
            .to_owned(),
        larger_chunks(model.identity.chunk_size.bytes()),
        safe_to_leave(),
    ]);
    advice
}

/// With less left, to take the volume down and up again costs more than it saves.
const WORTH_TAKING_DOWN_S: f64 = 60.0;

/// How the rest of a merge of short runs is copied by our own engine, where that can be: a merge of LVM
/// that is deactivated in the middle is on record for the next activation like one that never began.
fn rest_offline(model: &Model) -> Option<String> {
    let identity = &model.identity;
    let can_be = identity.owner == Owner::Lvm && identity.siblings.is_empty();
    let goes_on = matches!(model.state, State::Merging | State::Stalled);
    let is_long = model.left.is_none_or(|left| left.high_s >= WORTH_TAKING_DOWN_S);
    (can_be && goes_on && is_long).then(|| {
        let (name, volume) = (&identity.origin_label, argument(&identity.origin_label));
        format!(
            "If nobody needs {name} for a while, have the rest copied offline, many times as fast: \
             unmount it, then lvchange -an {volume} && merge-ctl start --offline --scheduled \
             {volume} && lvchange -ay {volume}"
        )
    })
}

/// The largest chunk that LVM takes, which no snapshot can exceed there.
const MAX_LVM_CHUNK_BYTES: u64 = 512 << 10;

pub(super) fn larger_chunks(chunk_bytes: u64) -> String {
    if chunk_bytes >= MAX_LVM_CHUNK_BYTES {
        return "Next time, write less to the snapshot at random: its chunks cannot be larger."
            .to_owned();
    }
    let kib = chunk_bytes / 1024;
    format!(
        "Next time, take the snapshot with larger chunks (lvcreate --chunksize; these have {kib} \
         KiB): fewer and longer runs, for more copying at each first write."
    )
}

pub(super) fn flush_latency(model: &Model) -> Vec<String> {
    let mut advice = Vec::from_iter(rest_offline(model));
    advice.extend([
        "Take other writers with fsync off these devices while the merge runs: each of their \
         flushes stands in line with the merge's."
            .to_owned(),
        "If the device has a write cache with a battery or capacitor, see that it is on and \
         healthy: a flush of such a cache costs next to nothing."
            .to_owned(),
        "Next time, keep the COW device on storage that commits fast.".to_owned(),
        safe_to_leave(),
    ]);
    advice
}

pub(super) fn slow(model: &Model, side: Side) -> Vec<String> {
    let identity = &model.identity;
    let (label, next_time) = match side {
        Side::Cow => (
            &identity.cow_label,
            "Next time, put the snapshot on storage as fast as the origin's (lvcreate -s … \
             PHYSICAL_VOLUME).",
        ),
        Side::Real => (
            &identity.real_label,
            "The origin stays where it is: a merge there can be no faster than it writes.",
        ),
    };
    list([
        format!("Look for other load on what is below {label} (iostat -x), and take it off."),
        format!(
            "See whether what is below {label} is in order: dmesg, smartctl, a RAID that rebuilds."
        ),
        next_time.to_owned(),
        safe_to_leave(),
    ])
}

pub(super) fn draining_writers(writers: &[Writer]) -> Vec<String> {
    let first = match writers {
        [] => "Stop what writes to the origin, or make it write less: a run begins only when the \
               writes in it have ended."
            .to_owned(),
        [writer, ..] => format!(
            "Stop {writer}, or make it write less while the merge runs: a run begins only when the \
             writes in it have ended."
        ),
    };
    list([
        first,
        "If few writes take long, it is the origin's device that answers late: look there \
         (iostat -x)."
            .to_owned(),
        safe_to_leave(),
    ])
}

pub(super) fn siblings(model: &Model) -> Vec<String> {
    let fill = match model.identity.owner {
        Owner::Lvm => "lvs",
        Owner::DeviceMapper => "dmsetup status",
    };
    list([
        format!(
            "Watch how full the other snapshots get ({fill}): the merge fills them, and one that \
             is full is lost."
        ),
        "Take other load off the devices that hold them: the merge waits for their writes."
            .to_owned(),
        "Next time, remove the snapshots that nobody needs before the merge begins.".to_owned(),
        safe_to_leave(),
    ])
}

pub(super) fn throttle() -> Vec<String> {
    list([
        "Set it to 100, which is off, and look again: echo 100 > \
         /sys/module/dm_snapshot/parameters/snapshot_copy_throttle"
            .to_owned(),
        "It is one for all snapshots of this host and slows their copies too; flush and commit it \
         never slows. If somebody set it to protect applications, ask first."
            .to_owned(),
    ])
}

pub(super) fn device_speed() -> Vec<String> {
    list([
        "Take other load off the devices: the merge gets what they have left.".to_owned(),
        safe_to_leave(),
    ])
}

pub(super) fn no_single_cause() -> Vec<String> {
    list([
        "Take other load off the devices: that helps with all of it.".to_owned(),
        safe_to_leave(),
    ])
}

pub(super) fn nothing_yet() -> Vec<String> {
    list(["Look for longer: merge-ctl explain --for 30s.".to_owned()])
}

pub(super) fn not_seen(model: &Model) -> Vec<String> {
    list([
        "Run as root on a kernel with kprobes and BTF, where runs and their phases can be seen."
            .to_owned(),
        format!(
            "See what the snapshot makes of it: merge-ctl plan {}",
            argument(&model.identity.origin_label)
        ),
    ])
}

/// `device` is what dmsetup takes for it.
pub(super) fn suspended(label: &str, device: &str) -> Vec<String> {
    list([
        format!("Whoever suspended {label} has to resume it: dmsetup resume {device}"),
        "Find out first who that was: a backup, lvm2 or a resize that is under way resumes by \
         itself, and resuming too early would spoil its work."
            .to_owned(),
    ])
}

pub(super) fn not_finished(model: &Model) -> Vec<String> {
    let name = argument(&model.identity.origin_label);
    if model.identity.finished_here {
        return list(["Wait a moment.".to_owned()]);
    }
    match model.identity.owner {
        Owner::DeviceMapper => list([format!("Put the plain table back: merge-ctl finish {name}")]),
        Owner::Lvm => list([
            "Wait: lvm2 looks every 15 seconds and finishes it by itself.".to_owned(),
            format!("If nobody polls: merge-ctl finish {name}, or lvchange --poll y {name}"),
        ]),
    }
}

pub(super) fn finished(model: &Model) -> Vec<String> {
    list([format!(
        "Nothing is left to do: {} is rolled back and is an ordinary volume again.",
        model.identity.origin_label
    )])
}

pub(super) fn failed(model: &Model) -> Vec<String> {
    safe_path::words(&model.identity.origin_label, model.identity.owner).into()
}

pub(super) fn invalid(model: &Model) -> Vec<String> {
    let name = &model.identity.origin_label;
    list([format!(
        "Check {name}, or restore it from a backup: it holds a mix of new and old data, and what \
         was not yet merged is lost."
    )])
}

pub(super) fn scheduled(name: &str) -> Vec<String> {
    let volume = argument(name);
    list([format!(
        "Stop or unmount what uses {name}, then: lvchange -an {volume} && lvchange -ay {volume}"
    )])
}

pub(super) fn gone(model: &Model) -> Vec<String> {
    list([format!("See what {} is now: merge-ctl status", model.identity.origin_label)])
}

pub(super) fn status_unreadable() -> Vec<String> {
    list(["The kernel's log may say more: dmesg".to_owned()])
}
