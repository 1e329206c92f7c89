//! Every call of every way fails in turn, and is interrupted in turn: what is left has a name, hangs
//! nowhere, carries old or new tables, and `resume` completes it.

use proptest::prelude::*;

use super::super::drive::{Outcome, Why, drive};
use super::super::journal::a_record;
use super::super::machine::{self, Goal};
use super::*;
use crate::state::State;

pub(super) const ORIGIN: &str = "0 800 snapshot-origin 253:0";
pub(super) const MERGING: &str = "0 800 snapshot-merge 253:0 253:2 P 8";
pub(super) const SNAPSHOT: &str = "0 800 snapshot 253:0 253:2 P 8";
pub(super) const ERROR: &str = "0 800 error";
pub(super) const LINEAR: &str = "0 800 linear 253:0 0";

const KINDS: [Kind; 8] = [
    Kind::Fails { swaps: false },
    Kind::Fails { swaps: true },
    Kind::FailsLate,
    Kind::Idle,
    Kind::AllFail { swaps: false },
    Kind::AllFail { swaps: true },
    Kind::Kills { after: false },
    Kind::Kills { after: true },
];

/// A merge on its way, and the table that is to come in the end.
#[derive(Clone)]
struct Case {
    name: &'static str,
    world: World,
    plain: &'static str,
    goal: Goal,
}

impl Case {
    fn plain(&self) -> Table {
        Table::parse(self.plain).unwrap()
    }
}

pub(super) fn world(devices: &[(&str, &str)], record: Record) -> World {
    World { journal: Some(record), ..World::new(devices) }
}

/// All ways there are, from where each begins.
fn cases() -> Vec<Case> {
    let live = world(&[("origin", ORIGIN), ("snap", SNAPSHOT)], a_record());
    let inactive = world(&[("origin", ORIGIN)], Record { snapshot: None, ..a_record() });
    let begun = || Record { phase: Phase::Merging, ..a_record() };
    let mut done = world(&[("origin", MERGING)], begun());
    done.left = 0;
    let mut rebooted = world(&[], begun());
    rebooted.left = 4;
    let plain = || Table::parse(LINEAR).unwrap();
    let mut swapped = world(&[], Record { phase: Phase::Finishing { plain: plain() }, ..begun() });
    swapped.left = 0;
    let finish = |plain: &str| Goal::Finish(Table::parse(plain).unwrap());
    let case = |name, world: &World, plain, goal| Case { name, world: world.clone(), plain, goal };
    vec![
        case("handover", &live, LINEAR, Goal::Merge),
        case("handover among siblings", &live, ORIGIN, Goal::Merge),
        case("start without a snapshot's device", &inactive, LINEAR, Goal::Merge),
        case("finish", &done, LINEAR, finish(LINEAR)),
        case("finish among siblings", &done, ORIGIN, finish(ORIGIN)),
        case("rebuild", &rebooted, LINEAR, Goal::Merge),
        case("rebuild what was finished", &swapped, LINEAR, finish(LINEAR)),
    ]
}

/// One process, with this fault, drives to a goal.
pub(super) fn process(world: &Rc<RefCell<World>>, goal: &Goal, fault: Option<Fault>) -> Outcome {
    world.borrow_mut().revive(fault);
    drive(goal, &mut Hands(Rc::clone(world)), &mut Book::open(world))
}

/// What `resume` does first.
fn goal_now(world: &Rc<RefCell<World>>) -> Goal {
    match &world.borrow().journal.as_ref().unwrap().phase {
        Phase::Finishing { plain } => Goal::Finish(plain.clone()),
        _ => Goal::Merge,
    }
}

/// Without faults from here on: `resume` completes the merge, and no harm was done on the way.
pub(super) fn resume_completes(world: &Rc<RefCell<World>>, plain: &Table, what: &str) {
    let outcome = process(world, &goal_now(world), None);
    assert!(outcome.is_reached() && outcome.failures.is_empty(), "{what}: {outcome:?}");
    if outcome.state != State::Finished {
        world.borrow_mut().merge_all();
        let outcome = process(world, &Goal::Finish(plain.clone()), None);
        assert!(outcome.is_reached(), "{what}: {outcome:?}");
    }
    let world = world.borrow();
    assert_eq!(world.left, 0, "{what}");
    assert_eq!(world.live("origin"), Some(plain.to_string()), "{what}");
    assert_eq!(world.live("snap"), None, "{what}");
    assert!(world.suspended().is_empty() && !world.has_inactive(), "{what}: {world:?}");
    assert!(world.harm.is_empty(), "{what}: {:?}", world.harm);
}

/// What holds whenever a process has come to its end, or the guard of one that was killed.
pub(super) fn is_at_rest(world: &Rc<RefCell<World>>, state: State, what: &str) {
    let world = world.borrow();
    assert!(world.suspended().is_empty(), "{what}: {:?} suspended", world.suspended());
    assert!(world.harm.is_empty(), "{what}: {:?}", world.harm);
    assert!(state != State::Unknown && state != State::Suspended, "{what}: {state:?}");
    let origin = world.live("origin");
    let tables = [ORIGIN, MERGING, LINEAR].map(str::to_owned);
    assert!(origin.is_none_or(|table| tables.contains(&table)), "{what}");
    let snapshot = world.live("snap");
    assert!(snapshot.is_none_or(|table| [SNAPSHOT, ERROR].contains(&&*table)), "{what}");
}

/// A process with a fault; then, where it left anything suspended or was killed, its guard. Whether
/// the fault was met.
fn process_and_guard(
    world: &Rc<RefCell<World>>,
    goal: &Goal,
    fault: Fault,
    guarded: bool,
    what: &str,
) -> bool {
    let outcome = process(world, goal, Some(fault));
    let killed = world.borrow().is_killed();
    let hit = world.borrow().hit;
    if !killed && !matches!(fault.kind, Kind::AllFail { .. }) {
        // It lives, and a single failure must not be enough to leave anything behind.
        is_at_rest(world, outcome.state, what);
        assert!(outcome.suspended.is_empty(), "{what}: {outcome:?}");
        assert!(!world.borrow().has_inactive(), "{what}");
    }
    if guarded && (killed || !outcome.suspended.is_empty()) {
        guard(world, what);
    }
    hit
}

/// The guard of a process: what was begun goes on, what was not is undone.
fn guard(world: &Rc<RefCell<World>>, what: &str) {
    let (begun, left) = (world.borrow().has_begun(), world.borrow().left);
    let there = world.borrow().live("origin").is_some();
    let rest = process(world, &Goal::Rest, None);
    assert!(rest.is_reached(), "{what}: {rest:?}");
    is_at_rest(world, rest.state, what);
    if !begun && there {
        let world = world.borrow();
        let plain = [ORIGIN, LINEAR].map(|table| Some(table.to_owned()));
        assert!(plain.contains(&world.live("origin")), "{what}: {:?}", world.live("origin"));
        assert_eq!(world.left, left, "{what}");
        assert!(!world.has_inactive(), "{what}");
    }
}

/// Calls `each` for every fault that there is, as long as any is met.
pub(super) fn every_fault(mut each: impl FnMut(Fault) -> bool) {
    for kind in KINDS {
        let met = (0..200).take_while(|call| each(Fault { call: *call, kind })).count();
        assert!((1..200).contains(&met), "{kind:?} was met {met} times");
    }
}

#[test]
fn every_way_leads_to_the_end_without_faults() {
    for case in cases() {
        let world = Rc::new(RefCell::new(case.world.clone()));
        let outcome = process(&world, &case.goal, None);
        assert!(outcome.is_reached(), "{}: {outcome:?}", case.name);
        resume_completes(&world, &case.plain(), case.name);
    }
}

#[test]
fn every_call_of_every_way_fails_and_is_interrupted_in_turn() {
    for case in cases() {
        for (guarded, reboot) in [(true, false), (false, false), (true, true), (false, true)] {
            every_fault(|fault| {
                let what = format!("{} {fault:?} guard {guarded} reboot {reboot}", case.name);
                let world = Rc::new(RefCell::new(case.world.clone()));
                let hit = process_and_guard(&world, &case.goal, fault, guarded, &what);
                if reboot {
                    world.borrow_mut().reboot();
                }
                resume_completes(&world, &case.plain(), &what);
                hit
            });
        }
    }
}

/// From everywhere that a kill can leave the devices: the guard, and `resume`, each with every fault.
#[test]
fn every_call_of_what_comes_after_a_kill_fails_and_is_interrupted_in_turn() {
    for case in cases() {
        let mut call = 0;
        loop {
            let world = Rc::new(RefCell::new(case.world.clone()));
            let kill = Fault { call, kind: Kind::Kills { after: true } };
            process(&world, &case.goal, Some(kill));
            if !world.borrow().is_killed() {
                break;
            }
            let killed = world.borrow().clone();
            for rest in [true, false] {
                every_fault(|fault| {
                    let what = format!("{} killed at {call}, rest {rest}, {fault:?}", case.name);
                    let world = Rc::new(RefCell::new(killed.clone()));
                    let goal = if rest { Goal::Rest } else { goal_now(&world) };
                    let hit = process_and_guard(&world, &goal, fault, true, &what);
                    resume_completes(&world, &case.plain(), &what);
                    hit
                });
            }
            call += 1;
        }
    }
}

#[test]
fn a_start_that_failed_is_undone_and_one_that_began_is_not() {
    let case = &cases()[0];
    every_fault(|fault| {
        let world = Rc::new(RefCell::new(case.world.clone()));
        let outcome = process(&world, &case.goal, Some(fault));
        let (world, hit) = (world.borrow(), world.borrow().hit);
        if world.is_killed() || matches!(fault.kind, Kind::AllFail { .. }) || outcome.is_reached() {
            return hit;
        }
        let origin = world.live("origin").unwrap();
        if let Some(Why::Failed(failure)) = &outcome.why
            && !matches!(failure.step, Step::Resume(_))
        {
            assert_eq!(outcome.state, State::Ready, "{fault:?}: {outcome:?}");
        }
        match outcome.state {
            State::Ready => assert_eq!((&*origin, world.left), (ORIGIN, EXCEPTIONS), "{fault:?}"),
            State::Merging | State::DoneNotFinished => assert_eq!(origin, MERGING, "{fault:?}"),
            other => panic!("{fault:?}: {other:?}"),
        }
        hit
    });
}

#[test]
fn a_failed_merge_is_never_resumed_nor_finished() {
    let record = || Record { phase: Phase::Merging, ..a_record() };
    for suspended in [false, true] {
        for goal in [Goal::Merge, Goal::Rest, Goal::Finish(Table::parse(LINEAR).unwrap())] {
            let mut world = world(&[("origin", MERGING)], record());
            (world.left, world.failed) = (3, true);
            world.device("origin").suspended = suspended;
            let world = Rc::new(RefCell::new(world));
            let outcome = process(&world, &goal, None);
            assert_eq!(outcome.state, State::Failed, "{goal:?}");
            assert!(!outcome.is_reached() || (goal != cases()[3].goal && !suspended), "{goal:?}");
            let world = world.borrow();
            assert_eq!(world.live("origin").unwrap(), MERGING);
            assert_eq!(!world.suspended().is_empty(), suspended, "left as it was found");
            assert!(world.harm.is_empty(), "{:?}", world.harm);
        }
    }
}

/// The kernel refuses the resume that begins the merge, and everything after it: the merge target is
/// live then, and its zeroes are neither a merge nor one that is done.
#[test]
fn a_merge_target_without_exceptions_is_not_taken_for_a_merge() {
    let case = &cases()[0];
    let mut found = 0;
    for call in 0..40 {
        let world = Rc::new(RefCell::new(case.world.clone()));
        let fault = Fault { call, kind: Kind::AllFail { swaps: true } };
        process(&world, &case.goal, Some(fault));
        if world.borrow().live("origin").as_deref() != Some(MERGING) || world.borrow().has_begun() {
            continue;
        }
        found += 1;
        let half = world.borrow().clone();
        let outcome = process(&world, &Goal::Finish(case.plain()), None);
        assert!(!outcome.is_reached() && outcome.state == State::Ready, "{call}: {outcome:?}");
        assert_eq!(world.borrow().live("origin").unwrap(), ORIGIN);
        let world = Rc::new(RefCell::new(half));
        guard(&world, "half");
        resume_completes(&world, &case.plain(), "half");
    }
    assert!(found > 0);
}

#[test]
fn what_is_not_done_is_not_finished_and_what_is_foreign_is_not_touched() {
    let record = Record { phase: Phase::Merging, ..a_record() };
    let merging = world(&[("origin", MERGING), ("snap", "0 800 linear 9:9 0")], record.clone());
    let world_now = Rc::new(RefCell::new(merging));
    let outcome = process(&world_now, &cases()[3].goal, None);
    assert!(!outcome.is_reached() && outcome.state == State::Merging, "{outcome:?}");
    assert_eq!(world_now.borrow().live("snap").unwrap(), "0 800 linear 9:9 0");

    let foreign = world(&[("origin", "0 800 crypt x")], record);
    for goal in [Goal::Merge, Goal::Rest, cases()[3].goal.clone()] {
        let before = foreign.devices.clone();
        let world = Rc::new(RefCell::new(foreign.clone()));
        assert_eq!(process(&world, &goal, None).state, State::Gone);
        assert_eq!(world.borrow().devices, before);
    }
}

#[test]
fn the_state_of_a_start_that_was_killed_has_a_name() {
    let case = &cases()[0];
    for call in 0..40 {
        let world = Rc::new(RefCell::new(case.world.clone()));
        let kill = Fault { call, kind: Kind::Kills { after: true } };
        process(&world, &case.goal, Some(kill));
        let world = world.borrow();
        let scene = machine::Scene { origin: world.see("origin"), snapshot: world.see("snap") };
        let state = machine::state(world.journal.as_ref().unwrap(), &scene);
        let named = [State::Ready, State::Starting, State::Merging, State::DoneNotFinished];
        assert!(named.contains(&state), "{call}: {state:?}");
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    proptest::sample::select(KINDS.to_vec())
}

proptest! {
    /// Any number of processes, each with its fault, guards or none, reboots, and runs of the merge
    /// in between.
    #[test]
    fn whatever_happens_resume_completes_it(
        which in 0_usize..7,
        story in prop::collection::vec((0_usize..30, kind(), 0..4_u8), 0..6),
    ) {
        let case = cases().swap_remove(which);
        let world = Rc::new(RefCell::new(case.world.clone()));
        for (number, (call, kind, then)) in story.into_iter().enumerate() {
            let goal = match number {
                0 => case.goal.clone(),
                _ => goal_now(&world),
            };
            process(&world, &goal, Some(Fault { call, kind }));
            match then {
                0 => drop(process(&world, &Goal::Rest, Some(Fault { call, kind }))),
                1 => world.borrow_mut().reboot(),
                2 => world.borrow_mut().merge_all(),
                _ => {}
            }
            prop_assert!(world.borrow().harm.is_empty(), "{:?}", world.borrow().harm);
        }
        resume_completes(&world, &case.plain(), case.name);
    }
}
