//! Makes frames of what is recorded. Pure: time comes in with the samples.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::budget::Budget;
use super::container::numbers;
use super::container::{MAX_UNPACKED_BYTES, Packer, preamble, push_record};
use super::record::{End, Facts, Lost, Merge, Record, kind};
use super::tables;
use crate::sample::{InFlightWrite, Run, Sample};

/// What a group covers at most: so much is lost where one of its frames is.
const GROUP_NS: u64 = 10_000_000_000;
/// A frame is closed once it holds so much.
const FULL_BYTES: usize = 256 << 10;
/// Of the writes in flight so many are listed where the file grows too fast.
const SHORT_LIST: usize = 32;

/// A sample was shown by itself.
pub(super) const SHOWN: u64 = 1;
/// Its writes in flight are in a table.
pub(super) const WRITES_IN_TABLE: u64 = 2;

/// What was told last of a merge, within the group.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    pub(super) last_run: Option<Run>,
    pub(super) writes: Vec<InFlightWrite>,
}

/// Puts records together to frames.
pub struct Encoder {
    packer: Packer,
    facts: Facts,
    /// As they are now, for the beginning of the next group.
    merges: BTreeMap<u32, Merge>,
    before: BTreeMap<u32, Before>,
    /// The records of the frame that is being filled.
    records: Vec<u8>,
    /// Whether that one begins a group.
    is_key: bool,
    /// When the group began; none before there is a sample in it.
    group_ns: Option<u64>,
    /// Whether anything was ever written.
    begun: bool,
    at_ns: u64,
    budget: Budget,
    shortened: u64,
}

impl Encoder {
    /// Of a recording that begins.
    pub fn new(facts: Facts) -> Self {
        Self {
            packer: Packer::default(),
            facts,
            merges: BTreeMap::new(),
            before: BTreeMap::new(),
            records: Vec::new(),
            is_key: false,
            group_ns: None,
            begun: false,
            at_ns: 0,
            budget: Budget::default(),
            shortened: 0,
        }
    }

    /// Takes a record in. What cannot be written at all is left out, and `false` comes back.
    pub fn push(&mut self, record: Record) -> bool {
        self.begin_frame(&record);
        match record {
            Record::Facts(facts) => {
                self.facts = *facts;
                true
            }
            Record::Merge(merge) => {
                let done = self.json(kind::MERGE, &*merge);
                self.merges.insert(merge.merge, *merge);
                done
            }
            Record::Identity(new) => {
                let done = self.json(kind::IDENTITY, &*new);
                if let Some(merge) = self.merges.get_mut(&new.merge) {
                    merge.identity = new.identity;
                }
                done
            }
            Record::Sample { merge, shown, sample } => self.sample(merge, shown, *sample),
            Record::Note(note) => self.json(kind::NOTE, &note),
            Record::Lost(lost) => self.json(kind::LOST, &lost),
            Record::End(outcome) => self.json(kind::END, &End { outcome }),
        }
    }

    /// Whether the frame should be closed.
    pub fn is_full(&self) -> bool {
        self.records.len() >= FULL_BYTES
    }

    /// What the recording says of its host.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// How many samples of the frame that is open list fewer writes than there were.
    pub const fn shortened(&self) -> u64 {
        self.shortened
    }

    /// Closes the frame; gives what is to be written, which is nothing where it is empty.
    ///
    /// # Errors
    /// Where it cannot be packed.
    pub fn close_frame(&mut self) -> io::Result<Vec<u8>> {
        if self.records.is_empty() {
            return Ok(Vec::new());
        }
        if self.shortened > 0 {
            let lost = Lost { shortened: self.shortened, ..Lost::default() };
            if self.json(kind::LOST, &lost) {
                self.shortened = 0;
            }
        }
        let frame = self.packer.frame(self.is_key, self.at_ns, &self.records)?;
        self.records.clear();
        self.budget.spend(frame.len() as u64);
        if self.begun {
            return Ok(frame);
        }
        self.begun = true;
        Ok([&preamble()[..], &frame].concat())
    }

    /// What stands at the beginning of a frame, before its first record.
    fn begin_frame(&mut self, first: &Record) {
        if !self.records.is_empty() {
            return;
        }
        let at_ns = match first {
            Record::Sample { sample, .. } => sample.at_ns,
            _ => self.at_ns,
        };
        let is_over =
            self.group_ns.is_some_and(|began_ns| at_ns.saturating_sub(began_ns) >= GROUP_NS);
        self.is_key = !self.begun || is_over;
        if !self.is_key {
            return;
        }
        self.before.clear();
        self.group_ns = None;
        let facts = self.facts.clone();
        self.json(kind::FACTS, &facts);
        for merge in std::mem::take(&mut self.merges).into_values() {
            self.json(kind::MERGE, &merge);
            self.merges.insert(merge.merge, merge);
        }
    }

    fn sample(&mut self, merge: u32, shown: bool, mut sample: Sample) -> bool {
        self.at_ns = sample.at_ns;
        self.group_ns.get_or_insert(sample.at_ns);
        self.shorten(&mut sample);
        let runs = std::mem::take(&mut sample.runs);
        let mut flags = if shown { SHOWN } else { 0 };
        let mut writes = Vec::new();
        if let Some(io) = &mut sample.io
            && tables::fits(&io.in_flight)
        {
            flags |= WRITES_IN_TABLE;
            writes = std::mem::take(&mut io.in_flight);
        }
        let Ok(json) = serde_json::to_vec(&sample) else { return false };
        let before = self.before.entry(merge).or_default();
        let mut body = Vec::with_capacity(json.len() + 64);
        for number in [merge.into(), flags, json.len() as u64] {
            numbers::put(&mut body, number);
        }
        body.extend_from_slice(&json);
        tables::put_runs(&mut body, before.last_run.as_ref(), &runs);
        if flags & WRITES_IN_TABLE != 0 {
            tables::put_writes(&mut body, &before.writes, &writes);
        }
        let done = push(&mut self.records, kind::SAMPLE, &body);
        if done {
            before.last_run = runs.last().cloned().or(before.last_run.take());
            before.writes = writes;
        }
        done
    }

    /// Lists fewer writes in flight where the file grows too fast.
    fn shorten(&mut self, sample: &mut Sample) {
        if self.budget.is_used_up(sample.at_ns)
            && let Some(io) = &mut sample.io
            && io.in_flight.len() > SHORT_LIST
        {
            io.in_flight.truncate(SHORT_LIST);
            self.shortened += 1;
        }
    }

    fn json<T: Serialize>(&mut self, kind: u8, body: &T) -> bool {
        serde_json::to_vec(body).is_ok_and(|body| push(&mut self.records, kind, &body))
    }
}

/// Adds a record, where the frame has room for it.
fn push(records: &mut Vec<u8>, kind: u8, body: &[u8]) -> bool {
    // A kind, a length, and what closes the frame.
    let fits = records.len() + body.len() + 1024 <= MAX_UNPACKED_BYTES;
    if fits {
        push_record(records, kind, body);
    }
    fits
}
