//! Finishes a merge that has nothing left to do: the origin becomes a plain device again.

use super::executor::{Executor, Step};
use crate::dm::{DmError, Table};

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
    #[error("the merge of {origin} was not finished: {error}\nNothing was changed.")]
    NotFinished {
        /// The origin.
        origin: String,
        /// What device-mapper answered.
        error: DmError,
    },
    /// The device stays suspended.
    #[error(
        "{error}\n{origin} IS SUSPENDED with its new table loaded: all I/O on it waits. Try \
         `dmsetup resume {origin}`."
    )]
    Suspended {
        /// The origin.
        origin: String,
        /// What device-mapper answered.
        error: DmError,
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
        let not_finished = |error| FinishError::NotFinished { origin: origin(), error };
        executor.act(&Step::Load(origin(), self.plain.clone())).map_err(not_finished)?;
        if let Err(error) = executor.act(&Step::Suspend(origin())) {
            // The kernel takes a failed suspend back by itself; only the slot is ours to empty.
            let cleared = executor.act(&Step::Clear(origin()));
            return Err(not_finished(cleared.err().unwrap_or(error)));
        }
        let resume = Step::Resume(origin());
        // Once more where it failed: nothing else brings the device back.
        executor
            .act(&resume)
            .or_else(|_| executor.act(&resume))
            .map_err(|error| FinishError::Suspended { origin: origin(), error })
    }
}
