//! kill -9 at random moments.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::scene::{Scene, guards_of, kill};
use super::{kills, random, tell};
use crate::lvm::{VolumeGroup, lvm};
use crate::merge_ctl::merge_ctl;
use crate::testbed::{Throttled, dmsetup};

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victims {
    One,
    Group,
    WithGuard,
}

const VICTIMS: [Victims; 3] = [Victims::One, Victims::Group, Victims::WithGuard];

fn spawn(command: &[String]) -> Child {
    Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

/// Lets it run for so long and kills it; whether it was still there.
fn kill_after(child: &mut Child, time: Duration, victims: Victims) -> bool {
    let began = Instant::now();
    while began.elapsed() < time {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    match victims {
        Victims::One => kill(child.id()),
        Victims::Group => {
            let group = Pid::from_raw(child.id() as i32).unwrap();
            let _ = kill_process_group(group, Signal::KILL);
        }
        Victims::WithGuard => {
            for guard in guards_of(child.id()) {
                kill(guard);
            }
            kill(child.id());
        }
    }
    child.wait().unwrap();
    true
}

/// How long an undisturbed start takes.
fn undisturbed() -> Duration {
    let scene = Scene::new("calm", 0);
    let began = Instant::now();
    assert!(spawn(&scene.start()).wait().unwrap().success());
    let took = began.elapsed();
    scene.is_merged();
    took
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn crash_kill_9_at_random_moments_loses_nothing() {
    let mut whole = undisturbed().as_micros() as u64;
    let mut longest = Duration::ZERO;
    let mut found = std::collections::BTreeMap::<String, u32>::new();
    let mut killed = 0;
    for turn in 1.. {
        if killed == kills() {
            break;
        }
        let scene = Scene::new(&format!("kill{turn}"), turn);
        let victims = VICTIMS[(random(turn) % 3) as usize];
        let moment = Duration::from_micros(random(turn + 1_000_000) % whole);
        let mut child = spawn(&scene.start());
        let was_there = kill_after(&mut child, moment, victims);
        if victims != Victims::WithGuard {
            longest = longest.max(scene.comes_back_by_itself());
        }
        killed += u64::from(was_there);
        if !was_there {
            // The machine is faster now than it was: come earlier.
            whole -= whole / 5;
        }
        let words = if was_there { scene.table() } else { "over".to_owned() };
        *found.entry(words).or_default() += 1;
        // Every third time the one who takes it up is killed too.
        if random(turn + 2_000_000).is_multiple_of(3) {
            let moment = Duration::from_micros(random(turn + 3_000_000) % (whole / 2));
            kill_after(&mut spawn(&scene.resume()), moment, victims);
        }
        scene.brought_to_its_end();
    }
    tell(&format!(
        "\n{} kills, the last within {} ms; the origin was then {found:?}; suspended for {} ms at most, with \
         a guard alive",
        kills(),
        whole / 1000,
        longest.as_millis()
    ));
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn crash_kill_9_leaves_a_volume_to_lvm_which_finishes() {
    let mut found = std::collections::BTreeMap::<String, u32>::new();
    for turn in 0..(kills() / 6).max(1) {
        let group = VolumeGroup::new(&format!("vgkill{turn}"));
        group.write_snapshot();
        let content = std::fs::read(group.path("snap")).unwrap();
        let table = || {
            let table = dmsetup(&["table", &format!("{}-data", group.name)]);
            table.split_whitespace().nth(2).unwrap_or_default().to_owned()
        };
        let throttled = Throttled::at(1);
        let words = ["merge-ctl", "start", "--yes", "--output", "json", "--probes", "none"];
        let mut command = words.map(str::to_owned).to_vec();
        command.push(group.volume("snap"));
        let mut child = spawn(&command);
        if turn % 3 == 0 {
            // While it merges; else at any time, which often is before.
            while table() != "snapshot-merge" && child.try_wait().unwrap().is_none() {}
        }
        let moment = Duration::from_millis(random(turn + 4_000_000) % 1500);
        kill_after(&mut child, moment, Victims::Group);
        drop(throttled);
        *found.entry(table()).or_default() += 1;
        if table() == "snapshot-origin" {
            // Killed before, or in the midst of lvm2's own work, which its metadata tells.
            lvm(&["lvchange", "-an", &group.volume("data")]);
            lvm(&["lvchange", "-ay", &group.volume("data")]);
        }
        if table() == "snapshot-origin" {
            let start = ["start", "--yes", "--output", "json", &group.volume("snap")];
            merge_ctl(&start).expect(0);
        }
        let began = Instant::now();
        while table() != "linear" {
            assert!(began.elapsed() < Duration::from_secs(60), "{}", table());
            // It says that the merge is not done, or that lvm2 was faster.
            let _ = merge_ctl(&["finish", &group.volume("data")]);
            std::thread::sleep(Duration::from_millis(300));
        }
        let volumes = lvm(&["lvs", "-a", "--noheadings", "-o", "lv_name", &group.name]);
        assert!(!volumes.contains("snap"), "{volumes}");
        let origin = std::fs::read(group.path("data")).unwrap();
        assert!(origin == content, "the origin differs from the snapshot");
    }
    tell(&format!("\nLVM: when merge-ctl was killed the origin was {found:?}"));
}
