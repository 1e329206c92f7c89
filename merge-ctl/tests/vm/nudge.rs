//! How soon lvm2 notices the end of a merge when it is nudged.

use std::time::{Duration, Instant};

use merge_ctl::dm::{Control, DeviceId, Host};
use merge_ctl::lvm::lvm2::{Lvm, LvmError, MergeStart};
use merge_ctl::lvm::names::VolumeName;
use merge_ctl::sample::Owner;

use super::lvm::VolumeGroup;

const PATIENCE: Duration = Duration::from_secs(60);
/// lvm2 alone looks every 15 s; a nudge must do clearly better on the slowest machine.
const NUDGED: Duration = Duration::from_secs(8);

fn wait_until(what: &str, patience: Duration, mut done: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < patience, "{what}: not within {patience:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    begin.elapsed()
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_nudge_makes_lvm2_finish_at_once() {
    let group = VolumeGroup::new("nudge");
    group.write_snapshot();
    let vg = &*group.name;
    let (lvm, control) = (Lvm::find().unwrap(), Control::open().unwrap());
    let snapshot = VolumeName::new(vg, "snap").to_dm();
    let origin = VolumeName::new(vg, "data").to_dm();
    let host = Host::read(&control).unwrap();
    assert_eq!(host.by_name(&snapshot).unwrap().owner(), Owner::Lvm);
    assert_eq!(host.by_name(&snapshot).unwrap().label(), format!("{vg}/snap"));
    let volumes = lvm.volumes().unwrap();
    assert!(volumes.iter().any(|volume| volume.lv == "snap" && volume.is_thick_snapshot()));
    let error = lvm.merge_in_background(vg, "absent").unwrap_err();
    assert!(
        matches!(&error, LvmError::Failed { words, .. } if words.contains("absent")),
        "{error}"
    );
    println!("{error}");

    let begin = Instant::now();
    assert_eq!(lvm.merge_in_background(vg, "snap").unwrap(), MergeStart::Started);
    println!("lvconvert returned after {:?}", begin.elapsed());
    let merged = wait_until("merge", PATIENCE, || {
        let status = control.status(DeviceId::Name(&origin), true).unwrap();
        status.snapshot().and_then(|status| status.usage()).is_none_or(|usage| usage.is_empty())
    });
    println!("the kernel was done after {merged:?}");
    let begin = Instant::now();
    lvm.poll(vg, "data").unwrap();
    println!("lvchange --poll y returned after {:?}", begin.elapsed());
    let gone = || Host::read(&control).unwrap().merges().next().is_none();
    println!("the origin was a plain device after {:?} more", wait_until("table", NUDGED, gone));
    let gone = || !lvm.volumes().unwrap().iter().any(|volume| volume.lv == "snap");
    println!("lvm2 had dropped the snapshot after {:?} more", wait_until("volume", NUDGED, gone));
    println!("from the kernel's last chunk to the end: {:?}", begin.elapsed());
}
