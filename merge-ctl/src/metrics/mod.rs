//! Models as metrics: families for Prometheus, for its text files, and for OpenTelemetry.
//!
//! One face more beside `view` and `output`: everything here only reads models, and facts of snapshots
//! that do not merge. [`list`] is the closed list of families; a [`Page`] holds the points of one
//! instant; [`text`] and [`otlp`] write it down. All of it is pure.
//!
//! What always holds: a page has no family that is not in the list; every point has exactly the labels
//! of its family; what is not known is left out, and never told as 0; what counts never falls while a
//! merge is followed, except where the probes are attached anew.
//!
//! It refuses to compute: rates and averages are made where the metrics are read.

mod family;
pub mod list;
mod merges;
pub mod otlp;
mod own;
mod page;
mod snapshots;
#[cfg(test)]
mod tests;
pub mod text;

pub use family::{Family, Kind, Unit};
pub use merges::add_merge;
pub use own::{Own, add_own};
pub use page::{Filled, Histogram, Page, Point, Value};
pub use snapshots::{SnapshotFacts, SnapshotState, add_snapshot};
