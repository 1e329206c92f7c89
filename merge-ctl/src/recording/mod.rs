//! Recordings: what was seen of merges, kept in a file and shown again (`docs/recording.md`).
//!
//! Samples go in as they were taken, and [`Model`](crate::model::Model) makes of them again what it made
//! then: nothing that is computed is in a file. [`container`] keeps records whatever becomes of the file;
//! [`record`] says what they are; [`Recorder`] writes them beside a merge; [`Player`] shows them again.
//!
//! What always holds: whoever records never waits for the disk, and no trouble with the file reaches the
//! merge. A file holds names of devices and processes and no data of any volume.

mod budget;
pub mod container;
mod decode;
mod encode;
mod facts;
mod pace;
mod player;
pub mod record;
mod recorder;
mod tables;
#[cfg(test)]
mod tests;

pub use container::{Bytes, Fault, FaultKind, OpenError};
pub use decode::{Item, Reading};
pub use encode::Encoder;
pub use pace::{Pace, Speed};
pub use player::{Checkpoints, Player, Replayed, Step, Survey, scan};
pub use record::{Facts, Lost, Outcome, Record};
pub use recorder::{Ended, Recorder, Sink};

/// How many merges a recording holds at most.
pub const MAX_MERGES: usize = 256;
