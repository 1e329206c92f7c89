//! Where a merge is, decided from what the kernel and the probes say.

use crate::sample::{End, KernelView, Owner, Sample};

/// Where a merge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// LVM has recorded the merge and begins it at the next activation of the volume.
    Scheduled,
    /// The kernel works on it.
    Merging,
    /// It has made no progress for longer than the threshold.
    Stalled,
    /// The origin is suspended: nothing moves until it is resumed.
    Suspended,
    /// All is merged, and the merge target still in place.
    DoneNotFinished,
    /// All is merged, and the origin is a plain device again.
    Finished,
    /// The kernel gave up.
    Failed,
    /// The exception store is invalid.
    Invalid,
    /// The device is gone, or carries something else, before the merge was seen to be done.
    Gone,
    /// The status cannot be read.
    Unknown,
}

impl State {
    /// The state's word, for people and for JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Merging => "merging",
            Self::Stalled => "stalled",
            Self::Suspended => "suspended",
            Self::DoneNotFinished => "done-not-finished",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Invalid => "invalid",
            Self::Gone => "gone",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the kernel has nothing more to do for it.
    pub const fn is_over(self) -> bool {
        matches!(
            self,
            Self::DoneNotFinished | Self::Finished | Self::Failed | Self::Invalid | Self::Gone
        )
    }

    /// The state at one sample. `was_done`: whether all was merged at an earlier one.
    pub(super) fn at(sample: &Sample, owner: Owner, was_done: bool) -> Self {
        let probe_says_done = matches!(sample.end, Some(End::Done { .. }));
        match &sample.kernel {
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
            KernelView::Unknown { .. } => Self::Unknown,
        }
    }
}
