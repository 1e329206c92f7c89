//! The way of an offline merge: every call of it fails in turn, and is interrupted in turn, whatever
//! the engine comes to.

#![cfg(test)]

use super::super::drive::{Outcome, Why, drive};
use super::super::journal::a_record;
use super::super::machine::Goal;
use super::super::preflight::Obstacle;
use super::tests::{
    ERROR, LINEAR, MERGING, ORIGIN, SNAPSHOT, every_fault, is_at_rest, process, resume_completes,
    world,
};
use super::*;
use crate::state::State;

/// What the engine comes to.
#[derive(Clone, Copy, Debug)]
enum Engine {
    /// It leaves so many exceptions.
    Leaves(u64),
    /// A device fails under it.
    Fails,
    /// It cannot have the devices.
    CannotOpen,
}

const ENGINES: [Engine; 5] = [
    Engine::Leaves(0),
    Engine::Leaves(3),
    Engine::Leaves(EXCEPTIONS),
    Engine::Fails,
    Engine::CannotOpen,
];

fn at_rest() -> Rc<RefCell<World>> {
    let record = Record { offline: true, ..a_record() };
    Rc::new(RefCell::new(world(&[("origin", ORIGIN), ("snap", SNAPSHOT)], record)))
}

fn linear() -> Table {
    Table::parse(LINEAR).unwrap()
}

/// One process, in the order of the command.
fn merge_offline(world: &Rc<RefCell<World>>, engine: Engine, fault: Option<Fault>) -> Outcome {
    world.borrow_mut().revive(fault);
    let (mut hands, mut book) = (Hands(Rc::clone(world)), Book::open(world));
    let aside = drive(&Goal::Aside, &mut hands, &mut book);
    if !aside.is_reached() || world.borrow().is_killed() {
        return aside;
    }
    let can_open = !matches!(engine, Engine::CannotOpen);
    if !can_open || book.advance(Phase::Merging).is_err() {
        return drive(&Goal::Rest, &mut hands, &mut book);
    }
    if world.borrow().is_killed() {
        return aside;
    }
    let left = if let Engine::Leaves(left) = engine { left } else { EXCEPTIONS };
    world.borrow_mut().copy(left);
    if let Engine::Fails = engine {
        // Where that cannot be written, the kernel has to go on.
        let said = book.advance(Phase::Failed { why: "EIO".into() });
        let goal = if said.is_ok() { Goal::Rest } else { Goal::Merge };
        return drive(&goal, &mut hands, &mut book);
    }
    let outcome = drive(&Goal::Merge, &mut hands, &mut book);
    if !outcome.is_reached() || left > 0 {
        return outcome;
    }
    drive(&Goal::Finish(linear()), &mut hands, &mut book)
}

#[test]
fn each_end_of_the_engine_has_its_end() {
    for (engine, state, origin, snapshot) in [
        (Engine::Leaves(0), State::Finished, Some(LINEAR), None),
        (Engine::Leaves(3), State::Merging, Some(MERGING), None),
        (Engine::Fails, State::Gone, None, None),
        (Engine::CannotOpen, State::Ready, Some(ORIGIN), Some(SNAPSHOT)),
    ] {
        let world = at_rest();
        let outcome = merge_offline(&world, engine, None);
        assert!(outcome.is_reached() && outcome.failures.is_empty(), "{engine:?}: {outcome:?}");
        assert_eq!(outcome.state, state, "{engine:?}");
        assert_eq!(world.borrow().live("origin").as_deref(), origin, "{engine:?}");
        assert_eq!(world.borrow().live("snap").as_deref(), snapshot, "{engine:?}");
        assert!(world.borrow().harm.is_empty(), "{engine:?}: {:?}", world.borrow().harm);
    }
}

/// Where a process ends, or the guard of one that was killed: no device is suspended, or an error
/// target, or half merged in sight.
fn ended(world: &Rc<RefCell<World>>, state: State, what: &str) {
    is_at_rest(world, state, what);
    let world = world.borrow();
    assert_ne!(world.live("origin").as_deref(), Some(ERROR), "{what}");
    assert_ne!(world.live("snap").as_deref(), Some(ERROR), "{what}");
    assert!(!world.has_inactive(), "{what}");
}

#[test]
fn every_call_of_it_fails_and_is_interrupted_in_turn() {
    for engine in ENGINES {
        for (guarded, reboot) in [(true, false), (false, false), (true, true), (false, true)] {
            every_fault(|fault| {
                let what = format!("{engine:?} {fault:?} guard {guarded} reboot {reboot}");
                let world = at_rest();
                let outcome = merge_offline(&world, engine, Some(fault));
                let (killed, hit) = (world.borrow().is_killed(), world.borrow().hit);
                let all = matches!(fault.kind, Kind::AllFail { .. });
                if !killed && !all {
                    ended(&world, outcome.state, &what);
                }
                let hangs = killed || !outcome.is_reached();
                if guarded && hangs {
                    let rest = process(&world, &Goal::Rest, None);
                    assert!(rest.is_reached(), "{what}: {rest:?}");
                    ended(&world, rest.state, &what);
                }
                if reboot {
                    world.borrow_mut().reboot();
                }
                if world.borrow().live("origin").as_deref() != Some(LINEAR) {
                    resume_completes(&world, &linear(), &what);
                }
                assert!(world.borrow().harm.is_empty(), "{what}: {:?}", world.borrow().harm);
                hit
            });
        }
    }
}

/// From everywhere that a kill can leave the devices: the guard, and `resume`, each with every fault.
#[test]
fn what_comes_after_a_kill_fails_and_is_interrupted_in_turn() {
    for engine in ENGINES {
        for call in 0.. {
            let world = at_rest();
            let kill = Fault { call, kind: Kind::Kills { after: true } };
            merge_offline(&world, engine, Some(kill));
            if !world.borrow().is_killed() {
                assert!(call > 10, "{call}");
                break;
            }
            let killed = world.borrow().clone();
            for goal in [Goal::Rest, Goal::Merge] {
                every_fault(|fault| {
                    let what = format!("{engine:?} killed at {call}, {goal:?}, {fault:?}");
                    let world = Rc::new(RefCell::new(killed.clone()));
                    process(&world, &goal, Some(fault));
                    let hit = world.borrow().hit;
                    let rest = process(&world, &Goal::Rest, None);
                    assert!(rest.is_reached(), "{what}: {rest:?}");
                    ended(&world, rest.state, &what);
                    resume_completes(&world, &linear(), &what);
                    hit
                });
            }
        }
    }
}

/// The guard that stood before the engine began knows of no engine, and is right.
#[test]
fn a_guard_of_the_beginning_undoes_what_the_journal_was_about_to_begin() {
    let world = at_rest();
    let mut book = Book::open(&world);
    drive(&Goal::Aside, &mut Hands(Rc::clone(&world)), &mut book);
    let mut earlier = Book::open(&world);
    book.advance(Phase::Merging).unwrap();
    let rest = drive(&Goal::Rest, &mut Hands(Rc::clone(&world)), &mut earlier);
    assert_eq!((rest.is_reached(), rest.state), (true, State::Ready), "{rest:?}");
    ended(&world, rest.state, "earlier");
    resume_completes(&world, &linear(), "earlier");
}

#[test]
fn a_device_that_was_opened_meanwhile_is_left_alone() {
    for name in ["origin", "snap"] {
        let world = at_rest();
        world.borrow_mut().open(name, 1);
        let outcome = process(&world, &Goal::Aside, None);
        let Some(Why::Refused(refusal)) = outcome.why else { panic!("{name}: {outcome:?}") };
        assert_eq!(refusal.obstacle, Obstacle::InUse);
        assert!(refusal.reason.contains(name), "{refusal}");
        assert_eq!(outcome.state, State::Ready);
        ended(&world, outcome.state, name);
    }
}

/// An error target is the origin's own only in an offline merge.
#[test]
fn an_error_target_is_foreign_to_a_merge_that_is_not_offline() {
    let world = world(&[("origin", ERROR)], Record { phase: Phase::Merging, ..a_record() });
    let world = Rc::new(RefCell::new(world));
    for goal in [Goal::Merge, Goal::Rest, Goal::Aside] {
        let outcome = process(&world, &goal, None);
        assert_eq!(outcome.state, State::Gone, "{goal:?}");
        assert_eq!(world.borrow().live("origin").as_deref(), Some(ERROR));
    }
}
