//! The safe path with every call failing, and interrupted, in turn, on a picture of a host that
//! changes as the kernel would change it.

use rustix::io::Errno;

use super::*;
use crate::dm::error::Operation;
use crate::dm::host::tests::device;
use crate::dm::{DmErrorKind, Table};
use crate::merge::executor::Seen;
use crate::merge::preflight::tests::picture;
use crate::units::DeviceNumber;

const MERGING: &str = "0 800 snapshot-merge 253:0 253:2 P 8";

/// An executor over a picture. It panics at what must never be done to a failed merge.
struct Kernel {
    host: Host,
    /// The step that fails, counted from 0.
    fails: Option<usize>,
    /// Whether a failing resume has made the new table the live one before it fails.
    swaps_before_failing: bool,
    acted: usize,
}

impl Kernel {
    fn new() -> Self {
        let mut host = picture();
        host.devices[1] = device(1, "origin", MERGING, "Merge failed");
        host.devices[1].info.uuid = "mine".to_owned();
        Self { host, fails: None, swaps_before_failing: false, acted: 0 }
    }

    fn origin(&mut self) -> Option<&mut Device> {
        self.host.devices.iter_mut().find(|device| device.info.name == "origin")
    }

    fn resume(&mut self, fails: bool) -> bool {
        let swaps = !fails || self.swaps_before_failing;
        let device = self.origin().unwrap();
        assert_ne!(
            device.status,
            Some(SnapshotStatus::MergeFailed),
            "a failed merge was resumed: data is lost"
        );
        if swaps && device.info.inactive_table {
            device.info.inactive_table = false;
            device.info.live_table = true;
            device.table = Table::parse(MERGING).unwrap();
            device.status = Some(SnapshotStatus::parse("64/400 16"));
        }
        device.info.suspended = fails;
        !fails && device.info.live_table
    }

    fn carry_out(&mut self, step: &Step, fails: bool) -> bool {
        assert_eq!(step.device(), "origin");
        if let Step::Resume(_) = step {
            return self.resume(fails);
        }
        if fails {
            return false;
        }
        match step {
            Step::RemoveUnused(_) => {
                assert_eq!(self.origin().unwrap().info.open_count, 0);
                self.host.devices.retain(|device| device.info.name != "origin");
            }
            Step::Create(name, uuid) => {
                assert!(self.origin().is_none(), "the name is taken");
                let mut created = device(9, name, "", "");
                created.info.uuid.clone_from(uuid);
                created.info.live_table = false;
                created.status = None;
                self.host.devices.push(created);
            }
            Step::Load(_, table) => {
                assert_eq!(*table, Table::parse(MERGING).unwrap());
                let device = self.origin().unwrap();
                // `snapshot_ctr`: "A snapshot is already merging."
                assert!(!device.info.inactive_table && !device.info.live_table);
                device.info.inactive_table = true;
            }
            Step::Clear(_) => self.origin().unwrap().info.inactive_table = false,
            step => panic!("not on the safe path: {step}"),
        }
        true
    }
}

impl Executor for Kernel {
    fn look(&mut self, name: &str) -> Result<Option<Seen>, DmError> {
        panic!("the safe path is decided from a picture of the host, not from a look at {name}")
    }

    fn act(&mut self, step: &Step) -> Result<(), DmError> {
        let fails = self.fails == Some(self.acted);
        self.acted += 1;
        if self.carry_out(step, fails) {
            return Ok(());
        }
        Err(DmError {
            operation: Operation::Load,
            device: "origin".to_owned(),
            errno: Some(Errno::IO),
            kind: DmErrorKind::Other,
            meaning: String::new(),
        })
    }
}

fn nobody(_: DeviceNumber) -> Holders {
    Holders::default()
}

fn path() -> SafePath {
    SafePath::of(Kernel::new().host.by_name("origin").unwrap())
}

/// Goes on from what is there, and checks that all ends well.
fn goes_on(mut kernel: Kernel) {
    kernel.fails = None;
    let steps = path().steps(&kernel.host, &nobody).unwrap();
    path().carry_out(&steps, &mut kernel).unwrap();
    let origin = kernel.host.by_name("origin").unwrap();
    assert_eq!(origin.table, Table::parse(MERGING).unwrap());
    assert_eq!(origin.info.uuid, "mine");
    assert!(matches!(origin.status, Some(SnapshotStatus::Usage(_))));
    assert!(origin.info.live_table && !origin.info.inactive_table && !origin.info.suspended);
    assert!(path().steps(&kernel.host, &nobody).unwrap().is_empty(), "something is left to do");
}

const STEPS: usize = 4;

#[test]
fn the_device_is_removed_and_made_anew() {
    let kernel = Kernel::new();
    let steps = path().steps(&kernel.host, &nobody).unwrap();
    let words: Vec<_> = steps.iter().map(Step::to_string).collect();
    assert_eq!(
        words,
        [
            "remove origin, unless it is in use",
            "create origin",
            "load `0 800 snapshot-merge 253:0 253:2 P 8` into origin",
            "resume origin",
        ]
    );
    assert_eq!(words.len(), STEPS);
    goes_on(kernel);
}

#[test]
fn whatever_step_fails_the_state_is_named_and_gone_on_with() {
    let left = ["Nothing was changed", "IS NOT THERE", "WITHOUT A TABLE", "may be held"];
    for (step, left) in left.into_iter().enumerate() {
        for swaps_before_failing in [false, true] {
            let mut kernel = Kernel { fails: Some(step), swaps_before_failing, ..Kernel::new() };
            let steps = path().steps(&kernel.host, &nobody).unwrap();
            let stopped = path().carry_out(&steps, &mut kernel).unwrap_err().to_string();
            assert!(stopped.contains(left), "{stopped}");
            assert!(stopped.ends_with("merge-ctl resume origin"), "{stopped}");
            goes_on(kernel);
        }
    }
}

#[test]
fn wherever_it_is_interrupted_the_same_call_goes_on() {
    for done in 0..=STEPS {
        let mut kernel = Kernel::new();
        let steps = path().steps(&kernel.host, &nobody).unwrap();
        path().carry_out(&steps[..done], &mut kernel).unwrap();
        goes_on(kernel);
    }
}

#[test]
fn an_interruption_in_the_repetition_is_one_more_beginning() {
    for first in 0..STEPS {
        for second in 0..STEPS {
            let mut kernel = Kernel { fails: Some(first), ..Kernel::new() };
            let steps = path().steps(&kernel.host, &nobody).unwrap();
            path().carry_out(&steps, &mut kernel).unwrap_err();
            (kernel.fails, kernel.acted) = (Some(second), 0);
            let steps = path().steps(&kernel.host, &nobody).unwrap();
            // The second may lie behind the end.
            let _ = path().carry_out(&steps, &mut kernel);
            goes_on(kernel);
        }
    }
}

#[test]
fn one_that_somebody_has_suspended_is_removed_and_never_resumed() {
    let mut kernel = Kernel::new();
    kernel.origin().unwrap().info.suspended = true;
    goes_on(kernel);
}

#[test]
fn who_uses_the_origin_is_named() {
    let mut kernel = Kernel::new();
    kernel.origin().unwrap().info.open_count = 1;
    let refused = |holders: Vec<Holder>| {
        let holders = |_: DeviceNumber| Holders(holders.clone());
        path().steps(&kernel.host, &holders).unwrap_err()
    };
    let mount = |path: &str| Holder::Mount { path: path.into() };
    let refusal = refused(vec![mount("/srv")]);
    assert_eq!(refusal.obstacle, Obstacle::InUse);
    assert!(refusal.reason.contains("mounted on /srv"), "{refusal}");
    assert!(refused(vec![mount("/")]).way_out.contains("reboot"));
    assert!(refused(Vec::new()).reason.contains("cannot be seen"));
}

#[test]
fn what_is_not_the_failed_merge_any_more_is_not_touched() {
    let refused = |change: fn(&mut Device)| {
        let mut kernel = Kernel::new();
        change(kernel.origin().unwrap());
        path().steps(&kernel.host, &nobody).unwrap_err()
    };
    refused(|device| device.info.uuid = "another".to_owned());
    refused(|device| device.info.inactive_table = true);
    refused(|device| device.table = Table::parse("0 800 linear 253:0 0").unwrap());
    refused(|device| device.status = Some(SnapshotStatus::Invalid));
    refused(|device| device.status = None);
}

#[test]
fn only_a_merge_that_failed_is_gone_on_with() {
    let mut kernel = Kernel::new();
    let origin = kernel.origin().unwrap();
    has_failed(origin).unwrap();
    assert!(question(origin).contains("removes the device and makes it anew"));
    origin.status = Some(SnapshotStatus::parse("64/400 16"));
    assert_eq!(has_failed(origin).unwrap_err().obstacle, Obstacle::Unfit);
    origin.status = Some(SnapshotStatus::Invalid);
    assert_eq!(has_failed(origin).unwrap_err().obstacle, Obstacle::Failed);
    has_failed(&device(3, "plain", "0 800 linear 253:0 0", "")).unwrap_err();
}
