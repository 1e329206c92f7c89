//! The live handover: what takes the place of what when a merge begins with its snapshot active.
//!
//! The kernel wants the merge target on the origin and an error target on the snapshot, both
//! suspended, the origin resumed first (`drivers/md/dm-snap.c`, `snapshot_preresume`). The merge
//! begins inside that resume. The steps, and their undoing, are in [`super::machine`].

use crate::dm::Table;

/// The devices of a handover, and their tables before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The origin's device-mapper name.
    pub origin: String,
    /// Its table now: snapshot-origin.
    pub origin_before: Table,
    /// Its table then: snapshot-merge.
    pub origin_merging: Table,
    /// The snapshot's device-mapper name.
    pub snapshot: String,
    /// Its table then: error, of the same length.
    pub snapshot_error: Table,
}
