//! One thin file a subcommand, and what several of them share.
//!
//! What always holds: a command asks the library and says what it answers; it makes no figure, verdict or decision of its
//! own. Errors go up to `main`, which turns them into words and an exit status in one place. What is
//! printed goes through [`terminal`].

pub(crate) mod attach;
pub(crate) mod begin;
pub(crate) mod check;
pub(crate) mod dashboard;
pub(crate) mod detach;
pub(crate) mod doctor;
pub(crate) mod dump;
pub(crate) mod elsewhere;
pub(crate) mod explain;
pub(crate) mod export;
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
pub(crate) mod offline;
pub(crate) mod plan;
pub(crate) mod plans;
pub(crate) mod privilege;
pub(crate) mod quiet;
pub(crate) mod raw;
pub(crate) mod record;
pub(crate) mod recording;
pub(crate) mod recover_failed;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod resume;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod subject;
pub(crate) mod terminal;
pub(crate) mod throttle;
mod unseen;
pub(crate) mod wait;
