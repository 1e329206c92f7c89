//! Several pumps on one list of jobs, each on a thread of its own: one thread alone is not enough where
//! requests are small and the machine has other work.
//!
//! What a pump promises alone holds for all of them: as soon as one has an error, none begins a request
//! any more, and all wait for what is under way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

use super::pump::{Failure, Job, Next, Pump, Run, Tasks};
use super::queue::Queue;

/// The jobs, for all pumps.
struct Shared<'a> {
    tasks: Mutex<&'a mut (dyn Tasks + Send)>,
    has_failed: AtomicBool,
}

impl Shared<'_> {
    fn with<R>(&self, ask: impl FnOnce(&mut dyn Tasks) -> R) -> R {
        // Whoever panicked is joined, and ends the merge.
        ask(&mut **self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tasks for &Shared<'_> {
    fn next(&mut self) -> Next {
        self.with(|tasks| tasks.next())
    }

    fn ended(&mut self, job: &Job, buffer: &[u8]) -> Result<(), u64> {
        self.with(|tasks| tasks.ended(job, buffer))
    }

    fn is_stopped(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed) || self.with(|tasks| tasks.is_stopped())
    }

    fn failed(&mut self) {
        self.has_failed.store(true, Ordering::Relaxed);
    }
}

/// Does all jobs, or as many as may be; the first pump's error, if there are several.
pub(super) fn run<Q: Queue>(
    pumps: &mut [Pump<Q>],
    tasks: &mut (dyn Tasks + Send),
) -> Result<Run, Failure> {
    if let [pump] = pumps {
        return pump.run(tasks);
    }
    let shared = Shared { tasks: Mutex::new(tasks), has_failed: AtomicBool::new(false) };
    let shared = &shared;
    let runs: Vec<_> = std::thread::scope(|scope| {
        let start = |pump| {
            let pump: &mut Pump<Q> = pump;
            let work = move || pump.run(&mut { shared });
            Builder::new().name("merge-pump".to_owned()).spawn_scoped(scope, work)
        };
        let threads: Vec<_> = pumps.iter_mut().map(start).collect();
        let panicked = |_| Err(Failure::Queue(std::io::Error::other("a thread panicked")));
        let join = |thread: std::io::Result<std::thread::ScopedJoinHandle<'_, _>>| match thread {
            Ok(thread) => thread.join().unwrap_or_else(panicked),
            Err(error) => Err(Failure::Queue(error)),
        };
        threads.into_iter().map(join).collect()
    });
    let mut all = Run::Complete;
    for run in runs {
        if run? == Run::Stopped {
            all = Run::Stopped;
        }
    }
    Ok(all)
}
