//! Where a merge is, decided from what the kernel and the probes say.

use crate::sample::{End, KernelView, OfflineEnd, Owner, Sample};
pub use crate::state::State;
use crate::units::Sectors;

impl State {
    /// The state at one sample. `was_done`: whether all was merged at an earlier one.
    pub(super) fn at(sample: &Sample, owner: Owner, was_done: bool) -> Self {
        if let Some(offline) = &sample.offline {
            return Self::of_engine(offline.end.as_ref());
        }
        let probe_says_done = matches!(sample.end, Some(End::Done { .. }));
        match &sample.kernel {
            // A merge target that has not been given its exceptions yet shows zeroes.
            KernelView::Merging { metadata: Sectors(0), .. } => Self::Starting,
            KernelView::Merging { allocated, metadata, .. } if allocated == metadata => {
                Self::DoneNotFinished
            }
            // The status line tells a failure only when it is asked again; the probe is quicker.
            KernelView::Merging { .. } if matches!(sample.end, Some(End::Failed { .. })) => {
                Self::Failed
            }
            KernelView::Merging { suspended: true, .. } => Self::Suspended,
            KernelView::Merging { .. } => Self::Merging,
            KernelView::Scheduled => Self::Scheduled,
            KernelView::MergeFailed => Self::Failed,
            KernelView::Invalid => Self::Invalid,
            // lvm2 swaps the table only once all is merged, and may do so between two samples.
            KernelView::NotMerging { target: Some(_) }
                if was_done || probe_says_done || owner == Owner::Lvm =>
            {
                Self::Finished
            }
            KernelView::NotMerging { .. } if was_done || probe_says_done => Self::Finished,
            KernelView::NotMerging { .. } => Self::Gone,
            KernelView::Unknown { .. } | KernelView::NotAsked => Self::Unknown,
        }
    }

    /// The state of an offline merge.
    const fn of_engine(end: Option<&OfflineEnd>) -> Self {
        match end {
            None => Self::Merging,
            Some(OfflineEnd::Merged) => Self::DoneNotFinished,
            Some(OfflineEnd::Finished) => Self::Finished,
            Some(OfflineEnd::Stopped) => Self::Stopped,
            Some(OfflineEnd::Failed(_)) => Self::Failed,
        }
    }
}
