//! A handover that fails at any step before the merge begins leaves real devices as they were.

use merge_ctl::dm::error::Operation;
use merge_ctl::dm::holders::Holders;
use merge_ctl::dm::{Control, DmError, DmErrorKind, Host};
use merge_ctl::merge::executor::{Executor, Step};
use merge_ctl::merge::live::LiveExecutor;
use merge_ctl::merge::preflight::{self, Way};

use super::testbed::{Testbed, dmsetup, mix};

/// The real executor, with one step that is left out: it fails, or only seems to be done.
struct Sabotaged<'a> {
    inner: LiveExecutor<'a>,
    steps: usize,
    left_out: usize,
    fails: bool,
}

impl Executor for Sabotaged<'_> {
    fn act(&mut self, step: &Step) -> Result<(), DmError> {
        let this = self.steps;
        self.steps += 1;
        if this != self.left_out {
            return self.inner.act(step);
        }
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
    let inner = LiveExecutor::new(&control, [plan.origin, plan.snapshot]);
    let mut executor = Sabotaged { inner, steps: 0, left_out, fails };
    let error = handover.begin(&mut executor).unwrap_err();
    assert!(error.not_undone.is_empty(), "{error}");
    assert_eq!(state(bed), before, "after step {left_out}: {error}");
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
    // The snapshot is not suspended, and the kernel itself refuses to resume the origin: with the
    // merge target already live.
    begin_in_vain(&bed, 2, false);
    assert!(bed.image("origin") == origin, "the origin has changed");
    assert!(bed.image("snap") == snapshot, "the snapshot has changed");
}
