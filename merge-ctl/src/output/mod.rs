//! What merge-ctl writes besides its screen: plain lines for people and logs, JSON for programs.
//!
//! Everything here is a pure function from the model to text: no clock, no file. Who calls it
//! writes the text and handles a failed write. Nothing is computed here but the form of a figure;
//! rates, estimates and verdicts come from the model. Text that others chose (process names, device
//! names) goes to a terminal only through [`crate::harmless`].

pub mod advice;
pub mod check;
pub mod doctor;
pub mod dry_run;
pub mod explain;
#[cfg(test)]
pub(crate) mod fixture;
pub mod json;
mod offline_json;
pub(crate) mod offline_plain;
pub mod plain;
pub mod plan;
pub mod plan_json;
pub mod plan_picture;
mod plan_tables;
pub mod quiet;
pub mod throttle;
pub mod waited;
