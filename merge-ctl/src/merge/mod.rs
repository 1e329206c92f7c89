//! The controller: whether a merge may begin, the steps that begin and finish it, and their undoing.
//!
//! [`preflight`] decides from a picture of the host; [`handover`] and [`finish`] are rows of steps
//! over an [`executor::Executor`]; [`journal`] remembers them. Nothing here touches a device but [`live::LiveExecutor`].

pub mod executor;
pub mod finish;
pub mod handover;
pub mod journal;
pub mod live;
pub mod memory;
pub mod preflight;

#[cfg(test)]
mod fake;
