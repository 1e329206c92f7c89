//! The law on plants: merges that it can slow down, merges that it cannot, and slow writes that are
//! not a merge's fault.

use proptest::prelude::*;

use super::super::goal::Percentile;
use super::super::plants::{MS, Plant, Running, Story, mean, run};
use super::*;

fn target() -> Target {
    Target { latency_ns: 10 * MS, percentile: Percentile::P99, floor_percent: 5 }
}

fn story(plant: Plant, seconds: usize) -> Story {
    let mut control = Control::new(target(), 100);
    run(&mut control, &mut Running::new(plant, 7), seconds)
}

fn share_of(story: &Story, from_s: usize, wanted: impl Fn(Doing) -> bool) -> f64 {
    let decisions = &story.decisions[from_s * 5..];
    decisions.iter().filter(|decision| wanted(decision.doing)).count() as f64
        / decisions.len() as f64
}

#[test]
fn contention_is_held_at_the_target_and_the_merge_gets_the_rest() {
    // Six of a hundred writes are slow when copies take all the time they can; at a setting of
    // 10 % it is one of a hundred.
    let story = story(Plant { contention: 0.1, ..Plant::default() }, 300);
    let (slow, speed) = (story.mean_slow(10), story.mean_speed(10));
    assert!(slow < 0.015, "{slow} of the writes are slow");
    assert!(speed > 0.07, "the merge has {speed} of its speed, 0.17 would be right");
    assert!(speed < 0.35, "{speed}");
}

#[test]
fn what_can_be_held_easily_costs_the_merge_little() {
    let story = story(Plant { contention: 0.025, ..Plant::default() }, 300);
    let (slow, speed) = (story.mean_slow(10), story.mean_speed(10));
    assert!(slow < 0.015, "{slow} of the writes are slow");
    assert!(speed > 0.35, "the merge has {speed} of its speed, 0.67 would be right");
}

#[test]
fn a_merge_that_harms_nobody_is_left_alone() {
    let story = story(Plant { contention: 0.002, ..Plant::default() }, 200);
    assert!(story.mean_speed(0) > 0.9, "{}", story.mean_speed(0));
}

#[test]
fn nobody_writes_and_the_merge_has_all() {
    let story = story(Plant { writes_per_s: 0.0, contention: 1.0, ..Plant::default() }, 60);
    assert!(story.decisions.iter().all(|decision| decision.percent == 100));
}

#[test]
fn slow_writes_that_are_not_the_merges_do_not_strangle_it() {
    for (noise, seed) in [(0.3, 1), (0.05, 2), (1.0, 3)] {
        let mut control = Control::new(target(), 100);
        let plant = Plant { noise, ..Plant::default() };
        let story = run(&mut control, &mut Running::new(plant, seed), 600);
        let speed = story.mean_speed(0);
        assert!(speed > 0.85, "noise {noise}: the merge keeps {speed} of its speed");
        let told =
            share_of(&story, 60, |doing| doing == Doing::Useless { why: Useless::NotTheMerge });
        assert!(told > 0.7, "noise {noise}: said in {told} of the time");
    }
}

#[test]
fn noise_that_comes_and_goes_does_not_strangle_it_either() {
    let mut control = Control::new(target(), 100);
    let mut running = Running::new(Plant::default(), 5);
    let mut speeds = Vec::new();
    for turn in 0..60 {
        running.plant.noise = if turn % 2 == 0 { 0.3 } else { 0.0 };
        speeds.push(run(&mut control, &mut running, 10).mean_speed(0));
    }
    assert!(mean(&speeds) > 0.55, "{}", mean(&speeds));
}

#[test]
fn where_the_throttle_has_no_effect_that_is_found_out() {
    let plant = Plant { works: false, contention: 0.3, ..Plant::default() };
    let story = story(plant, 300);
    let told = share_of(&story, 20, |doing| doing == Doing::Useless { why: Useless::NoEffect });
    assert!(told > 0.7, "{told}");
}

#[test]
fn writes_that_wait_for_runs_are_not_made_to_wait_longer() {
    // Runs of a quarter of a second, and applications write into them all the time.
    let plant = Plant { into_runs_per_s: 20.0, run_ms: 250.0, ..Plant::default() };
    let story = story(plant, 200);
    assert!(story.mean_speed(10) > 0.9, "{}", story.mean_speed(10));
    let told = share_of(&story, 10, |doing| doing == Doing::Useless { why: Useless::HeldByRuns });
    assert!(told > 0.8, "{told}");
}

#[test]
fn contention_is_still_held_where_some_writes_wait_for_runs() {
    let both = Plant { contention: 0.1, into_runs_per_s: 0.05, run_ms: 250.0, ..Plant::default() };
    let story = story(both, 300);
    assert!(story.mean_slow(10) < 0.02, "{}", story.mean_slow(10));
    assert!(story.mean_speed(10) > 0.07, "{}", story.mean_speed(10));
}

#[test]
fn a_run_that_holds_a_write_is_let_through_at_once() {
    let mut control = Control::new(target(), 100);
    control.percent = 10.0;
    control.mode = Mode::Slowing { stuck: false };
    let seen = |held| Observation {
        span_ns: 200 * MS,
        in_flight: vec![super::super::evidence::WriteInFlight { age_ns: 6 * MS, held }],
        ..Observation::default()
    };
    assert_eq!(control.step(&seen(false)).percent, 10);
    let decision = control.step(&seen(true));
    assert_eq!(decision, Decision { percent: 100, doing: Doing::LettingThrough });
    assert_eq!(control.step(&seen(false)).percent, 10, "and only that run");
}

#[test]
fn when_the_trouble_is_over_the_merge_has_all_again() {
    let mut control = Control::new(target(), 100);
    let mut running = Running::new(Plant { contention: 0.3, ..Plant::default() }, 9);
    let before = run(&mut control, &mut running, 60);
    assert!(before.mean_speed(20) < 0.3, "{}", before.mean_speed(20));
    running.plant.contention = 0.0;
    let after = run(&mut control, &mut running, 60);
    assert!(after.mean_speed(40) > 0.95, "{}", after.mean_speed(40));
    // And nobody writes any more.
    running.plant.contention = 0.3;
    run(&mut control, &mut running, 30);
    running.plant.writes_per_s = 0.0;
    let quiet = run(&mut control, &mut running, 15);
    assert_eq!(quiet.decisions.last().unwrap().percent, 100);
}

#[test]
fn a_merge_that_the_floor_would_starve_does_a_run_a_second() {
    // Fourteen runs a second: at 1 % it would be one in four seconds.
    let plant = Plant { contention: 1.0, run_ms: 70.0, ..Plant::default() };
    let mut control = Control::new(Target { floor_percent: 1, ..target() }, 100);
    let story = run(&mut control, &mut Running::new(plant, 7), 300);
    let runs_per_s = story.mean_speed(20) * 1000.0 / 70.0;
    assert!((0.9..3.0).contains(&runs_per_s), "{runs_per_s}");
}

#[test]
fn few_writes_are_judged_with_patience() {
    // Three writes a second: one slow write in half a minute says nothing of the hundredth.
    let plant = Plant { writes_per_s: 3.0, noise: 0.01, ..Plant::default() };
    let story = story(plant, 300);
    assert!(story.mean_speed(0) > 0.8, "{}", story.mean_speed(0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_setting_stays_within_its_bounds_and_no_merge_starves(
        copy_share in 0.05..1.0_f64,
        works: bool,
        writes_per_s in 0.0..500.0_f64,
        contention in 0.0..1.0_f64,
        noise in prop_oneof![Just(0.0), 0.0..1.0_f64],
        into_runs_per_s in prop_oneof![Just(0.0), 0.0..50.0_f64],
        run_ms in 1.0..2000.0_f64,
        ceiling in 0..=100_u32,
        floor in 1..=50_u32,
        seed: u64,
    ) {
        let plant = Plant {
            copy_share, works, writes_per_s, contention, noise, into_runs_per_s, run_ms,
            ..Plant::default()
        };
        let target = Target { floor_percent: floor, ..target() };
        let mut control = Control::new(target, ceiling);
        let story = run(&mut control, &mut Running::new(plant, seed), 120);
        let bounds = floor..=ceiling.max(floor);
        for decision in &story.decisions {
            prop_assert!(bounds.contains(&decision.percent), "{decision:?}");
        }
        let least = f64::from(floor) / 100.0;
        for minute in story.speed.chunks(60 * 5) {
            prop_assert!(mean(minute) >= least.min(1.0) * 0.99, "{}", mean(minute));
        }
    }

    #[test]
    fn whatever_happened_before_a_quiet_minute_opens_the_throttle(
        contention in 0.0..1.0_f64,
        noise in 0.0..1.0_f64,
        works: bool,
        seed: u64,
    ) {
        let mut control = Control::new(target(), 100);
        let plant = Plant { works, contention, noise, ..Plant::default() };
        let mut running = Running::new(plant, seed);
        run(&mut control, &mut running, 60);
        running.plant.writes_per_s = 0.0;
        let quiet = run(&mut control, &mut running, 60);
        prop_assert_eq!(quiet.decisions.last().map(|decision| decision.percent), Some(100));
    }
}
