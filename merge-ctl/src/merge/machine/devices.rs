//! Who is who in a scene: which device is the origin, which holds the exceptions, whose table is whose.

use super::{Look, has_store, is_error, same};
use crate::dm::{SnapshotArgs, Table, Target};
use crate::merge::executor::Seen;

impl Look<'_> {
    pub(super) fn origin(&self) -> String {
        self.record.origin.name.clone()
    }

    /// The snapshot's name. Asked for only where the scene has a snapshot.
    pub(super) fn snapshot(&self) -> String {
        self.record.snapshot.as_ref().map(|it| it.device.name.clone()).unwrap_or_default()
    }

    /// The snapshot, as long as it holds the exceptions.
    pub(super) fn holder(&self) -> Option<&Seen> {
        let snapshot = self.scene.snapshot.as_ref()?;
        (self.is_snapshot(&snapshot.live) && has_store(&snapshot.live)).then_some(snapshot)
    }

    /// Whether a table is on the way to the merge, and not live.
    pub(super) fn half_loaded(&self) -> bool {
        let origin = self.scene.origin.as_ref().and_then(|seen| seen.inactive.as_ref());
        let snapshot = self.scene.snapshot.as_ref().and_then(|seen| seen.inactive.as_ref());
        origin.is_some_and(|table| self.is_merge(table)) || snapshot.is_some_and(is_error)
    }

    pub(super) fn args(&self) -> Option<&SnapshotArgs> {
        self.record.args()
    }

    pub(super) fn is_merge(&self, table: &Table) -> bool {
        self.is_over_our_store(table, "snapshot-merge")
    }

    pub(super) fn is_snapshot(&self, table: &Table) -> bool {
        self.is_over_our_store(table, "snapshot")
    }

    /// Compared by the devices alone: without a store, a target prints a chunk size of 0.
    pub(super) fn is_over_our_store(&self, table: &Table, kind: &str) -> bool {
        let Some((args, target)) = self.args().zip(table.only()) else { return false };
        let params = target.params();
        let mut words = params.split_ascii_whitespace();
        target.kind() == kind
            && words.next() == Some(&*args.real.to_string())
            && words.next() == Some(&*args.cow.to_string())
    }

    /// What an origin carries before and after.
    pub(super) fn is_plain(&self, table: &Table) -> bool {
        let real = self.args().map(|args| &args.real);
        let after = match table.only() {
            Some(Target::Linear { device, offset }) => Some(device) == real && offset.0 == 0,
            Some(Target::SnapshotOrigin { real: device }) => Some(device) == real,
            _ => false,
        };
        after || same(table, &self.record.origin_before)
    }
}
