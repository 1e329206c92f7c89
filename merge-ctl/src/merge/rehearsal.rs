//! An offline merge without devices: the steps that the controller would take, for whoever wants to
//! read them before.
//!
//! The same decisions as in earnest, over two devices in memory that do what they are told. Nothing
//! is read or changed here.

use super::drive::{Log, Unwritten, drive};
use super::executor::{Executor, Seen, Step};
use super::journal::{Phase, Record};
use super::machine::Goal;
use crate::dm::{DmError, SnapshotStatus, Table, Usage};
use crate::units::Sectors;

/// The steps around the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Until the engine has the devices below for itself.
    pub before: Vec<Step>,
    /// Once it has cleared the store.
    pub after: Vec<Step>,
}

/// The steps of the offline merge of a record, where nothing goes wrong. `plain` is what the origin
/// carries in the end.
pub fn steps(record: &Record, plain: &Table) -> Steps {
    let mut stage = Stage::of(record);
    let mut log = Unwritten(Record { phase: Phase::Starting, offline: true, ..record.clone() });
    drive(&Goal::Aside, &mut stage, &mut log);
    let before = std::mem::take(&mut stage.steps);
    // In memory that does not fail.
    if log.advance(Phase::Merging).is_ok() {
        drive(&Goal::Merge, &mut stage, &mut log);
        drive(&Goal::Finish(plain.clone()), &mut stage, &mut log);
    }
    Steps { before, after: stage.steps }
}

/// Both devices, and what was done with them.
struct Stage {
    devices: Vec<(String, Seen)>,
    steps: Vec<Step>,
}

impl Stage {
    fn of(record: &Record) -> Self {
        let snapshot = record.snapshot.iter().map(|it| (it.device.name.clone(), &it.before));
        let both = std::iter::once((record.origin.name.clone(), &record.origin_before));
        let seen = |(name, table): (String, &Table)| {
            let live = table.clone();
            (name, Seen { status: status(&live), live, ..Seen::default() })
        };
        Self { devices: both.chain(snapshot).map(seen).collect(), steps: Vec::new() }
    }
}

/// A target on a store is seen to have nothing to merge: what comes after the engine begins there.
fn status(table: &Table) -> Option<SnapshotStatus> {
    let kind = table.only()?.kind();
    let metadata = Sectors(16);
    let usage = Usage { allocated: metadata, total: table.length(), metadata };
    kind.starts_with("snapshot").then_some(SnapshotStatus::Usage(usage))
}

impl Executor for Stage {
    fn look(&mut self, name: &str) -> Result<Option<Seen>, DmError> {
        Ok(self.devices.iter().find(|(known, _)| known == name).map(|(_, seen)| seen.clone()))
    }

    fn act(&mut self, step: &Step) -> Result<(), DmError> {
        self.steps.push(step.clone());
        if let Step::Remove(name) | Step::RemoveUnused(name) = step {
            self.devices.retain(|(known, _)| known != name);
        }
        let device = self.devices.iter_mut().find(|(known, _)| known == step.device());
        let Some((_, seen)) = device else { return Ok(()) };
        match step {
            Step::Load(_, table) => seen.inactive = Some(table.clone()),
            Step::Clear(_) => seen.inactive = None,
            Step::Suspend(_) => seen.suspended = true,
            Step::Resume(_) => {
                seen.suspended = false;
                if let Some(table) = seen.inactive.take() {
                    (seen.status, seen.live) = (status(&table), table);
                }
            }
            Step::Create(..) | Step::Remove(_) | Step::RemoveUnused(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::journal::a_record;

    #[test]
    fn the_origin_goes_aside_first_and_is_plain_in_the_end() {
        let plain = Table::parse("0 800 linear 253:0 0").unwrap();
        let steps = steps(&a_record(), &plain);
        let words = |steps: &[Step]| steps.iter().map(Step::to_string).collect::<Vec<_>>();
        assert_eq!(
            words(&steps.before),
            [
                "load `0 800 error` into origin",
                "suspend origin",
                "resume origin",
                "load `0 800 error` into snap",
                "suspend snap",
                "resume snap",
            ]
        );
        assert_eq!(
            words(&steps.after),
            [
                "load `0 800 snapshot-merge 253:0 253:2 P 8` into origin",
                "suspend origin",
                "resume origin",
                "remove snap",
                "load `0 800 linear 253:0 0` into origin",
                "suspend origin",
                "resume origin",
            ]
        );
    }
}
