//! What an offline merge does right now, for whoever watches it from another thread, and the one
//! thing that they may tell it: to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What it does, one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Reads the exceptions.
    #[default]
    Reading,
    /// Copies chunks.
    Copying,
    /// Compares what was copied with what it was copied from.
    Verifying,
    /// Waits until the origin's data is on stable storage.
    Flushing,
    /// Clears the metadata.
    Clearing,
    /// Has ended well.
    Done,
}

impl Stage {
    /// All that take time.
    pub const ALL: [Self; 5] =
        [Self::Reading, Self::Copying, Self::Verifying, Self::Flushing, Self::Clearing];

    /// The stage's word, for people and for JSON. Never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Copying => "copying",
            Self::Verifying => "verifying",
            Self::Flushing => "flushing",
            Self::Clearing => "clearing",
            Self::Done => "done",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Meter {
    stage: Mutex<Entered>,
    exceptions: AtomicU64,
    total_bytes: AtomicU64,
    copied_bytes: AtomicU64,
    verified_bytes: AtomicU64,
    cleared_exceptions: AtomicU64,
    frontier_bytes: AtomicU64,
    walked_exceptions: AtomicU64,
    under_way: Arc<UnderWay>,
    stop: AtomicBool,
}

/// How much has been asked of the devices and not been answered: counted by who asks.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl UnderWay {
    /// A request of so many bytes begins.
    pub(super) fn begin(&self, length_bytes: usize) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(length_bytes as u64, Ordering::Relaxed);
    }

    /// One that began has ended.
    pub(super) fn end(&self, length_bytes: usize) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(length_bytes as u64, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Entered {
    stage: Stage,
    since: Instant,
    before: [Duration; Stage::ALL.len()],
}

/// All figures at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reading {
    /// What it does.
    pub stage: Stage,
    /// How many exceptions there are; 0 before they are counted.
    pub exceptions: u64,
    /// Their data.
    pub total_bytes: u64,
    /// How much of it is on the origin, though perhaps not on stable storage yet.
    pub copied_bytes: u64,
    /// How much of it was compared.
    pub verified_bytes: u64,
    /// How many exceptions are off the store.
    pub cleared_exceptions: u64,
    /// All chunks of the origin before this place are copied.
    pub frontier_bytes: u64,
    /// How many exceptions were read, in all walks over the store: more than there are, where they do
    /// not fit into memory.
    pub walked_exceptions: u64,
    /// How many requests are under way.
    pub requests_under_way: u64,
    /// Their data.
    pub bytes_under_way: u64,
    /// How long each stage took so far, in the order of [`Stage::ALL`].
    pub times: [Duration; Stage::ALL.len()],
}

impl Default for Meter {
    fn default() -> Self {
        let before = [Duration::ZERO; Stage::ALL.len()];
        Self {
            stage: Mutex::new(Entered { stage: Stage::Reading, since: Instant::now(), before }),
            exceptions: AtomicU64::new(0),
            total_bytes: AtomicU64::new(0),
            copied_bytes: AtomicU64::new(0),
            verified_bytes: AtomicU64::new(0),
            cleared_exceptions: AtomicU64::new(0),
            frontier_bytes: AtomicU64::new(0),
            walked_exceptions: AtomicU64::new(0),
            under_way: Arc::default(),
            stop: AtomicBool::new(false),
        }
    }
}

impl Meter {
    /// Asks for a stop between two requests. Not heeded any more once clearing has begun, which takes
    /// a moment.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked for that.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The figures now.
    pub fn read(&self) -> Reading {
        let figure = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let (stage, times) = {
            let entered = self.entered();
            (entered.stage, entered.times())
        };
        Reading {
            stage,
            exceptions: figure(&self.exceptions),
            total_bytes: figure(&self.total_bytes),
            copied_bytes: figure(&self.copied_bytes),
            verified_bytes: figure(&self.verified_bytes),
            cleared_exceptions: figure(&self.cleared_exceptions),
            frontier_bytes: figure(&self.frontier_bytes),
            walked_exceptions: figure(&self.walked_exceptions),
            requests_under_way: figure(&self.under_way.requests),
            bytes_under_way: figure(&self.under_way.bytes),
            times,
        }
    }

    pub(super) fn enter(&self, stage: Stage) {
        let mut entered = self.entered();
        *entered = Entered { stage, since: Instant::now(), before: entered.times() };
    }

    pub(super) fn times(&self) -> [Duration; Stage::ALL.len()] {
        self.entered().times()
    }

    pub(super) fn found(&self, exceptions: u64, bytes: u64) {
        self.exceptions.store(exceptions, Ordering::Relaxed);
        self.total_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn copied(&self, bytes: u64) {
        self.copied_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn verified(&self, bytes: u64) {
        self.verified_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn cleared(&self, exceptions: u64) {
        self.cleared_exceptions.fetch_add(exceptions, Ordering::Relaxed);
    }

    pub(super) fn reached(&self, frontier_bytes: u64) {
        self.frontier_bytes.store(frontier_bytes, Ordering::Relaxed);
    }

    pub(super) fn walked(&self, exceptions: u64) {
        self.walked_exceptions.fetch_add(exceptions, Ordering::Relaxed);
    }

    /// Where requests are counted.
    pub(super) fn under_way(&self) -> Arc<UnderWay> {
        Arc::clone(&self.under_way)
    }

    /// Nothing panics while it holds the lock, and if it did, the figures would still be whole.
    fn entered(&self) -> std::sync::MutexGuard<'_, Entered> {
        self.stage.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Entered {
    fn times(&self) -> [Duration; Stage::ALL.len()] {
        let mut times = self.before;
        if let Some(at) = Stage::ALL.iter().position(|stage| *stage == self.stage) {
            times[at] += self.since.elapsed();
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_has_its_own_time() {
        let meter = Meter::default();
        meter.enter(Stage::Copying);
        std::thread::sleep(Duration::from_millis(5));
        meter.enter(Stage::Done);
        let times = meter.read().times;
        assert!(times[1] >= Duration::from_millis(5), "{times:?}");
        assert_eq!(times[2..], [Duration::ZERO; 3]);
        assert_eq!(meter.read().times, times, "nothing runs any more");
    }
}
