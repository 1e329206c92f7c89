//! Choosing a step, and the words where there is none to choose.

use super::{Look, Next, Written, state};
use crate::dm::SnapshotStatus;
use crate::harmless::argument;
use crate::merge::executor::{Seen, Step};
use crate::merge::preflight::{Obstacle, Refusal};
use crate::safe_path;
use crate::sample::Owner;

impl Look<'_> {
    /// The first step that has not yet been tried in vain.
    pub(super) fn first(&self, steps: impl IntoIterator<Item = Step>, written: Written) -> Next {
        self.first_or(steps, written, || self.stuck())
    }

    pub(super) fn first_or(
        &self,
        steps: impl IntoIterator<Item = Step>,
        written: Written,
        otherwise: impl FnOnce() -> Next,
    ) -> Next {
        let step = steps.into_iter().find(|step| self.tries.left(step, &self.shape));
        step.map_or_else(otherwise, |step| Next::Step(step, written))
    }

    pub(super) fn stuck(&self) -> Next {
        Next::Stuck(state(self.record, self.scene))
    }

    pub(super) fn foreign(&self, origin: &Seen) -> Next {
        let name = &self.record.origin.name;
        Next::Refused(Refusal {
            obstacle: Obstacle::Unfit,
            reason: format!("{name} carries a table that is not of this merge: `{}`.", origin.live),
            way_out: "Somebody has changed it since. If the merge is of no interest any more, \
                      remove its journal: `merge-ctl status --json` names the file."
                .to_owned(),
        })
    }

    pub(super) fn not_mergeable(&self, snapshot: &Seen) -> Option<Refusal> {
        let status = match &snapshot.status {
            Some(SnapshotStatus::Usage(_)) => return None,
            Some(status) => status.to_string(),
            None => "nothing".to_owned(),
        };
        Some(Refusal {
            obstacle: Obstacle::Failed,
            reason: format!("{} cannot be merged: the kernel says {status}.", self.snapshot()),
            way_out: "What it held cannot be had back from it.".to_owned(),
        })
    }

    pub(super) fn never_resume(&self) -> Refusal {
        let name = &self.record.origin.name;
        Refusal {
            obstacle: Obstacle::Failed,
            reason: format!("The merge into {name} has failed, or its store is invalid."),
            way_out: safe_path::way_out(name, Owner::DeviceMapper),
        }
    }

    pub(super) fn not_done(&self) -> Refusal {
        let name = &self.record.origin.name;
        Refusal {
            obstacle: Obstacle::StillMerging,
            reason: format!("The merge into {name} is not done."),
            way_out: format!("Watch it: merge-ctl monitor {}.", argument(name)),
        }
    }

    pub(super) fn status_unknown(&self) -> Refusal {
        Refusal {
            obstacle: Obstacle::Unfit,
            reason: format!("The state of {} is not known.", self.record.origin.name),
            way_out: "Look at `dmsetup status` and the kernel log.".to_owned(),
        }
    }
}
