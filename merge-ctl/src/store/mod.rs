//! The exception store: what the COW device of a persistent snapshot says, and which runs a merge
//! will make of it.
//!
//! [`mod@format`] knows the bytes and the arithmetic; [`source`] brings bytes from a device, a file
//! or memory, and [`dump`] from a file that holds nothing else; [`reader`] checks every number before
//! it is used and streams the exceptions in either direction; [`runs`] makes of them what the kernel
//! merges, in its order, and [`segments`] a short version of that.
//!
//! What always holds here: nothing is written; memory does not grow with the store, but for the
//! bounded search for duplicates and a [`RunList`] where one is asked for; a damaged store is an
//! error that names the place, never a panic.
//!
//! ```no_run
//! use merge_ctl::store::{FileSource, Opened, Store, StoreError};
//!
//! # fn main() -> Result<(), StoreError> {
//! let cow = FileSource::open("/dev/mapper/vg-snap-cow".as_ref())?;
//! if let Opened::Usable(store) = Store::open(cow, None)? {
//!     let survey = store.survey(|_| {})?;
//!     for run in store.runs(survey.end) {
//!         println!("{:?}", run?);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod ahead;
pub(crate) mod aligned;
pub mod any;
mod bounds;
pub mod dump;
pub(crate) mod duplicates;
mod error;
pub mod format;
mod pieces;
pub mod reader;
pub mod runs;
pub mod segments;
pub mod source;

pub use any::AnySource;
pub use dump::{DumpFault, DumpSource};
pub use error::{EntryFault, StoreError};
pub use format::{Exception, Layout, Place, Placed, Usage};
pub use reader::{Opened, Store, Survey};
pub use runs::{AreaRun, ForwardRuns, Run, RunList, Runs};
pub use segments::{Segment, Segments};
pub use source::{FileSource, MemorySource, ReadAt, Source};

#[cfg(test)]
pub(crate) mod image;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod reading_ahead;
#[cfg(test)]
mod slow;
