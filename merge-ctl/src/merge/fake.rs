//! A device-mapper that fails where a test tells it to.

use std::collections::BTreeMap;

use rustix::io::Errno;

use super::executor::{Executor, Step};
use super::finish::{Finish, FinishError};
use super::handover::Handover;
use crate::dm::error::Operation;
use crate::dm::{DmError, DmErrorKind, Table, Target};

#[derive(Clone, Debug, PartialEq, Eq)]
struct FakeDevice {
    live: Table,
    inactive: Option<Table>,
    suspended: bool,
}

/// Devices with two slots each, and the kernel's rules for a handover.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FakeDm {
    devices: BTreeMap<String, FakeDevice>,
    /// The step that fails, counted from 0, and every step after it that is told to.
    fails: Vec<usize>,
    /// Whether a failing resume has swapped the tables before it fails, as the kernel's does.
    swaps_before_failing: bool,
    steps: usize,
}

fn table(text: &str) -> Table {
    Table::parse(text).unwrap()
}

impl FakeDm {
    fn new(devices: &[(&str, &str)]) -> Self {
        let devices = devices.iter().map(|(name, live)| {
            let device = FakeDevice { live: table(live), inactive: None, suspended: false };
            ((*name).to_owned(), device)
        });
        Self {
            devices: devices.collect(),
            fails: Vec::new(),
            swaps_before_failing: false,
            steps: 0,
        }
    }

    fn resume(&mut self, name: &str, fails: bool) -> bool {
        let snapshot_suspended = self.devices.get("snap").is_none_or(|snap| snap.suspended);
        let device = self.devices.get_mut(name).unwrap();
        if fails && !self.swaps_before_failing {
            return false;
        }
        if let Some(inactive) = device.inactive.take() {
            device.live = inactive;
        }
        let is_merge = matches!(device.live.only(), Some(Target::SnapshotMerge(_)));
        if fails || (is_merge && !snapshot_suspended) {
            return false;
        }
        device.suspended = false;
        true
    }
}

impl Executor for FakeDm {
    fn act(&mut self, step: &Step) -> Result<(), DmError> {
        let fails = self.fails.contains(&self.steps);
        self.steps += 1;
        let name = step.device();
        let done = match step {
            Step::Resume(_) => self.resume(name, fails),
            _ if fails => false,
            Step::Create(..) => {
                let live = Table(Vec::new());
                let device = FakeDevice { live, inactive: None, suspended: false };
                self.devices.insert(name.to_owned(), device).is_none()
            }
            Step::Load(_, table) => {
                self.devices.get_mut(name).unwrap().inactive = Some(table.clone());
                true
            }
            Step::Clear(_) => {
                self.devices.get_mut(name).unwrap().inactive = None;
                true
            }
            Step::Suspend(_) => {
                self.devices.get_mut(name).unwrap().suspended = true;
                true
            }
            Step::Remove(_) | Step::RemoveUnused(_) => self.devices.remove(name).is_some(),
        };
        if done {
            return Ok(());
        }
        Err(DmError {
            operation: Operation::Resume,
            device: name.to_owned(),
            errno: Some(Errno::IO),
            kind: DmErrorKind::Other,
            meaning: String::new(),
        })
    }
}

const ORIGIN: &str = "0 800 snapshot-origin 253:0";
const MERGING: &str = "0 800 snapshot-merge 253:0 253:2 P 8";
const SNAPSHOT: &str = "0 800 snapshot 253:0 253:2 P 8";
const LINEAR: &str = "0 800 linear 253:0 0";

fn before() -> FakeDm {
    FakeDm::new(&[("origin", ORIGIN), ("snap", SNAPSHOT)])
}

fn handover() -> Handover {
    Handover {
        origin: "origin".to_owned(),
        origin_before: table(ORIGIN),
        origin_merging: table(MERGING),
        snapshot: "snap".to_owned(),
        snapshot_error: table("0 800 error"),
    }
}

/// Steps up to and including the one that begins the merge.
const STEPS_TO_BEGIN: usize = 5;

#[test]
fn a_handover_leaves_the_merge_alone() {
    let mut dm = before();
    let begun = handover().begin(&mut dm).unwrap();
    assert!(begun.left_over.is_empty());
    assert_eq!(dm.devices, FakeDm::new(&[("origin", MERGING)]).devices);
}

#[test]
fn whatever_step_fails_before_the_merge_begins_all_is_as_before() {
    for step in 0..STEPS_TO_BEGIN {
        for swaps_before_failing in [false, true] {
            let mut dm = before();
            dm.fails = vec![step];
            dm.swaps_before_failing = swaps_before_failing;
            let error = handover().begin(&mut dm).unwrap_err();
            assert!(error.not_undone.is_empty(), "{error}");
            assert_eq!(dm.devices, before().devices, "after step {step} failed");
        }
    }
}

#[test]
fn what_cannot_be_undone_is_told() {
    for step in 0..STEPS_TO_BEGIN {
        let mut dm = before();
        dm.fails = (step..20).collect();
        let error = handover().begin(&mut dm).unwrap_err();
        assert!(error.to_string().contains("UNDOING FAILED"), "{error}");
    }
}

#[test]
fn a_failure_after_the_merge_began_leaves_it_running() {
    for step in STEPS_TO_BEGIN..STEPS_TO_BEGIN + 2 {
        let mut dm = before();
        dm.fails = vec![step];
        let begun = handover().begin(&mut dm).unwrap();
        assert_eq!(begun.left_over.len(), 1);
        let origin = &dm.devices["origin"];
        assert_eq!((origin.live.clone(), origin.suspended), (table(MERGING), false));
    }
}

#[test]
fn a_finished_origin_is_plain() {
    let mut dm = FakeDm::new(&[("origin", MERGING)]);
    let finish = Finish { origin: "origin".to_owned(), plain: table(LINEAR) };
    finish.carry_out(&mut dm).unwrap();
    assert_eq!(dm.devices, FakeDm::new(&[("origin", LINEAR)]).devices);
}

#[test]
fn a_finish_that_fails_is_undone_or_told() {
    let finish = Finish { origin: "origin".to_owned(), plain: table(LINEAR) };
    for step in [0, 1] {
        let mut dm = FakeDm::new(&[("origin", MERGING)]);
        dm.fails = vec![step];
        let error = finish.carry_out(&mut dm).unwrap_err();
        assert!(matches!(error, FinishError::NotFinished { .. }), "{error}");
        assert_eq!(dm.devices, FakeDm::new(&[("origin", MERGING)]).devices);
    }
    let mut dm = FakeDm::new(&[("origin", MERGING)]);
    dm.fails = vec![2];
    finish.carry_out(&mut dm).expect("the second resume succeeds");
    let mut dm = FakeDm::new(&[("origin", MERGING)]);
    dm.fails = vec![2, 3];
    let error = finish.carry_out(&mut dm).unwrap_err();
    assert!(matches!(error, FinishError::Suspended { .. }), "{error}");
    assert!(error.to_string().contains("dmsetup resume origin"), "{error}");
}
