//! The order of steps around an offline merge of a logical volume.
//!
//! What always holds: before the first byte is copied, LVM's metadata says on stable storage that
//! the snapshot is merged, and no device of the volume is there. From then on *any* activation, also
//! after a crash, makes the kernel present and merge what is left, so nobody can ever see a
//! half-merged origin, and nothing but an activation is needed to go on. While data is copied nobody
//! can activate the volume underneath: the group is locked, and the names that lvm2 would give to
//! its devices are taken by ours; both end with this process, however it ends.
//!
//! The order is here, and what is left where it ends early; hands that do the steps are a [`Hands`]:
//! [`hands`] for real, and one that fails wherever it is told to in tests.

pub mod captured;
mod check;
pub mod hands;
pub mod layout;
pub mod leftovers;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;

use self::captured::Captured;
use super::lvm2::{LvmError, MergeStart, Segment, Volume};
use crate::dm::DmError;
use crate::offline::OfflineError;

pub use self::check::Unfit;

/// What is merged, by its names in LVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The volume group.
    pub vg: String,
    /// What is merged into.
    pub origin: String,
    /// What is merged.
    pub snapshot: String,
}

impl Names {
    /// `vg/origin`.
    pub fn origin(&self) -> String {
        format!("{}/{}", self.vg, self.origin)
    }

    /// `vg/snapshot`.
    pub fn snapshot(&self) -> String {
        format!("{}/{}", self.vg, self.snapshot)
    }
}

/// One step, in the order in which they are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Take the origin down, and its snapshot with it.
    Deactivate,
    /// Let LVM record the merge.
    Record,
    /// Make the record durable on all disks of the group.
    Flush,
    /// Take LVM's lock on the group.
    Lock,
    /// See that everything is as it must be, now that nobody can change it.
    Look,
    /// Make private devices over the data and the exceptions, under the names that lvm2 would use.
    Hold,
    /// Copy, flush and clear: the engine's part.
    Copy,
    /// Remove the private devices.
    LetGo,
    /// Give the lock back.
    Unlock,
    /// Bring the origin up.
    Activate,
    /// Wait until LVM has dropped the snapshot.
    Drop,
    /// Take the origin down again, where it was down at the beginning.
    Restore,
}

impl Step {
    /// All of them, in their order.
    pub const ALL: [Self; 12] = [
        Self::Deactivate,
        Self::Record,
        Self::Flush,
        Self::Lock,
        Self::Look,
        Self::Hold,
        Self::Copy,
        Self::LetGo,
        Self::Unlock,
        Self::Activate,
        Self::Drop,
        Self::Restore,
    ];
}

/// In words that follow "could not".
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deactivate => "deactivate the origin",
            Self::Record => "have the merge recorded by LVM",
            Self::Flush => "make LVM's record of the merge durable",
            Self::Lock => "take LVM's lock on the volume group",
            Self::Look => "see whether all is as it must be before anything is copied",
            Self::Hold => "make the devices to copy with",
            Self::Copy => "copy",
            Self::LetGo => "remove the devices that were copied with",
            Self::Unlock => "give LVM's lock back",
            Self::Activate => "activate the origin",
            Self::Drop => "see LVM drop the snapshot",
            Self::Restore => "deactivate the origin again",
        })
    }
}

/// What went wrong in a step.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// lvm2 could not do its part.
    #[error(transparent)]
    Lvm(#[from] LvmError),
    /// Device-mapper could not.
    #[error(transparent)]
    Dm(#[from] DmError),
    /// A device cannot be opened for us alone.
    #[error(transparent)]
    Offline(#[from] OfflineError),
    /// The system could not.
    #[error("{what}")]
    Io {
        /// What was tried with what.
        what: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Something is not as it must be.
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

/// Where the volume is once we are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As it was found: nothing was changed.
    AsFound,
    /// Not active; nothing else was changed.
    Down,
    /// Active, where it was not when it was found; nothing else was changed.
    Up,
    /// Not active, and LVM has the merge on record: the next activation merges on.
    Recorded,
    /// Somebody has activated it: the kernel merges.
    Merging,
    /// LVM may have the merge on record or not: it does not say.
    Unknown,
    /// All is merged and the volume is active; LVM has not dropped the snapshot yet.
    NotDropped,
    /// All is merged, and LVM has dropped the snapshot; the volume is still active.
    StillUp,
}

/// Why the steps ended early, and what is left.
#[derive(Debug, thiserror::Error)]
#[error("could not {step}")]
pub struct Halt {
    /// The step that did not succeed.
    pub step: Step,
    /// Where the volume is now.
    pub standing: Standing,
    /// Why.
    #[source]
    pub why: StepError,
}

/// What is there, while the group is locked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What LVM knows of the group's volumes.
    pub volumes: Vec<Volume>,
    /// Where they lie on the disks.
    pub segments: Vec<Segment>,
    /// Device-mapper devices of the origin or the snapshot: there must be none.
    pub active: Vec<String>,
    /// Disks below that are not those that were there when the tables were captured.
    pub changed_disks: Vec<String>,
}

/// Does the steps. Each is done once it returns without an error.
pub trait Hands {
    /// What the engine gets.
    type Devices;
    /// What is merged.
    fn captured(&self) -> &Captured;
    /// [`Step::Deactivate`], [`Step::Restore`].
    ///
    /// # Errors
    /// lvm2's, where somebody has it open among others; it may be half down then.
    fn deactivate(&mut self) -> Result<(), StepError>;
    /// [`Step::Activate`], and the way back from [`Step::Deactivate`].
    ///
    /// # Errors
    /// lvm2's.
    fn activate(&mut self) -> Result<(), StepError>;
    /// [`Step::Record`].
    ///
    /// # Errors
    /// lvm2's; what it has written by then is to be looked at.
    fn record(&mut self) -> Result<MergeStart, StepError>;
    /// [`Step::Flush`].
    ///
    /// # Errors
    /// Where a disk cannot be flushed.
    fn flush(&mut self) -> Result<(), StepError>;
    /// [`Step::Lock`].
    ///
    /// # Errors
    /// Where somebody else has the group locked for long.
    fn lock(&mut self) -> Result<(), StepError>;
    /// [`Step::Unlock`]; nothing where it is not locked.
    fn unlock(&mut self);
    /// Reads what [`Step::Look`] judges. Changes nothing.
    ///
    /// # Errors
    /// Where lvm2 or device-mapper does not tell.
    fn look(&mut self) -> Result<Seen, StepError>;
    /// [`Step::Hold`].
    ///
    /// # Errors
    /// Where a device cannot be made, or a name is taken.
    fn hold(&mut self) -> Result<Self::Devices, StepError>;
    /// [`Step::LetGo`]: all of them, as far as they are there; waits a moment for who has one open.
    ///
    /// # Errors
    /// Where one is still there.
    fn let_go(&mut self) -> Result<(), StepError>;
    /// Whether LVM has dropped the snapshot; makes it look now and then.
    ///
    /// # Errors
    /// Where lvm2 does not tell.
    fn has_dropped(&mut self) -> Result<bool, StepError>;
}

/// From a volume that is active and used by nobody to devices that the engine may copy with.
///
/// # Errors
/// [`Halt`]: everything was undone that can be.
pub fn prepare<H: Hands>(hands: &mut H) -> Result<H::Devices, Halt> {
    hands.deactivate().map_err(|why| back(hands, Step::Deactivate, why))?;
    match hands.record() {
        Ok(MergeStart::AtNextActivation(_)) => {}
        Ok(MergeStart::Started) => {
            let why = Unfit::Activated.into();
            return Err(Halt { step: Step::Record, standing: Standing::Merging, why });
        }
        Err(why) => return Err(record_failed(hands, why)),
    }
    hold_recorded(hands).map_err(|(step, why)| leave_recorded(hands, step, why))
}

/// From a volume that is not active, and whose merge LVM has on record, to devices that the engine may
/// copy with. It is not active afterwards either, so all that is left to do at the end is [`abandon`].
///
/// # Errors
/// [`Halt`]: everything is as it was.
pub fn prepare_recorded<H: Hands>(hands: &mut H) -> Result<H::Devices, Halt> {
    hold_recorded(hands).map_err(|(step, why)| leave_recorded(hands, step, why))
}

/// What comes once LVM has the merge on record.
fn hold_recorded<H: Hands>(hands: &mut H) -> Result<H::Devices, (Step, StepError)> {
    hands.flush().map_err(|why| (Step::Flush, why))?;
    hands.lock().map_err(|why| (Step::Lock, why))?;
    let seen = hands.look().map_err(|why| (Step::Look, why))?;
    check::check(&seen, hands.captured()).map_err(|unfit| (Step::Look, unfit.into()))?;
    hands.hold().map_err(|why| (Step::Hold, why))
}

/// Back to what was found, before anything was recorded.
fn back<H: Hands>(hands: &mut H, step: Step, why: StepError) -> Halt {
    let found_active = hands.captured().found_active;
    let restored = if found_active { hands.activate() } else { hands.deactivate() };
    let standing = match restored {
        Ok(()) => Standing::AsFound,
        Err(_) if found_active => Standing::Down,
        Err(_) => Standing::Up,
    };
    Halt { step, standing, why }
}

/// Whether lvm2 has recorded the merge all the same decides what is left.
fn record_failed<H: Hands>(hands: &mut H, why: StepError) -> Halt {
    match hands.look() {
        Ok(seen) if check::is_recorded(&seen, &hands.captured().names) => {
            Halt { step: Step::Record, standing: Standing::Recorded, why }
        }
        Ok(_) => back(hands, Step::Record, why),
        Err(_) => Halt { step: Step::Record, standing: Standing::Unknown, why },
    }
}

/// Gives everything back; LVM's record stays, since nobody can call it off.
fn leave_recorded<H: Hands>(hands: &mut H, step: Step, why: StepError) -> Halt {
    let merging = matches!(why, StepError::Unfit(Unfit::Activated));
    // What cannot be removed now goes with this process.
    let _ = hands.let_go();
    hands.unlock();
    let standing = if merging { Standing::Merging } else { Standing::Recorded };
    Halt { step, standing, why }
}

/// Gives everything back after the engine was stopped, or has failed, or where somebody else activates
/// the volume.
///
/// # Errors
/// [`Halt`] where a private device is still there. The lock is kept then, until this process ends.
pub fn abandon<H: Hands>(hands: &mut H) -> Result<(), Halt> {
    let standing = Standing::Recorded;
    hands.let_go().map_err(|why| Halt { step: Step::LetGo, standing, why })?;
    hands.unlock();
    Ok(())
}

/// What comes after the engine has merged everything; `wait` pauses between two looks, and says
/// whether to look again.
///
/// # Errors
/// [`Halt`]: nothing is lost, and what is left to be done is in its standing.
pub fn finish<H: Hands>(hands: &mut H, wait: impl FnMut() -> bool) -> Result<(), Halt> {
    abandon(hands)?;
    let halt = |step, standing| move |why| Halt { step, standing, why };
    hands.activate().map_err(halt(Step::Activate, Standing::Recorded))?;
    await_drop(hands, wait).map_err(halt(Step::Drop, Standing::NotDropped))?;
    if hands.captured().found_active {
        return Ok(());
    }
    hands.deactivate().map_err(halt(Step::Restore, Standing::StillUp))
}

fn await_drop<H: Hands>(hands: &mut H, mut wait: impl FnMut() -> bool) -> Result<(), StepError> {
    loop {
        // A look at metadata that is just being written may fail: that is not the end.
        let last = match hands.has_dropped() {
            Ok(true) => return Ok(()),
            Ok(false) => Unfit::NotDropped.into(),
            Err(error) => error,
        };
        if !wait() {
            return Err(last);
        }
    }
}
