//! The safe way on from a merge that has failed, for an origin of nobody's but device-mapper.
//!
//! The kernel's own copy of the metadata no longer tells the truth after a failure
//! (`drivers/md/dm-snap-persistent.c`: `persistent_commit_merge` clears entries before it writes
//! them, `persistent_prepare_merge` steps back an area before it reads it), and a resume goes on from
//! that copy. So the device is removed, which forgets the copy, and made anew, which reads the
//! metadata from disk. Removing it starts nothing and writes nothing: `__dm_destroy` calls
//! `snapshot_merge_presuspend` and `snapshot_dtr`, both of which only stop a merge, and
//! `persistent_dtr` only frees memory.
//!
//! What always holds: nothing is suspended; nothing is resumed before it has a table that was loaded
//! after the failure; a device in use is not removed, not even later. What to do next is decided from
//! what is there ([`SafePath::steps`]), so that after any failure or interruption the same call goes
//! on. While the device is not there, its name, its UUID and its table are in the merge's journal,
//! which the caller writes before.

pub mod answers;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use super::executor::{Executor, Step};
use super::journal::{Named, Record};
use super::preflight::{HoldersOf, Obstacle, Refusal};
use crate::dm::holders::{Holder, Holders};
use crate::dm::{Device, DmError, Host, SnapshotStatus, Table};
use crate::harmless::argument;
use crate::safe_path;

/// What has to be known to make a failed merge's device anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafePath {
    /// The merging origin.
    pub origin: Named,
    /// Its table: snapshot-merge.
    pub merging: Table,
}

impl SafePath {
    /// From the device that still carries the failed merge.
    pub fn of(origin: &Device) -> Self {
        let Device { info, table, .. } = origin;
        let origin = Named { name: info.name.clone(), uuid: info.uuid.clone() };
        Self { origin, merging: table.clone() }
    }

    /// From a journal whose phase is `Failed`, over the devices of this boot.
    pub fn of_record(record: &Record) -> Self {
        Self { origin: record.origin.clone(), merging: record.origin_merging.clone() }
    }

    /// What is left to do, from what is there now; empty where the merge goes on already.
    ///
    /// # Errors
    /// A device that is in use, or is not what it should be.
    pub fn steps(&self, host: &Host, holders: &impl HoldersOf) -> Result<Vec<Step>, Refusal> {
        let name = || self.origin.name.clone();
        let create = Step::Create(name(), self.origin.uuid.clone());
        let load = Step::Load(name(), self.merging.clone());
        let resume = Step::Resume(name());
        let Some(device) = host.by_name(&self.origin.name) else {
            return Ok(vec![create, load, resume]);
        };
        self.is_ours(device)?;
        if !device.info.live_table {
            // A second load would be refused while the first table is there. It is dropped also
            // because nobody says that it was ours.
            let clear = device.info.inactive_table.then(|| Step::Clear(name()));
            return Ok(clear.into_iter().chain([load, resume]).collect());
        }
        match &device.status {
            Some(SnapshotStatus::MergeFailed) => {
                self.may_be_removed(device, holders)?;
                Ok(vec![Step::RemoveUnused(name()), create, load, resume])
            }
            // Read from disk after the failure: it may be resumed, and has to be.
            Some(SnapshotStatus::Usage(_)) if device.info.suspended => Ok(vec![resume]),
            Some(SnapshotStatus::Usage(_)) => Ok(Vec::new()),
            _ => Err(self.unfit("its exception store is invalid, or its status is not known")),
        }
    }

    fn is_ours(&self, device: &Device) -> Result<(), Refusal> {
        if device.info.uuid != self.origin.uuid {
            return Err(self.unfit("it has another UUID than the merge that failed"));
        }
        if device.info.live_table && device.table != self.merging {
            return Err(self.unfit(&format!("its table is `{}` now", device.table)));
        }
        Ok(())
    }

    fn may_be_removed(&self, device: &Device, holders: &impl HoldersOf) -> Result<(), Refusal> {
        if device.info.inactive_table {
            return Err(self.unfit("it has a second table loaded: somebody is about to change it"));
        }
        unused(device, holders)
    }

    fn unfit(&self, why: &str) -> Refusal {
        Refusal {
            obstacle: Obstacle::Unfit,
            reason: format!("{} is not touched: {why}.", self.origin.name),
            way_out: "Look at `dmsetup info`, `dmsetup table` and `dmsetup status`, and put right \
                      what somebody has changed."
                .to_owned(),
        }
    }

    /// Takes the steps.
    ///
    /// Blocks while the whole exception store is read.
    ///
    /// # Errors
    /// [`Stopped`], with what is there now. To be called again once the cause is gone, with the
    /// steps that are then left.
    pub fn carry_out(
        &self,
        steps: &[Step],
        executor: &mut impl Executor,
    ) -> Result<(), Box<Stopped>> {
        for step in steps {
            executor.act(step).map_err(|error| {
                let (origin, step) = (self.origin.name.clone(), step.clone());
                Box::new(Stopped { origin, step, error })
            })?;
        }
        Ok(())
    }
}

/// That nobody uses an origin whose merge has failed, so that it can be taken down.
///
/// # Errors
/// [`Obstacle::InUse`], with who does.
pub fn unused(device: &Device, holders: &impl HoldersOf) -> Result<(), Refusal> {
    if device.info.open_count == 0 {
        return Ok(());
    }
    let found = holders.holders_of(device.info.dev);
    let label = device.label();
    let who = match found.0.is_empty() {
        true => "open, by somebody who cannot be seen from here".to_owned(),
        false => found.to_string(),
    };
    let way_out = if is_root(&found) {
        "It holds the root file system, which cannot be unmounted: reboot. The start of the system \
         activates it anew, with its metadata read from disk, and the merge goes on; then: \
         merge-ctl status"
            .to_owned()
    } else {
        format!(
            "It has to be taken down for a moment. Stop or unmount what uses it, then: merge-ctl \
             resume {}",
            argument(&label)
        )
    };
    let reason = format!("{label} is in use: {who}.");
    Err(Refusal { obstacle: Obstacle::InUse, reason, way_out })
}

fn is_root(holders: &Holders) -> bool {
    let root = Path::new("/");
    holders.0.iter().any(|holder| matches!(holder, Holder::Mount { path } if path == root))
}

/// A step on the safe path that failed. The steps before it are done.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Stopped {
    /// The origin.
    pub origin: String,
    /// What was tried.
    pub step: Step,
    /// What device-mapper answered.
    pub error: DmError,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, step, error } = self;
        writeln!(f, "{error}")?;
        match step {
            Step::RemoveUnused(_) => writeln!(f, "Nothing was changed.")?,
            Step::Create(..) => writeln!(
                f,
                "{origin} IS NOT THERE now; the data and the exceptions below are untouched."
            )?,
            Step::Resume(_) => writeln!(f, "{origin} is there, and its I/O may be held.")?,
            _ => writeln!(
                f,
                "{origin} is there WITHOUT A TABLE; the data and the exceptions below are \
                 untouched."
            )?,
        }
        write!(f, "Put right what stands in the way, then: merge-ctl resume {}", argument(origin))
    }
}

/// That a merge has failed and can be gone on with.
///
/// # Errors
/// Where there is no merge, or none that failed.
pub fn has_failed(origin: &Device) -> Result<(), Refusal> {
    let label = origin.label();
    let (obstacle, reason, way_out) = match (&origin.status, origin.merge()) {
        (Some(SnapshotStatus::MergeFailed), Some(_)) => return Ok(()),
        (_, None) => (
            Obstacle::Unfit,
            format!("No snapshot is being merged into {label}."),
            "`merge-ctl status` lists what there is.".to_owned(),
        ),
        (Some(SnapshotStatus::Usage(_)), _) => (
            Obstacle::Unfit,
            format!("The merge into {label} has not failed."),
            format!(
                "Watch it: merge-ctl monitor {0}. If it is done: merge-ctl finish {0}",
                argument(&label)
            ),
        ),
        _ => (
            Obstacle::Failed,
            format!("The exception store of the merge into {label} is invalid, or not known."),
            format!("What was not merged is lost: check {label}, or restore it from a backup."),
        ),
    };
    Err(Refusal { obstacle, reason, way_out })
}

/// What is about to be done, and what users of the volume will notice, for whoever has to agree.
pub fn question(origin: &Device) -> String {
    let label = origin.label();
    format!(
        "The merge into {label} has failed. To go on, merge-ctl {}: {label} is away for a moment, \
         its metadata is read again from disk, and the merge goes on where it stopped.",
        safe_path::what_is_done(origin.owner())
    )
}
