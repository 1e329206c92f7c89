//! A raw merge in our hands: its journal, the lock that says that we drive it, and a guard while
//! anything may be suspended.

use std::path::Path;

use super::terminal;
use anyhow::Context;
use merge_ctl::dm::{Control, DeviceId, Host, Table};
use merge_ctl::guard::{Duty, Guard};
use merge_ctl::harmless::printable;
use merge_ctl::merge::drive::{Outcome, drive};
use merge_ctl::merge::executor::Executor;
use merge_ctl::merge::journal::{Driver, Journal, Phase, Record};
use merge_ctl::merge::live::LiveExecutor;
use merge_ctl::merge::machine::{Goal, Scene};
use merge_ctl::merge::memory::LockedMemory;
use merge_ctl::merge::{finish, recording};
use merge_ctl::state::State;

/// A merge that this process drives.
#[derive(Debug)]
pub(crate) struct Raw {
    journal: Journal,
    /// Given back before a guard is to act in our place.
    driver: Option<Driver>,
}

impl Raw {
    /// With a journal that is there.
    pub(crate) const fn new(journal: Journal, driver: Driver) -> Self {
        Self { journal, driver: Some(driver) }
    }

    /// A merge that somebody else began by hand: it gets a journal now.
    ///
    /// # Errors
    /// What cannot be read or written down.
    pub(crate) fn adopt(driver: Driver, host: &Host, origin: &str) -> anyhow::Result<Self> {
        let device = host.by_name(origin).with_context(|| format!("{origin} is gone"))?;
        let journal = match Journal::of(origin)? {
            Some(journal) => journal,
            None => Journal::create(recording::of_merge(host, device)?)?,
        };
        Ok(Self::new(journal, driver))
    }

    /// What its journal says.
    pub(crate) const fn record(&self) -> &Record {
        self.journal.record()
    }

    /// The journal itself.
    pub(crate) const fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// What is there.
    pub(crate) fn scene(&self, control: &Control, host: &Host) -> anyhow::Result<Scene> {
        let record = self.record();
        let mut executor = LiveExecutor::of_merge(control, host, record);
        let origin = executor.look(&record.origin.name)?;
        let snapshot = match &record.snapshot {
            Some(snapshot) => executor.look(&snapshot.device.name)?,
            None => None,
        };
        Ok(Scene { origin, snapshot })
    }

    /// Brings the devices to a goal, under guard. `what` says of the merge what it will be: "begun".
    ///
    /// # Errors
    /// Where the goal is not reached; the devices are then at rest, if that could be had.
    pub(crate) fn drive(
        &mut self,
        goal: &Goal,
        what: &'static str,
        control: &Control,
    ) -> anyhow::Result<State> {
        let guard = self.guard()?;
        self.drive_under(guard, goal, what, control)
    }

    /// The same under a guard that is there.
    ///
    /// # Errors
    /// As [`Self::drive`].
    pub(crate) fn drive_under(
        &mut self,
        guard: Guard,
        goal: &Goal,
        what: &'static str,
        control: &Control,
    ) -> anyhow::Result<State> {
        let origin = self.record().origin.name.clone();
        match self.driven(goal, control) {
            Ok(outcome) => {
                self.leave(guard, &outcome);
                Ok(outcome.or_not(what, &origin)?.state)
            }
            Err(error) => {
                self.let_guard_act(guard);
                Err(error)
            }
        }
    }

    /// Puts origin and snapshot aside for the engine; the guard brings them back where this dies.
    ///
    /// # Errors
    /// As [`Self::drive`].
    pub(crate) fn put_aside(&mut self, control: &Control) -> anyhow::Result<Guard> {
        let origin = self.record().origin.name.clone();
        let guard = self.guard()?;
        let outcome = match self.driven(&Goal::Aside, control) {
            Ok(outcome) => outcome,
            Err(error) => {
                self.let_guard_act(guard);
                return Err(error);
            }
        };
        match outcome.or_not("begun", &origin) {
            Ok(_) => Ok(guard),
            Err(not_reached) => {
                self.leave(guard, &not_reached.outcome);
                Err(not_reached.into())
            }
        }
    }

    /// Says in the journal how far the merge has come, and has that guarded, in place of what was.
    ///
    /// # Errors
    /// Where that cannot be; the guard that was there is given back.
    pub(crate) fn advance_under(
        &mut self,
        guard: Guard,
        phase: Phase,
    ) -> Result<Guard, (Guard, anyhow::Error)> {
        if let Err(error) = self.journal.advance(phase) {
            return Err((guard, error.into()));
        }
        match self.guard() {
            Ok(next) => {
                release(guard);
                Ok(next)
            }
            Err(error) => Err((guard, error)),
        }
    }

    fn guard(&self) -> anyhow::Result<Guard> {
        Guard::begin(&Duty::Devices { journal: self.journal.path().to_owned() })
            .context("cannot start the guard that would bring the devices back if this died")
    }

    fn driven(&mut self, goal: &Goal, control: &Control) -> anyhow::Result<Outcome> {
        let host = Host::read(control)?;
        let mut executor = LiveExecutor::of_merge(control, &host, self.record());
        let locked = LockedMemory::lock()
            .context("cannot lock this process in memory while the devices are suspended")?;
        let outcome = drive(goal, &mut executor, &mut self.journal);
        drop(locked);
        tell(&outcome, executor.notes());
        Ok(outcome)
    }

    /// Sends the guard away, or lets it do what we could not.
    fn leave(&mut self, guard: Guard, outcome: &Outcome) {
        // A device of an offline merge can be out of use without being suspended.
        let hangs = self.record().offline && !outcome.is_reached();
        match outcome.suspended.is_empty() && !hangs {
            true => release(guard),
            false => self.let_guard_act(guard),
        }
    }

    fn let_guard_act(&mut self, guard: Guard) {
        drop(self.driver.take());
        drop(guard);
    }

    /// Makes the origin a plain device again, and ends the journal.
    ///
    /// # Errors
    /// As [`Self::drive`]; or where the journal cannot be removed.
    pub(crate) fn finish(mut self, control: &Control) -> anyhow::Result<()> {
        let plain = self.plain(control)?;
        self.drive(&Goal::Finish(plain), "finished", control)?;
        Ok(self.journal.close()?)
    }

    /// The origin's table once all is merged, looked at anew: a sibling may have come or gone.
    fn plain(&self, control: &Control) -> anyhow::Result<Table> {
        let host = Host::read(control)?;
        let record = self.record();
        let args = record.args().context("the journal knows no merge target")?;
        Ok(finish::plain(&host, args, record.origin_merging.length()))
    }

    /// Ends the journal of a merge of which nothing is left, or nothing was begun.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        Ok(self.journal.close()?)
    }
}

fn release(guard: Guard) {
    if let Err(error) = guard.release() {
        terminal::tell(&format!("the guard could not be sent away: {error}"));
    }
}

/// What a guard has to have ready: opened and read before anything is suspended.
#[derive(Debug)]
pub(crate) struct Watched {
    control: Control,
    journal: Journal,
    _locked: LockedMemory,
}

impl Watched {
    /// Prepares to bring the devices of a journal to rest.
    ///
    /// # Errors
    /// Where anything that will be needed cannot be had.
    pub(crate) fn prepare(journal: &Path) -> anyhow::Result<Self> {
        let (control, journal) = (Control::open()?, Journal::open(journal)?);
        // Once through all that will be done, so that its pages are in memory when they are locked.
        let host = Host::read(&control)?;
        drop(LiveExecutor::of_merge(&control, &host, journal.record()));
        Ok(Self { control, journal, _locked: LockedMemory::lock()? })
    }

    /// Does it.
    ///
    /// # Errors
    /// Where a device stays suspended.
    pub(crate) fn bring_to_rest(mut self) -> anyhow::Result<()> {
        let name = self.journal.record().origin.name.clone();
        // Whoever drives now has a guard of his own.
        let _driver = Driver::take_patiently(&name)?;
        // Not the whole host: a device of somebody else that answers late must not matter here.
        let host = pictured(&self.control, self.journal.record());
        let mut executor = LiveExecutor::of_merge(&self.control, &host, self.journal.record());
        let outcome = drive(&Goal::Rest, &mut executor, &mut self.journal);
        tell(&outcome, executor.notes());
        outcome.or_not("brought to rest", &name)?;
        Ok(())
    }
}

/// A picture of a merge's own devices.
fn pictured(control: &Control, record: &Record) -> Host {
    let snapshot = record.snapshot.as_ref().map(|snapshot| &snapshot.device.name);
    let names = std::iter::once(&record.origin.name).chain(snapshot);
    let device = |name: &String| {
        let info = control.info(DeviceId::Name(name)).ok()?;
        Some(merge_ctl::dm::Device { info, table: Table::default(), status: None })
    };
    Host { devices: names.filter_map(device).collect() }
}

fn tell(outcome: &Outcome, notes: &[String]) {
    for failure in &outcome.failures {
        terminal::tell(&format!("on the way: {}", printable(&failure.error.to_string())));
    }
    for note in notes {
        terminal::tell(&printable(note));
    }
}
