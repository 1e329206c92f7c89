//! One thin file a subcommand.

pub(crate) mod attach;
pub(crate) mod begin;
pub(crate) mod dashboard;
pub(crate) mod dump;
pub(crate) mod explain;
pub(crate) mod face;
pub(crate) mod finish;
pub(crate) mod finish_lvm;
pub(crate) mod followed;
pub(crate) mod guard;
pub(crate) mod hooks;
pub(crate) mod live;
pub(crate) mod lookout;
pub(crate) mod monitor;
pub(crate) mod new_file;
pub(crate) mod plan;
pub(crate) mod raw;
pub(crate) mod recover_failed;
pub(crate) mod resume;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod subject;
pub(crate) mod throttle;
pub(crate) mod wait;
