//! Preflight on pictures made by hand.

use super::facts::{Below, LvmView, MergeTarget, Privilege, StateDirectory, StoreView};
use super::*;
use crate::dm::SnapshotStatus;
use crate::dm::holders::Holder;
use crate::dm::host::tests::device;
use crate::lvm::lvm2::Volume;
use crate::plan::siblings::{Fate, SiblingPlan};
use crate::safe_path;
use crate::sample::Owner;
use std::path::PathBuf;

/// An origin with one sound snapshot.
pub(in crate::merge) fn picture() -> Host {
    Host {
        devices: vec![
            device(0, "real", "0 800 linear 7:0 0", ""),
            device(1, "origin", "0 800 snapshot-origin 253:0", ""),
            device(2, "cow", "0 400 linear 7:1 0", ""),
            device(3, "snap", "0 800 snapshot 253:0 253:2 P 8", "64/400 16"),
        ],
    }
}

fn nobody(_: DeviceNumber) -> Holders {
    Holders::default()
}

fn refused(host: &Host, name: &str) -> String {
    let device = host.by_name(name).unwrap();
    check(host, device, &nobody).unwrap_err().to_string()
}

fn lvm(device: &mut Device) {
    device.info.uuid = format!("LVM-{}", "x".repeat(64));
}

#[test]
fn a_sound_snapshot_is_handed_over_live() {
    let host = picture();
    let plan = check(&host, host.by_name("snap").unwrap(), &nobody).unwrap();
    assert_eq!(plan.to_merge, Sectors(48));
    let Way::DeviceMapper(handover) = plan.way else { panic!("{:?}", plan.way) };
    assert_eq!(
        handover.origin_merging,
        Table::parse("0 800 snapshot-merge 253:0 253:2 P 8").unwrap()
    );
    assert_eq!(handover.origin_before, Table::parse("0 800 snapshot-origin 253:0").unwrap());
    assert_eq!(handover.snapshot_error, Table::parse("0 800 error").unwrap());
}

#[test]
fn what_is_no_snapshot_is_refused_with_what_is_one() {
    let host = picture();
    assert!(refused(&host, "real").contains("snap"));
    assert!(refused(&host, "origin").contains("the origin of snap"));
    let mut thin = picture();
    thin.devices[3].table = Table::parse("0 800 thin 253:9 1").unwrap();
    assert!(refused(&thin, "snap").contains("lvconvert --merge"));
}

#[test]
fn stores_that_cannot_be_merged_are_refused() {
    for (status, word) in [
        ("Invalid", "invalid"),
        ("Overflow", "overflowed"),
        ("Merge failed", "failed"),
        ("Unknown", "not known"),
    ] {
        let mut host = picture();
        host.devices[3].status = Some(SnapshotStatus::parse(status));
        assert!(refused(&host, "snap").contains(word), "{}", refused(&host, "snap"));
    }
    let mut host = picture();
    host.devices[3].table = Table::parse("0 800 snapshot 253:0 253:2 N 8").unwrap();
    assert!(refused(&host, "snap").contains("transient"));
}

#[test]
fn devices_in_other_hands_are_refused() {
    fn suspend(device: &mut Device) {
        device.info.suspended = true;
    }
    fn load(device: &mut Device) {
        device.info.inactive_table = true;
    }
    for change in [suspend as fn(&mut Device), load] {
        for index in [1, 3] {
            let mut host = picture();
            change(&mut host.devices[index]);
            refused(&host, "snap");
        }
    }
    let mut host = picture();
    host.devices[1].table = Table::parse("0 800 snapshot-merge 253:0 253:7 P 8").unwrap();
    assert!(refused(&host, "snap").contains("already"));
    host.devices[1].status = Some(SnapshotStatus::MergeFailed);
    let way_out = safe_path::way_out("origin", Owner::DeviceMapper);
    assert!(refused(&host, "snap").contains(&way_out));
    let mut host = picture();
    host.devices[3].status = Some(SnapshotStatus::MergeFailed);
    assert!(refused(&host, "snap").contains(&way_out));
    let mut host = picture();
    host.devices[1].table = Table::parse("0 1600 snapshot-origin 253:0").unwrap();
    assert!(refused(&host, "snap").contains("size"));
    let mut host = picture();
    host.devices.remove(1);
    assert!(refused(&host, "snap").contains("No snapshot-origin"));
}

#[test]
fn a_snapshot_in_use_and_a_mounted_origin_are_refused_and_an_open_origin_is_noted() {
    let mut host = picture();
    host.devices[3].info.open_count = 1;
    assert!(refused(&host, "snap").contains("in use"));

    let mut host = picture();
    host.devices[1].info.open_count = 1;
    let process = || Holder::Process { comm: "fio".to_owned(), pid: 7 };
    for (holders, word) in [
        (vec![process(), Holder::Mount { path: PathBuf::from("/srv") }], "umount /srv"),
        (vec![Holder::Swap], "swapoff"),
        (vec![Holder::Device { name: "crypt".to_owned() }], "below crypt"),
        (vec![], "cannot be seen"),
    ] {
        let held = |_| Holders(holders.clone());
        let error = check(&host, &host.devices[3], &held).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let open = |_| Holders(vec![process()]);
    let plan = check(&host, &host.devices[3], &open).unwrap();
    assert!(plan.notes[0].contains("fio[7]"), "{:?}", plan.notes);
}

#[test]
fn a_volume_of_lvm_goes_through_lvm_and_half_of_one_nowhere() {
    let mut host = picture();
    host.devices[1].info.name = "vg-data".to_owned();
    host.devices[3].info.name = "vg-sn--ap".to_owned();
    lvm(&mut host.devices[3]);
    assert!(refused(&host, "vg-sn--ap").contains("behind LVM's back"));
    lvm(&mut host.devices[1]);
    let plan = check(&host, &host.devices[3], &nobody).unwrap();
    let Way::Lvm { vg, snapshot, origin, origin_in_use } = plan.way else { panic!() };
    assert_eq!((&*vg, &*snapshot, &*origin, origin_in_use), ("vg", "sn-ap", "data", false));
}

/// The codes of all findings of a severity, for a snapshot of the picture and these facts.
fn codes(host: &Host, facts: &Facts, severity: Severity) -> Vec<&'static str> {
    let report = examine(host, host.by_name("snap").unwrap(), facts);
    report.of_severity(severity).map(|finding| finding.code.name()).collect()
}

fn stops(host: &Host, facts: &Facts) -> Vec<&'static str> {
    codes(host, facts, Severity::Stop)
}

#[test]
fn everything_is_found_at_once_and_the_worst_stands_first() {
    let mut host = picture();
    host.devices[1].info.suspended = true;
    host.devices[1].info.read_only = true;
    host.devices[3].info.open_count = 1;
    host.devices[3].info.inactive_table = true;
    host.devices[3].table = Table::parse("0 800 snapshot 253:0 253:2 N 8").unwrap();
    let report = examine(&host, &host.devices[3], &Facts::default());
    let found: Vec<_> = report.findings.iter().map(|it| it.code.name()).collect();
    for code in ["transient", "second-table", "snapshot-in-use", "read-only", "suspended"] {
        assert!(found.contains(&code), "{code}: {found:?}");
    }
    assert!(report.findings.is_sorted_by_key(|finding| finding.severity));
    let refusal = report.into_plan().unwrap_err();
    assert_eq!(refusal.obstacle, Obstacle::Unfit);
    let text = refusal.to_string();
    assert!(
        text.starts_with("5 things are in the way:\n* ") && text.lines().count() == 6,
        "{text}"
    );
}

#[test]
fn waiting_helps_only_where_nothing_else_is_in_the_way() {
    let mut host = picture();
    host.devices[3].info.open_count = 1;
    let obstacle = |host: &Host| check(host, &host.devices[3], &nobody).unwrap_err().obstacle;
    assert_eq!(obstacle(&host), Obstacle::InUse);
    host.devices[1].info.read_only = true;
    assert_eq!(obstacle(&host), Obstacle::Unfit);
    host.devices[1].table = Table::parse("0 800 snapshot-merge 253:0 253:7 P 8").unwrap();
    assert_eq!(obstacle(&host), Obstacle::AlreadyMerging);
}

#[test]
fn what_lies_below_must_be_at_rest_and_take_chunks() {
    let below = Below {
        dev: DeviceNumber { major: 7, minor: 0 },
        label: "loop0".to_owned(),
        for_dmsetup: None,
        is_next: true,
        suspended: false,
        read_only: false,
        block_bytes: Some(4096),
    };
    let with = |below: Below| Facts { below: vec![below], ..Facts::default() };
    let host = picture();
    assert!(stops(&host, &with(below.clone())).is_empty());
    assert_eq!(stops(&host, &with(Below { suspended: true, ..below.clone() })), ["suspended"]);
    assert_eq!(stops(&host, &with(Below { read_only: true, ..below.clone() })), ["read-only"]);
    let large = Below { block_bytes: Some(8192), ..below };
    assert_eq!(stops(&host, &with(large.clone())), ["chunk-below-block"]);
    assert!(stops(&host, &with(Below { is_next: false, ..large })).is_empty());
}

/// The picture with one more snapshot of the same origin.
fn with_sibling(table: &str, status: &str) -> Host {
    let mut host = picture();
    host.devices.push(device(5, "other", table, status));
    host
}

#[test]
fn siblings_that_have_room_are_noted_and_others_warned_of() {
    let warned = |table: &str, status: &str| {
        let host = with_sibling(table, status);
        let [stops, warns, notes] = [Severity::Stop, Severity::Warn, Severity::Note]
            .map(|severity| codes(&host, &Facts::default(), severity));
        assert!(stops.is_empty());
        [warns, notes].concat().into_iter().filter(|code| *code != "fill").collect::<Vec<_>>()
    };
    // Six chunks are merged; the sibling has two more than that, or fewer, or gives no figure.
    assert_eq!(warned("0 800 snapshot 253:0 253:6 P 8", "16/400 16"), ["sibling-copies"]);
    assert_eq!(warned("0 800 snapshot 253:0 253:6 P 8", "16/48 16"), ["sibling-at-risk"]);
    assert_eq!(warned("0 800 snapshot 253:0 253:6 P 8", "Unknown"), ["sibling-at-risk"]);
    assert_eq!(warned("0 800 snapshot 253:0 253:6 P 8", "Invalid"), ["sibling-invalid"]);
    let larger = warned("0 800 snapshot 253:0 253:6 P 32", "64/4000 64");
    assert_eq!(larger, ["sibling-copies", "chunk-sizes-differ"]);
}

#[test]
fn a_sibling_that_is_lost_stops_whoever_did_not_ask_for_it() {
    let host = with_sibling("0 800 snapshot 253:0 253:6 P 8", "16/400 16");
    let lost = SiblingPlan {
        label: "other".to_owned(),
        chunk_bytes: 4096,
        copies_low: 6,
        copies_high: 6,
        room: Some(2),
        fate: Fate::Overflows,
    };
    let facts = Facts { siblings: Some(vec![lost]), ..Facts::default() };
    let report = || examine(&host, host.by_name("snap").unwrap(), &facts);
    let plan = report().into_plan().unwrap();
    assert!(
        plan.notes[0].contains("other of the same origin WILL BE LOST: 6 chunks"),
        "{:?}",
        plan.notes
    );
    let refusal = report().without_losses().into_plan().unwrap_err();
    assert!(refusal.to_string().contains("--lose-siblings"), "{refusal}");
    assert_eq!(refusal.obstacle, Obstacle::Unfit);
}

/// The picture with LVM's names, and what LVM says of the two.
fn of_lvm(snapshot_attr: &str, snapshot_of: &str, vg_attr: &str) -> (Host, Facts) {
    let mut host = picture();
    for (index, name) in [(1, "vg-data"), (3, "snap")] {
        host.devices[index].info.name = name.to_owned();
        lvm(&mut host.devices[index]);
    }
    host.devices[3].info.name = "vg-snap".to_owned();
    let volume = |lv: &str, attr: &str, origin: &str| Volume {
        vg: "vg".to_owned(),
        lv: lv.to_owned(),
        attr: attr.to_owned(),
        segment_type: "linear".to_owned(),
        origin: origin.to_owned(),
        active: String::new(),
        merging: String::new(),
        uuid: String::new(),
        health: String::new(),
        vg_attr: vg_attr.to_owned(),
        missing_disks: "0".to_owned(),
    };
    let volumes =
        vec![volume("data", "owi-a-s---", ""), volume("snap", snapshot_attr, snapshot_of)];
    (host, Facts { lvm: Some(LvmView::Volumes(volumes)), ..Facts::default() })
}

#[test]
fn lvms_view_is_compared_with_the_kernels() {
    for (attr, of, vg_attr, expected) in [
        ("swi-a-s---", "data", "wz--n-", None),
        ("Swi-a-s---", "data", "wz--n-", Some("lvm-scheduled")),
        ("swi-a-s---", "else", "wz--n-", Some("lvm-disagrees")),
        ("swI-a-s---", "data", "wz--n-", Some("lvm-locked")),
        ("swi-a-s---", "data", "wz-pn-", Some("lvm-partial")),
        ("swi-a-s---", "data", "wzx-n-", Some("lvm-locked")),
        ("swi-a-s---", "data", "rz--n-", Some("lvm-locked")),
    ] {
        let (host, facts) = of_lvm(attr, of, vg_attr);
        let report = examine(&host, &host.devices[3], &facts);
        let found = report.of_severity(Severity::Stop).map(|it| it.code.name());
        assert_eq!(found.collect::<Vec<_>>(), Vec::from_iter(expected), "{attr} {of} {vg_attr}");
    }
    let (mut host, facts) = of_lvm("swi-a-s---", "data", "wz--n-");
    host.devices[1].info.open_count = 1;
    let plan = examine(&host, &host.devices[3], &facts).into_plan().unwrap();
    assert!(plan.notes[0].contains("next activation of vg/data"), "{:?}", plan.notes);
    for (view, code) in [
        (LvmView::Missing, "lvm-missing"),
        (LvmView::Unreadable("x".to_owned()), "lvm-unreadable"),
        (LvmView::Volumes(Vec::new()), "lvm-disagrees"),
    ] {
        let facts = Facts { lvm: Some(view), ..Facts::default() };
        let report = examine(&host, &host.devices[3], &facts);
        assert_eq!(report.of_severity(Severity::Stop).next().unwrap().code.name(), code);
    }
}

#[test]
fn a_merge_that_lvm_knows_nothing_of_is_told() {
    let (mut host, facts) = of_lvm("swi-a-s---", "data", "wz--n-");
    host.devices[1].table = Table::parse("0 800 snapshot-merge 253:0 253:2 P 8").unwrap();
    let report = examine(&host, &host.devices[1], &facts);
    let found: Vec<_> = report.of_severity(Severity::Stop).map(|it| it.code.name()).collect();
    assert_eq!(found, ["already-merging", "lvm-unaware"]);
    let (_, facts) = of_lvm("Swi-a-s---", "data", "wz--n-");
    let report = examine(&host, &host.devices[1], &facts);
    assert_eq!(report.of_severity(Severity::Stop).count(), 1);
}

#[test]
fn what_is_missing_of_privilege_and_kernel_is_told_apart_from_what_is_in_the_way() {
    let all = Privilege { admin: true, lock_memory: true, root: true };
    let of = |privilege, merge_target| Facts {
        privilege: Some(privilege),
        merge_target: Some(merge_target),
        ..Facts::default()
    };
    let mut host = picture();
    assert!(stops(&host, &of(all, MergeTarget::There)).is_empty());
    assert!(stops(&host, &of(all, MergeTarget::ToBeLoaded)).is_empty());
    let nobody = Privilege { admin: false, ..all };
    let facts = of(nobody, MergeTarget::Missing);
    assert_eq!(stops(&host, &facts), ["privilege", "kernel"]);
    let obstacle =
        |host: &Host| examine(host, &host.devices[3], &facts).refusal().unwrap().obstacle;
    assert_eq!(obstacle(&host), Obstacle::Missing);
    host.devices[3].info.suspended = true;
    assert_eq!(obstacle(&host), Obstacle::Unfit);
    let paged = Privilege { lock_memory: false, ..all };
    assert_eq!(stops(&picture(), &of(paged, MergeTarget::There)), ["privilege"]);
}

#[test]
fn the_hosts_own_state_is_noted() {
    let path = || "/var/lib/merge-ctl".to_owned();
    let state = |state| Facts { state: Some(state), ..Facts::default() };
    let host = picture();
    let unwritable = StateDirectory::Unwritable { path: path(), why: "read-only".to_owned() };
    assert_eq!(stops(&host, &state(unwritable)), ["state-directory"]);
    let volatile = state(StateDirectory::Writable { path: path(), volatile: true });
    assert_eq!(codes(&host, &volatile, Severity::Warn), ["state-volatile"]);
    let mut host = picture();
    host.devices.push(device(7, "busy", "0 800 snapshot-merge 253:8 253:9 P 8", "32/400 16"));
    let facts = Facts {
        throttle_percent: Some(30),
        not_seen: vec!["No runs.".to_owned()],
        not_known: vec!["No facts.".to_owned()],
        ..Facts::default()
    };
    let notes = codes(&host, &facts, Severity::Note);
    assert_eq!(notes, ["throttled", "other-merge", "probes", "not-known", "fill"]);
}

#[test]
fn a_nearly_full_snapshot_and_an_empty_one_are_told() {
    let mut host = picture();
    host.devices[3].status = Some(SnapshotStatus::parse("392/400 16"));
    assert_eq!(codes(&host, &Facts::default(), Severity::Warn), ["nearly-full"]);
    host.devices[3].status = Some(SnapshotStatus::parse("16/400 16"));
    assert_eq!(codes(&host, &Facts::default(), Severity::Note), ["nothing-to-merge"]);
}

#[test]
fn whoever_has_a_device_below_open_is_named() {
    let process = Holder::Process { comm: "dd\u{1b}[2J".to_owned(), pid: 7 };
    let above = Holder::Device { name: "snap".to_owned() };
    let cow = DeviceNumber { major: 253, minor: 2 };
    let facts = Facts { holders: vec![(cow, Holders(vec![above, process]))], ..Facts::default() };
    let host = picture();
    let plan = examine(&host, &host.devices[3], &facts).into_plan().unwrap();
    assert!(plan.notes[0].contains("cow, below") && plan.notes[0].contains("(dd\\x1b[2J[7])"));
}

#[test]
fn hostile_names_are_printable_in_every_finding() {
    let mut host = picture();
    host.devices[1].info.name = "or\u{1b}[31m\n".to_owned();
    host.devices[3].info.name = "sn\u{202e}\n'".to_owned();
    for change in [0, 1, 2] {
        host.devices[3].info.suspended = change == 1;
        host.devices[3].info.inactive_table = change == 2;
        host.devices[3].info.open_count = 1;
        host.devices[1].info.open_count = 1;
        let report = examine(&host, &host.devices[3], &Facts::default());
        for finding in &report.findings {
            let text = finding.to_string();
            assert_eq!(text, crate::harmless::printable(&text));
        }
    }
}

/// `docs/preflight.md` has every code, and no other.
#[test]
fn every_code_is_documented() {
    let text = include_str!("../../../../docs/preflight.md");
    let documented: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(code, _)| code))
        .collect();
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(documented, codes);
}

#[test]
fn a_store_that_lacks_what_the_kernel_has_stops_the_merge() {
    let host = picture();
    let stops = |store| {
        let facts = Facts { store: Some(store), ..Facts::default() };
        let report = examine(&host, host.by_name("snap").unwrap(), &facts);
        report.of_severity(Severity::Stop).map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(stops(StoreView::Sound).is_empty());
    let behind = StoreView::Behind { on_disk: Sectors(16), in_kernel: Sectors(64) };
    let damaged = StoreView::Damaged("entry 3 names no chunk".into());
    for view in [StoreView::New, StoreView::Invalid, damaged, behind] {
        let [only] = &stops(view.clone())[..] else { panic!("{view:?}") };
        assert!(only.contains("cow") && only.contains("do not deactivate"), "{only}");
    }
    let [only] = &stops(StoreView::Unreadable("I/O error".into()))[..] else { panic!() };
    assert!(only.contains("cow") && only.contains("I/O error"), "{only}");
}
