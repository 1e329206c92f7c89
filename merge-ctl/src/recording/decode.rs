//! Makes records of frames, one at a time.

use std::collections::BTreeMap;
use std::io;

use serde::de::DeserializeOwned;

use super::MAX_MERGES;
use super::container::{Block, Bytes, Fault, FaultKind, OpenError, Reader, numbers};
use super::encode::{Before, SHOWN, WRITES_IN_TABLE};
use super::record::{End, Record, kind};
use super::tables;
use crate::sample::Sample;

/// What comes next in a recording.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A group begins here: reading may begin here too.
    Key {
        /// Its place in the file.
        at: u64,
    },
    /// A record.
    Record(Record),
    /// A part of the file that cannot be shown.
    Fault(Fault),
}

/// Reads a recording from its beginning, or from any [`Item::Key`] on.
pub struct Reading<S> {
    reader: Reader<S>,
    records: Vec<u8>,
    /// How much of these is read.
    at: usize,
    /// The frame that they are of.
    frame: (u64, u64),
    /// None of a merge whose last sample could not be understood.
    before: BTreeMap<u32, Option<Before>>,
}

impl<S: Bytes> Reading<S> {
    /// Looks at the beginning of a file.
    ///
    /// # Errors
    /// Where it is no recording, or one of a newer format, or cannot be read.
    pub fn open(source: S) -> Result<Self, OpenError> {
        Ok(Self {
            reader: Reader::open(source)?,
            records: Vec::new(),
            at: 0,
            frame: (0, 0),
            before: BTreeMap::new(),
        })
    }

    /// Goes on at a group that begins there.
    pub fn go_to(&mut self, key_at: u64) {
        self.reader.go_to(key_at);
        (self.at, self.records) = (0, Vec::new());
        self.before.clear();
    }

    /// What comes next; none at the end.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn next_item(&mut self) -> io::Result<Option<Item>> {
        loop {
            while self.at < self.records.len() {
                match self.record() {
                    Ok(Some(record)) => return Ok(Some(Item::Record(record))),
                    Ok(None) => {}
                    Err(why) => {
                        let (from, until) = self.frame;
                        let kind = FaultKind::Meaningless(why);
                        return Ok(Some(Item::Fault(Fault { from, until, kind })));
                    }
                }
            }
            match self.reader.next_block()? {
                None => return Ok(None),
                Some(Block::Fault(fault)) => return Ok(Some(Item::Fault(fault))),
                Some(Block::Records { from, until, key, bytes, .. }) => {
                    (self.records, self.at, self.frame) = (bytes, 0, (from, until));
                    if key {
                        self.before.clear();
                        return Ok(Some(Item::Key { at: from }));
                    }
                }
            }
        }
    }

    /// The next record of the frame; none of a kind that is not known.
    fn record(&mut self) -> Result<Option<Record>, String> {
        let mut rest = &self.records[self.at..];
        let body = rest.split_first().and_then(|(&kind, mut body)| {
            let length = numbers::take(&mut body).ok()?;
            let taken = numbers::take_bytes(&mut body, length).ok()?;
            rest = body;
            Some((kind, taken))
        });
        let Some((kind, body)) = body else {
            // Where a record ends is not known: nothing more of this frame is.
            self.at = self.records.len();
            return Err("a record is longer than its frame".to_owned());
        };
        self.at = self.records.len() - rest.len();
        Ok(Some(match kind {
            kind::FACTS => Record::Facts(Box::new(json(body)?)),
            kind::MERGE => Record::Merge(Box::new(json(body)?)),
            kind::SAMPLE => sample(body, &mut self.before)?,
            kind::IDENTITY => Record::Identity(Box::new(json(body)?)),
            kind::NOTE => Record::Note(json(body)?),
            kind::LOST => Record::Lost(json(body)?),
            kind::END => Record::End(json::<End>(body)?.outcome),
            _ => return Ok(None),
        }))
    }
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn sample(mut body: &[u8], all: &mut BTreeMap<u32, Option<Before>>) -> Result<Record, String> {
    let merge = numbers::take(&mut body).ok().and_then(|merge| u32::try_from(merge).ok());
    let merge = merge.ok_or("it is of no merge")?;
    if !all.contains_key(&merge) && all.len() >= MAX_MERGES {
        return Err("there are too many merges".to_owned());
    }
    // Until this one is understood there is nothing that the next can build on.
    let before = all.insert(merge, None).unwrap_or_else(|| Some(Before::default()));
    let before = before.ok_or("it builds on a sample that cannot be understood")?;
    let (record, before) = sample_of(merge, body, before)?;
    all.insert(merge, Some(before));
    Ok(record)
}

fn sample_of(merge: u32, mut body: &[u8], before: Before) -> Result<(Record, Before), String> {
    let bytes = &mut body;
    let words = |error: numbers::NotNumbers| error.to_string();
    let flags = numbers::take(bytes).map_err(words)?;
    let length = numbers::take(bytes).map_err(words)?;
    let mut sample: Sample = json(numbers::take_bytes(bytes, length).map_err(words)?)?;
    sample.runs = tables::take_runs(bytes, before.last_run.as_ref()).map_err(words)?;
    let mut writes = Vec::new();
    if flags & WRITES_IN_TABLE != 0 {
        writes = tables::take_writes(bytes, &before.writes).map_err(words)?;
        if let Some(io) = &mut sample.io {
            io.in_flight.clone_from(&writes);
        }
    }
    let last_run = sample.runs.last().cloned().or(before.last_run);
    let record = Record::Sample { merge, shown: flags & SHOWN != 0, sample: Box::new(sample) };
    Ok((record, Before { last_run, writes }))
}
