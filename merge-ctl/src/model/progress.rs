//! Work done and left.

use super::offline;
use crate::sample::{KernelView, MergeIdentity, Sample};

/// Work done and left, in bytes of exceptions. Not the COW's fill, which counts metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Left at the first sample.
    pub initial_bytes: u64,
    /// Left now.
    pub left_bytes: u64,
}

impl Progress {
    /// Merged since the first sample.
    pub const fn merged_bytes(&self) -> u64 {
        self.initial_bytes.saturating_sub(self.left_bytes)
    }

    /// Done, from 0 to 1; 1 where there was nothing to do.
    pub fn fraction(&self) -> f64 {
        if self.initial_bytes == 0 {
            1.0
        } else {
            self.merged_bytes() as f64 / self.initial_bytes as f64
        }
    }
}

/// How full the COW device of a merge is, as its status line says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Bytes that hold metadata or exceptions.
    pub used_bytes: u64,
    /// The whole device.
    pub size_bytes: u64,
}

/// The fill, where the kernel merges and tells.
pub(super) const fn fill(sample: &Sample) -> Option<Fill> {
    match sample.kernel {
        KernelView::Merging { allocated, total, .. } => {
            Some(Fill { used_bytes: allocated.bytes(), size_bytes: total.bytes() })
        }
        _ => None,
    }
}

/// What there is still to merge; none where neither the kernel's status nor the engine tells.
///
/// Once a snapshot merges, the kernel keeps `allocated - metadata` at exactly the exceptions that
/// are left (`drivers/md/dm-snap-persistent.c`, `persistent_commit_merge`).
pub(super) fn left_bytes(sample: &Sample, identity: &MergeIdentity) -> Option<u64> {
    if let Some(facts) = &sample.offline {
        return offline::left_bytes(facts, identity.offline);
    }
    match sample.kernel {
        KernelView::Merging { allocated, metadata, .. } => {
            Some(allocated.saturating_sub(metadata).bytes())
        }
        _ => None,
    }
}
