//! merge-ctl: start a dm-snapshot merge, show live what it does and why it is slow, finish it
//! safely.
//!
//! The way of the data: readers ([`dm`], [`store`], [`probe`]) make a raw [`sample::Sample`]; the
//! [`model`] is a pure function of the samples; [`view`] and [`output`] only read the model; the
//! controller in [`merge`] decides, and acts through [`dm`] and [`lvm`]. A [`recording`] keeps samples, for
//! the same model once more, and a [`report`] tells of them on paper.

// They panic where nobody reads any more: see `command/terminal.rs`.
#![warn(clippy::print_stderr, clippy::print_stdout)]

// Lengths and places on devices are u64, and go into memory as usize.
#[cfg(not(target_pointer_width = "64"))]
compile_error!("merge-ctl runs on 64-bit machines only");

pub mod calibrate;
pub mod charset;
pub mod cost;
pub mod dm;
pub mod doctor;
pub mod fold;
pub mod guard;
pub mod harmless;
pub mod hooks;
pub mod human;
pub mod lvm;
pub mod merge;
pub mod metrics;
pub mod model;
pub mod offline;
pub mod output;
pub mod plan;
pub mod planner;
pub mod probe;
pub mod program;
pub mod recording;
pub mod report;
pub mod safe_path;
pub mod sample;
pub mod sampler;
pub mod state;
pub mod state_dir;
pub mod store;
pub mod throttle;
pub mod units;
pub mod view;
pub mod wake;
