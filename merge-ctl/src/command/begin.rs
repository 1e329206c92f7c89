//! Begins a merge that preflight has let pass, and finishes it once it is done.

use std::time::{Duration, Instant};

use merge_ctl::dm::{Control, Host};
use merge_ctl::lvm::lvm2::{Lvm, MergeStart};
use merge_ctl::merge::handover::Handover;
use merge_ctl::merge::journal::{Journal, Record};
use merge_ctl::merge::machine::{self, Goal};
use merge_ctl::merge::preflight::{Plan, Way};
use merge_ctl::merge::recording;
use merge_ctl::model::Model;
use merge_ctl::state::State;

use super::attach::{self, Turn};
use super::followed::Finisher;
use super::raw::Raw;
use super::terminal;
use crate::exit;

/// How long lvm2 may take to drop the snapshot once it was told to look.
const PATIENCE_WITH_LVM: Duration = Duration::from_secs(60);
/// How long another merge-ctl that drives may take to finish.
const PATIENCE_WITH_A_DRIVER: Duration = Duration::from_secs(30);
/// How often it is told.
const NUDGE_EVERY: Duration = Duration::from_secs(10);

/// What became of the beginning.
pub(crate) enum Begun {
    /// The kernel merges; with who finishes it.
    Merging(Driver),
    /// LVM has put it off; with its words.
    Scheduled(String),
}

/// Begins the merge, by our own steps or by lvm2's.
///
/// # Errors
/// Where it cannot begin; what was changed for it is undone.
pub(crate) fn begin(plan: &Plan<'_>, control: &Control) -> anyhow::Result<Begun> {
    match &plan.way {
        Way::DeviceMapper(handover) => hand_over(handover, control).map(Begun::Merging),
        Way::Lvm { vg, snapshot, origin, .. } => {
            Ok(match Lvm::find()?.merge_in_background(vg, snapshot)? {
                MergeStart::Started => Begun::Merging(Driver::lvm(vg, origin)),
                MergeStart::AtNextActivation(words) => Begun::Scheduled(words),
            })
        }
    }
}

/// By our own steps, each of which the journal knows before it is done.
fn hand_over(handover: &Handover, control: &Control) -> anyhow::Result<Driver> {
    let driver = match attach::turn(control, &handover.origin)? {
        Turn::Ours(driver) => driver,
        Turn::Theirs => return Ok(Driver::Onlooker(handover.origin.clone())),
    };
    let host = Host::read(control)?;
    let record = recording::of_handover(&host, handover)?;
    let mut raw = Raw::new(journal_of(record)?, driver);
    match raw.drive(&Goal::Merge, "begun", control) {
        Ok(_) => Ok(Driver::raw(raw)),
        Err(error) => {
            // Undone as if nothing had been: then there is nothing to resume either.
            match is_undone(&raw, control) {
                Ok(true) => raw.close()?,
                Ok(false) => {}
                Err(blind) => terminal::tell(&exit::words(&blind)),
            }
            Err(error)
        }
    }
}

/// Whether all is as it was before the merge.
///
/// # Errors
/// What device-mapper does not tell.
pub(crate) fn is_undone(raw: &Raw, control: &Control) -> anyhow::Result<bool> {
    let scene = raw.scene(control, &Host::read(control)?)?;
    Ok(machine::state(raw.record(), &scene) == State::Ready)
}

/// A new journal; or the one that is there, where it is of this very merge and nothing of that was
/// begun: a start that was killed and undone.
///
/// # Errors
/// Where there is one of another merge, or none can be written.
pub(crate) fn journal_of(record: Record) -> anyhow::Result<Journal> {
    if let Some(mut journal) = Journal::of(&record.origin.name)? {
        let same = |ours: &Record| (ours.origin_merging.clone(), ours.snapshot.clone());
        if same(journal.record()) == same(&record) {
            journal.replace(record)?;
            return Ok(journal);
        }
    }
    Ok(Journal::create(record)?)
}

/// Finishes a merge once it is done.
pub(crate) enum Driver {
    /// By our own steps; nothing once that was done.
    Raw(Option<Box<Raw>>),
    /// Only if whoever drives it is dead by then. The merge into this origin.
    Onlooker(String),
    /// By telling lvm2 to look.
    Lvm {
        /// The volume group.
        vg: String,
        /// The origin's volume.
        origin: String,
        /// When it was told last.
        nudged: Option<Instant>,
    },
}

impl Driver {
    /// Of a merge in our hands.
    pub(crate) fn raw(raw: Raw) -> Self {
        Self::Raw(Some(Box::new(raw)))
    }

    /// Of a merge in lvm2's.
    pub(crate) fn lvm(vg: &str, origin: &str) -> Self {
        Self::Lvm { vg: vg.to_owned(), origin: origin.to_owned(), nudged: None }
    }

    /// Whether the merge is finished by us, or at our word.
    pub(crate) const fn finishes(&self) -> bool {
        !matches!(self, Self::Onlooker(_))
    }
}

impl Finisher for Driver {
    fn finish(&mut self, _: &Model, control: &Control) -> anyhow::Result<()> {
        match self {
            Self::Raw(raw) => raw.take().map_or(Ok(()), |raw| raw.finish(control)),
            Self::Onlooker(origin) => match attach::take_over(control, origin)? {
                Some(raw) => raw.finish(control),
                None => Ok(()),
            },
            Self::Lvm { vg, origin, nudged } => {
                // lvm2 would look by itself only every 15 s.
                if nudged.is_none_or(|at| at.elapsed() >= NUDGE_EVERY) {
                    *nudged = Some(Instant::now());
                    Lvm::find()?.poll(vg, origin)?;
                }
                Ok(())
            }
        }
    }

    fn patience(&self) -> Duration {
        match self {
            Self::Lvm { .. } => PATIENCE_WITH_LVM,
            Self::Raw(_) => Duration::from_secs(5),
            Self::Onlooker(_) => PATIENCE_WITH_A_DRIVER,
        }
    }
}
