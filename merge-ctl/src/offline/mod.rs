//! The offline merge engine: a whole merge at the speed of the devices, while nobody uses the origin.
//!
//! Old chunks are unique, so they may be copied in any order: by origin chunk, neighbours in one
//! piece, many at a time. Only when all is copied and flushed, the metadata is cleared, from the tail
//! backwards: until then a crash costs nothing but the work, since the exceptions still say what is
//! to be merged, and a chunk copied twice is the same.
//!
//! What always holds here: nothing is cleared that was not copied and flushed; memory is bounded,
//! whatever the number of exceptions; every error names the device and the sector; a stop leaves a
//! store that the kernel merges on from. What it refuses: a store that cannot be right, and devices
//! that somebody else holds. Who may use the engine, and in which order things around it must
//! happen, is not decided here.

mod batch;
mod budget;
mod clear;
mod copy;
mod engine;
mod error;
mod limit;
pub mod meter;
pub mod options;
mod order;
mod pump;
mod queue;
pub mod target;
mod threads;
mod uring;
mod window;
mod workers;

use std::time::Duration;

use self::budget::Budget;
use self::meter::{Meter, Stage};
use crate::units::Sectors;

pub use self::budget::LEAST_MEMORY_BYTES;
pub use self::error::{Act, OfflineError};
pub use self::options::Options;
pub use self::target::Target;

/// Whether the kernel lets this process make requests by io_uring; the ring is gone again. Without it
/// the engine makes them by threads.
///
/// # Errors
/// What the kernel answers.
pub fn try_uring() -> std::io::Result<()> {
    uring::ring(Options::default().requests as usize).map(drop)
}

/// What is merged into what: both open for this process alone, for as long as this lives.
#[derive(Debug)]
pub struct Devices {
    /// Where the data goes.
    pub origin: Target,
    /// Where it comes from: the device with the exception store.
    pub cow: Target,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is copied, flushed and cleared: the store is empty.
    Merged(Merged),
    /// It was told to stop, between two requests. The kernel, or another run, goes on from here.
    Stopped,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// How many exceptions there were: chunks copied.
    pub exceptions: u64,
    /// Their data.
    pub bytes: u64,
    /// Areas of metadata that were cleared.
    pub areas: u64,
    /// How long each stage took, in the order of [`Stage::ALL`].
    pub stages: [Duration; Stage::ALL.len()],
}

/// Merges the store on `devices.cow` into `devices.origin`, and clears it.
///
/// Blocks until it is done, was told to stop by [`Meter::stop`], or failed. What it does meanwhile is
/// in `meter`, for other threads to read.
///
/// # Errors
/// [`OfflineError`]. Nothing was cleared that was not copied: the same can be tried again, and the
/// kernel can merge the rest.
pub fn merge(devices: &Devices, options: &Options, meter: &Meter) -> Result<Outcome, OfflineError> {
    let queue = |devices: &Devices, slots, requests| {
        engine::queue(options.backend, devices, slots, requests)
    };
    engine::merge(devices, options, Budget::of(options), &queue, meter)
}

/// The whole of a device or file, where a part of it is meant.
fn sectors_of(bytes: u64) -> Sectors {
    Sectors(bytes / crate::units::SECTOR_BYTES)
}

#[cfg(test)]
mod tests;
