//! A handover that fails at any step before the merge begins leaves real devices as they were.

use merge_ctl::dm::error::Operation;
use merge_ctl::dm::holders::Holders;
use merge_ctl::dm::{Control, DmError, DmErrorKind, Host};
use merge_ctl::merge::drive::drive;
use merge_ctl::merge::executor::{Executor, Seen, Step};
use merge_ctl::merge::journal::Journal;
use merge_ctl::merge::live::LiveExecutor;
use merge_ctl::merge::machine::Goal;
use merge_ctl::merge::preflight::{self, Way};
use merge_ctl::merge::recording;
use merge_ctl::state::State;

use super::testbed::{Testbed, dmsetup, mix};

/// The real executor, with one step that is left out each time: it fails, or only seems to be done.
struct Sabotaged<'a> {
    inner: LiveExecutor<'a>,
    left_out: Step,
    /// After that many times it is not left out any more.
    times: usize,
    fails: bool,
}

impl Executor for Sabotaged<'_> {
    fn look(&mut self, name: &str) -> Result<Option<Seen>, DmError> {
        self.inner.look(name)
    }

    fn act(&mut self, step: &Step) -> Result<(), DmError> {
        if *step != self.left_out || self.times == 0 {
            return self.inner.act(step);
        }
        self.times -= 1;
        if !self.fails {
            return Ok(());
        }
        Err(DmError {
            operation: Operation::Resume,
            device: step.device().to_owned(),
            errno: None,
            kind: DmErrorKind::Other,
            meaning: "sabotage".to_owned(),
        })
    }
}

/// Tables in both slots, and who is suspended.
fn state(bed: &Testbed) -> Vec<String> {
    ["origin", "snap"]
        .into_iter()
        .flat_map(|what| {
            let name = bed.dm(what);
            [
                dmsetup(&["table", &name]),
                dmsetup(&["table", "--inactive", &name]),
                dmsetup(&["info", "-c", "--noheadings", "-o", "suspended", &name]),
                dmsetup(&["status", &name]),
            ]
        })
        .collect()
}

/// Tries to begin the merge, in vain, and looks whether anything has changed.
fn begin_in_vain(bed: &Testbed, left_out: usize, fails: bool) {
    let before = state(bed);
    let control = Control::open().unwrap();
    let host = Host::read(&control).unwrap();
    let snapshot = host.by_name(&bed.dm("snap")).unwrap();
    let plan = preflight::check(&host, snapshot, &|_| Holders::default()).unwrap();
    let Way::DeviceMapper(handover) = &plan.way else { panic!("{:?}", plan.way) };
    let steps = [
        Step::Load(handover.origin.clone(), handover.origin_merging.clone()),
        Step::Load(handover.snapshot.clone(), handover.snapshot_error.clone()),
        Step::Suspend(handover.snapshot.clone()),
        Step::Suspend(handover.origin.clone()),
        Step::Resume(handover.origin.clone()),
    ];
    let inner = LiveExecutor::new(&control, [plan.origin, plan.snapshot]);
    // A resume is tried twice before it is given up, and then it is needed for the way back.
    let times = 2;
    let mut executor = Sabotaged { inner, left_out: steps[left_out].clone(), times, fails };
    let mut journal = Journal::create(recording::of_handover(&host, handover).unwrap()).unwrap();
    let outcome = drive(&Goal::Merge, &mut executor, &mut journal);
    journal.close().unwrap();
    assert!(!outcome.is_reached(), "{outcome:?}");
    assert_eq!((outcome.state, outcome.suspended.len()), (State::Ready, 0), "{outcome:?}");
    assert_eq!(state(bed), before, "after step {left_out}: {outcome:?}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn every_step_is_undone() {
    let bed = Testbed::new("undo", 16, 8);
    bed.write_snapshot((0..200).map(|i| mix(i) % 4096), 3);
    let (origin, snapshot) = (bed.image("origin"), bed.image("snap"));
    for step in 0..5 {
        begin_in_vain(&bed, step, true);
    }
    // The snapshot only seems to be suspended.
    begin_in_vain(&bed, 2, false);
    assert!(bed.image("origin") == origin, "the origin has changed");
    assert!(bed.image("snap") == snapshot, "the snapshot has changed");
}
