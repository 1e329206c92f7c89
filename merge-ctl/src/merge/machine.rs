//! What to do next with the devices of a merge: decided from what was wanted and what is there.
//!
//! A reconciler. It knows no history but the journal's [`Record`], and no list of crashes: it looks
//! at the tables, slots and states of two devices and names one step. Whoever carries that out looks
//! again and asks again. So the handover, the undo of one that failed, the guard's work after a
//! kill, `resume` and `finish` are one thing, begun in different places.
//!
//! What always holds:
//! - before the handover all is undone; after it the only way is forward. The handover is told by
//!   the kernel: until then the *snapshot* holds the exception store, afterwards the origin does, and
//!   the one without prints a chunk size of 0 (`snapshot_status`, `__handover_exceptions`);
//! - an origin with a second table is resumed only into the table that is meant to come;
//! - a merge that failed is never resumed: the kernel would overwrite data (docs/states.md);
//! - a step that did not help twice in the same scene gives way to the next best;
//! - a snapshot is never swapped for the error target before its exceptions are handed over.
//!
//! Pure. It refuses to touch an origin that carries a table of somebody else's.

mod aside;
mod devices;
mod refusals;

use super::executor::{Seen, Step};
use super::journal::{Phase, Record};
use super::preflight::Refusal;
use crate::dm::{SnapshotStatus, Table, Target};
use crate::state::State;

/// How often a step is tried in one and the same scene.
const TRIES: usize = 2;

/// Where the devices are to be brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The origin merges.
    Merge,
    /// Nothing is suspended and nothing half done: all as before the merge, or the merge begun.
    Rest,
    /// The merge, which must be done, gives way to this table.
    Finish(Table),
    /// Origin and snapshot are error targets, so that the devices below are free for the engine of an
    /// offline merge, and nobody sees what it does.
    Aside,
}

/// Both devices at one instant; nothing where one is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scene {
    /// The origin.
    pub origin: Option<Seen>,
    /// The snapshot's device.
    pub snapshot: Option<Seen>,
}

impl Scene {
    /// The same without what changes by itself.
    fn shape(&self) -> Self {
        let shape = |seen: &Option<Seen>| {
            let mut seen = seen.clone()?;
            seen.open_count = 0;
            if let Some(SnapshotStatus::Usage(usage)) = &mut seen.status {
                *usage = crate::dm::Usage::default();
            }
            Some(seen)
        };
        Self { origin: shape(&self.origin), snapshot: shape(&self.snapshot) }
    }
}

/// The steps that were tried, and in which scene each.
#[derive(Clone, Debug, Default)]
pub struct Tries(Vec<(Step, Scene)>);

impl Tries {
    /// Remembers a step, whatever came of it.
    pub fn add(&mut self, step: &Step, scene: &Scene) {
        self.0.push((step.clone(), scene.shape()));
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    fn left(&self, step: &Step, shape: &Scene) -> bool {
        self.0.iter().filter(|(tried, scene)| tried == step && scene == shape).count() < TRIES
    }
}

/// How far the journal must have come before a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Written {
    /// It need not say anything: the step leads back to rest.
    Anything,
    /// [`Phase::Starting`].
    Starting,
    /// [`Phase::Merging`].
    Merging,
    /// [`Phase::Finishing`].
    Finishing,
}

impl Written {
    /// What a journal in this phase says.
    pub const fn of(phase: &Phase) -> Self {
        match phase {
            Phase::Starting => Self::Starting,
            Phase::Merging => Self::Merging,
            Phase::Finishing { .. } | Phase::Failed { .. } => Self::Finishing,
        }
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This, once the journal says at least so much.
    Step(Step, Written),
    /// Nothing: this is where the goal was, or as near to it as can be.
    Reached(State),
    /// Nothing, on principle.
    Refused(Refusal),
    /// Nothing: every step that could help was tried.
    Stuck(State),
}

/// Where a merge is, by what its devices show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// There is no origin.
    Absent,
    /// The origin has been made and has no table yet.
    Bare,
    /// The origin carries its table of before or of after.
    Plain,
    /// The origin carries the merge target, without exceptions: they were not handed over.
    Half,
    /// The origin carries the merge target, with the exceptions.
    Merging,
    /// The origin of an offline merge is an error target.
    Aside,
    /// The origin carries something else.
    Foreign,
}

/// The next step from `scene` to `goal`.
pub fn next(record: &Record, goal: &Goal, scene: &Scene, tries: &Tries) -> Next {
    let look = Look { record, scene, shape: scene.shape(), tries };
    match goal {
        Goal::Merge => look.forward(),
        Goal::Rest => look.rest(),
        Goal::Finish(plain) => look.finish(plain),
        Goal::Aside => look.aside(),
    }
}

/// Where a merge is.
pub fn place(record: &Record, scene: &Scene) -> Place {
    Look { record, scene, shape: Scene::default(), tries: &Tries::default() }.place()
}

/// The state that a place and a status amount to.
pub fn state(record: &Record, scene: &Scene) -> State {
    let look = Look { record, scene, shape: Scene::default(), tries: &Tries::default() };
    let suspended = scene.origin.iter().chain(&scene.snapshot).any(|seen| seen.suspended);
    match (look.place(), &record.phase) {
        (Place::Absent | Place::Foreign, _) => State::Gone,
        (Place::Bare | Place::Half | Place::Aside, _) => State::Starting,
        (Place::Merging, _) => merging_state(scene.origin.as_ref()),
        (Place::Plain, Phase::Finishing { .. }) if suspended => State::Finishing,
        (Place::Plain, Phase::Finishing { .. }) => State::Finished,
        (Place::Plain, _) if suspended || look.half_loaded() => State::Starting,
        (Place::Plain, _) => State::Ready,
    }
}

/// Whether the way to a running merge leads over a load that reads the exceptions from disk, so
/// that these had better be looked at before.
pub fn reads_the_store(record: &Record, scene: &Scene) -> bool {
    let look = Look { record, scene, shape: Scene::default(), tries: &Tries::default() };
    look.place() != Place::Merging && look.holder().is_none()
}

fn merging_state(origin: Option<&Seen>) -> State {
    let Some(origin) = origin else { return State::Gone };
    match &origin.status {
        _ if is_done(origin) => State::DoneNotFinished,
        Some(SnapshotStatus::MergeFailed) => State::Failed,
        Some(SnapshotStatus::Invalid | SnapshotStatus::Overflow) => State::Invalid,
        Some(SnapshotStatus::Usage(_)) if origin.suspended => State::Suspended,
        Some(SnapshotStatus::Usage(_)) => State::Merging,
        Some(SnapshotStatus::Unknown(_)) | None => State::Unknown,
    }
}

/// Whether all is merged. A target without a store prints zeroes: those are no proof.
fn is_done(origin: &Seen) -> bool {
    let usage = origin.status.as_ref().and_then(SnapshotStatus::usage);
    usage.is_some_and(|usage| usage.is_empty() && usage.metadata.0 > 0)
}

/// A scene, looked at with a record in the hand.
struct Look<'a> {
    record: &'a Record,
    scene: &'a Scene,
    shape: Scene,
    tries: &'a Tries,
}

impl Look<'_> {
    fn place(&self) -> Place {
        match &self.scene.origin {
            None => Place::Absent,
            Some(origin) if origin.live.0.is_empty() => Place::Bare,
            Some(origin) if self.is_merge(&origin.live) => match has_store(&origin.live) {
                true => Place::Merging,
                false => Place::Half,
            },
            Some(origin) if self.is_plain(&origin.live) => Place::Plain,
            Some(origin) if self.record.offline && is_error(&origin.live) => Place::Aside,
            Some(_) => Place::Foreign,
        }
    }

    /// All steps to a running merge.
    fn forward(&self) -> Next {
        match (self.place(), &self.scene.origin) {
            (Place::Bare, Some(origin)) => self.revive(origin, &self.record.origin_merging),
            (Place::Plain | Place::Aside, Some(_)) if self.is_on_the_way_aside() => self.back(),
            (Place::Plain, Some(origin)) => self.hand_over(origin),
            (Place::Aside, Some(origin)) => self.take_up(origin),
            (Place::Half, Some(origin)) => self.complete(origin),
            (Place::Merging, Some(origin)) => self.onwards(origin),
            (Place::Foreign, Some(origin)) => self.foreign(origin),
            (_, _) => self.create(),
        }
    }

    fn create(&self) -> Next {
        let origin = &self.record.origin;
        self.first([Step::Create(origin.name.clone(), origin.uuid.clone())], Written::Merging)
    }

    /// Gives an origin without any table one.
    fn revive(&self, origin: &Seen, table: &Table) -> Next {
        let name = self.origin();
        let step = match &origin.inactive {
            Some(inactive) if same(inactive, table) || self.is_merge(inactive) => {
                Step::Resume(name)
            }
            _ => Step::Load(name, table.clone()),
        };
        self.first([step], Written::Merging)
    }

    /// From the table of before to the merge target.
    fn hand_over(&self, origin: &Seen) -> Next {
        let loaded = origin.inactive.as_ref().is_some_and(|table| self.is_merge(table));
        if !loaded {
            let merging = self.record.origin_merging.clone();
            return self.first([Step::Load(self.origin(), merging)], Written::Starting);
        }
        if let Some(snapshot) = self.holder() {
            if let Some(refusal) = self.not_mergeable(snapshot) {
                return Next::Refused(refusal);
            }
            if !snapshot.inactive.as_ref().is_some_and(is_error) {
                let error = Table::single(snapshot.live.length(), Target::Error);
                return self.first([Step::Load(self.snapshot(), error)], Written::Starting);
            }
            if !snapshot.suspended {
                return self.first([Step::Suspend(self.snapshot())], Written::Merging);
            }
        }
        let step = if origin.suspended { Step::Resume } else { Step::Suspend };
        self.first([step(self.origin())], Written::Merging)
    }

    /// The merge target is live, and the kernel has refused to resume it: once more.
    fn complete(&self, origin: &Seen) -> Next {
        // Without a snapshot to hand them over, the exceptions have to be read from disk again.
        let Some(snapshot) = self.holder() else { return self.undo_half(origin) };
        let step = if origin.inactive.is_some() {
            Step::Clear(self.origin())
        } else if !snapshot.suspended {
            Step::Suspend(self.snapshot())
        } else {
            Step::Resume(self.origin())
        };
        self.first([step], Written::Merging)
    }

    /// The merge has begun: what is suspended goes on, what is left of the snapshot goes away.
    fn onwards(&self, origin: &Seen) -> Next {
        if origin.suspended {
            return self.wake(origin);
        }
        let mut steps = Vec::new();
        if origin.inactive.is_some() {
            steps.push(Step::Clear(self.origin()));
        }
        steps.extend(self.drop_snapshot());
        self.first_or(steps, Written::Anything, || Next::Reached(merging_state(Some(origin))))
    }

    /// A suspended origin that carries the merge target with its exceptions.
    fn wake(&self, origin: &Seen) -> Next {
        let (resume, clear) = (Step::Resume(self.origin()), Step::Clear(self.origin()));
        match &origin.inactive {
            Some(table) if is_done(origin) && self.is_plain(table) => {
                self.first([resume, clear], Written::Anything)
            }
            Some(_) => self.first([clear], Written::Anything),
            None if may_be_resumed(origin) => self.first([resume], Written::Anything),
            None => Next::Refused(self.never_resume()),
        }
    }

    /// Steps that take away what is left of the snapshot, the best first; nothing where nothing of
    /// it is left, or what has its name is not it.
    fn drop_snapshot(&self) -> Vec<Step> {
        let Some(snapshot) = &self.scene.snapshot else { return Vec::new() };
        let name = self.snapshot();
        let spent = self.is_snapshot(&snapshot.live) && self.holder().is_none();
        let error = is_error(&snapshot.live);
        if !spent && !error {
            return Vec::new();
        }
        let mut steps = Vec::new();
        let loaded = snapshot.inactive.as_ref().is_some_and(is_error);
        if spent && !loaded {
            let table = Table::single(snapshot.live.length(), Target::Error);
            steps.push(Step::Load(name.clone(), table));
        }
        if snapshot.suspended || (spent && loaded) {
            steps.push(Step::Resume(name.clone()));
        }
        steps.push(Step::Remove(name));
        steps
    }

    /// Undo before the handover, onwards after it.
    fn rest(&self) -> Next {
        match (self.place(), &self.scene.origin) {
            (Place::Plain, Some(origin)) => self.undo(origin),
            (Place::Aside, Some(origin)) => match self.record.phase {
                Phase::Starting => self.undo_aside(origin),
                Phase::Failed { .. } => self.take_down(),
                Phase::Merging | Phase::Finishing { .. } => self.take_up(origin),
            },
            (Place::Half, Some(origin)) => self.undo_half(origin),
            (Place::Merging, Some(origin)) => self.onwards(origin),
            // What was read from disk for it may be out of date when somebody goes on.
            (Place::Bare, Some(Seen { inactive: Some(_), .. })) => {
                let clear = Step::Clear(self.origin());
                self.first_or([clear], Written::Anything, || self.undo_snapshot())
            }
            // Neither ours to change, nor anything that I/O could wait for.
            (_, _) => self.undo_snapshot(),
        }
    }

    /// The merge target is live and suspended, without exceptions: the old table takes its place.
    fn undo_half(&self, origin: &Seen) -> Next {
        let name = self.origin();
        // What the engine may have written to must not be seen without the exceptions.
        let copied = self.may_be_copied() && self.holder().is_none();
        let error = Table::single(self.record.origin_merging.length(), Target::Error);
        let before = if copied { &error } else { &self.record.origin_before };
        if origin.inactive.as_ref().is_some_and(|table| same(table, before)) {
            return self.first([Step::Resume(name)], Written::Anything);
        }
        let mut steps = vec![Step::Load(name.clone(), before.clone())];
        if self.holder().is_some_and(|snapshot| snapshot.suspended) {
            // Forward is where the user wanted to go, and better than a device that hangs.
            steps.extend([Step::Clear(name.clone()), Step::Resume(name)]);
            if origin.inactive.is_none() {
                steps.remove(1);
            }
        }
        self.first(steps, Written::Anything)
    }

    /// The origin carries a table of before or after: what was loaded is dropped, and I/O goes on.
    fn undo(&self, origin: &Seen) -> Next {
        let name = self.origin();
        let loaded = origin.inactive.as_ref().filter(|table| !same(table, &origin.live));
        if let Some(table) = loaded {
            // Where it cannot be dropped, it can be replaced by what is live.
            let mut steps =
                vec![Step::Clear(name.clone()), Step::Load(name.clone(), origin.live.clone())];
            let ready = |snapshot: &Seen| {
                snapshot.suspended && snapshot.inactive.as_ref().is_some_and(is_error)
            };
            if origin.suspended && self.is_merge(table) && self.holder().is_some_and(ready) {
                // Forward is where the user wanted to go, and better than a device that hangs.
                steps.push(Step::Resume(name));
            }
            let stuck = || if origin.suspended { self.stuck() } else { self.undo_snapshot() };
            return self.first_or(steps, Written::Anything, stuck);
        }
        if origin.suspended {
            return self.first([Step::Resume(name)], Written::Anything);
        }
        if origin.inactive.is_some() {
            let clear = Step::Clear(name);
            return self.first_or([clear], Written::Anything, || self.undo_snapshot());
        }
        self.undo_snapshot()
    }

    fn undo_snapshot(&self) -> Next {
        let reached = || Next::Reached(state(self.record, self.scene));
        let Some(snapshot) = &self.scene.snapshot else { return reached() };
        let name = self.snapshot();
        if self.holder().is_none() {
            // Its exceptions are gone, or it is none: it need not hang for that.
            let ours = self.is_snapshot(&snapshot.live) || is_error(&snapshot.live);
            if ours && snapshot.suspended {
                return self.first([Step::Resume(name)], Written::Anything);
            }
            return reached();
        }
        let loaded = snapshot.inactive.as_ref().filter(|table| !self.is_snapshot(table));
        if loaded.is_some() {
            let steps = [Step::Clear(name.clone()), Step::Load(name, snapshot.live.clone())];
            // The error target in its place would let its exceptions grow stale: then rather wait.
            let stuck = || if snapshot.suspended { self.stuck() } else { reached() };
            return self.first_or(steps, Written::Anything, stuck);
        }
        if snapshot.suspended {
            return self.first([Step::Resume(name)], Written::Anything);
        }
        if snapshot.inactive.is_some() {
            return self.first_or([Step::Clear(name)], Written::Anything, reached);
        }
        reached()
    }

    /// From a merge that is done to the plain table.
    fn finish(&self, plain: &Table) -> Next {
        let name = self.origin();
        match (self.place(), &self.scene.origin) {
            (Place::Merging, Some(origin)) => match merging_state(Some(origin)) {
                State::DoneNotFinished => self.swap(origin, plain),
                State::Merging | State::Suspended => Next::Refused(self.not_done()),
                State::Unknown => Next::Refused(self.status_unknown()),
                _ => Next::Refused(self.never_resume()),
            },
            (Place::Plain, Some(origin)) => self.settle(origin),
            (Place::Bare, Some(origin)) => match &origin.inactive {
                Some(table) if same(table, plain) => {
                    self.first([Step::Resume(name)], Written::Finishing)
                }
                _ => self.first([Step::Load(name, plain.clone())], Written::Finishing),
            },
            (Place::Aside, Some(origin)) if self.may_be_copied() => self.take_up(origin),
            (Place::Half | Place::Aside, Some(_)) => Next::Refused(self.not_done()),
            (Place::Foreign, Some(origin)) => self.foreign(origin),
            (_, _) => self.create(),
        }
    }

    /// From the merge target, done, to the plain table.
    fn swap(&self, origin: &Seen, plain: &Table) -> Next {
        let name = self.origin();
        let clear = Step::Clear(name.clone());
        let loaded = origin.inactive.as_ref().is_some_and(|table| same(table, plain));
        let steps = match (loaded, origin.suspended) {
            (false, false) => vec![Step::Load(name, plain.clone())],
            (true, false) => vec![Step::Suspend(name), clear],
            (true, true) => vec![Step::Resume(name), clear],
            // A merge that is done may run again; a device that hangs is worse.
            (false, true) => vec![Step::Load(name.clone(), plain.clone()), Step::Resume(name)],
        };
        self.first(steps, Written::Finishing)
    }

    /// The plain table is live.
    fn settle(&self, origin: &Seen) -> Next {
        let loaded = origin.inactive.as_ref().is_some_and(|table| !same(table, &origin.live));
        let name = self.origin();
        let mut steps = Vec::new();
        if loaded {
            steps
                .extend([Step::Clear(name.clone()), Step::Load(name.clone(), origin.live.clone())]);
        } else if origin.inactive.is_some() && !origin.suspended {
            steps.push(Step::Clear(name.clone()));
        }
        if origin.suspended {
            if !loaded {
                steps.push(Step::Resume(name));
            }
            return self.first(steps, Written::Anything);
        }
        steps.extend(self.drop_snapshot());
        self.first_or(steps, Written::Anything, || Next::Reached(State::Finished))
    }
}

/// Whether the kernel is sure to take no harm from a resume: only a failed merge does, and what
/// cannot be read may be one.
fn may_be_resumed(origin: &Seen) -> bool {
    matches!(
        origin.status,
        Some(SnapshotStatus::Usage(_) | SnapshotStatus::Invalid | SnapshotStatus::Overflow)
    )
}

/// Whether a snapshot target has its exceptions; see the module.
fn has_store(table: &Table) -> bool {
    matches!(table.only(), Some(Target::Snapshot(_) | Target::SnapshotMerge(_)))
}

fn is_error(table: &Table) -> bool {
    table.only() == Some(&Target::Error)
}

fn same(a: &Table, b: &Table) -> bool {
    a == b
}
