//! Offline merges of logical volumes: whole, refused, stopped, killed at each step, disturbed. Every
//! time the origin must hold what the snapshot held, and after a kill lvm2 alone must get it there.

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::crash::is_thorough;
use super::crash::stepper::{Progress, Step, Stepper};
use super::lvm::{VolumeGroup, kill_pollers, lvm};
use super::merge_ctl::{Ended, Running, merge_ctl};
use super::testbed::{dmsetup, listed, run};

/// However slow the machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// With `SLOW_MS` a merge of a snapshot that `write_snapshot` has written takes long.
const SLOWLY: [&str; 4] = ["--requests", "1", "--bandwidth", "512KiB"];
const SLOW_MS: u32 = 30;

pub(crate) fn offline<'a>(options: &[&'a str], snapshot: &'a str) -> Vec<&'a str> {
    [&["start", "--offline", "--yes", "--output", "plain"], options, &[snapshot]].concat()
}

pub(crate) fn merged(options: &[&str], snapshot: &str, code: i32) -> Ended {
    merge_ctl(&offline(options, snapshot)).expect(code)
}

#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: it never came to that");
        thread::sleep(Duration::from_millis(100));
    }
}

pub(crate) fn volumes_of(group: &VolumeGroup) -> String {
    lvm(&["lvs", "-a", "--noheadings", "-o", "lv_name,lv_attr,lv_size,origin", &group.name])
}

fn devices() -> String {
    dmsetup(&["table"])
}

pub(crate) fn private_devices() -> usize {
    let all = listed(&["-o", "uuid"]);
    all.lines().filter(|uuid| uuid.starts_with("MERGECTL-")).count()
}

/// As an operator does; how many there were.
fn remove_private_devices() -> usize {
    let all = listed(&["-o", "name,uuid"]);
    let names = all.lines().filter_map(|line| line.split_once(" MERGECTL-"));
    names.map(|(name, _)| dmsetup(&["remove", "--retry", name])).fold(0, |count, _| count + 1)
}

/// Waits until the private devices have the names that lvm2 would give.
pub(crate) fn until_it_copies(group: &VolumeGroup) {
    let names = [format!("{}-real", group.dm("data")), format!("{}-cow", group.dm("snap"))];
    until("the private devices", || {
        let all = listed(&["-o", "name,uuid"]);
        let private = all.lines().filter_map(|line| line.split_once(" MERGECTL-"));
        let private: Vec<_> = private.map(|(name, _)| name).collect();
        names.iter().all(|name| private.contains(&name.as_str()))
    });
}

/// The merge is over: by the content, LVM's records and the kernel's table.
#[track_caller]
pub(crate) fn assert_merged(group: &VolumeGroup, content: &[u8]) {
    assert!(!volumes_of(group).contains("snap"), "{}", volumes_of(group));
    assert!(dmsetup(&["table", &group.dm("data")]).contains("linear"));
    assert!(group.content("data") == content, "the origin differs from the snapshot");
    assert_eq!(private_devices(), 0);
}

/// What an operator without merge-ctl does, and then nothing.
#[track_caller]
pub(crate) fn assert_an_activation_finishes(group: &VolumeGroup, content: &[u8]) {
    lvm(&["lvchange", "-q", "-ay", &group.volume("data")]);
    assert!(group.content("data") == content, "a half-merged origin can be seen");
    until("LVM dropping the snapshot", || !volumes_of(group).contains("snap"));
    until("the origin being plain", || dmsetup(&["table", &group.dm("data")]).contains("linear"));
    assert_merged(group, content);
}

/// A group whose disk can be made slow.
pub(crate) struct Slow {
    pub(crate) group: VolumeGroup,
    pub(crate) mapper: &'static str,
}

impl Slow {
    pub(crate) fn new(name: &'static str, mapper: &'static str) -> Self {
        let group = VolumeGroup::on_mapper(name, mapper);
        group.write_snapshot();
        Self { group, mapper }
    }

    pub(crate) fn delay(&self, ms: u32) {
        let table = dmsetup(&["table", self.mapper]);
        let words: Vec<_> = table.split_whitespace().collect();
        let (sectors, disk, at) = (words[1], words[3], words[4]);
        let target = match ms {
            0 => format!("0 {sectors} linear {disk} {at}"),
            ms => format!("0 {sectors} delay {disk} {at} {ms}"),
        };
        dmsetup(&["load", self.mapper, "--table", &target]);
        dmsetup(&["suspend", "--noflush", "--nolockfs", self.mapper]);
        dmsetup(&["resume", self.mapper]);
    }

    /// Starts an offline merge, and returns in the middle of its copying.
    pub(crate) fn begin(&self) -> Running {
        run("modprobe", &["dm-delay"]);
        let snapshot = self.group.volume("snap");
        self.delay(SLOW_MS);
        let running = Running::start(&offline(&SLOWLY, &snapshot));
        until_it_copies(&self.group);
        running
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_lvm_merges_and_leaves_an_ordinary_volume() {
    let group = VolumeGroup::new("vg-off");
    group.write_snapshot();
    let content = group.content("snap");

    let ended = merged(&["--verify"], &group.volume("snap"), 0);

    assert!(ended.stderr.contains("LVM has dropped vg-off/snap"), "{}", ended.stderr);
    assert_merged(&group, &content);
    // It can be had again, and merged by the kernel.
    group.add_snapshot("data", "snap", 32);
    merge_ctl(&["start", "--yes", "--output", "plain", &group.volume("snap")]).expect(0);
    assert_merged(&group, &content);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_lvm_finds_a_volume_down_and_leaves_it_down() {
    let group = VolumeGroup::empty("vgdown");
    group.add_volume("da-ta", 48);
    group.add_snapshot("da-ta", "s-nap", 64);
    group.write_to("s-nap", 7);
    let content = group.content("s-nap");
    lvm(&["lvchange", "-q", "-an", &group.volume("da-ta")]);
    let before = (devices(), volumes_of(&group));

    merge_ctl(&["start", "--offline", "--dry-run", &group.volume("s-nap")]).expect(0);
    assert_eq!((devices(), volumes_of(&group)), before);

    merged(&[], &group.volume("s-nap"), 0);

    assert!(!volumes_of(&group).contains("s-nap"), "{}", volumes_of(&group));
    assert_eq!(devices(), before.0, "it was down");
    lvm(&["lvchange", "-q", "-ay", &group.volume("da-ta")]);
    assert!(group.content("da-ta") == content, "the origin differs from the snapshot");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_lvm_refuses_what_is_in_use_has_siblings_or_is_on_record() {
    let group = VolumeGroup::new("vgno");
    group.write_snapshot();
    let (origin, snapshot) = (group.volume("data"), group.volume("snap"));
    let before = (devices(), volumes_of(&group));
    let refused = |words: &[&str]| {
        let ended = merged(&[], &snapshot, 8);
        for word in words {
            assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
        }
    };

    let holder = std::fs::File::open(group.path("data")).unwrap();
    refused(&["vgno/data is in use", &std::process::id().to_string()]);
    drop(holder);
    let holder = std::fs::File::open(group.path("snap")).unwrap();
    refused(&["vgno/snap is in use"]);
    drop(holder);
    assert_eq!((devices(), volumes_of(&group)), before, "refused, so nothing is changed");

    group.add_snapshot("data", "daily", 32);
    refused(&["vgno/daily", "merge-ctl start vgno/snap"]);
    lvm(&["lvchange", "-q", "-an", &origin]);
    let down = devices();
    refused(&["vgno/daily"]);
    assert_eq!(devices(), down, "it was down");
    lvm(&["lvremove", "-q", "-y", &group.volume("daily")]);

    lvm(&["lvconvert", "-q", "--merge", &snapshot]);
    refused(&["on record already", "lvchange -ay vgno/data"]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_lvm_says_what_it_would_do_and_changes_nothing() {
    let group = VolumeGroup::new("vgdry");
    group.write_snapshot();
    let before = (devices(), volumes_of(&group), group.content("data"));

    let ended = merge_ctl(&["start", "--offline", "--dry-run", &group.volume("snap")]).expect(0);

    let text: String = ended.lines.iter().filter_map(|line| line.as_str()).collect();
    for step in
        ["lvchange -an vgdry/data", "lvconvert --merge vgdry/snap", "lvchange -ay vgdry/data"]
    {
        assert!(text.contains(step), "{text}");
    }
    assert!(text.contains("in 1") && text.contains("pieces of the origin"), "{text}");

    let dry_run = ["start", "--offline", "--dry-run", "--verify", "--output", "json"];
    let snapshot = group.volume("snap");
    let ended = merge_ctl(&[&dry_run[..], &[&snapshot]].concat()).expect(0);
    let [object] = &ended.lines[..] else { panic!("{:?}", ended.lines) };
    assert_eq!((&object["type"], &object["owner"]), (&"dry-run".into(), &"lvm".into()));
    assert_eq!((&object["cow"], &object["snapshot"]), (&"vgdry/snap-cow".into(), &snapshot.into()));
    assert!(object["exceptions"].as_u64().unwrap() > 1500, "{object}");
    assert_eq!(
        (&object["offline"]["verify"], object["steps"].as_array().unwrap().len()),
        (&true.into(), 10)
    );
    assert!((devices(), volumes_of(&group), group.content("data")) == before);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_lvm_stopped_by_ctrl_c_goes_on_at_the_next_activation() {
    let slow = Slow::new("vgstop", "vgstop-disk");
    let content = slow.group.content("snap");
    let running = slow.begin();
    run("kill", &["-INT", &running.pid().to_string()]);

    let ended = running.wait().expect(3);

    assert!(ended.stderr.contains("lvchange -ay vgstop/data"), "{}", ended.stderr);
    assert_eq!(private_devices(), 0);
    slow.delay(0);
    assert_an_activation_finishes(&slow.group, &content);
}

/// In the middle of what LVM has to do first.
#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_lvm_stopped_before_it_copies_ends_as_cleanly() {
    run("modprobe", &["dm-delay"]);
    for (name, mapper, signal) in
        [("vgterm", "vgterm-disk", "-TERM"), ("vghup", "vghup-disk", "-HUP")]
    {
        let slow = Slow::new(name, mapper);
        let content = slow.group.content("snap");
        let snapshot = slow.group.volume("snap");
        slow.delay(SLOW_MS);
        let running = Running::start(&offline(&SLOWLY, &snapshot));
        until("the volume is down", || !slow.group.path("snap").exists());
        run("kill", &[signal, &running.pid().to_string()]);
        assert_eq!(private_devices(), 0, "it copies already: the disk is too fast for this test");

        let ended = running.wait().expect(3);

        let activate = format!("lvchange -ay {name}/data");
        assert!(ended.stderr.contains(&activate), "{}", ended.stderr);
        assert_eq!(private_devices(), 0);
        slow.delay(0);
        assert_an_activation_finishes(&slow.group, &content);
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_lvm_keeps_an_activation_out_until_it_is_done() {
    let slow = Slow::new("vgrace", "vgrace-disk");
    let (group, content) = (&slow.group, slow.group.content("snap"));
    let origin = group.volume("data");
    let running = slow.begin();

    // Whoever only looks need not wait.
    assert!(volumes_of(group).contains("[snap]"), "{}", volumes_of(group));
    let second = merged(&[], &group.volume("snap"), 8);
    let by = format!("merged offline into vgrace/data by process {}", running.pid());
    assert!(second.stderr.contains(&by), "{}", second.stderr);
    // Who ignores LVM's lock finds the names taken.
    let elsewhere = "global/locking_dir=\"/tmp/other-locks\"";
    let rude = Command::new("lvm")
        .args(["lvchange", "-ay", "--config", elsewhere, &origin])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&rude.stderr).into_owned();
    assert!(!rude.status.success(), "{words}");
    assert!(!group.path("data").exists(), "{words}");
    // Who respects it waits.
    let mut polite = Command::new("lvm").args(["lvchange", "-ay", &origin]).spawn().unwrap();
    thread::sleep(Duration::from_secs(2));
    assert_eq!(private_devices(), 2, "it is done already: the disk is too fast for this test");
    assert!(polite.try_wait().unwrap().is_none(), "it did not wait");

    slow.delay(0);
    running.wait().expect(0);

    assert!(polite.wait().unwrap().success());
    assert_merged(group, &content);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_lvm_killed_while_it_copies_leaves_it_to_an_activation() {
    let slow = Slow::new("vgkill", "vgkill-disk");
    let content = slow.group.content("snap");
    let running = slow.begin();
    run("kill", &["-KILL", &running.pid().to_string()]);
    assert_eq!(running.wait().code, -1);

    slow.delay(0);
    // They go with the process, as soon as the kernel comes to it.
    until("the private devices going", || private_devices() == 0);
    assert_an_activation_finishes(&slow.group, &content);
}

/// What an undisturbed merge does, in order.
fn all_steps(snapshot: &str) -> Vec<Step> {
    let mut stepper = stepper(snapshot);
    let mut steps = Vec::new();
    loop {
        match stepper.next() {
            Progress::Held(step) => steps.push(step),
            Progress::Ended(code) => {
                assert_eq!(code, 0, "it was not disturbed");
                return steps;
            }
        }
    }
}

fn stepper(snapshot: &str) -> Stepper {
    Stepper::start_with_children(&[&["merge-ctl"], &offline(&[], snapshot)[..]].concat())
}

/// Kills a merge right after its step number `at`, if it comes so far.
fn kill_after(snapshot: &str, at: usize) {
    let mut stepper = stepper(snapshot);
    for _ in 0..=at {
        if let Progress::Ended(code) = stepper.next() {
            assert_eq!(code, 0, "it was not killed");
            return;
        }
    }
    stepper.kill();
}

/// Where to kill: everywhere, or, in a short run, after each kind of step once, after all that is done
/// to private devices, and at the end.
fn places(steps: &[Step]) -> Vec<usize> {
    let last = steps.len() - 1;
    let mut seen = BTreeSet::new();
    (0..=last)
        .filter(|&at| {
            let is_of_devices = matches!(steps[at], Step::Create | Step::Rename);
            seen.insert(steps[at]) || is_of_devices || at == last || is_thorough()
        })
        .collect()
}

/// Whatever was killed: an activation makes it right, and lvm2 drops the snapshot.
fn assert_lvm2_finishes(group: &VolumeGroup, content: &[u8]) {
    // A child of a killed run may still be at work: lvm2's lock lets the next command wait.
    lvm(&["lvchange", "-q", "-ay", &group.volume("data")]);
    if volumes_of(group).contains(" s") {
        assert!(group.content("snap") == content, "what the snapshot holds differs");
        lvm(&["lvconvert", "-q", "--merge", &group.volume("snap")]);
    } else {
        assert!(group.content("data") == content, "a half-merged origin can be seen: it differs");
    }
    let plain = || dmsetup(&["table", &group.dm("data")]).contains("linear");
    until("LVM dropping the snapshot", || !volumes_of(group).contains("snap") && plain());
    assert!(group.content("data") == content, "the origin differs from the snapshot");
    kill_pollers();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_lvm_killed_at_each_step_is_finished_by_lvm2_alone() {
    let group = VolumeGroup::empty("vgsteps");
    group.add_volume("data", 48);
    let snapshot = group.volume("snap");
    let with_snapshot = |seed| {
        group.add_snapshot("data", "snap", 24);
        group.write_to("snap", seed);
        group.content("snap")
    };
    let content = with_snapshot(99);
    let steps = all_steps(&snapshot);
    assert_lvm2_finishes(&group, &content);
    let count = |wanted| steps.iter().filter(|step| **step == wanted).count();
    assert!(count(Step::Create) == 2 && count(Step::Rename) == 2, "{steps:?}");
    assert!(count(Step::Child) > 5 && count(Step::Sync) > 0, "{steps:?}");
    let mut left = 0;
    let places = places(&steps);
    for at in &places {
        let content = with_snapshot(100 + *at as u64);
        kill_after(&snapshot, *at);
        println!("killed after step {at}: {:?}; {}", steps[*at], volumes_of(&group).trim());
        assert_lvm2_finishes(&group, &content);
        left += remove_private_devices();
    }
    println!("killed after {} of {} steps", places.len(), steps.len());
    // Between making a device and opening it: nobody's way is barred by one that is left.
    assert!((1..=6).contains(&left), "{left} devices were left");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_lvm_cleans_what_a_killed_run_left_and_nobody_has_open() {
    let group = VolumeGroup::new("vgleft");
    group.write_snapshot();
    let content = group.content("snap");
    for name in ["merge-ctl-left", "merge-ctl-open"] {
        let uuid = format!("MERGECTL-{name}");
        dmsetup(&["create", name, "--uuid", &uuid, "--table", "0 8 zero"]);
    }
    let open = std::fs::File::open("/dev/mapper/merge-ctl-open").unwrap();

    let ended = merged(&[], &group.volume("snap"), 0);

    assert!(ended.stderr.contains("removed merge-ctl-left"), "{}", ended.stderr);
    assert_eq!(private_devices(), 1, "one is in use");
    drop(open);
    dmsetup(&["remove", "merge-ctl-open"]);
    assert_merged(&group, &content);
}
