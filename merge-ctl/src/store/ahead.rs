//! Reading ahead: the next pieces of a walk are read by other threads while one is looked at.
//!
//! Areas lie far apart, 1 MiB at chunks of 4 KiB, so a walk that reads one after the other waits
//! for the device each time, whatever the device could do at once. Here some reads are always
//! under way.
//!
//! What always holds: no more pieces are read ahead than were taken before, so a short walk reads
//! little in vain, and at the device's pace the window doubles with each round of reads; memory is [`WINDOW_BYTES`] at most, or one piece; what a read ahead
//! answers, an error too, is told only to who takes that piece; when this is dropped, nothing is
//! read any more and no thread is left. That last may take as long as the device takes for a read.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::aligned::AlignedBuffer;
use super::source::ReadAt;

/// How many pieces are read ahead at most.
const WINDOW_PIECES: usize = 64;
/// What they may take together, if there are several.
const WINDOW_BYTES: usize = 4 << 20;
/// How many reads are under way at once, at most.
const THREADS: usize = 32;
/// A thread only calls read.
const STACK_BYTES: usize = 64 << 10;

/// The pieces that are being read ahead, in the order in which they will be taken.
pub(super) struct Ahead {
    readers: Readers,
    pending: VecDeque<Pending>,
    spare: Vec<AlignedBuffer>,
    piece_bytes: usize,
    /// How many pieces to read ahead, now and at most.
    window: usize,
    most: usize,
}

struct Pending {
    at_bytes: u64,
    answer: Receiver<Answer>,
}

type Answer = (AlignedBuffer, io::Result<()>);

impl Ahead {
    pub(super) fn new(source: Arc<dyn ReadAt>, piece_bytes: usize) -> Self {
        let most = (WINDOW_BYTES / piece_bytes.max(1)).clamp(1, WINDOW_PIECES);
        Self {
            readers: Readers::new(source),
            pending: VecDeque::new(),
            spare: Vec::new(),
            piece_bytes,
            window: 0,
            most,
        }
    }

    /// Waits for the piece at this place and swaps it into `buffer`. None if it was not read ahead.
    pub(super) fn take(
        &mut self,
        at_bytes: u64,
        buffer: &mut AlignedBuffer,
    ) -> Option<io::Result<()>> {
        let next = self.pending.pop_front()?;
        if next.at_bytes != at_bytes {
            // Not the walk that was foreseen.
            self.pending.clear();
            self.window = 0;
            return None;
        }
        let Ok((filled, result)) = next.answer.recv() else {
            return Some(Err(io::Error::other("the thread that read ahead is gone")));
        };
        self.spare.push(std::mem::replace(buffer, filled));
        Some(result)
    }

    /// Has the next pieces read: those at these places, the first of which are being read already.
    pub(super) fn read_on(&mut self, places: impl Iterator<Item = u64>) {
        let wanted = self.window.saturating_sub(self.pending.len());
        for at_bytes in places.skip(self.pending.len()).take(wanted) {
            if !self.readers.have(self.pending.len() + 1) {
                return;
            }
            let buffer = self.spare.pop().unwrap_or_else(|| AlignedBuffer::new(self.piece_bytes));
            let (answer_to, answer) = sync_channel(1);
            self.readers.queue.add(Job { at_bytes, buffer, answer_to });
            self.pending.push_back(Pending { at_bytes, answer });
        }
        self.window = (self.window + 1).min(self.most);
    }
}

/// Threads that read.
struct Readers {
    source: Arc<dyn ReadAt>,
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    fn new(source: Arc<dyn ReadAt>) -> Self {
        Self { source, queue: Arc::default(), threads: Vec::new() }
    }

    /// Sees that there are enough threads for so many reads. Fewer do where the system gives no
    /// more; false if there is none at all.
    fn have(&mut self, reads: usize) -> bool {
        while self.threads.len() < reads.min(THREADS) {
            let (source, queue) = (Arc::clone(&self.source), Arc::clone(&self.queue));
            let thread = Builder::new().name("store-ahead".to_owned()).stack_size(STACK_BYTES);
            match thread.spawn(move || queue.serve(&*source)) {
                Ok(thread) => self.threads.push(thread),
                Err(_) => break,
            }
        }
        !self.threads.is_empty()
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue.close();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so, and took nothing with it but its answer.
            drop(thread.join());
        }
    }
}

struct Job {
    at_bytes: u64,
    buffer: AlignedBuffer,
    answer_to: SyncSender<Answer>,
}

/// What the threads are to read.
#[derive(Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        // Nobody can panic half-way through a change of it.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, job: Job) {
        self.jobs().waiting.push_back(job);
        self.changed.notify_one();
    }

    /// What was not begun is not read any more.
    fn close(&self) {
        *self.jobs() = Jobs { waiting: VecDeque::new(), closed: true };
        self.changed.notify_all();
    }

    /// The next job, once there is one; none when the queue is closed.
    fn next(&self) -> Option<Job> {
        let idle = |jobs: &mut Jobs| jobs.waiting.is_empty() && !jobs.closed;
        let waited = self.changed.wait_while(self.jobs(), idle);
        waited.unwrap_or_else(PoisonError::into_inner).waiting.pop_front()
    }

    /// Reads until the queue is closed.
    fn serve(&self, source: &dyn ReadAt) {
        while let Some(Job { at_bytes, mut buffer, answer_to }) = self.next() {
            let result = source.read_at(at_bytes, buffer.as_mut_slice());
            // Where nobody waits any more, the walk took another way.
            drop(answer_to.send((buffer, result)));
        }
    }
}
