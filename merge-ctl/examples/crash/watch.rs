//! Says, as it happens, what the devices of a merge are in: the host cuts the power by it.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use merge_ctl::dm::device::Slot;
use merge_ctl::dm::{Control, DeviceId, SnapshotStatus, Target};

use crate::say;

const PAUSE: Duration = Duration::from_millis(2);

/// What the kernel shows of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum State {
    /// There is no such device, or no telling.
    Absent,
    /// The origin has its snapshot, and nothing is on its way.
    Before,
    /// New tables wait, or a device is suspended, and the merge has not begun.
    Handover,
    /// The merge runs.
    Merging,
    /// It has nothing left to do.
    Done,
    /// The plain table waits, or the origin is suspended.
    Finishing,
    /// The origin is plain.
    Finished,
    /// The merge has failed, or the snapshot is invalid.
    Failed,
}

impl State {
    const ALL: [Self; 8] = [
        Self::Absent,
        Self::Before,
        Self::Handover,
        Self::Merging,
        Self::Done,
        Self::Finishing,
        Self::Finished,
        Self::Failed,
    ];

    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Before => "before",
            Self::Handover => "handover",
            Self::Merging => "merging",
            Self::Done => "done",
            Self::Finishing => "finishing",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }
}

/// Looks at the devices: none where an answer is missing because they change just now.
pub(crate) fn look(control: &Control, origin: &str, snapshot: &str) -> State {
    let Ok(status) = control.status(DeviceId::Name(origin), true) else { return State::Absent };
    let info = &status.info;
    let on_its_way = info.inactive_table || info.suspended;
    let Ok(table) = control.table(DeviceId::Name(origin), Slot::Live) else { return State::Absent };
    let snapshot_moves = control
        .info(DeviceId::Name(snapshot))
        .is_ok_and(|info| info.inactive_table || info.suspended);
    match table.0.as_slice() {
        [line] if matches!(line.target, Target::SnapshotMerge(_)) => match status.snapshot() {
            Some(SnapshotStatus::Usage(usage)) if !usage.is_empty() => State::Merging,
            Some(SnapshotStatus::Usage(_)) if on_its_way => State::Finishing,
            Some(SnapshotStatus::Usage(_)) => State::Done,
            _ => State::Failed,
        },
        [line] if matches!(line.target, Target::SnapshotOrigin { .. }) => {
            if on_its_way || snapshot_moves { State::Handover } else { State::Before }
        }
        [line] if matches!(line.target, Target::Linear { .. }) => State::Finished,
        _ => State::Absent,
    }
}

/// Waits for one of these states.
pub(crate) fn wait_for(
    wanted: &[State],
    origin: &str,
    snapshot: &str,
    patience: Duration,
) -> Result<State, String> {
    let control = Control::open().map_err(|error| error.to_string())?;
    let began = Instant::now();
    loop {
        let state = look(&control, origin, snapshot);
        if wanted.contains(&state) {
            return Ok(state);
        }
        if began.elapsed() > patience {
            return Err(format!("{origin} is {} for too long", state.word()));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The state that was last seen.
pub(crate) struct Watch {
    state: AtomicU8,
    over: AtomicBool,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { state: AtomicU8::new(State::Absent as u8), over: AtomicBool::new(false) }
    }

    /// The state that was last seen.
    pub(crate) fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Ordering::SeqCst))]
    }

    /// Ends [`Self::follow`].
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Looks all the time and says each new state.
    pub(crate) fn follow(&self, origin: &str, snapshot: &str) {
        let control = Control::open().unwrap();
        let mut last = State::Absent;
        while !self.is_over() {
            let state = look(&control, origin, snapshot);
            if state != last && state != State::Absent {
                self.state.store(state as u8, Ordering::SeqCst);
                say(&format!("state {}", state.word()));
                last = state;
            }
            thread::sleep(PAUSE);
        }
    }
}
