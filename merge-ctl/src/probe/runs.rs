//! What the programs tell of runs, in the words of a sample.

use std::time::Duration;

use aya::maps::{HashMap, MapData, RingBuf};
use merge_common::{RunInProgress, RunRecord, event, phase};

use crate::sample::{CurrentRun, End, Fault, Phase, Run, ToldBy};
use crate::units::DeviceNumber;
use crate::wake::Wake;

/// How often a record that changes is read again.
const TRIES: usize = 4;
/// How often to look where the kernel cannot wake us.
const POLL: Duration = Duration::from_millis(50);

/// Something that happened to a merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The device with the exceptions, where it is known.
    pub cow_dev: Option<DeviceNumber>,
    /// The device below the origin, where it is known.
    pub real_dev: Option<DeviceNumber>,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A run was copied and committed.
    Run(Run),
    /// The merge is over. A finished merge that is resumed once more says so once more.
    End(End),
}

/// The run in progress of some merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InProgress {
    /// The device with the exceptions, where it is known: without BTF of dm-snapshot only once the
    /// merge's first copy began.
    pub cow_dev: Option<DeviceNumber>,
    /// The device below the origin, where it is known. As above.
    pub real_dev: Option<DeviceNumber>,
    /// The run.
    pub run: CurrentRun,
}

/// The maps of the run programs.
pub(super) struct Runs {
    merges: HashMap<MapData, u64, RunInProgress>,
    events: RingBuf<MapData>,
    /// Made when it is first waited for: it needs a tokio runtime.
    wake: Option<Wake>,
}

impl Runs {
    pub(super) fn new(
        merges: HashMap<MapData, u64, RunInProgress>,
        events: RingBuf<MapData>,
    ) -> Self {
        Self { merges, events, wake: None }
    }

    /// Returns when there may be events to drain.
    pub(super) async fn readable(&mut self) {
        if self.wake.is_none() {
            self.wake = Wake::new(&self.events);
        }
        let woken = match &self.wake {
            Some(wake) => wake.ready().await,
            None => false,
        };
        if !woken {
            tokio::time::sleep(POLL).await;
        }
    }

    /// All that was told since the last time.
    pub(super) fn drain(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(item) = self.events.next() {
            events.extend(RunRecord::from_bytes(&item).and_then(|record| event(&record)));
        }
        events
    }

    /// The runs in progress.
    pub(super) fn current(&self) -> Vec<InProgress> {
        let merges = self.merges.keys().filter_map(Result::ok);
        merges.filter_map(|merge| in_progress(&self.whole(merge)?)).collect()
    }

    /// A merge's record, taken at an instant when nothing was changing it.
    fn whole(&self, merge: u64) -> Option<RunInProgress> {
        let mut copies = (0..TRIES).map_while(|_| self.merges.get(&merge, 0).ok());
        copies.find(RunInProgress::is_whole)
    }
}

/// What a record tells; nothing where it is of a kind that is not known.
fn event(record: &RunRecord) -> Option<Event> {
    let what = match record.event {
        event::RUN_FINISHED => What::Run(run(record)),
        event::MERGE_ENDED => What::End(End::Done { at_ns: record.finished_ns }),
        event::MERGE_FAILED => What::End(failure(record)),
        _ => return None,
    };
    Some(Event { cow_dev: device(record.cow_dev), real_dev: device(record.real_dev), what })
}

fn run(record: &RunRecord) -> Run {
    Run {
        old_chunk: record.old_chunk,
        new_chunk: record.new_chunk,
        chunks: record.chunks,
        started_ns: record.started_ns,
        finished_ns: record.finished_ns,
        phase_ns: record.phase_ns,
    }
}

fn failure(record: &RunRecord) -> End {
    End::Failed {
        at_ns: record.finished_ns,
        fault: Fault::from_record(record.failure),
        told_by: ToldBy::Probes,
        errno: record.errno,
        old_chunk: record.old_chunk,
        chunks: record.chunks,
    }
}

/// A merge's run, unless it is between two runs.
fn in_progress(record: &RunInProgress) -> Option<InProgress> {
    let (phase, phase_started_ns, phase_ns) = present_phase(record)?;
    let run = CurrentRun {
        old_chunk: record.run.old_chunk,
        new_chunk: record.run.new_chunk,
        chunks: record.run.chunks,
        phase,
        started_ns: record.run.started_ns,
        phase_started_ns,
        phase_ns,
    };
    let (cow_dev, real_dev) = (device(record.run.cow_dev), device(record.run.real_dev));
    Some(InProgress { cow_dev, real_dev, run })
}

/// The phase, its start, and the phases behind it.
///
/// The programs see the wait for siblings end only with the last question that none of them had to
/// copy for, so they call both waits the drain; which it is follows from the siblings' answers.
fn present_phase(record: &RunInProgress) -> Option<(Phase, u64, [u64; phase::COUNT])> {
    let phase = Phase::from_record(record.phase)?;
    let mut phase_ns = record.run.phase_ns;
    if phase != Phase::Drain {
        return Some((phase, record.phase_started_ns, phase_ns));
    }
    if record.sibling_pending != 0 {
        return Some((Phase::Siblings, record.phase_started_ns, phase_ns));
    }
    let drain_started_ns = record.phase_started_ns.max(record.siblings_asked_ns);
    phase_ns[Phase::Siblings as usize] = drain_started_ns - record.phase_started_ns;
    Some((phase, drain_started_ns, phase_ns))
}

/// A device as the programs tell it: 0 is none.
fn device(dev: u32) -> Option<DeviceNumber> {
    (dev != 0).then(|| DeviceNumber::from_kernel(dev))
}

#[cfg(test)]
mod tests {
    use merge_common::failure;

    use super::*;

    fn draining() -> RunInProgress {
        RunInProgress {
            run: RunRecord {
                cow_dev: 7 << 20 | 1,
                chunks: 4,
                started_ns: 90,
                ..Default::default()
            },
            phase: phase::DRAIN,
            phase_started_ns: 100,
            ..Default::default()
        }
    }

    #[test]
    fn a_wait_is_for_siblings_while_one_lacks_a_chunk() {
        let asked = RunInProgress { siblings_asked_ns: 150, ..draining() };
        let pending = RunInProgress { sibling_pending: 1, ..asked };
        let run = in_progress(&pending).unwrap().run;
        assert_eq!((run.phase, run.phase_started_ns), (Phase::Siblings, 100));
        let run = in_progress(&asked).unwrap().run;
        assert_eq!((run.phase, run.phase_started_ns), (Phase::Drain, 150));
        assert_eq!(run.phase_ns[Phase::Siblings as usize], 50);
    }

    #[test]
    fn a_wait_of_nobody_who_was_asked_is_the_drain() {
        let run = in_progress(&draining()).unwrap().run;
        assert_eq!((run.phase, run.phase_started_ns), (Phase::Drain, 100));
        assert_eq!(run.phase_ns, [0; phase::COUNT]);
    }

    #[test]
    fn between_two_runs_none_is_in_progress() {
        let idle = RunInProgress { phase: phase::IDLE, ..draining() };
        assert_eq!(in_progress(&idle), None);
    }

    #[test]
    fn unknown_devices_and_events_are_told_as_such() {
        let record = RunRecord {
            event: event::MERGE_FAILED,
            failure: failure::COMMIT_COW,
            errno: -5,
            real_dev: 253 << 20 | 3,
            ..Default::default()
        };
        let told = event(&record).unwrap();
        assert_eq!(told.cow_dev, None);
        assert_eq!(told.real_dev, Some(DeviceNumber { major: 253, minor: 3 }));
        let What::End(End::Failed { fault, errno, .. }) = told.what else { panic!("{told:?}") };
        assert_eq!((fault, errno), (Some(Fault::CommitCow), -5));
        assert_eq!(event(&RunRecord { event: 77, ..record }), None);
    }
}
