//! The states of a merge: one list for the whole tool, with one stable word each.
//!
//! Whoever shows, waits for, journals or drives a merge says where it is with these. What shows each
//! state, what may follow it and what the operator does is drawn in `docs/states.md`. The words are
//! part of the JSON contract: they may be added to, never changed.

/// Where a merge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// There is a snapshot; whether it may be merged was not asked, or something stops it.
    Found,
    /// Nothing is in the way of the merge, and nothing of it was begun, or all was undone.
    Ready,
    /// LVM has recorded the merge and begins it at the next activation of the volume.
    Scheduled,
    /// Tables are being loaded and devices suspended; all can still be undone.
    Starting,
    /// The kernel works on it.
    Merging,
    /// It has made no progress for longer than the threshold.
    Stalled,
    /// A device is suspended: nothing moves until it is resumed.
    Suspended,
    /// An offline merge was told to stop: nothing is off the store, and the kernel, or another
    /// offline merge, can merge it all.
    Stopped,
    /// All is merged, and the merge target still in place.
    DoneNotFinished,
    /// All is merged, and the plain table is taking the merge target's place.
    Finishing,
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
    /// All there are, in the order in which a merge may pass them.
    pub const ALL: [Self; 15] = [
        Self::Found,
        Self::Ready,
        Self::Scheduled,
        Self::Starting,
        Self::Merging,
        Self::Stalled,
        Self::Suspended,
        Self::Stopped,
        Self::DoneNotFinished,
        Self::Finishing,
        Self::Finished,
        Self::Failed,
        Self::Invalid,
        Self::Gone,
        Self::Unknown,
    ];

    /// The state's word, for people and for JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Ready => "ready",
            Self::Scheduled => "scheduled",
            Self::Starting => "starting",
            Self::Merging => "merging",
            Self::Stalled => "stalled",
            Self::Suspended => "suspended",
            Self::Stopped => "stopped",
            Self::DoneNotFinished => "done-not-finished",
            Self::Finishing => "finishing",
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
            Self::DoneNotFinished
                | Self::Finishing
                | Self::Finished
                | Self::Failed
                | Self::Invalid
                | Self::Gone
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_state_has_a_word_of_its_own_and_a_place_in_the_picture() {
        let picture = include_str!("../../docs/states.md");
        let words: BTreeSet<_> = State::ALL.iter().map(|state| state.name()).collect();
        assert_eq!(words.len(), State::ALL.len());
        for word in words {
            assert!(picture.contains(&format!("| `{word}` |")), "{word} is not described");
        }
    }
}
