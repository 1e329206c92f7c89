//! Makes of a recording the models that there were, forwards, and from any time.
//!
//! What always holds: each model is what [`Model`] makes of the samples up to it, from the first on. To go
//! back, it starts from a copy that was kept on the way, at the beginning of a group; there are only so
//! many of them, the further apart the longer the recording is.

use std::collections::BTreeMap;
use std::io;

use super::container::{Block, Bytes, Fault, OpenError, PREAMBLE_BYTES, Reader};
use super::decode::{Item, Reading};
use super::record::{Facts, Lost, Merge, Outcome, Record};
use crate::model::Model;
use crate::sample::{Run, Sample};

/// How many models are kept to start from. One takes a few hundred kilobytes.
const KEPT_MODELS: usize = 128;
/// How far they are apart at first.
const FIRST_SPACING_NS: u64 = 10_000_000_000;
/// How many faults are kept; of the others the number is.
const KEPT_FAULTS: usize = 100;

/// A merge that is replayed.
#[derive(Clone, Debug)]
pub struct Replayed {
    merge: u32,
    /// The merge as it stood.
    pub model: Model,
    /// Whether it was shown from its beginning.
    pub shown: bool,
}

/// What happened next. A merge is called by its place in [`Player::merges`].
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A merge has its first model.
    Began {
        /// Which.
        tab: usize,
        /// The runs of its first sample.
        runs: Vec<Run>,
    },
    /// A merge has its next model.
    Advanced {
        /// Which.
        tab: usize,
        /// Whether it was shown by itself.
        shown: bool,
        /// The runs that it has over the one before.
        runs: Vec<Run>,
    },
    /// The user was told this.
    Told(String),
    /// So much is not in the recording.
    Lost(Lost),
    /// A part of the file cannot be shown.
    Fault(Fault),
    /// The recording ended so.
    Ended(Outcome),
}

/// What is in a recording, as a walk through all of it finds.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The time of the first sample.
    pub first_ns: u64,
    /// The time of the last.
    pub last_ns: u64,
    /// How many there are.
    pub samples: u64,
    /// The first parts that cannot be shown, and how many there are.
    pub faults: (Vec<Fault>, u64),
    /// What was left out when it was recorded.
    pub lost: Lost,
    /// How it ended; none where whoever recorded was stopped by force, or still records.
    pub outcome: Option<Outcome>,
}

impl Survey {
    /// Takes in what happened, at this time of the player.
    pub fn take(&mut self, step: Step, at_ns: u64) {
        match step {
            Step::Began { .. } | Step::Advanced { .. } => {
                if self.samples == 0 {
                    self.first_ns = at_ns;
                }
                self.samples += 1;
                self.last_ns = self.last_ns.max(at_ns);
            }
            Step::Fault(fault) => {
                self.faults.1 += 1;
                if self.faults.0.len() < KEPT_FAULTS {
                    self.faults.0.push(fault);
                }
            }
            Step::Lost(lost) => self.lost.add(lost),
            Step::Ended(outcome) => self.outcome = Some(outcome),
            Step::Told(_) => {}
        }
    }
}

/// Walks through the frames of a recording and looks at none of the records: what is damaged, and when it
/// ends, is known soon.
///
/// # Errors
/// Where it is no recording, or one of a newer format, or cannot be read.
pub fn scan(source: impl Bytes) -> Result<Survey, OpenError> {
    let mut reader = Reader::open(source)?;
    let mut survey = Survey::default();
    while let Some(block) = reader.next_block()? {
        match block {
            Block::Records { at_ns, .. } => survey.last_ns = survey.last_ns.max(at_ns),
            Block::Fault(fault) => survey.take(Step::Fault(fault), 0),
        }
    }
    Ok(survey)
}

/// Places that a [`Player`] of the same recording can start from.
pub struct Checkpoints(Vec<Checkpoint>);

/// Where one can start from.
struct Checkpoint {
    key_at: u64,
    at_ns: u64,
    merges: Vec<Replayed>,
    announced: BTreeMap<u32, Merge>,
}

/// Plays a recording.
pub struct Player<S> {
    reading: Reading<S>,
    /// What was read and has not happened yet.
    ahead: Option<Item>,
    facts: Option<Facts>,
    announced: BTreeMap<u32, Merge>,
    merges: Vec<Replayed>,
    at_ns: u64,
    checkpoints: Vec<Checkpoint>,
    spacing_ns: u64,
}

impl<S: Bytes> Player<S> {
    /// At the beginning of a recording.
    ///
    /// # Errors
    /// Where it is no recording, or one of a newer format, or cannot be read.
    pub fn open(source: S) -> Result<Self, OpenError> {
        Ok(Self {
            reading: Reading::open(source)?,
            ahead: None,
            facts: None,
            announced: BTreeMap::new(),
            merges: Vec::new(),
            at_ns: 0,
            checkpoints: vec![Checkpoint {
                key_at: PREAMBLE_BYTES as u64,
                at_ns: 0,
                merges: Vec::new(),
                announced: BTreeMap::new(),
            }],
            spacing_ns: FIRST_SPACING_NS,
        })
    }

    /// Where it was recorded; none before the first frame that is whole.
    pub const fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    /// The merges that have begun, as they stand.
    pub fn merges(&self) -> &[Replayed] {
        &self.merges
    }

    /// The time of the last sample that was shown; 0 before the first.
    pub const fn at_ns(&self) -> u64 {
        self.at_ns
    }

    /// When the next thing happens; none at the end.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn next_ns(&mut self) -> io::Result<Option<u64>> {
        self.look_ahead()?;
        Ok(self.ahead.as_ref().map(|item| match item {
            Item::Record(Record::Sample { sample, .. }) => sample.at_ns,
            _ => self.at_ns,
        }))
    }

    /// Goes on to the next thing that happens; none at the end.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn step(&mut self) -> io::Result<Option<Step>> {
        loop {
            self.look_ahead()?;
            let Some(item) = self.ahead.take() else { return Ok(None) };
            let step = match item {
                Item::Key { .. } => None,
                Item::Fault(fault) => Some(Step::Fault(fault)),
                Item::Record(record) => self.take(record),
            };
            if step.is_some() {
                return Ok(step);
            }
        }
    }

    /// Goes to where all that happened up to a time has, and nothing later.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn seek(&mut self, to_ns: u64) -> io::Result<()> {
        let behind = self.checkpoints.partition_point(|checkpoint| checkpoint.at_ns <= to_ns);
        let checkpoint = &self.checkpoints[behind.saturating_sub(1)];
        let is_nearer = self.at_ns <= to_ns && checkpoint.at_ns <= self.at_ns;
        if !is_nearer {
            self.merges.clone_from(&checkpoint.merges);
            self.announced.clone_from(&checkpoint.announced);
            self.at_ns = checkpoint.at_ns;
            self.ahead = None;
            self.reading.go_to(checkpoint.key_at);
        }
        while self.next_ns()?.is_some_and(|next_ns| next_ns <= to_ns) {
            self.step()?;
        }
        Ok(())
    }

    /// Goes back to the beginning, before the first sample.
    pub fn rewind(&mut self) {
        self.merges.clear();
        self.announced.clear();
        (self.at_ns, self.ahead) = (0, None);
        self.reading.go_to(PREAMBLE_BYTES as u64);
    }

    /// From how many places it can start.
    #[cfg(test)]
    pub(super) fn kept_places(&self) -> usize {
        self.checkpoints.len()
    }

    /// Places to start from that another player of the same recording has found. It may have come
    /// further.
    pub fn adopt(&mut self, Checkpoints(found): Checkpoints) {
        if found.len() > self.checkpoints.len() {
            self.checkpoints = found;
        }
    }

    /// The places to start from.
    pub fn into_checkpoints(self) -> Checkpoints {
        Checkpoints(self.checkpoints)
    }

    /// Goes to the first model; its time, where there is one.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn first(&mut self) -> io::Result<Option<u64>> {
        while self.merges.is_empty() && self.step()?.is_some() {}
        Ok((!self.merges.is_empty()).then_some(self.at_ns))
    }

    /// Walks through all of it, and is at the beginning again. What can be started from is known then.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn survey(&mut self) -> io::Result<Survey> {
        let mut survey = Survey::default();
        while let Some(step) = self.step()? {
            survey.take(step, self.at_ns);
        }
        self.rewind();
        Ok(survey)
    }

    fn look_ahead(&mut self) -> io::Result<()> {
        while self.ahead.is_none() {
            match self.reading.next_item()? {
                None => return Ok(()),
                Some(Item::Key { at }) => self.keep(at),
                // What no time passes for.
                Some(Item::Record(
                    record @ (Record::Facts(_) | Record::Merge(_) | Record::Identity(_)),
                )) => drop(self.take(record)),
                item => self.ahead = item,
            }
        }
        Ok(())
    }

    fn take(&mut self, record: Record) -> Option<Step> {
        match record {
            Record::Facts(facts) => {
                self.facts.get_or_insert(*facts);
                None
            }
            Record::Merge(merge) => {
                self.announce(*merge);
                None
            }
            Record::Identity(new) => {
                if let Some(merge) = self.announced.get_mut(&new.merge) {
                    merge.identity.clone_from(&new.identity);
                }
                if let Some(known) = self.merges.iter_mut().find(|it| it.merge == new.merge) {
                    known.model.identity = new.identity;
                }
                None
            }
            Record::Sample { merge, shown, sample } => self.sample(merge, shown, *sample),
            Record::Note(note) => Some(Step::Told(note.words)),
            Record::Lost(lost) => Some(Step::Lost(lost)),
            Record::End(outcome) => Some(Step::Ended(outcome)),
        }
    }

    fn announce(&mut self, merge: Merge) {
        if !self.announced.contains_key(&merge.merge) && self.announced.len() >= super::MAX_MERGES {
            return;
        }
        if let Some(known) = self.merges.iter_mut().find(|it| it.merge == merge.merge)
            && known.model.identity != merge.identity
        {
            known.model.identity.clone_from(&merge.identity);
        }
        self.announced.insert(merge.merge, merge);
    }

    fn sample(&mut self, merge: u32, shown: bool, sample: Sample) -> Option<Step> {
        let known = self.merges.iter_mut().enumerate().find(|(_, it)| it.merge == merge);
        if let Some((tab, known)) = known {
            self.at_ns = sample.at_ns;
            known.model.advance(&sample);
            return Some(Step::Advanced { tab, shown, runs: sample.runs });
        }
        // Nothing is known of it where what told of it is lost; the next group tells again.
        let Merge { identity, stall_after_ns, shown, .. } = self.announced.get(&merge)?.clone();
        self.at_ns = sample.at_ns;
        let model = Model::first(identity, &sample, stall_after_ns);
        self.merges.push(Replayed { merge, model, shown });
        Some(Step::Began { tab: self.merges.len() - 1, runs: sample.runs })
    }

    /// A group begins here: keeps what is needed to start from it, where that is worth its memory.
    fn keep(&mut self, key_at: u64) {
        let is_due = self.checkpoints.last().is_none_or(|last| {
            key_at > last.key_at && self.at_ns >= last.at_ns.saturating_add(self.spacing_ns)
        });
        if !is_due || self.merges.is_empty() {
            return;
        }
        self.checkpoints.push(Checkpoint {
            key_at,
            at_ns: self.at_ns,
            merges: self.merges.clone(),
            announced: self.announced.clone(),
        });
        let models = |all: &[Checkpoint]| all.iter().map(|it| it.merges.len()).sum::<usize>();
        while models(&self.checkpoints) > KEPT_MODELS && self.checkpoints.len() > 2 {
            let mut place = 0;
            self.checkpoints.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.spacing_ns = self.spacing_ns.saturating_mul(2);
        }
    }
}
