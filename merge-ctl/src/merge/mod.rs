//! The controller: whether a merge may begin, the steps that begin and finish it, and their undoing.
//!
//! [`preflight`] decides from a picture of the host whether a merge may begin; [`machine`] what is
//! next, from what was wanted and what is there; [`drive`] does it over an [`executor::Executor`];
//! [`journal`] remembers what was wanted. Nothing here touches a device but [`live::LiveExecutor`].

pub mod drive;
pub mod executor;
pub mod failed;
pub mod finish;
pub mod handover;
pub mod journal;
pub mod live;
pub mod machine;
pub mod memory;
pub mod preflight;
pub mod quiet;
pub mod recording;
pub mod rehearsal;

#[cfg(test)]
mod fake;
