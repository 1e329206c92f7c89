//! Writes a recording beside a merge, on a thread of its own.
//!
//! What always holds: no call here waits for the disk. What cannot be taken at once is left out and
//! counted; the runs of a sample that is left out go into the next one. An error ends the recording, is
//! told once, and touches nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, channel, sync_channel,
};
use std::thread;
use std::time::{Duration, Instant};

use super::encode::Encoder;
use super::record::{Facts, Lost, Merge, NewIdentity, Note, Outcome, Record};
use crate::sample::{MergeIdentity, NextRuns, Run, Sample, StoreView};

/// How many records may wait for the disk: of one merge, what comes in 25 seconds.
const QUEUE: usize = 128;
/// How many other records than samples may wait beside them.
const WAITING: usize = 256;
/// How many runs of samples that were left out are kept for the next.
const CARRIED_RUNS: usize = 1 << 18;
/// What was recorded is in the file after so long.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// How long the end of a recording is waited for, where the disk does not answer.
const END_WAITS: Duration = Duration::from_secs(5);

/// What a recording is written to.
pub trait Sink: Write + Send + 'static {
    /// Brings what was written to stable storage.
    ///
    /// # Errors
    /// What the kernel answers.
    fn settle(&mut self) -> io::Result<()>;
}

impl Sink for File {
    fn settle(&mut self) -> io::Result<()> {
        match self.sync_all() {
            // What is no file on a disk has nothing to bring there.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        }
    }
}

/// What was written, in the end.
#[derive(Debug)]
pub struct Ended {
    /// The length of the file.
    pub bytes: u64,
    /// How many samples are in it.
    pub samples: u64,
    /// What is not.
    pub lost: Lost,
    /// Why it is not whole; told before where [`Recorder::trouble`] was asked.
    pub error: Option<io::Error>,
}

/// What goes to the thread that writes.
enum Message {
    Record(Record),
    End(Outcome),
}

/// What comes back from it.
struct Written {
    bytes: u64,
    samples: u64,
    shortened: u64,
    error: Option<io::Error>,
}

/// Takes what is to be recorded.
pub struct Recorder {
    records: SyncSender<Message>,
    written: Receiver<Written>,
    /// What the thread has said, where it has ended already.
    ended: Option<Written>,
    /// What must not be left out and could not be taken yet.
    waiting: VecDeque<Record>,
    carried: BTreeMap<u32, Carried>,
    /// What was left out since that was last recorded, and in all.
    lost: Lost,
    lost_in_all: Lost,
    is_told: bool,
}

/// What a sample that was left out hands on to the next of its merge.
#[derive(Default)]
struct Carried {
    runs: Vec<Run>,
    store: Option<StoreView>,
    next_runs: Option<NextRuns>,
}

impl Recorder {
    /// Begins a recording in an empty file.
    ///
    /// # Errors
    /// Where there can be no thread.
    pub fn begin(sink: impl Sink, facts: Facts) -> io::Result<Self> {
        let (records, incoming) = sync_channel(QUEUE);
        let (done, written) = channel();
        let write = move || {
            let mut writer = Writer::new(sink, facts);
            let error = writer.write_all_of(&incoming).err();
            let Writer { bytes, samples, shortened, .. } = writer;
            // Nobody may wait for it any more.
            let _ = done.send(Written { bytes, samples, shortened, error });
        };
        thread::Builder::new().name("recording".to_owned()).spawn(write)?;
        Ok(Self {
            records,
            written,
            ended: None,
            waiting: VecDeque::new(),
            carried: BTreeMap::new(),
            lost: Lost::default(),
            lost_in_all: Lost::default(),
            is_told: false,
        })
    }

    /// A merge begins. `merge` is what its samples are known by; what waits for `stall_after_ns` is a
    /// stall. `shown`: whether the user sees it begin.
    pub fn merge(
        &mut self,
        merge: u32,
        identity: &MergeIdentity,
        stall_after_ns: u64,
        shown: bool,
    ) {
        let identity = identity.clone();
        self.always(Record::Merge(Box::new(Merge { merge, identity, stall_after_ns, shown })));
    }

    /// What stays the same of a merge has changed.
    pub fn identity(&mut self, merge: u32, identity: &MergeIdentity) {
        let identity = identity.clone();
        self.always(Record::Identity(Box::new(NewIdentity { merge, identity })));
    }

    /// A sample was taken. `shown`: whether it is shown by itself.
    pub fn sample(&mut self, merge: u32, sample: &Sample, shown: bool) {
        self.hand_on();
        if !self.waiting.is_empty() {
            return self.leave_out(merge, sample.clone());
        }
        let mut sample = Box::new(sample.clone());
        if let Some(carried) = self.carried.remove(&merge) {
            carried.put_into(&mut sample);
        }
        if !self.lost.is_nothing() && self.try_send(Record::Lost(self.lost)).is_ok() {
            self.lost = Lost::default();
        }
        if let Err(Record::Sample { sample, .. }) =
            self.try_send(Record::Sample { merge, shown, sample })
        {
            self.leave_out(merge, *sample);
        }
    }

    /// The user was told something.
    pub fn note(&mut self, words: &str) {
        self.hand_on();
        if self.waiting.len() >= WAITING {
            let one = Lost { notes: 1, ..Lost::default() };
            self.lost.add(one);
            self.lost_in_all.add(one);
            return;
        }
        self.always(Record::Note(Note { words: words.to_owned() }));
    }

    /// Why the recording has ended before its time; told once.
    pub fn trouble(&mut self) -> Option<String> {
        self.look_for_the_end();
        let error = self.ended.as_ref()?.error.as_ref()?;
        let words = error.to_string();
        (!std::mem::replace(&mut self.is_told, true)).then_some(words)
    }

    /// Ends the recording, and waits a few seconds for the disk.
    pub fn end(mut self, outcome: Outcome) -> Ended {
        let deadline = Instant::now() + END_WAITS;
        if !self.lost.is_nothing() {
            self.waiting.push_back(Record::Lost(self.lost));
        }
        let last = std::mem::take(&mut self.waiting).into_iter().map(Message::Record);
        for message in last.chain([Message::End(outcome)]) {
            let mut unsent = Some(message);
            while let Some(message) = unsent.take() {
                if let Err(TrySendError::Full(message)) = self.records.try_send(message)
                    && Instant::now() < deadline
                {
                    unsent = Some(message);
                    thread::sleep(Duration::from_millis(10));
                }
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let ended = self.ended.take().or_else(|| self.written.recv_timeout(left).ok());
        let mut lost = self.lost_in_all;
        if let Some(Written { bytes, samples, shortened, error }) = ended {
            lost.shortened += shortened;
            Ended { bytes, samples, lost, error }
        } else {
            let error = io::Error::new(
                io::ErrorKind::TimedOut,
                "the disk has not answered for 5 s; the last seconds are missing",
            );
            Ended { bytes: 0, samples: 0, lost, error: Some(error) }
        }
    }

    /// What is rare and must not be missing.
    fn always(&mut self, record: Record) {
        self.waiting.push_back(record);
        self.hand_on();
    }

    /// Hands on what waits, as far as it is taken.
    fn hand_on(&mut self) {
        while let Some(record) = self.waiting.pop_front() {
            if let Err(record) = self.try_send(record) {
                self.waiting.push_front(record);
                return;
            }
        }
    }

    /// Hands a record to the thread, which may have ended: then nothing is to be done about it.
    fn try_send(&self, record: Record) -> Result<(), Record> {
        match self.records.try_send(Message::Record(record)) {
            Err(TrySendError::Full(Message::Record(record))) => Err(record),
            _ => Ok(()),
        }
    }

    fn leave_out(&mut self, merge: u32, mut sample: Sample) {
        let mut lost = Lost { samples: 1, ..Lost::default() };
        let mut carried = self.carried.remove(&merge).unwrap_or_default();
        carried.runs.append(&mut sample.runs);
        let excess = carried.runs.len().saturating_sub(CARRIED_RUNS);
        carried.runs.truncate(CARRIED_RUNS);
        lost.runs = excess as u64;
        carried.store = sample.store.or(carried.store);
        carried.next_runs = sample.next_runs.or(carried.next_runs);
        self.carried.insert(merge, carried);
        self.lost.add(lost);
        self.lost_in_all.add(lost);
    }

    fn look_for_the_end(&mut self) {
        if self.ended.is_some() {
            return;
        }
        match self.written.try_recv() {
            Ok(written) => self.ended = Some(written),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                let error = Some(io::Error::other("the thread that writes it broke off"));
                self.ended = Some(Written { bytes: 0, samples: 0, shortened: 0, error });
            }
        }
    }
}

impl Carried {
    fn put_into(self, sample: &mut Sample) {
        sample.runs.splice(0..0, self.runs);
        sample.store = sample.store.take().or(self.store);
        sample.next_runs = sample.next_runs.take().or(self.next_runs);
    }
}

/// The side that writes.
struct Writer<W> {
    sink: W,
    encoder: Encoder,
    bytes: u64,
    samples: u64,
    shortened: u64,
}

impl<W: Sink> Writer<W> {
    fn new(sink: W, facts: Facts) -> Self {
        Self { sink, encoder: Encoder::new(facts), bytes: 0, samples: 0, shortened: 0 }
    }

    /// Writes what comes, until nothing more does.
    fn write_all_of(&mut self, incoming: &Receiver<Message>) -> io::Result<()> {
        // At once, so that a file that cannot be written is known before anything depends on it.
        let facts = self.encoder.facts().clone();
        self.push(Record::Facts(Box::new(facts)))?;
        self.write()?;
        let mut due = None;
        loop {
            let wait = due
                .map_or(WRITE_EVERY, |due: Instant| due.saturating_duration_since(Instant::now()));
            match incoming.recv_timeout(wait) {
                Ok(Message::Record(record)) => {
                    self.push(record)?;
                    due.get_or_insert_with(|| Instant::now() + WRITE_EVERY);
                }
                Ok(Message::End(outcome)) => {
                    self.push(Record::End(outcome))?;
                    self.write()?;
                    return self.sink.settle();
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Whoever recorded is gone without a word.
                Err(RecvTimeoutError::Disconnected) => return self.write(),
            }
            if self.encoder.is_full() || due.is_some_and(|due| due <= Instant::now()) {
                self.write()?;
                due = None;
            }
        }
    }

    fn push(&mut self, record: Record) -> io::Result<()> {
        let is_sample = matches!(record, Record::Sample { .. });
        let samples_before = self.samples;
        if is_sample {
            self.samples += 1;
        }
        if self.encoder.push(record) {
            return Ok(());
        }
        // The frame has no room for it: only a sample of very many runs is so long.
        self.samples = samples_before;
        self.write()?;
        self.encoder.push(Record::Lost(Lost { samples: 1, ..Lost::default() }));
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        self.shortened += self.encoder.shortened();
        let frame = self.encoder.close_frame()?;
        self.sink.write_all(&frame)?;
        self.bytes += frame.len() as u64;
        Ok(())
    }
}
