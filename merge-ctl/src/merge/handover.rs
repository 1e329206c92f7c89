//! Begins a merge while its snapshot is active: the live handover of the exceptions.
//!
//! The kernel wants the merge target on the origin and an error target on the snapshot, both
//! suspended, the origin resumed first (`drivers/md/dm-snap.c`, `snapshot_preresume`). The merge
//! begins inside that resume. Whatever fails before it is undone; what fails after it cannot be,
//! and need not: the merge runs.

use std::fmt;

use super::executor::{Executor, Step};
use crate::dm::{DmError, Table};

/// Everything that the handover needs to know, and to undo it.
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

/// A merge that has begun.
#[derive(Debug, Default)]
pub struct Begun {
    /// Steps after the beginning that failed: the snapshot's device is still there.
    pub left_over: Vec<Failure>,
}

/// A step and what device-mapper said to it.
#[derive(Debug)]
pub struct Failure {
    /// What was tried.
    pub step: Step,
    /// What was answered.
    pub error: DmError,
}

/// A merge that could not begin.
#[derive(Debug)]
pub struct NotBegun {
    /// What failed.
    pub cause: Failure,
    /// What then failed in undoing; nothing where all is as it was.
    pub not_undone: Vec<Failure>,
}

impl fmt::Display for NotBegun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the merge was not begun: {}", self.cause.error)?;
        if self.not_undone.is_empty() {
            return write!(f, "\nOrigin and snapshot are as they were.");
        }
        for failure in &self.not_undone {
            write!(f, "\nAND UNDOING FAILED: {}", failure.error)?;
        }
        write!(
            f,
            "\nBring the devices back by hand: look at `dmsetup info` and `dmsetup table`, clear \
             inactive tables, then resume what is suspended."
        )
    }
}

impl std::error::Error for NotBegun {}

impl Handover {
    /// Begins the merge.
    ///
    /// Blocks while I/O in flight on both devices ends, and inside the last resume for as long as
    /// the first run waits for sibling snapshots.
    ///
    /// # Errors
    /// [`NotBegun`], with everything undone that could be.
    pub fn begin(&self, executor: &mut impl Executor) -> Result<Begun, Box<NotBegun>> {
        let origin = || self.origin.clone();
        let snapshot = || self.snapshot.clone();
        let steps = [
            Step::Load(origin(), self.origin_merging.clone()),
            Step::Load(snapshot(), self.snapshot_error.clone()),
            Step::Suspend(snapshot()),
            Step::Suspend(origin()),
            Step::Resume(origin()),
        ];
        for (index, step) in steps.iter().enumerate() {
            if let Err(error) = executor.act(step) {
                let cause = Failure { step: step.clone(), error };
                let not_undone = self.undo(executor, &steps[..=index]);
                return Err(Box::new(NotBegun { cause, not_undone }));
            }
        }
        let last = [Step::Resume(snapshot()), Step::Remove(snapshot())];
        Ok(Begun { left_over: act_all(executor, last) })
    }

    /// Undoes the steps tried so far; the last of them failed.
    fn undo(&self, executor: &mut impl Executor, tried: &[Step]) -> Vec<Failure> {
        let mut undo = Vec::new();
        let suspended = |device: &str| tried.contains(&Step::Suspend(device.to_owned()));
        if tried.contains(&Step::Resume(self.origin.clone())) {
            // A failed resume may have made the merge target the live one already. No run has
            // begun, so the old table may still take its place.
            undo.push(Step::Load(self.origin.clone(), self.origin_before.clone()));
        } else {
            undo.push(Step::Clear(self.origin.clone()));
        }
        undo.push(Step::Clear(self.snapshot.clone()));
        // Inactive tables are gone by now: a resume brings back the live one. The origin first, so
        // that nothing is merging when the snapshot comes back.
        for device in [&self.origin, &self.snapshot] {
            if suspended(device) {
                undo.push(Step::Resume(device.clone()));
            }
        }
        act_all(executor, undo)
    }
}

/// Tries every step, also after one that fails.
fn act_all(executor: &mut impl Executor, steps: impl IntoIterator<Item = Step>) -> Vec<Failure> {
    steps
        .into_iter()
        .filter_map(|step| executor.act(&step).err().map(|error| Failure { step, error }))
        .collect()
}
