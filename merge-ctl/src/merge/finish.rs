//! Finishes a merge that has nothing left to do: the origin becomes a plain device again.

use super::executor::{Executor, Step};
use crate::dm::{self, Table};

/// A merge that is done, and what its origin becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    /// The origin's device-mapper name.
    pub origin: String,
    /// Its table then: linear, or snapshot-origin where siblings are left.
    pub plain: Table,
}

/// Why a merge could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// Nothing was changed.
    #[error("the merge of {origin} was not finished: cannot {step}: {error}\nNothing was changed.")]
    NotFinished {
        /// The origin.
        origin: String,
        /// What failed.
        step: Step,
        /// What device-mapper answered.
        error: dm::Error,
    },
    /// The device stays suspended.
    #[error(
        "cannot {step}: {error}\n{origin} IS SUSPENDED with its new table loaded: all I/O on it \
         waits. Try `dmsetup resume {origin}`."
    )]
    Suspended {
        /// The origin.
        origin: String,
        /// What failed.
        step: Step,
        /// What device-mapper answered.
        error: dm::Error,
    },
}

impl Finish {
    /// Swaps the merge target for the plain table.
    ///
    /// To be called only for a merge whose status says that it is done: the suspend of a merge
    /// that has *failed* lets the kernel overwrite data at the next resume.
    ///
    /// Blocks while I/O in flight on the origin ends.
    ///
    /// # Errors
    /// [`FinishError`]; all but `Suspended` leave the merge as it was: done, not finished.
    pub fn carry_out(&self, executor: &mut impl Executor) -> Result<(), FinishError> {
        let origin = || self.origin.clone();
        let not_finished =
            |step: Step, error| FinishError::NotFinished { origin: origin(), step, error };
        let load = Step::Load(origin(), self.plain.clone());
        executor.act(&load).map_err(|error| not_finished(load, error))?;
        let suspend = Step::Suspend(origin());
        if let Err(error) = executor.act(&suspend) {
            // A suspend that failed has been rolled back by the kernel; only the slot is ours.
            return Err(match executor.act(&Step::Clear(origin())) {
                Ok(()) => not_finished(suspend, error),
                Err(clear_error) => not_finished(Step::Clear(origin()), clear_error),
            });
        }
        let resume = Step::Resume(origin());
        // Once more where it failed: nothing else brings the device back.
        executor
            .act(&resume)
            .or_else(|_| executor.act(&resume))
            .map_err(|error| FinishError::Suspended { origin: origin(), step: resume, error })
    }
}
