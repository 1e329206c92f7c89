//! One thin file a subcommand.

pub(crate) mod begin;
pub(crate) mod chooser;
pub(crate) mod dashboard;
pub(crate) mod dump;
pub(crate) mod explain;
pub(crate) mod face;
pub(crate) mod finish;
pub(crate) mod guard;
pub(crate) mod live;
pub(crate) mod monitor;
pub(crate) mod new_file;
pub(crate) mod plan;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod subject;
pub(crate) mod throttle;
pub(crate) mod wish;
