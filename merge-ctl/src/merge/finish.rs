//! Finishes a merge that has nothing left to do: the origin becomes a plain device again.

use super::executor::{Executor, Step};
use super::preflight::{Obstacle, Refusal, at_rest, refusal};
use crate::dm::{Device, DmError, Host, SnapshotStatus, Table, Target};
use crate::harmless::{printable, quoted};
use crate::units::Sectors;

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
    #[error("the merge of {} was not finished: {error}\nNothing was changed.", printable(origin))]
    NotFinished {
        /// The origin.
        origin: String,
        /// What device-mapper answered.
        error: DmError,
    },
    /// The device stays suspended.
    #[error(
        "{error}\n{} IS SUSPENDED with its new table loaded: all I/O on it waits. Try \
         `dmsetup resume {}`.",
        printable(origin),
        quoted(origin)
    )]
    Suspended {
        /// The origin.
        origin: String,
        /// What device-mapper answered.
        error: DmError,
    },
}

impl Finish {
    /// How a merge that is done is finished: the origin keeps its snapshots, or becomes plain.
    ///
    /// # Errors
    /// Where there is nothing to finish, or it is not ours to finish.
    pub fn of(host: &Host, origin: &Device) -> Result<Self, Refusal> {
        let label = origin.label();
        let Some(args) = origin.merge() else {
            return Err(refusal(
                format!("No snapshot is being merged into {label}."),
                "There is nothing to finish. `merge-ctl status` lists what there is.",
            ));
        };
        match &origin.status {
            Some(SnapshotStatus::Usage(usage)) if usage.is_empty() => {}
            Some(SnapshotStatus::Usage(_)) => {
                return Err(Refusal {
                    obstacle: Obstacle::StillMerging,
                    reason: format!("The merge into {label} is not done."),
                    way_out: format!("Watch it: merge-ctl monitor {label}."),
                });
            }
            _ => {
                return Err(Refusal {
                    obstacle: Obstacle::Failed,
                    reason: format!("The merge into {label} has failed, or its store is invalid."),
                    way_out:
                        "Do not suspend or resume the device. Deactivate it fully, so that the \
                              metadata is read again from disk."
                            .to_owned(),
                });
            }
        }
        at_rest(origin)?;
        let siblings =
            args.real.number().is_some_and(|real| host.snapshots_of(real).next().is_some());
        let plain = match siblings {
            true => Target::SnapshotOrigin { real: args.real.clone() },
            false => Target::Linear { device: args.real.clone(), offset: Sectors(0) },
        };
        Ok(Self { origin: origin.info.name.clone(), plain: Table::single(origin.size(), plain) })
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dm::host::tests::device;
    use crate::merge::preflight::tests::picture;

    #[test]
    fn only_a_merge_that_is_done_is_finished() {
        let merging = |status: &str| {
            let mut host = picture();
            host.devices[1] = device(1, "origin", "0 800 snapshot-merge 253:0 253:2 P 8", status);
            host.devices[3] = device(3, "other", "0 800 snapshot 253:9 253:8 P 8", "16/400 16");
            host
        };
        let host = merging("16/400 16");
        let plain = Finish::of(&host, &host.devices[1]).unwrap().plain;
        assert_eq!(plain, Table::parse("0 800 linear 253:0 0").unwrap());

        let mut host = merging("16/400 16");
        host.devices[3].table = Table::parse("0 800 snapshot 253:0 253:8 P 8").unwrap();
        let plain = Finish::of(&host, &host.devices[1]).unwrap().plain;
        assert_eq!(plain, Table::parse("0 800 snapshot-origin 253:0").unwrap());

        for status in ["24/400 16", "Merge failed", "Invalid", "Overflow", "Unknown"] {
            let host = merging(status);
            Finish::of(&host, &host.devices[1]).unwrap_err();
        }
        let host = picture();
        Finish::of(&host, &host.devices[1]).unwrap_err();
    }
}
