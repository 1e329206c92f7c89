//! The same merge while nobody uses the origin: what the order of the origin would save.
//!
//! Old chunks are unique, so without users they may be copied in any order: sorted, neighbours in
//! one piece, many at a time, with one flush at the end; then the areas are cleared, from the last
//! to the first. This is an estimate of such a copy. Nothing here does it.

use super::Work;
use super::costs::{Costs, MergeCosts, range};
use crate::cost::TimeRange;

/// I/Os that such a copy would have under way, if it goes well and if it does not.
const DEPTH: (f64, f64) = (32.0, 4.0);

/// An offline merge, estimated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offline {
    /// Pieces of the origin that would be written; none where memory did not suffice to count
    /// them. There are never more than chunks.
    pub extents: Option<u64>,
    /// Areas that would be cleared, a write each.
    pub areas: u64,
    /// How long it would take.
    pub time: Option<TimeRange>,
    /// Whether that would be faster.
    pub faster: Option<Faster>,
}

/// How two ranges of time compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faster {
    /// For certain, as far as the ranges are right.
    Yes,
    /// It would be slower.
    No,
    /// The ranges overlap.
    Perhaps,
}

impl Offline {
    /// The estimate for this work. `merge` is how long the kernel takes.
    pub fn new(
        work: Work,
        extents: Option<u64>,
        costs: Option<&MergeCosts>,
        merge: Option<TimeRange>,
    ) -> Self {
        let time = costs.map(|costs| {
            // As many as there are chunks, where the pieces could not be counted.
            let most = extents.unwrap_or(work.chunks);
            range(low_ns(&costs.low, work, extents.unwrap_or(0)), high_ns(&costs.high, work, most))
        });
        let faster = time.zip(merge).map(|(offline, merge)| compare(&offline, &merge));
        Self { extents, areas: work.areas, time, faster }
    }
}

fn compare(offline: &TimeRange, merge: &TimeRange) -> Faster {
    if offline.high_s < merge.low_s {
        Faster::Yes
    } else if offline.low_s > merge.high_s {
        Faster::No
    } else {
        Faster::Perhaps
    }
}

fn low_ns(costs: &Costs, work: Work, extents: u64) -> f64 {
    // One read at least for each piece that is written.
    let ios = (costs.read_ns + costs.write_ns) * extents as f64 / DEPTH.0;
    ios.max(costs.byte_ns * work.bytes as f64) + clearing_ns(costs, work)
}

fn high_ns(costs: &Costs, work: Work, extents: u64) -> f64 {
    // A read at most for each run: sorting puts runs together and tears none apart.
    let ios = costs.read_ns * work.runs as f64 + costs.write_ns * extents as f64;
    // A flush after the copy, and one after each area, which cost an I/O here.
    let flushes = costs.write_ns * (work.areas + 1) as f64;
    ios / DEPTH.1 + costs.byte_ns * work.bytes as f64 + clearing_ns(costs, work) + flushes
}

/// Areas are cleared one after the other.
fn clearing_ns(costs: &Costs, work: Work) -> f64 {
    (costs.write_ns + costs.metadata_byte_ns * work.chunk_bytes as f64) * work.areas as f64
}
