//! Keeps many jobs under way at once: each has a buffer, requests that fill it, and perhaps one that
//! empties it afterwards.
//!
//! What always holds: no more requests are under way than were allowed; a job's last request begins
//! only when all before have ended; short transfers are continued. After an error, or once told to
//! stop, no new request begins, and those under way are waited for. An error in a large request is
//! then pinned down to its first failing block, by making parts of it again: reading changes nothing,
//! and what is written again is the same.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::Slots;
use super::meter;
use super::queue::{Ended, Queue, Request, Side, Way};
use super::window::{Extent, Window};

/// The longest sleep: a stop is looked for after it.
const SLEEP: Duration = Duration::from_millis(100);
/// A device that has no room for a request now gets it again after this time.
const AGAIN_AFTER: Duration = Duration::from_millis(1);

/// What is to be done with one buffer.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// What is made first, in any order. The pump chooses the slots.
    pub(super) first: Vec<Request>,
    /// What is made when all of that has ended.
    pub(super) then: Option<Request>,
    /// What it means to who gave it: a place, and a length.
    pub(super) at_bytes: u64,
    pub(super) length: usize,
}

/// What comes next.
pub(super) enum Next {
    Job(Job),
    /// Not before this time is over.
    Pause(Duration),
    /// There is nothing left to begin.
    End,
}

/// Gives the pump its jobs, and is told when one has ended.
pub(super) trait Tasks {
    /// The next job.
    fn next(&mut self) -> Next;

    /// A job has ended well, and this is its buffer.
    ///
    /// # Errors
    /// The place on the origin, in bytes, where the buffer is not as it should be.
    fn ended(&mut self, job: &Job, buffer: &[u8]) -> Result<(), u64>;

    /// Whether somebody asked for a stop.
    fn is_stopped(&self) -> bool;

    /// Something went wrong: the pump ends.
    fn failed(&mut self) {}
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// All jobs are done.
    Complete,
    /// It was told to stop.
    Stopped,
}

/// Why a run ended before that.
#[derive(Debug)]
pub(super) enum Failure {
    /// A device did not do it: the first block that fails.
    Device { side: Side, way: Way, at_bytes: u64, source: io::Error },
    /// [`Tasks::ended`] did not like a buffer.
    Differs { at_bytes: u64 },
    /// No request can be made any more.
    Queue(io::Error),
}

struct Work {
    job: Job,
    /// How many requests of what is made now have not ended.
    left: usize,
}

#[derive(Clone, Copy)]
struct UnderWay {
    request: Request,
    begun: Instant,
}

/// See the module.
pub(super) struct Pump<Q> {
    queue: Q,
    block_bytes: usize,
    works: Vec<Option<Work>>,
    free: Vec<usize>,
    ready: VecDeque<Request>,
    under_way: Vec<Option<UnderWay>>,
    /// How much is under way.
    amount: Extent,
    tokens: Vec<usize>,
    window: Window,
    /// The same of all pumps, for whoever watches.
    shown: Arc<meter::UnderWay>,
    /// Nothing new begins any more.
    is_ending: bool,
    failed: Option<Failed>,
}

enum Failed {
    Request(Request, io::Error),
    Differs { at_bytes: u64 },
}

impl<Q: Queue> Pump<Q> {
    /// `block_bytes` is what requests are aligned to; `shown`: where those under way are counted.
    pub(super) fn new(
        queue: Q,
        slots: Slots,
        requests: usize,
        block_bytes: u32,
        shown: Arc<meter::UnderWay>,
    ) -> Self {
        Self {
            queue,
            block_bytes: block_bytes as usize,
            works: (0..slots.count).map(|_| None).collect(),
            free: (0..slots.count).rev().collect(),
            ready: VecDeque::new(),
            under_way: vec![None; requests],
            amount: Extent::default(),
            tokens: (0..requests).rev().collect(),
            window: Window::new(Extent { requests, bytes: (slots.count * slots.bytes) as u64 }),
            shown,
            is_ending: false,
            failed: None,
        }
    }

    /// Makes all buffers zeroes. No run may be going on.
    pub(super) fn zero_buffers(&mut self) {
        (0..self.works.len()).for_each(|slot| self.queue.buffer(slot).fill(0));
    }

    /// Does all jobs, or as many as it may.
    pub(super) fn run(&mut self, tasks: &mut dyn Tasks) -> Result<Run, Failure> {
        self.is_ending = false;
        let mut is_stopped = false;
        loop {
            if !is_stopped && tasks.is_stopped() {
                is_stopped = true;
                self.end();
            }
            let next = self.take_in(tasks);
            self.begin_ready().map_err(Failure::Queue)?;
            if self.tokens.len() < self.under_way.len() {
                self.end_one(tasks).map_err(Failure::Queue)?;
            } else if self.is_ending {
                break;
            } else if let Next::Pause(pause) = next {
                std::thread::sleep(pause.min(SLEEP));
            } else {
                break;
            }
        }
        self.forget_works();
        match self.failed.take() {
            Some(failed) => Err(self.explain(failed)),
            None if is_stopped => Ok(Run::Stopped),
            None => Ok(Run::Complete),
        }
    }

    /// No new request begins.
    fn end(&mut self) {
        self.is_ending = true;
        self.ready.clear();
    }

    fn forget_works(&mut self) {
        self.works.fill_with(|| None);
        self.free = (0..self.works.len()).rev().collect();
    }

    /// Gives free buffers their jobs; what was said when there were no more.
    fn take_in(&mut self, tasks: &mut dyn Tasks) -> Next {
        // What waits already is enough to go on with.
        while !self.is_ending && self.ready.len() < self.under_way.len() {
            let Some(slot) = self.free.last().copied() else { break };
            let job = match tasks.next() {
                Next::Job(job) => job,
                other => return other,
            };
            self.free.pop();
            self.ready.extend(job.first.iter().map(|request| Request { slot, ..*request }));
            self.works[slot] = Some(Work { left: job.first.len(), job });
        }
        Next::End
    }

    fn begin_ready(&mut self) -> io::Result<()> {
        while let Some(request) = self.ready.front().copied() {
            if !self.window.admits(self.amount, request.length) {
                break;
            }
            let Some(token) = self.tokens.pop() else { break };
            self.ready.pop_front();
            self.queue.begin(token, request)?;
            self.amount = self.amount.and(request.length);
            self.shown.begin(request.length);
            self.under_way[token] = Some(UnderWay { request, begun: Instant::now() });
        }
        Ok(())
    }

    fn end_one(&mut self, tasks: &mut dyn Tasks) -> io::Result<()> {
        let Ended { token, answer } = self.queue.wait()?;
        let lost = || io::Error::other("a request ended that was not begun");
        let UnderWay { request, begun } =
            self.under_way.get_mut(token).and_then(Option::take).ok_or_else(lost)?;
        self.tokens.push(token);
        self.amount = self.amount.without(request.length);
        self.shown.end(request.length);
        self.window.ended(request.length, begun, Instant::now());
        match judge(request, answer, self.block_bytes) {
            Verdict::Done => self.advance(request.slot, tasks),
            Verdict::GoOn(rest) => self.again(rest),
            Verdict::Again => {
                std::thread::sleep(AGAIN_AFTER);
                self.again(request);
            }
            Verdict::Failed(error) => self.fail(tasks, Failed::Request(request, error)),
        }
        Ok(())
    }

    fn again(&mut self, request: Request) {
        if !self.is_ending {
            self.ready.push_front(request);
        }
    }

    /// The first error is the one that is told.
    fn fail(&mut self, tasks: &mut dyn Tasks, failed: Failed) {
        tasks.failed();
        self.end();
        self.failed.get_or_insert(failed);
    }

    /// A request of this slot has ended well.
    fn advance(&mut self, slot: usize, tasks: &mut dyn Tasks) {
        let Some(work) = &mut self.works[slot] else { return };
        work.left -= 1;
        if work.left > 0 {
            return;
        }
        if let Some(then) = work.job.then.take() {
            work.left = 1;
            // It frees a buffer, so it goes first.
            self.again(Request { slot, ..then });
            return;
        }
        let Some(Work { job, .. }) = self.works[slot].take() else { return };
        self.free.push(slot);
        if let Err(at_bytes) = tasks.ended(&job, self.queue.buffer(slot)) {
            self.fail(tasks, Failed::Differs { at_bytes });
        }
    }

    fn explain(&mut self, failed: Failed) -> Failure {
        match failed {
            Failed::Differs { at_bytes } => Failure::Differs { at_bytes },
            Failed::Request(request, error) => self.pin_down(request, error),
        }
    }

    /// Finds the first block of a request that fails, by halving. One that fails no more is told as
    /// it failed: at its beginning.
    fn pin_down(&mut self, request: Request, mut error: io::Error) -> Failure {
        let part = |start: usize, end: usize| Request {
            at_bytes: request.at_bytes + start as u64,
            from: request.from + start,
            length: end - start,
            ..request
        };
        // All before `start` is good, and something before `end` is bad.
        let (mut start, mut end) = (0, request.length);
        while end - start > self.block_bytes {
            let middle = start + (end - start) / 2 / self.block_bytes * self.block_bytes;
            let middle = middle.max(start + self.block_bytes);
            match self.once(part(start, middle)) {
                Ok(None) => start = middle,
                Ok(Some(newer)) => (end, error) = (middle, newer),
                Err(broken) => return Failure::Queue(broken),
            }
        }
        match self.once(part(start, end)) {
            Ok(Some(newer)) => error = newer,
            Ok(None) => start = 0,
            Err(broken) => return Failure::Queue(broken),
        }
        let at_bytes = request.at_bytes + start as u64;
        Failure::Device { side: request.side, way: request.way, at_bytes, source: error }
    }

    /// Makes one request while there are no others; its error.
    fn once(&mut self, mut request: Request) -> io::Result<Option<io::Error>> {
        loop {
            self.queue.begin(0, request)?;
            let answer = self.queue.wait()?.answer;
            match judge(request, answer, self.block_bytes) {
                Verdict::Done => return Ok(None),
                Verdict::Failed(error) => return Ok(Some(error)),
                Verdict::GoOn(rest) => request = rest,
                Verdict::Again => std::thread::sleep(AGAIN_AFTER),
            }
        }
    }
}

enum Verdict {
    Done,
    GoOn(Request),
    Again,
    Failed(io::Error),
}

/// What a device's answer means for a request.
fn judge(request: Request, answer: io::Result<usize>, block_bytes: usize) -> Verdict {
    match answer {
        Ok(moved) if moved >= request.length => Verdict::Done,
        Ok(moved) => {
            // Direct requests begin at blocks: a part of one is made again.
            let whole = moved - moved % block_bytes;
            if whole == 0 {
                return Verdict::Failed(short(request.way).into());
            }
            Verdict::GoOn(Request {
                at_bytes: request.at_bytes + whole as u64,
                from: request.from + whole,
                length: request.length - whole,
                ..request
            })
        }
        Err(error) => match error.kind() {
            io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => Verdict::Again,
            _ => Verdict::Failed(error),
        },
    }
}

const fn short(way: Way) -> io::ErrorKind {
    match way {
        Way::Read => io::ErrorKind::UnexpectedEof,
        Way::Write => io::ErrorKind::WriteZero,
    }
}
