//! The watchdog's test: merge-ctl is killed right after each of its steps, so also between every
//! suspend and its resume. With its guard alive the devices come back by themselves, at once; with
//! the guard killed too, `resume` brings them back.

use std::collections::BTreeSet;
use std::time::Duration;

use super::scene::{Scene, guards_of, kill};
use super::stepper::{Progress, Step, Stepper};
use super::{is_thorough, random, tell};

/// What an undisturbed start does, in order.
fn all_steps(scene: &Scene) -> Vec<Step> {
    let mut stepper = start(scene);
    let mut steps = Vec::new();
    loop {
        match stepper.next() {
            Progress::Held(step) => steps.push(step),
            Progress::Ended(0) => return steps,
            Progress::Ended(code) => panic!("start ended with {code}"),
        }
    }
}

fn start(scene: &Scene) -> Stepper {
    let command = scene.start();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    Stepper::start(&command)
}

/// Where to kill: everywhere, or, in a short run, after each kind of step once and while something
/// is suspended.
fn places(steps: &[Step]) -> Vec<usize> {
    let all = 0..steps.len();
    if is_thorough() {
        return all.collect();
    }
    let mut seen = BTreeSet::new();
    all.filter(|&at| {
        let step = steps[at];
        seen.insert(step) || step == Step::Suspend
    })
    .collect()
}

/// Kills it after step number `at`; what was suspended then, and for how long it still was. It may
/// end before: a device that is busy for a moment is removed in one step more, or one less.
fn killed_after(scene: &Scene, at: usize, with_guard: bool) -> (Vec<&'static str>, Duration) {
    let mut stepper = start(scene);
    for _ in 0..=at {
        match stepper.next() {
            Progress::Held(_) => {}
            Progress::Ended(code) => {
                assert_eq!(code, 0, "it was not killed");
                return (Vec::new(), Duration::ZERO);
            }
        }
    }
    let suspended = scene.suspended();
    if with_guard {
        for guard in guards_of(stepper.pid().as_raw() as u32) {
            kill(guard);
        }
    }
    stepper.kill();
    if with_guard {
        return (suspended, Duration::ZERO);
    }
    (suspended, scene.comes_back_by_itself())
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn crash_a_guard_brings_back_what_is_suspended_and_resume_what_no_guard_does() {
    // The first of all makes the journals' directory too, which takes more steps.
    let mut steps = Vec::new();
    for name in ["warmup", "steps"] {
        let scene = Scene::new(name, 500);
        steps = all_steps(&scene);
        scene.is_merged();
    }
    let suspends = steps.iter().filter(|step| **step == Step::Suspend).count();
    assert!(
        suspends >= 3,
        "origin and snapshot at the beginning, the origin at the end: {steps:?}"
    );
    let (mut longest, mut with_guard, mut without) = (Duration::ZERO, 0, 0);
    for at in places(&steps) {
        let both = is_thorough();
        for kill_guard in [false, true] {
            // In a short run one of the two, but both where something is suspended.
            let wanted = both
                || steps[at] == Step::Suspend
                || random(at as u64).is_multiple_of(2) == kill_guard;
            if !wanted {
                continue;
            }
            let scene = Scene::new(&format!("held{at}{}", u8::from(kill_guard)), 500);
            let (suspended, time) = killed_after(&scene, at, kill_guard);
            if !suspended.is_empty() && kill_guard {
                assert_eq!(scene.suspended(), suspended, "somebody else resumed");
                without += 1;
            } else if !suspended.is_empty() {
                with_guard += 1;
                longest = longest.max(time);
            }
            scene.brought_to_its_end();
        }
    }
    assert!(with_guard > 0 && without > 0, "nothing was ever suspended");
    tell(&format!(
        "\nkilled after {} of {} steps; {with_guard} times with something suspended: the guard \
         resumed it within {} ms; {without} times with the guard killed too: resume did",
        places(&steps).len(),
        steps.len(),
        longest.as_millis()
    ));
}
