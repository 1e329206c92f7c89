//! The container of a recording: records in packed frames, one behind the other, each with its checksums.
//!
//! ```text
//! preamble │ frame (a key) │ frame │ frame │ … │ frame (a key) │ frame │ …
//!            └──────────── a group ──────────┘
//! ```
//!
//! A group is one stream of deflate, flushed at the end of each frame: what comes again costs nothing. A
//! group stands alone, so damage costs the rest of its group and no more.
//!
//! What always holds: nothing is changed once it was written. A reader takes memory for one frame, whatever
//! a file says, and goes on behind what is damaged, at the next group. Here nothing is known of what the
//! records mean; nothing of merge-ctl is used, so that a fuzz target compiles these files alone.

pub mod delta;
mod frame;
pub mod numbers;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use frame::{FRAME_HEADER_BYTES, MAX_UNPACKED_BYTES, PREAMBLE_BYTES, VERSION};
pub use read::{Block, Bytes, Fault, FaultKind, OpenError, Reader};
pub use write::{Packer, preamble, push_record};
