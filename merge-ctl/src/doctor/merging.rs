//! What a merge needs: a right, device-mapper and its target, lvm2, a place for the journal.

use super::check::{Check, Code, Way};
use super::facts::{DeviceMapper, Facts, MergeTarget, StateDirectory};
use crate::harmless::quoted;

/// What is lost without device-mapper.
const NO_DEVICES: &str = "There is neither snapshot nor merge without it.";

pub(super) fn look(facts: &Facts) -> Vec<Check> {
    vec![
        privilege(facts),
        memory_lock(facts),
        device_mapper(facts),
        snapshot_merge(facts),
        lvm2(facts),
        state_directory(facts),
        run_directory(facts),
    ]
}

fn privilege(facts: &Facts) -> Check {
    let code = Code::Privilege;
    let Some(rights) = facts.rights else {
        return Check::unknown(
            code,
            "What this process may do cannot be read (/proc/self/status).",
        );
    };
    match (rights.privilege.admin, rights.privilege.root) {
        (true, true) => Check::ok(code, "This is root, and may change devices."),
        (true, false) => Check::degraded(
            code,
            "This process may change devices (CAP_SYS_ADMIN), and is not root.",
        )
        .costs("lvm2 wants root: no merge of a logical volume can be started or finished.")
        .way_out("Run it as root.")
        .closes([Way::Lvm]),
        (false, _) => Check::missing(code, "This process may not change devices (CAP_SYS_ADMIN).")
            .costs(
                "No merge can be started, watched or finished. What needs no device goes: replays, \
                 plans of dumps, offline merges of images.",
            )
            .way_out("Run it as root.")
            .closes(Way::ALL),
    }
}

fn memory_lock(facts: &Facts) -> Check {
    let code = Code::MemoryLock;
    match facts.rights.map(|rights| rights.privilege.lock_memory) {
        None => {
            Check::unknown(code, "What this process may do cannot be read (/proc/self/status).")
        }
        Some(true) => Check::ok(code, "This process may lock its memory (CAP_IPC_LOCK)."),
        Some(false) => Check::missing(code, "This process may not lock its memory (CAP_IPC_LOCK).")
            .costs(
                "No merge of plain device-mapper is started: merge-ctl must not be paged out while \
                 it has devices suspended.",
            )
            .way_out("Run it as root.")
            .closes([Way::DeviceMapper]),
    }
}

fn device_mapper(facts: &Facts) -> Check {
    let code = Code::DeviceMapper;
    match &facts.device_mapper {
        None => Check::unknown(code, "Whether the kernel has it is not known (/proc/misc)."),
        Some(DeviceMapper::Answers([major, minor, patch])) => {
            Check::ok(code, format!("device-mapper answers (interface {major}.{minor}.{patch})."))
        }
        Some(DeviceMapper::NotPermitted) if facts.rights.is_some_and(|it| it.privilege.admin) => {
            Check::missing(code, "/dev/mapper/control may not be opened here, not even by root.")
                .costs(NO_DEVICES)
                .way_out("Let this container use the device /dev/mapper/control.")
                .closes(Way::ALL)
        }
        Some(DeviceMapper::NotPermitted) => {
            Check::unknown(code, "The kernel has device-mapper, which answers root only.")
        }
        Some(DeviceMapper::NoNode) => {
            Check::missing(code, "The kernel has it, and there is no /dev/mapper/control.")
                .costs(NO_DEVICES)
                .way_out("dmsetup mknodes; give a container the node of its host.")
                .closes(Way::ALL)
        }
        Some(DeviceMapper::Fails(why)) => Check::missing(code, format!("{why}."))
            .costs(NO_DEVICES)
            .way_out("The kernel's log may tell more.")
            .closes(Way::ALL),
        Some(DeviceMapper::NotLoaded { can_be: true }) => {
            Check::degraded(code, "The kernel's module dm-mod is there, and not loaded.")
                .costs("Nothing: it is loaded when it is first used.")
                .way_out("modprobe dm-mod")
        }
        Some(DeviceMapper::NotLoaded { can_be: false }) => {
            Check::missing(code, "This kernel has no device-mapper, and no module dm-mod for it.")
                .costs(NO_DEVICES)
                .way_out(
                    "Boot a kernel with CONFIG_BLK_DEV_DM, or install the modules of this one.",
                )
                .closes(Way::ALL)
        }
    }
}

fn snapshot_merge(facts: &Facts) -> Check {
    let code = Code::SnapshotMerge;
    match facts.merge_target {
        None => {
            Check::unknown(code, "device-mapper does not tell this process which targets it has.")
        }
        Some(MergeTarget::There) => Check::ok(code, "The kernel has the target snapshot-merge."),
        Some(MergeTarget::ToBeLoaded) => Check::degraded(
            code,
            "The kernel's module dm-snapshot is there, and not loaded.",
        )
        .costs(
            "The first snapshot loads it. Until then the throttle cannot be set, and the probes \
                     of runs cannot be tried.",
        )
        .way_out("modprobe dm-snapshot"),
        Some(MergeTarget::Missing) => Check::missing(
            code,
            "This kernel has no target snapshot-merge, and there is no module dm-snapshot for it.",
        )
        .costs("The kernel can neither make snapshots nor merge them.")
        .way_out("Boot a kernel with CONFIG_DM_SNAPSHOT, or install the modules of this one.")
        .closes(Way::ALL),
    }
}

fn lvm2(facts: &Facts) -> Check {
    match &facts.lvm2 {
        Some(path) => Check::ok(Code::Lvm2, format!("lvm2 is {path}.")),
        None => Check::missing(Code::Lvm2, "lvm2 is not installed.")
            .costs(
                "No merge of a logical volume can be started or finished: merge-ctl leaves these to \
                 lvm2 alone.",
            )
            .way_out("Install lvm2, if this host has logical volumes.")
            .closes([Way::Lvm]),
    }
}

fn state_directory(facts: &Facts) -> Check {
    let code = Code::StateDirectory;
    match &facts.lasting {
        None => Check::unknown(code, "Whether journals can be kept was not looked at."),
        Some(StateDirectory::Writable { path, volatile: false }) => {
            Check::ok(code, format!("Journals can be kept in {path}."))
        }
        Some(StateDirectory::Writable { path, .. }) => {
            Check::degraded(code, format!("{path}, where journals are kept, is in memory."))
                .costs("After a reboot in mid-merge `merge-ctl resume` would know nothing of it.")
                .way_out("Name a directory on a disk, not on the origin: MERGE_CTL_STATE_DIR.")
        }
        Some(StateDirectory::Unwritable { path, why }) => {
            Check::missing(code, format!("Journals cannot be kept in {path}: {why}."))
                .costs("No merge of plain device-mapper is started without a journal of it.")
                .way_out(elsewhere(facts, path))
                .closes([Way::DeviceMapper])
        }
    }
}

fn run_directory(facts: &Facts) -> Check {
    let code = Code::RunDirectory;
    match &facts.of_this_boot {
        None => Check::unknown(code, "Whether locks can be kept was not looked at."),
        Some(StateDirectory::Writable { path, .. }) => {
            Check::ok(code, format!("Locks can be kept in {path}."))
        }
        Some(StateDirectory::Unwritable { path, why }) => {
            Check::missing(code, format!("Locks cannot be kept in {path}: {why}."))
                .costs(
                    "No merge of plain device-mapper and no offline merge of a volume is started, \
                     since two processes could drive it; none is throttled.",
                )
                .way_out(elsewhere(facts, path))
                .closes([Way::DeviceMapper])
        }
    }
}

fn elsewhere(facts: &Facts, path: &str) -> String {
    let another = "or name another directory: MERGE_CTL_STATE_DIR.";
    match facts.rights {
        Some(rights) if !rights.privilege.root => format!("Run it as root, {another}"),
        _ => format!("Make {} writable, {another}", quoted(path)),
    }
}
