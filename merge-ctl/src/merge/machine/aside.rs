//! The way of an offline merge: origin and snapshot are put aside, the engine works on what is below,
//! and the kernel takes up what it left, were it nothing.
//!
//! What always holds:
//! - both become error targets, the origin first: as long as anybody can write to the origin, the
//!   snapshot keeps what is overwritten; and they come back the other way round;
//! - until the journal says *merging* the engine has written nothing, and all is undone; from then on
//!   the origin is seen through its exceptions alone, by the merge target, or not at all;
//! - where a device failed under the engine, nothing is loaded on it unasked: both are taken down.

use super::{Look, Next, Place, Written, is_error, same, state};
use crate::dm::{Table, Target};
use crate::merge::executor::{Seen, Step};
use crate::merge::journal::{Phase, SnapshotRecord};
use crate::merge::preflight::{Obstacle, Refusal};

impl Look<'_> {
    /// Whether the engine may have written to the origin.
    pub(super) fn may_be_copied(&self) -> bool {
        self.record.offline && self.record.phase != Phase::Starting
    }

    /// All steps to where the engine can begin.
    pub(super) fn aside(&self) -> Next {
        match (self.place(), &self.scene.origin) {
            (Place::Plain, Some(origin)) => self.put_origin_aside(origin),
            (Place::Aside, Some(origin)) => self.put_snapshot_aside(origin),
            (Place::Merging | Place::Half, Some(_)) => Next::Refused(self.not_done()),
            (Place::Foreign, Some(origin)) => self.foreign(origin),
            (_, _) => self.stuck(),
        }
    }

    fn put_origin_aside(&self, origin: &Seen) -> Next {
        let Some(snapshot) = self.holder() else { return self.stuck() };
        let opened = [(self.origin(), origin), (self.snapshot(), snapshot)];
        let refusal = opened.iter().find_map(|(name, seen)| opened_meanwhile(name, seen));
        if let Some(refusal) = refusal.or_else(|| self.not_mergeable(snapshot)) {
            return Next::Refused(refusal);
        }
        self.first([into_error(self.origin(), origin)], Written::Starting)
    }

    /// Of the origin nobody can use anything any more, so it may be open.
    fn put_snapshot_aside(&self, origin: &Seen) -> Next {
        if origin.inactive.is_some() {
            return self.first([Step::Clear(self.origin())], Written::Starting);
        }
        if origin.suspended {
            return self.first([Step::Resume(self.origin())], Written::Starting);
        }
        let name = self.snapshot();
        if let Some(snapshot) = self.holder() {
            if let Some(refusal) = opened_meanwhile(&name, snapshot) {
                return Next::Refused(refusal);
            }
            return self.first([into_error(name, snapshot)], Written::Starting);
        }
        match &self.scene.snapshot {
            Some(snapshot) if is_error(&snapshot.live) => match snapshot {
                Seen { inactive: Some(_), .. } => {
                    self.first([Step::Clear(name)], Written::Starting)
                }
                Seen { suspended: true, .. } => self.first([Step::Resume(name)], Written::Starting),
                _ => Next::Reached(state(self.record, self.scene)),
            },
            _ => self.stuck(),
        }
    }

    /// Whether a start was interrupted before the engine began: then it is undone, before the merge
    /// begins in another way.
    pub(super) fn is_on_the_way_aside(&self) -> bool {
        let suspended = |seen: &Option<Seen>| seen.as_ref().is_some_and(|seen| seen.suspended);
        let origin = self.scene.origin.as_ref();
        let begun = origin.is_some_and(|origin| {
            is_error(&origin.live) || origin.inactive.as_ref().is_some_and(is_error)
        });
        self.record.offline
            && self.record.phase == Phase::Starting
            && (begun || suspended(&self.scene.origin) || suspended(&self.scene.snapshot))
    }

    /// A step of the undoing.
    pub(super) fn back(&self) -> Next {
        match self.rest() {
            Next::Reached(_) => self.stuck(),
            next => next,
        }
    }

    /// The snapshot comes back, and then the origin.
    pub(super) fn undo_aside(&self, origin: &Seen) -> Next {
        let (name, before) = (self.origin(), &self.record.origin_before);
        let loaded = origin.inactive.as_ref();
        // A merge target that waits would want the exceptions that the snapshot is to have.
        if loaded.is_some_and(|table| !same(table, before)) {
            let steps = [Step::Clear(name.clone()), Step::Load(name, before.clone())];
            return self.first(steps, Written::Anything);
        }
        if let Some(next) = self.bring_snapshot_back() {
            return next;
        }
        let step = match loaded {
            Some(_) => Step::Resume(name),
            None => Step::Load(name, before.clone()),
        };
        self.first([step], Written::Anything)
    }

    /// Nothing once it is as it was.
    fn bring_snapshot_back(&self) -> Option<Next> {
        let recorded = self.record.snapshot.as_ref()?;
        let name = self.snapshot();
        let steps = match (&self.scene.snapshot, self.holder()) {
            (None, _) => vec![Step::Create(name, recorded.device.uuid.clone())],
            (Some(_), Some(holder)) => match holder {
                Seen { inactive: Some(_), live, .. } => {
                    vec![Step::Clear(name.clone()), Step::Load(name, live.clone())]
                }
                Seen { suspended: true, .. } => vec![Step::Resume(name)],
                _ => return None,
            },
            (Some(snapshot), None) => self.give_snapshot_its_table(snapshot, recorded),
        };
        Some(self.first(steps, Written::Anything))
    }

    fn give_snapshot_its_table(&self, seen: &Seen, recorded: &SnapshotRecord) -> Vec<Step> {
        let name = self.snapshot();
        if !seen.live.0.is_empty() && !is_error(&seen.live) {
            // Somebody else's.
            return Vec::new();
        }
        match &seen.inactive {
            Some(table) if self.is_snapshot(table) => vec![Step::Resume(name)],
            _ => vec![Step::Load(name, recorded.before.clone())],
        }
    }

    /// The kernel merges what the engine left, were it nothing.
    pub(super) fn take_up(&self, origin: &Seen) -> Next {
        // Read for an undoing that was not to be: two cannot have the exceptions.
        if let Some(snapshot) = &self.scene.snapshot
            && self.holder().is_none()
            && snapshot.inactive.as_ref().is_some_and(|table| self.is_snapshot(table))
        {
            return self.first([Step::Clear(self.snapshot())], Written::Anything);
        }
        self.hand_over(origin)
    }

    /// Both devices go away, and with them the error targets.
    pub(super) fn take_down(&self) -> Next {
        let mut names = vec![self.origin()];
        if self.scene.snapshot.as_ref().is_some_and(|seen| is_error(&seen.live)) {
            names.insert(0, self.snapshot());
        }
        self.first(names.into_iter().map(Step::Remove), Written::Anything)
    }
}

/// The next step to an error target.
fn into_error(name: String, seen: &Seen) -> Step {
    match (seen.inactive.as_ref().is_some_and(is_error), seen.suspended) {
        (false, _) => Step::Load(name, Table::single(seen.live.length(), Target::Error)),
        (true, false) => Step::Suspend(name),
        (true, true) => Step::Resume(name),
    }
}

fn opened_meanwhile(name: &str, seen: &Seen) -> Option<Refusal> {
    (seen.open_count > 0).then(|| Refusal {
        obstacle: Obstacle::InUse,
        reason: format!("{name} has just been opened by somebody."),
        way_out: "An offline merge needs it for itself: find out who it is, and start again."
            .to_owned(),
    })
}
