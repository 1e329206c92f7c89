//! Requests by a pool of threads that read and write, where io_uring is forbidden.
//!
//! A buffer goes to the thread that fills or empties it, and comes back with the answer: so it has one
//! owner at any time, and its requests are made one after the other. Different buffers' requests are
//! made at the same time. Threads are started when there is something for them to do.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::budget::Slots;
use super::queue::{Ended, Queue, Request, Side, Way};
use crate::store::aligned::AlignedBuffer;

/// More threads than this gain nothing.
const MOST_THREADS: usize = 64;
/// A thread only reads and writes.
const STACK_BYTES: usize = 64 << 10;

/// Both devices.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) origin: Arc<File>,
    pub(super) cow: Arc<File>,
}

impl Files {
    pub(super) fn of(&self, side: Side) -> &File {
        match side {
            Side::Origin => &self.origin,
            Side::Cow => &self.cow,
        }
    }

    fn carry_out(&self, request: Request, buffer: &mut AlignedBuffer) -> io::Result<usize> {
        let bytes = &mut buffer.as_mut_slice()[request.from..][..request.length];
        match request.way {
            Way::Read => self.of(request.side).read_at(bytes, request.at_bytes),
            Way::Write => self.of(request.side).write_at(bytes, request.at_bytes),
        }
    }
}

struct Job {
    token: usize,
    request: Request,
    buffer: AlignedBuffer,
}

struct Answered {
    job: Job,
    answer: io::Result<usize>,
}

/// A buffer, where it is here, and what waits for it.
struct Slot {
    buffer: Option<AlignedBuffer>,
    waiting: VecDeque<(usize, Request)>,
}

/// See the module.
pub(super) struct Threads {
    files: Files,
    slots: Vec<Slot>,
    most: usize,
    /// None when they are told to end.
    jobs: Option<Sender<Job>>,
    taken_from: Arc<Mutex<Receiver<Job>>>,
    answers: Receiver<Answered>,
    answer_to: Sender<Answered>,
    /// Jobs that threads have or will take.
    busy: usize,
    threads: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(super) fn new(files: Files, slots: Slots, requests: usize) -> Self {
        let (jobs, taken_from) = channel();
        let (answer_to, answers) = channel();
        let slot =
            |_| Slot { buffer: Some(AlignedBuffer::new(slots.bytes)), waiting: VecDeque::new() };
        Self {
            files,
            slots: (0..slots.count).map(slot).collect(),
            most: requests.min(MOST_THREADS),
            jobs: Some(jobs),
            taken_from: Arc::new(Mutex::new(taken_from)),
            answers,
            answer_to,
            busy: 0,
            threads: Vec::new(),
        }
    }

    fn send(&mut self, job: Job) -> io::Result<()> {
        if self.threads.len() < self.most && self.threads.len() <= self.busy {
            self.start_one()?;
        }
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        self.busy += 1;
        if sent { Ok(()) } else { Err(io::Error::other("no thread takes requests")) }
    }

    /// Fewer threads do where the system gives no more; none at all is an error.
    fn start_one(&mut self) -> io::Result<()> {
        let (files, taken_from) = (self.files.clone(), Arc::clone(&self.taken_from));
        let answer_to = self.answer_to.clone();
        let thread = Builder::new().name("merge-copy".to_owned()).stack_size(STACK_BYTES);
        match thread.spawn(move || serve(&files, &taken_from, &answer_to)) {
            Ok(thread) => self.threads.push(thread),
            Err(error) if self.threads.is_empty() => return Err(error),
            Err(_) => self.most = self.threads.len(),
        }
        Ok(())
    }
}

/// Takes requests until there are no more to come.
fn serve(files: &Files, jobs: &Mutex<Receiver<Job>>, answer_to: &Sender<Answered>) {
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(mut job) = next() {
        let answer = files.carry_out(job.request, &mut job.buffer);
        if answer_to.send(Answered { job, answer }).is_err() {
            return;
        }
    }
}

impl Queue for Threads {
    fn begin(&mut self, token: usize, request: Request) -> io::Result<()> {
        let slot = &mut self.slots[request.slot];
        if let Some(buffer) = slot.buffer.take() {
            self.send(Job { token, request, buffer })
        } else {
            slot.waiting.push_back((token, request));
            Ok(())
        }
    }

    fn wait(&mut self) -> io::Result<Ended> {
        let lost = |_| io::Error::other("the threads that make requests are gone");
        let Answered { job: Job { token, request, buffer }, answer } =
            self.answers.recv().map_err(lost)?;
        self.busy -= 1;
        match self.slots[request.slot].waiting.pop_front() {
            Some((token, request)) => self.send(Job { token, request, buffer })?,
            None => self.slots[request.slot].buffer = Some(buffer),
        }
        Ok(Ended { token, answer })
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        self.slots[slot].buffer.as_mut().map_or(&mut [], AlignedBuffer::as_mut_slice)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            drop(thread.join());
        }
    }
}
