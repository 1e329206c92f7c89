//! The loop over [`machine`]: look, ask what is next, say so in the journal, do it.
//!
//! What always holds: before a step that leads forward is done, the journal says so durably; a step
//! that leads back to rest waits for nobody. Where a goal cannot be reached, the devices are brought
//! to rest instead. It ends, whatever the devices do: each step is tried only so often.

use std::fmt;

use super::executor::{Executor, Step};
use super::journal::{Journal, JournalError, Phase, Record};
use super::machine::{self, Goal, Next, Place, Scene, Tries, Written};
use super::preflight::Refusal;
use crate::dm::DmError;
use crate::harmless::argument;
use crate::state::State;

/// How often one look is tried.
const LOOKS: usize = 3;
/// More steps than any way has, its failures included.
const STEPS: usize = 80;

/// Where the phases are written down.
pub trait Log {
    /// What it says.
    fn record(&self) -> &Record;
    /// Says what is about to be done. Durable once this returns.
    ///
    /// # Errors
    /// It says what it said before.
    fn advance(&mut self, phase: Phase) -> Result<(), JournalError>;
}

impl Log for Journal {
    fn record(&self) -> &Record {
        Self::record(self)
    }

    fn advance(&mut self, phase: Phase) -> Result<(), JournalError> {
        Self::advance(self, phase)
    }
}

/// A record in memory alone: for devices that nobody would miss after a crash.
#[derive(Clone, Debug)]
pub struct Unwritten(pub Record);

impl Log for Unwritten {
    fn record(&self) -> &Record {
        &self.0
    }

    fn advance(&mut self, phase: Phase) -> Result<(), JournalError> {
        self.0.phase = phase;
        Ok(())
    }
}

/// A step and what device-mapper said to it.
#[derive(Debug)]
pub struct Failure {
    /// What was tried.
    pub step: Step,
    /// What was answered.
    pub error: DmError,
}

/// Why a goal was not reached.
#[derive(Debug)]
pub enum Why {
    /// It must not be reached from here.
    Refused(Refusal),
    /// What is about to be done cannot be written down.
    Journal(JournalError),
    /// The devices cannot be looked at.
    Blind(DmError),
    /// Steps failed; the last of them is this one.
    Failed(Box<Failure>),
    /// Every step was done, and it did not help.
    NoEffect,
}

/// What became of a goal.
#[derive(Debug)]
pub struct Outcome {
    /// Where the merge is.
    pub state: State,
    /// Why the goal was not reached; nothing where it was.
    pub why: Option<Why>,
    /// Steps that failed on the way and are not the reason.
    pub failures: Vec<Failure>,
    /// Devices that are suspended at the end.
    pub suspended: Vec<String>,
}

impl Outcome {
    /// Whether the goal was reached and nothing hangs.
    pub fn is_reached(&self) -> bool {
        self.why.is_none() && self.suspended.is_empty()
    }

    /// The same as an error, where the goal was not reached. `what` was to be done.
    ///
    /// # Errors
    /// [`NotReached`].
    pub fn or_not(self, what: &'static str, origin: &str) -> Result<Self, Box<NotReached>> {
        match self.is_reached() {
            true => Ok(self),
            false => Err(Box::new(NotReached { what, origin: origin.to_owned(), outcome: self })),
        }
    }
}

/// A goal that was not reached, with where everything is now.
#[derive(Debug)]
pub struct NotReached {
    /// What was to be done to the merge: `begun`.
    pub what: &'static str,
    /// The origin.
    pub origin: String,
    /// What became of it.
    pub outcome: Outcome,
}

impl fmt::Display for NotReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { state, why, suspended, .. } = &self.outcome;
        write!(f, "the merge into {} was not {}: ", self.origin, self.what)?;
        match why {
            Some(Why::Refused(refusal)) => write!(f, "{refusal}")?,
            Some(Why::Journal(error)) => write!(f, "{error}")?,
            Some(Why::Blind(error)) => write!(f, "{error}")?,
            Some(Why::Failed(failure)) => write!(f, "{}", failure.error)?,
            Some(Why::NoEffect) => write!(f, "every step was done, and nothing changed")?,
            None => write!(f, "not all devices could be brought to rest")?,
        }
        match (state, suspended.as_slice()) {
            (State::Ready, []) => write!(f, "\nOrigin and snapshot are as they were."),
            (State::Starting, []) => write!(
                f,
                "\nNothing is suspended, and the merge has stopped half-way into its beginning. To go \
                 on: merge-ctl resume {}",
                argument(&self.origin)
            ),
            (state, []) => write!(f, "\nNothing is suspended. It is {} now.", state.name()),
            (_, devices) => write!(
                f,
                "\nSUSPENDED, so that all I/O on it waits: {}. Try: merge-ctl resume {}",
                devices.join(", "),
                argument(&self.origin)
            ),
        }
    }
}

impl std::error::Error for NotReached {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.outcome.why {
            Some(Why::Refused(refusal)) => Some(refusal),
            Some(Why::Journal(error)) => Some(error),
            Some(Why::Blind(error)) => Some(error),
            Some(Why::Failed(failure)) => Some(&failure.error),
            _ => None,
        }
    }
}

/// Brings the devices of the log's merge to a goal, or to rest.
///
/// Blocks while I/O in flight on the devices ends, and inside the resume that begins the merge for as
/// long as the first run waits for sibling snapshots.
pub fn drive(goal: &Goal, executor: &mut impl Executor, log: &mut impl Log) -> Outcome {
    Drive { goal: goal.clone(), executor, log, tries: Tries::default(), failures: Vec::new() }.run()
}

struct Drive<'a, E, L> {
    goal: Goal,
    executor: &'a mut E,
    log: &'a mut L,
    tries: Tries,
    failures: Vec<Failure>,
}

impl<E: Executor, L: Log> Drive<'_, E, L> {
    fn run(mut self) -> Outcome {
        let mut why = None;
        loop {
            let scene = match self.look() {
                Ok(scene) => scene,
                Err(error) => return self.blind(why, error),
            };
            match machine::next(self.log.record(), &self.goal, &scene, &self.tries) {
                Next::Reached(state) => return self.outcome(state, why, &scene),
                Next::Step(step, written) if self.tries.count() < STEPS => {
                    if let Err(reason) = self.act(&scene, &step, written) {
                        why.get_or_insert(reason);
                        self.goal = Goal::Rest;
                    }
                }
                end if self.goal == Goal::Rest => {
                    let state = machine::state(self.log.record(), &scene);
                    let reason = self.reason(end);
                    return self.outcome(state, why.or(Some(reason)), &scene);
                }
                end => {
                    let reason = self.reason(end);
                    why.get_or_insert(reason);
                    self.goal = Goal::Rest;
                }
            }
        }
    }

    fn reason(&mut self, end: Next) -> Why {
        match end {
            Next::Refused(refusal) => Why::Refused(refusal),
            _ => {
                self.failures.pop().map_or(Why::NoEffect, |failure| Why::Failed(Box::new(failure)))
            }
        }
    }

    fn look(&mut self) -> Result<Scene, DmError> {
        let record = self.log.record().clone();
        let origin = look_at(self.executor, &record.origin.name)?;
        let snapshot = match &record.snapshot {
            Some(snapshot) => look_at(self.executor, &snapshot.device.name)?,
            None => None,
        };
        Ok(Scene { origin, snapshot })
    }

    /// One step. An error ends the way to the goal; one that can be tried again is none.
    fn act(&mut self, scene: &Scene, step: &Step, written: Written) -> Result<(), Why> {
        self.write_down(written).map_err(Why::Journal)?;
        self.tries.add(step, scene);
        let Err(error) = self.executor.act(step) else { return Ok(()) };
        let failure = Failure { step: step.clone(), error };
        let plain = machine::place(self.log.record(), scene) == Place::Plain;
        let begins = matches!(self.goal, Goal::Merge | Goal::Aside);
        // Before the merge has begun, the first failure is the end of it: all can be undone.
        if begins && plain && !matches!(step, Step::Resume(_)) {
            return Err(Why::Failed(Box::new(failure)));
        }
        self.failures.push(failure);
        Ok(())
    }

    fn write_down(&mut self, written: Written) -> Result<(), JournalError> {
        if Written::of(&self.log.record().phase) >= written {
            return Ok(());
        }
        let phase = match (written, &self.goal) {
            (Written::Finishing, Goal::Finish(plain)) => Phase::Finishing { plain: plain.clone() },
            (Written::Merging | Written::Finishing, _) => Phase::Merging,
            (Written::Starting | Written::Anything, _) => Phase::Starting,
        };
        self.log.advance(phase)
    }

    fn outcome(self, state: State, why: Option<Why>, scene: &Scene) -> Outcome {
        let record = self.log.record();
        let mut suspended = Vec::new();
        if scene.origin.as_ref().is_some_and(|origin| origin.suspended) {
            suspended.push(record.origin.name.clone());
        }
        if let Some(snapshot) = &record.snapshot
            && scene.snapshot.as_ref().is_some_and(|seen| seen.suspended)
        {
            suspended.push(snapshot.device.name.clone());
        }
        Outcome { state, why, failures: self.failures, suspended }
    }

    fn blind(self, why: Option<Why>, error: DmError) -> Outcome {
        let why = why.unwrap_or(Why::Blind(error));
        // What cannot be seen may be suspended: it must not be taken for at rest.
        let suspended = match self.tries.count() {
            0 => Vec::new(),
            _ => vec![self.log.record().origin.name.clone()],
        };
        Outcome { state: State::Unknown, why: Some(why), failures: self.failures, suspended }
    }
}

fn look_at<E: Executor>(
    executor: &mut E,
    name: &str,
) -> Result<Option<super::executor::Seen>, DmError> {
    let mut tries = 1;
    loop {
        match executor.look(name) {
            Err(_) if tries < LOOKS => tries += 1,
            outcome => return outcome,
        }
    }
}
