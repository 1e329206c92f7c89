//! The judgement, of facts that were made up.

use super::facts::{
    Addresses, DeviceMapper, Facts, MergeTarget, Outcome, Part, Privilege, Rights, StateDirectory,
    Survey, Systemd, Terminal, Throttle, Trial, Types, Udev,
};
use super::{Check, Code, Report, Verdict, Way, examine};

/// The programs in the order in which they are told.
const PROGRAMS: [(&str, &str, Part); 11] = [
    ("prepare_merge", "persistent_prepare_merge", Part::Runs),
    ("prepare_merge_return", "persistent_prepare_merge", Part::Runs),
    ("kcopyd_copy", "dm_kcopyd_copy", Part::Runs),
    ("copied", "merge_callback", Part::Runs),
    ("copied_return", "merge_callback", Part::Runs),
    ("commit_merge", "persistent_commit_merge", Part::Runs),
    ("commit_merge_return", "persistent_commit_merge", Part::Runs),
    ("origin_write", "__origin_write", Part::Siblings),
    ("origin_write_return", "__origin_write", Part::Siblings),
    ("bio_queue", "block_bio_queue", Part::Io),
    ("bio_complete", "block_bio_complete", Part::Io),
];

fn survey() -> Survey {
    let trial = |(program, at, part)| Trial { program, at, part, outcome: Outcome::Attached };
    Survey {
        types: Ok(Types { block_devices: true, bio: true, snapshot: true }),
        addresses: Addresses::Told,
        kprobes: true,
        object: Some(Ok(())),
        trials: PROGRAMS.map(trial).into(),
    }
}

/// A host on which all is well.
pub(crate) fn sound() -> Facts {
    let directory = |path: &str, volatile| StateDirectory::Writable { path: path.into(), volatile };
    Facts {
        kernel: Some("6.1.0-40-amd64".to_owned()),
        options_not_set: Some(Vec::new()),
        modules: Some(("/lib/modules/6.1.0-40-amd64".to_owned(), true)),
        rights: Some(Rights {
            privilege: Privilege { admin: true, lock_memory: true, root: true },
            may_load: true,
            may_see_addresses: true,
        }),
        device_mapper: Some(DeviceMapper::Answers([4, 47, 0])),
        merge_target: Some(MergeTarget::There),
        lvm2: Some("/usr/sbin/lvm".to_owned()),
        lasting: Some(directory("/var/lib/merge-ctl", false)),
        of_this_boot: Some(directory("/run/merge-ctl", true)),
        confidential: Some(false),
        probes: Some(survey()),
        kernel_log: Some(Ok(())),
        throttle: Some(Throttle { percent: Ok(Some(100)), writable: true, holder: None }),
        io_uring: Some(Ok(())),
        io_uring_disabled: None,
        udev: Some(Udev { runs: true, told_off: false }),
        systemd: Some(Systemd { runs: true, run: true }),
        terminal: Some(Terminal { size: Some((80, 24)), has_room: true, dumb: false }),
    }
}

/// The same kernel, asked by somebody who may do nothing.
pub(crate) fn without_root() -> Facts {
    let unwritable = |path: &str| StateDirectory::Unwritable {
        path: path.to_owned(),
        why: "Permission denied (os error 13)".to_owned(),
    };
    let mut facts = Facts {
        rights: Some(Rights {
            privilege: Privilege { admin: false, lock_memory: false, root: false },
            may_load: false,
            may_see_addresses: false,
        }),
        device_mapper: Some(DeviceMapper::NotPermitted),
        merge_target: None,
        lasting: Some(unwritable("/var/lib/merge-ctl")),
        of_this_boot: Some(unwritable("/run/merge-ctl")),
        kernel_log: Some(Err("Operation not permitted (os error 1)".to_owned())),
        throttle: Some(Throttle { percent: Ok(Some(100)), writable: false, holder: None }),
        ..sound()
    };
    let probes = facts.probes.as_mut().unwrap();
    probes.addresses = Addresses::Hidden;
    probes.object = None;
    for trial in &mut probes.trials {
        trial.outcome = Outcome::NotTried;
    }
    facts
}

/// Root on a host where nothing that is not always there is.
pub(crate) fn bare() -> Facts {
    let mut facts = Facts {
        kernel: Some("6.1.0-40-amd64".to_owned()),
        options_not_set: None,
        modules: Some(("/lib/modules/6.1.0-40-amd64".to_owned(), false)),
        device_mapper: Some(DeviceMapper::NotLoaded { can_be: false }),
        merge_target: Some(MergeTarget::Missing),
        lvm2: None,
        confidential: None,
        throttle: Some(Throttle { percent: Ok(None), writable: false, holder: None }),
        io_uring: Some(Err("Function not implemented (os error 38)".to_owned())),
        udev: Some(Udev { runs: false, told_off: false }),
        systemd: Some(Systemd { runs: false, run: false }),
        terminal: None,
        ..sound()
    };
    facts.probes = Some(Survey {
        types: Err("cannot read /sys/kernel/btf/vmlinux: No such file or directory".to_owned()),
        addresses: Addresses::NotLoaded,
        kprobes: false,
        object: None,
        trials: PROGRAMS
            .map(|(program, at, part)| Trial { program, at, part, outcome: Outcome::NotTried })
            .into(),
    });
    facts
}

/// dm-snapshot could be loaded and is not.
pub(crate) fn not_loaded() -> Facts {
    let mut facts = Facts {
        merge_target: Some(MergeTarget::ToBeLoaded),
        throttle: Some(Throttle { percent: Ok(None), writable: false, holder: None }),
        ..sound()
    };
    let probes = facts.probes.as_mut().unwrap();
    probes.types = Ok(Types { block_devices: true, bio: true, snapshot: false });
    probes.addresses = Addresses::NotLoaded;
    for trial in probes.trials.iter_mut().filter(|trial| trial.part != Part::Io) {
        trial.outcome = Outcome::NotTried;
    }
    facts
}

fn with(change: impl FnOnce(&mut Facts)) -> Report {
    let mut facts = sound();
    change(&mut facts);
    examine(&facts)
}

fn with_probes(change: impl FnOnce(&mut Survey)) -> Report {
    with(|facts| change(facts.probes.as_mut().unwrap()))
}

fn find(report: &Report, code: Code) -> &Check {
    report.checks.iter().find(|check| check.code == code).unwrap()
}

/// All codes that are not ok, with their verdicts.
fn wrong(report: &Report) -> Vec<(&'static str, Verdict)> {
    let wrong = report.checks.iter().filter(|check| check.verdict != Verdict::Ok);
    wrong.map(|check| (check.code.name(), check.verdict)).collect()
}

/// Sees that one thing alone is wrong, and gives it.
#[track_caller]
fn only(report: &Report, code: Code, verdict: Verdict) -> &Check {
    assert_eq!(wrong(report), [(code.name(), verdict)]);
    find(report, code)
}

#[test]
fn each_check_is_there_once_whatever_is_known() {
    for facts in [sound(), without_root(), bare(), not_loaded(), Facts::default()] {
        let codes: Vec<_> = examine(&facts).checks.iter().map(|check| check.code).collect();
        assert_eq!(codes, Code::ALL);
    }
}

#[test]
fn what_is_wrong_says_what_it_costs_and_what_is_right_costs_nothing() {
    for facts in [sound(), without_root(), bare(), not_loaded(), Facts::default()] {
        for check in examine(&facts).checks {
            let is_wrong = matches!(check.verdict, Verdict::Degraded | Verdict::Missing);
            assert_eq!(is_wrong, !check.cost.is_empty(), "{check:?}");
            assert!(is_wrong || check.way_out.is_empty(), "{check:?}");
            assert!(is_wrong || check.closes.is_empty(), "{check:?}");
            assert!(check.words.ends_with('.'), "{check:?}");
        }
    }
}

#[test]
fn a_sound_host_has_nothing_wrong() {
    let report = examine(&sound());
    assert_eq!(wrong(&report), []);
    assert!(Way::ALL.iter().all(|way| report.is_open(*way) == Some(true)));
}

#[test]
fn what_is_not_known_is_no_fault() {
    let report = examine(&Facts { lvm2: sound().lvm2, ..Facts::default() });
    assert!(report.checks.iter().all(|it| it.code == Code::Lvm2 || it.verdict == Verdict::Unknown));
    // Nor does anybody promise then that a merge would go.
    assert_eq!(Way::ALL.map(|way| report.is_open(way)), [None, None]);
    assert!(!report.is_ready());
}

#[test]
fn without_root_nothing_can_be_merged_and_nothing_is_said_that_was_not_seen() {
    let report = examine(&without_root());
    assert!(!report.is_ready());
    for code in [Code::Privilege, Code::MemoryLock, Code::EbpfPrivilege, Code::StateDirectory] {
        assert_eq!(find(&report, code).verdict, Verdict::Missing, "{code:?}");
    }
    for code in Code::ALL.iter().filter(|code| code.is_program()) {
        let check = find(&report, *code);
        assert_eq!(check.verdict, Verdict::Unknown);
        assert!(check.words.contains("may not load"), "{check:?}");
    }
    assert_eq!(find(&report, Code::DeviceMapper).verdict, Verdict::Unknown);
    for code in [Code::KernelAddresses, Code::StateDirectory, Code::RunDirectory] {
        assert!(find(&report, code).way_out.contains("as root"), "{code:?}");
    }
    assert_eq!(find(&report, Code::Throttle).verdict, Verdict::Degraded);
}

#[test]
fn one_way_to_merge_is_enough() {
    let no_lvm = with(|facts| facts.lvm2 = None);
    only(&no_lvm, Code::Lvm2, Verdict::Missing);
    assert!(no_lvm.is_ready() && no_lvm.is_open(Way::Lvm) == Some(false));

    let rights = |change: fn(&mut Privilege)| {
        with(|facts| change(&mut facts.rights.as_mut().unwrap().privilege))
    };
    let no_lock = rights(|it| it.lock_memory = false);
    only(&no_lock, Code::MemoryLock, Verdict::Missing);
    assert!(no_lock.is_ready() && no_lock.is_open(Way::DeviceMapper) == Some(false));
    let capable = rights(|it| it.root = false);
    only(&capable, Code::Privilege, Verdict::Degraded);
    assert!(capable.is_ready() && capable.is_open(Way::Lvm) == Some(false));

    let neither = with(|facts| {
        facts.lvm2 = None;
        facts.rights.as_mut().unwrap().privilege.lock_memory = false;
    });
    assert!(!neither.is_ready());
}

#[test]
fn what_the_kernel_lacks_closes_every_way() {
    type Change = fn(&mut Facts);
    let changes: [(Code, Change); 5] = [
        (Code::DeviceMapper, |it| it.device_mapper = Some(DeviceMapper::NoNode)),
        (Code::DeviceMapper, |it| it.device_mapper = Some(DeviceMapper::NotPermitted)),
        (Code::DeviceMapper, |it| {
            it.device_mapper = Some(DeviceMapper::NotLoaded { can_be: false });
        }),
        (Code::DeviceMapper, |it| it.device_mapper = Some(DeviceMapper::Fails("no".into()))),
        (Code::SnapshotMerge, |it| it.merge_target = Some(MergeTarget::Missing)),
    ];
    for (code, change) in changes {
        let report = with(change);
        only(&report, code, Verdict::Missing);
        assert!(!report.is_ready());
    }
    let to_come = with(|it| it.device_mapper = Some(DeviceMapper::NotLoaded { can_be: true }));
    assert_eq!(only(&to_come, Code::DeviceMapper, Verdict::Degraded).way_out, "modprobe dm-mod");
    assert!(to_come.is_ready());
}

#[test]
fn a_module_that_is_not_loaded_is_named_and_hides_what_is_about_it() {
    let report = examine(&not_loaded());
    assert!(report.is_ready());
    assert_eq!(find(&report, Code::SnapshotMerge).way_out, "modprobe dm-snapshot");
    assert_eq!(report.count(Verdict::Missing), 0);
    for code in [Code::BtfModule, Code::KernelAddresses, Code::Throttle, Code::ProbeCopied] {
        let check = find(&report, code);
        assert_eq!(check.verdict, Verdict::Unknown);
        assert!(check.words.contains("dm-snapshot is"), "{check:?}");
    }
    assert_eq!(find(&report, Code::ProbeBioQueue).verdict, Verdict::Ok);
}

#[test]
fn hidden_addresses_have_two_ways_out() {
    let hidden = with_probes(|it| it.addresses = Addresses::Hidden);
    let check = only(&hidden, Code::KernelAddresses, Verdict::Missing);
    assert!(check.words.contains("kptr_restrict"));
    assert_eq!(check.way_out, "sysctl kernel.kptr_restrict=1");
    assert!(hidden.is_ready());
}

#[test]
fn types_are_missed_each_for_what_it_is_worth() {
    let types = |types| with_probes(|it| it.types = Ok(types));
    let all = Types { block_devices: true, bio: true, snapshot: true };
    let cost_of = |report: &Report, code| only(report, code, Verdict::Degraded).cost.clone();
    let no_bio = cost_of(&types(Types { bio: false, ..all }), Code::BtfKernel);
    assert!(no_bio.contains("Application I/O"), "{no_bio}");
    let no_devices = cost_of(&types(Types { block_devices: false, ..all }), Code::BtfKernel);
    assert!(no_devices.contains("Runs"), "{no_devices}");
    let no_module = cost_of(&types(Types { snapshot: false, ..all }), Code::BtfModule);
    assert!(no_module.contains("first copy"), "{no_module}");

    let report = examine(&bare());
    let check = find(&report, Code::BtfKernel);
    assert_eq!(check.verdict, Verdict::Missing);
    assert_eq!(check.way_out, "Boot a kernel with CONFIG_DEBUG_INFO_BTF.");
    assert!(find(&report, Code::ProbeCopied).words.contains("types"));
}

#[test]
fn a_program_that_is_refused_costs_what_its_part_is_for() {
    for (at, (program, function, part)) in PROGRAMS.into_iter().enumerate() {
        let report = with_probes(|it| {
            it.trials[at].outcome = Outcome::Refused("No such file or directory".to_owned());
        });
        let code = Code::of_program(program).unwrap();
        let check = only(&report, code, Verdict::Missing);
        assert!(check.words.starts_with(function), "{check:?}");
        let cost = match part {
            Part::Runs => "Runs and their phases",
            Part::Siblings => "other snapshots",
            Part::Io => "Application I/O",
        };
        assert!(check.cost.contains(cost), "{check:?}");
    }
}

#[test]
fn every_program_of_a_host_has_a_code_of_its_own() {
    let programs: Vec<_> = crate::probe::survey::survey(false)
        .trials
        .iter()
        .map(|trial| Code::of_program(trial.program).unwrap())
        .collect();
    let codes: Vec<_> = Code::ALL.iter().copied().filter(|code| code.is_program()).collect();
    assert_eq!(programs, codes);
    assert_eq!(Code::of_program("bio_queue_of_queue"), Some(Code::ProbeBioQueue));
    assert_eq!(Code::of_program("privilege"), None);
}

#[test]
fn a_throttle_is_named_with_its_holder() {
    let throttle = |percent, holder| {
        with(|it| it.throttle = Some(Throttle { percent, writable: true, holder }))
    };
    let forgotten = throttle(Ok(Some(10)), None);
    let check = only(&forgotten, Code::Throttle, Verdict::Degraded);
    assert_eq!(check.way_out, "merge-ctl throttle --reset");
    let held = throttle(Ok(Some(10)), Some((4711, "vg-data".to_owned())));
    assert_eq!(wrong(&held), []);
    let words = &find(&held, Code::Throttle).words;
    assert!(words.contains("4711") && words.contains("vg-data"), "{words}");
    only(&throttle(Err("damaged".to_owned()), None), Code::Throttle, Verdict::Degraded);
}

#[test]
fn old_kernels_and_strange_releases() {
    for (release, verdict) in [
        ("5.10.0", Verdict::Ok),
        ("7.3-rc7", Verdict::Ok),
        ("5.4.0-150-generic", Verdict::Degraded),
        ("4.19", Verdict::Degraded),
        ("strange", Verdict::Unknown),
    ] {
        let report = with(|it| it.kernel = Some(release.to_owned()));
        assert_eq!(find(&report, Code::Kernel).verdict, verdict, "{release}");
    }
    let report = with(|it| it.options_not_set = Some(vec!["CONFIG_IO_URING"]));
    let check = only(&report, Code::KernelConfig, Verdict::Degraded);
    assert_eq!(check.words, "Not set: CONFIG_IO_URING.");
}

#[test]
fn the_rest_is_told_apart() {
    let forbidden = with(|it| {
        it.io_uring = Some(Err("Operation not permitted".to_owned()));
        it.io_uring_disabled = Some(2);
    });
    let check = only(&forbidden, Code::IoUring, Verdict::Degraded);
    assert_eq!(check.way_out, "sysctl kernel.io_uring_disabled=0");

    let udev = |runs, told_off| with(|it| it.udev = Some(Udev { runs, told_off }));
    assert_eq!(wrong(&udev(false, true)), []);
    only(&udev(false, false), Code::Udev, Verdict::Degraded);
    only(&udev(true, true), Code::Udev, Verdict::Degraded);

    let half = with(|it| it.systemd = Some(Systemd { runs: true, run: false }));
    only(&half, Code::Systemd, Verdict::Missing);

    let terminal =
        |size, has_room, dumb| with(|it| it.terminal = Some(Terminal { size, has_room, dumb }));
    only(&terminal(Some((60, 15)), false, false), Code::Terminal, Verdict::Degraded);
    only(&terminal(None, false, false), Code::Terminal, Verdict::Degraded);
    only(&terminal(Some((80, 24)), true, true), Code::Terminal, Verdict::Degraded);

    let volatile = StateDirectory::Writable { path: "/run/x".to_owned(), volatile: true };
    let report = with(|it| it.lasting = Some(volatile));
    only(&report, Code::StateDirectory, Verdict::Degraded);
    only(&with(|it| it.confidential = Some(true)), Code::Lockdown, Verdict::Missing);
}
