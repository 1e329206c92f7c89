//! A small device-mapper in memory: two slots a device, suspension, and the kernel's rules for
//! snapshots, handovers and merges, as far as `drivers/md/dm-snap.c` and `dm-ioctl.c` have them. It
//! fails, or kills whoever asks, where a test tells it to, and notes every harm that is done.

mod offline;
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use rustix::io::Errno;

use super::drive::Log;
use super::executor::{Executor, Seen, Step};
use super::journal::{JournalError, Phase, Record};
use crate::dm::error::Operation;
use crate::dm::{DmError, DmErrorKind, SnapshotStatus, Table, Target};

/// Exceptions at the beginning.
pub(super) const EXCEPTIONS: u64 = 6;

/// What goes wrong at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It fails and does nothing; a resume may have swapped the tables before.
    Fails { swaps: bool },
    /// It does what it should and says that it failed.
    FailsLate,
    /// It does nothing and says that it was done.
    Idle,
    /// It fails, and all after it; resumes may swap the tables before.
    AllFail { swaps: bool },
    /// Whoever asks is killed before it is done, or after.
    Kills { after: bool },
}

/// At which call, counted from 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) call: usize,
    pub(super) kind: Kind,
}

/// A target with what the kernel keeps for it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    table: Table,
    /// Whether it was ever resumed.
    active: bool,
    /// Whether it has the exceptions.
    store: bool,
    valid: bool,
}

impl Held {
    fn kind(&self) -> &str {
        self.table.only().map_or("", Target::kind)
    }

    fn is_merge(&self) -> bool {
        self.kind() == "snapshot-merge"
    }

    fn is_on_the_store(&self) -> bool {
        self.is_merge() || self.kind() == "snapshot"
    }

    /// As the kernel prints it: without exceptions, with a chunk size of 0.
    fn printed(&self) -> Table {
        match self.is_on_the_store() && !self.store {
            true => Table::parse(&self.table.to_string().replace(" P 8", " P 0")).unwrap(),
            false => self.table.clone(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct FakeDevice {
    live: Option<Held>,
    inactive: Option<Held>,
    suspended: bool,
    open_count: u32,
}

/// The machine: its devices, what is on the COW device, and the journal on its disk.
#[derive(Clone, Debug)]
pub(super) struct World {
    devices: BTreeMap<String, FakeDevice>,
    /// Exceptions on the COW device: what is left to merge.
    pub(super) left: u64,
    /// Whether a snapshot's device keeps what the origin held, so that it must go on doing so.
    kept: bool,
    /// Whether an engine has written to what is below the origin.
    pub(super) copied: bool,
    /// Whether the kernel has given the merge up.
    pub(super) failed: bool,
    pub(super) journal: Option<Record>,
    pub(super) fault: Option<Fault>,
    pub(super) hit: bool,
    killed: bool,
    calls: usize,
    /// What must never happen, and did.
    pub(super) harm: Vec<String>,
}

enum Verdict {
    Do,
    DoAndFail,
    Idle,
    Fail { swaps: bool },
}

impl World {
    pub(super) fn new(devices: &[(&str, &str)]) -> Self {
        let held = |table: &str| {
            let table = Table::parse(table).unwrap();
            let on_store = table
                .only()
                .is_some_and(|target| ["snapshot", "snapshot-merge"].contains(&target.kind()));
            Held { table, active: true, store: on_store, valid: true }
        };
        let device = |table: &str| FakeDevice { live: Some(held(table)), ..FakeDevice::default() };
        Self {
            devices: devices.iter().map(|(name, table)| ((*name).into(), device(table))).collect(),
            left: EXCEPTIONS,
            kept: devices.iter().any(|(name, _)| *name == "snap"),
            copied: false,
            failed: false,
            journal: None,
            fault: None,
            hit: false,
            killed: false,
            calls: 0,
            harm: Vec::new(),
        }
    }

    /// A new process: what killed the last one is over.
    pub(super) fn revive(&mut self, fault: Option<Fault>) {
        (self.fault, self.hit, self.killed, self.calls) = (fault, false, false, 0);
    }

    pub(super) const fn is_killed(&self) -> bool {
        self.killed
    }

    /// What is on disk stays; all devices of this merge are gone.
    pub(super) fn reboot(&mut self) {
        self.devices.clear();
        (self.failed, self.kept) = (false, false);
    }

    /// The kernel merges all that is left, where it merges at all.
    pub(super) fn merge_all(&mut self) {
        if self.merges() {
            self.left = 0;
        }
    }

    pub(super) fn suspended(&self) -> Vec<&str> {
        let suspended = self.devices.iter().filter(|(_, device)| device.suspended);
        suspended.map(|(name, _)| name.as_str()).collect()
    }

    pub(super) fn live(&self, name: &str) -> Option<String> {
        let live = self.devices.get(name)?.live.as_ref()?;
        Some(live.table.to_string())
    }

    /// An engine copies all, and clears the store but for so many exceptions. It needs the devices
    /// below for itself.
    pub(super) fn copy(&mut self, leaving: u64) {
        if self.targets().next().is_some() || self.live("origin").as_deref() != Some("0 800 error")
        {
            self.harm.push("the devices below are not the engine's alone".into());
        }
        if !matches!(self.journal, Some(Record { phase: Phase::Merging, .. })) {
            self.harm.push("the engine works and the journal does not know of it".into());
        }
        (self.copied, self.left) = (true, leaving);
    }

    pub(super) fn open(&mut self, name: &str, count: u32) {
        self.device(name).open_count = count;
    }

    /// Whether a merge has begun: a merge target was given its exceptions, or has read them.
    pub(super) fn has_begun(&self) -> bool {
        let merges = |live: &Held| live.is_merge() && live.store;
        self.devices.values().any(|device| device.live.as_ref().is_some_and(merges))
    }

    pub(super) fn has_inactive(&self) -> bool {
        self.devices.values().any(|device| device.inactive.is_some())
    }

    fn merges(&self) -> bool {
        let runs = |device: &FakeDevice| {
            let live = device.live.as_ref();
            !device.suspended && live.is_some_and(|it| it.is_merge() && it.store && it.valid)
        };
        !self.failed && self.devices.values().any(runs)
    }

    fn gate(&mut self) -> Verdict {
        if self.killed {
            return Verdict::Fail { swaps: false };
        }
        let call = self.calls;
        self.calls += 1;
        let Some(fault) = self.fault else { return Verdict::Do };
        if call < fault.call || (call > fault.call && !matches!(fault.kind, Kind::AllFail { .. })) {
            return Verdict::Do;
        }
        self.hit = true;
        match fault.kind {
            Kind::Fails { swaps } | Kind::AllFail { swaps } => Verdict::Fail { swaps },
            Kind::FailsLate => Verdict::DoAndFail,
            Kind::Idle => Verdict::Idle,
            Kind::Kills { after } => {
                self.killed = true;
                if after { Verdict::DoAndFail } else { Verdict::Fail { swaps: false } }
            }
        }
    }

    fn call(&mut self, step: &Step) -> Result<(), DmError> {
        let failed = || Err(error(step.device(), Errno::IO));
        let outcome = match self.gate() {
            Verdict::Do => self.act(step).map_err(|errno| error(step.device(), errno)),
            Verdict::DoAndFail => self.act(step).map_or_else(|_| failed(), |()| failed()),
            Verdict::Idle => Ok(()),
            Verdict::Fail { swaps: true } if matches!(step, Step::Resume(_)) => {
                self.swap(step.device());
                failed()
            }
            Verdict::Fail { .. } => failed(),
        };
        if self.merges() {
            self.left = self.left.saturating_sub(1);
        }
        self.check();
        outcome
    }

    fn act(&mut self, step: &Step) -> Result<(), Errno> {
        let name = step.device().to_owned();
        if let Step::Create(..) = step {
            let taken = self.devices.contains_key(&name);
            self.devices.entry(name).or_default();
            return if taken { Err(Errno::BUSY) } else { Ok(()) };
        }
        if !self.devices.contains_key(&name) {
            return Err(Errno::NXIO);
        }
        match step {
            Step::Create(..) => {}
            Step::Load(_, table) => {
                let held = self.construct(table)?;
                let before = self.device(&name).inactive.replace(held);
                self.destroy(before);
            }
            Step::Clear(_) => {
                let before = self.device(&name).inactive.take();
                self.destroy(before);
            }
            Step::Suspend(_) => self.device(&name).suspended = true,
            Step::Resume(_) => return self.resume(&name),
            Step::Remove(_) | Step::RemoveUnused(_) => {
                let device = self.devices.remove(&name).unwrap_or_default();
                self.destroy(device.live);
                self.destroy(device.inactive);
            }
        }
        Ok(())
    }

    fn device(&mut self, name: &str) -> &mut FakeDevice {
        self.devices.get_mut(name).unwrap()
    }

    fn targets(&mut self) -> impl Iterator<Item = &mut Held> {
        let slots = self.devices.values_mut().flat_map(|it| [&mut it.live, &mut it.inactive]);
        slots.flatten().filter(|held| held.is_on_the_store())
    }

    /// Who shares the COW device: the one that was resumed, and the one that was not
    /// (`__find_snapshots_sharing_cow`).
    fn sharing(&mut self) -> (bool, bool) {
        let active: Vec<bool> = self.targets().map(|held| held.active).collect();
        (active.contains(&true), active.contains(&false))
    }

    /// `snapshot_ctr` and `__validate_exception_handover`.
    fn construct(&mut self, table: &Table) -> Result<Held, Errno> {
        let mut held = Held { table: table.clone(), active: false, store: false, valid: true };
        if !held.is_on_the_store() {
            return Ok(held);
        }
        let merging = self.targets().any(|other| other.is_merge());
        match self.sharing() {
            (_, true) => return Err(Errno::INVAL),
            (true, _) if held.is_merge() && merging => return Err(Errno::INVAL),
            // Read from disk, at once.
            (false, false) => held.store = true,
            (true, false) => {}
        }
        Ok(held)
    }

    /// `snapshot_dtr`: without its source, a handover is cancelled.
    fn destroy(&mut self, held: Option<Held>) {
        if held.is_some_and(|held| held.is_on_the_store() && held.active && held.store) {
            for other in self.targets().filter(|other| !other.active) {
                other.valid = false;
            }
            if self.sharing().1 {
                self.harm.push("a handover was cancelled".into());
            }
        }
    }

    /// `do_resume`: the tables are swapped first.
    fn resume(&mut self, name: &str) -> Result<(), Errno> {
        let old = self.swap(name);
        let outcome = self.resume_target(name);
        self.destroy(old);
        outcome
    }

    fn swap(&mut self, name: &str) -> Option<Held> {
        let device = self.device(name);
        let inactive = device.inactive.take()?;
        device.suspended = true;
        device.live.replace(inactive)
    }

    /// `snapshot_preresume`, `snapshot_merge_resume`.
    fn resume_target(&mut self, name: &str) -> Result<(), Errno> {
        let (source, destination) = self.sharing();
        let device = &self.devices[name];
        let held = device.live.clone().ok_or(Errno::INVAL)?;
        if held.is_on_the_store() && source && destination {
            let suspended = self.devices.values().any(|device| {
                let live = device.live.as_ref();
                device.suspended && live.is_some_and(|it| it.is_on_the_store() && it.active)
            });
            // A source waits for its handover; a destination for its source.
            if held.active || !suspended {
                return Err(Errno::INVAL);
            }
            for other in self.targets().filter(|other| other.active) {
                (other.store, other.valid) = (false, false);
            }
            let held = self.device(name).live.as_mut().unwrap();
            (held.store, held.active) = (true, true);
        }
        self.note_a_resume(name);
        let failed = self.failed;
        let device = self.device(name);
        let held = device.live.as_mut().unwrap();
        held.active = true;
        let overwrites = failed && held.is_merge() && device.suspended;
        device.suspended = false;
        if overwrites {
            self.harm.push("a failed merge was resumed".into());
        }
        Ok(())
    }

    /// Whether the journal knew before.
    fn note_a_resume(&mut self, name: &str) {
        let held = self.devices[name].live.as_ref().unwrap();
        let phase = self.journal.as_ref().map(|record| record.phase.clone());
        if held.is_merge() && matches!(phase, None | Some(Phase::Starting)) {
            self.harm.push("a merge began that the journal does not know of".into());
        }
    }

    /// What users of the devices see, and what can still be had back.
    fn check(&mut self) {
        let held_somewhere = self.targets().any(|held| held.store && held.valid);
        let left = self.left;
        let Some(origin) = self.devices.get("origin") else { return };
        let plain =
            origin.live.as_ref().is_some_and(|live| !live.is_merge() && live.kind() != "error");
        if !plain || origin.suspended || left == 0 {
            return;
        }
        if left < EXCEPTIONS || self.copied {
            self.harm.push(format!("the origin is shown half merged: {left} left"));
        }
        if self.kept && !held_somewhere {
            self.harm.push("the origin is in use, and nobody keeps the snapshot".into());
        }
    }

    fn see(&self, name: &str) -> Option<Seen> {
        let device = self.devices.get(name)?;
        let live = device.live.as_ref();
        Some(Seen {
            live: live.map(Held::printed).unwrap_or_default(),
            inactive: device.inactive.as_ref().map(Held::printed),
            suspended: device.suspended,
            status: live.filter(|held| held.is_on_the_store()).map(|held| self.status(held)),
            open_count: device.open_count,
        })
    }

    fn status(&self, held: &Held) -> SnapshotStatus {
        let text = match (held.valid, held.store) {
            (false, _) => "Invalid".to_owned(),
            (true, _) if self.failed && held.is_merge() => "Merge failed".to_owned(),
            (true, false) => "0/400 0".to_owned(),
            (true, true) => format!("{}/400 16", 16 + 8 * self.left),
        };
        SnapshotStatus::parse(&text)
    }
}

fn error(device: &str, errno: Errno) -> DmError {
    DmError {
        operation: Operation::Resume,
        device: device.to_owned(),
        errno: Some(errno),
        kind: DmErrorKind::Other,
        meaning: String::new(),
    }
}

/// A process's hands on the world.
pub(super) struct Hands(pub(super) Rc<RefCell<World>>);

impl Executor for Hands {
    fn look(&mut self, name: &str) -> Result<Option<Seen>, DmError> {
        let mut world = self.0.borrow_mut();
        match world.gate() {
            Verdict::Do | Verdict::Idle => Ok(world.see(name)),
            _ => Err(error(name, Errno::IO)),
        }
    }

    fn act(&mut self, step: &Step) -> Result<(), DmError> {
        self.0.borrow_mut().call(step)
    }
}

/// A process's journal: in its memory, and on the world's disk.
pub(super) struct Book {
    world: Rc<RefCell<World>>,
    record: Record,
}

impl Book {
    /// Opens the journal on disk.
    pub(super) fn open(world: &Rc<RefCell<World>>) -> Self {
        let record = world.borrow().journal.clone().unwrap();
        Self { world: Rc::clone(world), record }
    }
}

impl Log for Book {
    fn record(&self) -> &Record {
        &self.record
    }

    fn advance(&mut self, phase: Phase) -> Result<(), JournalError> {
        let mut world = self.world.borrow_mut();
        if !world.suspended().is_empty() {
            world.harm.push("the journal was written while a device was suspended".into());
        }
        let (written, said) = match world.gate() {
            Verdict::Do => (true, true),
            // Nobody lies about a disk that was synced.
            Verdict::DoAndFail => (true, false),
            Verdict::Idle | Verdict::Fail { .. } => (false, false),
        };
        let record = Record { phase, ..self.record.clone() };
        if written {
            world.journal = Some(record.clone());
        }
        if said {
            self.record = record;
            return Ok(());
        }
        Err(JournalError::Io {
            path: PathBuf::from("x.merge"),
            done: "written",
            source: Errno::NOSPC.into(),
        })
    }
}
