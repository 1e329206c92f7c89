//! What the safe way out refuses, and that it then has changed nothing.

use merge_ctl::dm::holders::Holders;
use merge_ctl::dm::{Control, Host};
use merge_ctl::merge::failed::SafePath;
use merge_ctl::merge::live::LiveExecutor;

use super::super::merge_ctl::{Ended, merge_ctl};
use super::super::testbed::{Testbed, dmsetup};
use super::inject::Break;
use super::{as_the_kernel_left_it, fails_unseen, recovers, scattered};

const BROKEN: Break = Break::All { device: "real", sectors: 7 * 8..8 * 8 };

fn failed_merge(name: &str) -> (Testbed, Vec<u8>) {
    let bed = Testbed::new(name, 16, 8);
    bed.write_snapshot(scattered(), 3);
    let promised = bed.image("snap");
    fails_unseen(&bed, &BROKEN);
    (bed, promised)
}

fn resume(bed: &Testbed, code: i32) -> Ended {
    let ended = merge_ctl(&["resume", "--yes", "--output", "json", &bed.dm("origin")]).expect(code);
    as_the_kernel_left_it(bed);
    ended
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_device_that_still_answers_with_errors_is_named_and_the_merge_is_left_as_it_is() {
    let (bed, promised) = failed_merge("safe-broken");
    let ended = resume(&bed, 5);
    assert!(ended.stderr.contains("cannot be read at byte 28672"), "{}", ended.stderr);
    assert!(ended.stderr.contains("Nothing was changed"), "{}", ended.stderr);
    bed.slow_down(0);
    recovers(&bed, &promised);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn an_origin_in_use_is_refused_and_its_user_named() {
    let (bed, promised) = failed_merge("safe-in-use");
    bed.slow_down(0);
    let holder = bed.open("origin");
    let ended = resume(&bed, 8);
    assert!(ended.stderr.contains("is in use: vm"), "{}", ended.stderr);
    drop(holder);
    recovers(&bed, &promised);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn nobody_agrees_by_not_being_there() {
    let (bed, promised) = failed_merge("safe-consent");
    bed.slow_down(0);
    let ended = merge_ctl(&["resume", "--output", "json", &bed.dm("origin")]).expect(8);
    assert!(ended.stderr.contains("--yes"), "{}", ended.stderr);
    as_the_kernel_left_it(&bed);
    recovers(&bed, &promised);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_merge_that_fails_once_more_is_told_with_its_cause_and_can_be_gone_on_with() {
    let (bed, promised) = failed_merge("safe-again");
    bed.slow_down(0);
    // Can be read, as it is before the merge goes on, but not written.
    Break::Writes { device: "real", sectors: 7 * 8..8 * 8 }.apply(&bed, 0);
    let ended = resume(&bed, 5);
    assert_eq!(ended.summary()["failed"]["cause"], "copy-write-origin", "{}", ended.summary());
    bed.slow_down(0);
    assert!(bed.image("origin") == promised, "the failure has changed what users see");
    recovers(&bed, &promised);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn an_origin_with_a_uuid_and_a_sibling_has_both_again() {
    let mut bed = Testbed::new("safe-uuid", 16, 8);
    let sibling = bed.add_sibling(32, 8);
    bed.write_snapshot(scattered(), 3);
    let (promised, sibling_content) = (bed.image("snap"), bed.image(&sibling));
    let origin = bed.dm("origin");
    dmsetup(&["rename", "--setuuid", &origin, "MINE-1"]);
    // What cannot be read there could not be kept for the sibling either.
    fails_unseen(&bed, &Break::Writes { device: "real", sectors: 7 * 8..8 * 8 });
    bed.slow_down(0);
    merge_ctl(&["resume", "--yes", "--output", "json", &origin]).expect(0);
    assert!(dmsetup(&["info", &origin]).contains("MINE-1"));
    assert!(dmsetup(&["table", &origin]).contains("snapshot-origin"));
    assert!(bed.image("origin") == promised, "the origin differs from the snapshot");
    assert!(bed.image(&sibling) == sibling_content, "the sibling has changed");
}

/// Takes so many of the steps that are left, and tells how many these were.
fn take(path: &SafePath, at_most: usize) -> usize {
    let control = Control::open().unwrap();
    let host = Host::read(&control).unwrap();
    let steps = path.steps(&host, &|_| Holders::default()).unwrap();
    let mut executor = LiveExecutor::new(&control, host.by_name(&path.origin.name));
    path.carry_out(&steps[..at_most.min(steps.len())], &mut executor).unwrap();
    steps.len()
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn wherever_it_is_interrupted_real_devices_go_on() {
    for done in 0..4 {
        let (bed, promised) = failed_merge(&format!("safe-stop{done}"));
        bed.slow_down(0);
        let origin = bed.dm("origin");
        let host = Host::read(&Control::open().unwrap()).unwrap();
        let path = SafePath::of(host.by_name(&origin).unwrap());
        assert_eq!(take(&path, done), 4);
        let left = take(&path, usize::MAX);
        assert_eq!(left, [4, 3, 2, 3][done], "after {done} steps");
        merge_ctl(&["monitor", "--output", "json", &origin]).expect(3);
        merge_ctl(&["finish", &origin]).expect(0);
        assert!(bed.image("origin") == promised, "the origin differs from the snapshot");
    }
}
