//! All families there are. The table in `docs/metrics.md`, the alert rules and the dashboard are checked
//! against this list.
//!
//! Merges and snapshots have the labels `device` (`dm-3`), `name` (the device-mapper name), `vg` and `lv`
//! (empty where it is no volume of LVM): those of the merging origin, or of the snapshot. The first two
//! are those of node_exporter's `node_disk_device_mapper_info`.

use super::family::{Family, Kind, Unit};

pub(super) static MERGE_INFO: Family = Family {
    name: "merge_ctl_merge",
    kind: Kind::Info,
    unit: Unit::None,
    labels: &[
        "device",
        "name",
        "vg",
        "lv",
        "snapshot",
        "owner",
        "cow_device",
        "real_device",
        "probes",
        "kernel",
    ],
    help: "A merge that is followed: the snapshot that is merged, who finishes it, the \
           devices below, what the probes see.",
};
pub(super) static MERGE_STATE: Family = Family {
    name: "merge_ctl_merge_state",
    kind: Kind::Gauge,
    unit: Unit::None,
    labels: &["device", "name", "vg", "lv", "state"],
    help: "1 for the state that the merge is in, 0 for all others.",
};
pub(super) static MERGE_INITIAL: Family = Family {
    name: "merge_ctl_merge_initial_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &["device", "name", "vg", "lv"],
    help: "What was left to merge when this process first saw the merge.",
};
pub(super) static MERGE_REMAINING: Family = Family {
    name: "merge_ctl_merge_remaining_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &["device", "name", "vg", "lv"],
    help: "What is left to merge.",
};
pub(super) static MERGE_USED: Family = Family {
    name: "merge_ctl_merge_cow_used_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &["device", "name", "vg", "lv"],
    help: "What the COW device of the merge holds, metadata included.",
};
pub(super) static MERGE_SIZE: Family = Family {
    name: "merge_ctl_merge_cow_size_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &["device", "name", "vg", "lv"],
    help: "The size of the COW device of the merge.",
};
pub(super) static MERGE_CHUNK: Family = Family {
    name: "merge_ctl_merge_chunk_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &["device", "name", "vg", "lv"],
    help: "The size of a chunk of the snapshot.",
};
pub(super) static MERGE_ELAPSED: Family = Family {
    name: "merge_ctl_merge_elapsed_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    labels: &["device", "name", "vg", "lv"],
    help: "Time since this process first saw the merge, up to the end of the merge.",
};
pub(super) static MERGE_LEFT: Family = Family {
    name: "merge_ctl_merge_estimated_remaining_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    labels: &["device", "name", "vg", "lv", "bound"],
    help: "Time left by the estimate, low and high; not there where nothing moves or \
           nothing is left.",
};
pub(super) static MERGE_RUNS: Family = Family {
    name: "merge_ctl_merge_run_chunks",
    kind: Kind::Histogram,
    unit: Unit::None,
    labels: &["device", "name", "vg", "lv"],
    help: "Finished runs by their length in chunks; the sum is the chunks merged.",
};
pub(super) static MERGE_CHUNKS: Family = Family {
    name: "merge_ctl_merge_chunks",
    kind: Kind::Counter,
    unit: Unit::None,
    labels: &["device", "name", "vg", "lv", "run_chunks"],
    help: "Chunks merged, by the length in chunks of the run that they were merged in.",
};
pub(super) static MERGE_PHASE: Family = Family {
    name: "merge_ctl_merge_phase_seconds",
    kind: Kind::Counter,
    unit: Unit::Seconds,
    labels: &["device", "name", "vg", "lv", "phase"],
    help: "Time that finished runs have spent in each phase, and between runs.",
};
pub(super) static MERGE_CURRENT: Family = Family {
    name: "merge_ctl_merge_current_phase_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    labels: &["device", "name", "vg", "lv", "phase"],
    help: "How long the run in progress has been in the phase that it is in.",
};
pub(super) static MERGE_STALLS: Family = Family {
    name: "merge_ctl_merge_stalls",
    kind: Kind::Counter,
    unit: Unit::None,
    labels: &["device", "name", "vg", "lv", "cause"],
    help: "Stalls that have begun, by what they wait or waited for.",
};
pub(super) static MERGE_STALLED: Family = Family {
    name: "merge_ctl_merge_stalled_seconds",
    kind: Kind::Counter,
    unit: Unit::Seconds,
    labels: &["device", "name", "vg", "lv", "cause"],
    help: "How long stalls have lasted, one that still lasts included.",
};
pub(super) static MERGE_IN_FLIGHT: Family = Family {
    name: "merge_ctl_merge_writes_in_flight",
    kind: Kind::Gauge,
    unit: Unit::None,
    labels: &["device", "name", "vg", "lv"],
    help: "Application writes in flight on the origin.",
};
pub(super) static MERGE_HELD: Family = Family {
    name: "merge_ctl_merge_writes_held",
    kind: Kind::Gauge,
    unit: Unit::None,
    labels: &["device", "name", "vg", "lv"],
    help: "Application writes that the run in progress keeps waiting.",
};
pub(super) static MERGE_AWAITED: Family = Family {
    name: "merge_ctl_merge_writes_awaited",
    kind: Kind::Gauge,
    unit: Unit::None,
    labels: &["device", "name", "vg", "lv"],
    help: "Application writes that the run in progress waits for.",
};
pub(super) static MERGE_LATENCY: Family = Family {
    name: "merge_ctl_merge_write_latency_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    labels: &["device", "name", "vg", "lv"],
    help: "Latency of application writes on the origin, since this process first saw the merge.",
};
pub(super) static SNAP_INFO: Family = Family {
    name: "merge_ctl_snapshot",
    kind: Kind::Info,
    unit: Unit::None,
    labels: &["device", "name", "vg", "lv", "origin", "cow_device"],
    help: "A snapshot that is not being merged, and its origin.",
};
pub(super) static SNAP_STATE: Family = Family {
    name: "merge_ctl_snapshot_state",
    kind: Kind::Gauge,
    unit: Unit::None,
    labels: &["device", "name", "vg", "lv", "state"],
    help: "1 for the state that the snapshot is in, 0 for all others.",
};
pub(super) static SNAP_USED: Family = Family {
    name: "merge_ctl_snapshot_used_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &["device", "name", "vg", "lv"],
    help: "What the snapshot's COW device holds, metadata included.",
};
pub(super) static SNAP_SIZE: Family = Family {
    name: "merge_ctl_snapshot_size_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &["device", "name", "vg", "lv"],
    help: "The size of the snapshot's COW device.",
};
pub(super) static SNAP_METADATA: Family = Family {
    name: "merge_ctl_snapshot_metadata_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &["device", "name", "vg", "lv"],
    help: "What of the snapshot's COW device holds metadata.",
};
pub(super) static SNAP_FULL: Family = Family {
    name: "merge_ctl_snapshot_full_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    labels: &["device", "name", "vg", "lv"],
    help: "Time until the snapshot is full if it goes on filling up as in the last half \
           hour; not there where it does not grow.",
};
pub(super) static BUILD: Family = Family {
    name: "merge_ctl_build",
    kind: Kind::Info,
    unit: Unit::None,
    labels: &["version"],
    help: "The version of merge-ctl.",
};
pub(super) static UP: Family = Family {
    name: "merge_ctl_exporter_device_mapper_up",
    kind: Kind::Gauge,
    unit: Unit::None,
    labels: &[],
    help: "1 where device-mapper answered when it was last asked, 0 where it did not.",
};
pub(super) static SAMPLED: Family = Family {
    name: "merge_ctl_exporter_last_sample_timestamp_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    labels: &[],
    help: "When all this was last read, in seconds since 1970, UTC.",
};
pub(super) static DROPPED: Family = Family {
    name: "merge_ctl_exporter_events_dropped",
    kind: Kind::Counter,
    unit: Unit::None,
    labels: &["kind"],
    help: "What the probes could not tell, by kind.",
};
pub(super) static CPU: Family = Family {
    name: "merge_ctl_exporter_cpu_seconds",
    kind: Kind::Counter,
    unit: Unit::Seconds,
    labels: &[],
    help: "Processor time of this process.",
};
pub(super) static MEMORY: Family = Family {
    name: "merge_ctl_exporter_resident_memory_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    labels: &[],
    help: "Memory of this process that is in RAM.",
};
pub(super) static STARTED: Family = Family {
    name: "merge_ctl_exporter_start_timestamp_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    labels: &[],
    help: "When this process began, in seconds since 1970, UTC.",
};

/// Every family.
pub static ALL: [&Family; 32] = [
    &MERGE_INFO,
    &MERGE_STATE,
    &MERGE_INITIAL,
    &MERGE_REMAINING,
    &MERGE_USED,
    &MERGE_SIZE,
    &MERGE_CHUNK,
    &MERGE_ELAPSED,
    &MERGE_LEFT,
    &MERGE_RUNS,
    &MERGE_CHUNKS,
    &MERGE_PHASE,
    &MERGE_CURRENT,
    &MERGE_STALLS,
    &MERGE_STALLED,
    &MERGE_IN_FLIGHT,
    &MERGE_HELD,
    &MERGE_AWAITED,
    &MERGE_LATENCY,
    &SNAP_INFO,
    &SNAP_STATE,
    &SNAP_USED,
    &SNAP_SIZE,
    &SNAP_METADATA,
    &SNAP_FULL,
    &BUILD,
    &UP,
    &SAMPLED,
    &DROPPED,
    &CPU,
    &MEMORY,
    &STARTED,
];
