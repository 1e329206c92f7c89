//! merge-ctl against real merges on a real kernel. Runs as root in a disposable VM, where
//! `cargo xtask test` brings it; on a host every test here is ignored.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, to keep the trace")]
#![expect(clippy::too_many_lines, reason = "what happens to one merge is told in one piece")]

mod check;
mod crash;
mod detach;
mod device_mapper;
mod differential;
mod doctor;
mod dump;
mod explain;
mod export;
mod failures;
mod hooks;
mod hostile;
mod in_flight;
mod leaving;
mod linear;
mod lvm;
mod lvm_scenarios;
mod merge_ctl;
mod names;
mod nudge;
mod offline;
mod offline_differential;
mod offline_errors;
mod offline_images;
mod offline_killed;
mod offline_log_writes;
mod offline_lvm;
mod offline_lvm_errors;
mod offline_raw;
mod offline_scheduled;
mod offline_seen;
mod offline_time_limit;
mod plan;
mod quiet;
mod recording;
mod refusals;
mod report;
mod resume;
mod runs;
mod several;
mod shared_disk;
mod siblings;
mod store_reader;
mod testbed;
mod throttle;
mod tiers;
mod undo;
mod wait;
