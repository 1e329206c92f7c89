use std::num::NonZeroU64;
use std::time::Duration;

use super::super::tests::{identity, sample};
use super::*;
use crate::model::{Cause, DEFAULT_STALL_AFTER_NS, MapCell, Model, StallCause, State};
use crate::sample::{
    KernelView, MergeIdentity, OfflineFault, Owner, ProbeTier, Sample, StorePicture, StoreView,
};

const CHUNK: u64 = 4096;
const TOTAL: u64 = 100 * CHUNK;

fn images(verify: bool) -> MergeIdentity {
    let terms = OfflineTerms { images: true, verify, ..OfflineTerms::default() };
    MergeIdentity { offline: Some(terms), ..identity(Owner::DeviceMapper, ProbeTier::None) }
}

/// A sample of an offline merge, whose time went into the stage that it is in.
fn at(at_s: u64, stage: Stage, change: impl FnOnce(&mut OfflineFacts)) -> Sample {
    let mut facts = OfflineFacts::default();
    facts.reading = Reading { stage, exceptions: 100, total_bytes: TOTAL, ..facts.reading };
    if stage > Stage::Copying {
        (facts.reading.copied_bytes, facts.reading.frontier_bytes) = (TOTAL, TOTAL);
    }
    if let Some(place) = Stage::ALL.iter().position(|known| *known == stage) {
        facts.reading.times[place] = Duration::from_secs(at_s);
    }
    change(&mut facts);
    Sample {
        kernel: KernelView::NotAsked,
        throttle_percent: None,
        offline: Some(facts),
        ..sample(at_s, 0)
    }
}

fn copied(at_s: u64, chunks: u64) -> Sample {
    at(at_s, Stage::Copying, |facts| facts.reading.copied_bytes = chunks * CHUNK)
}

fn first(verify: bool) -> Model {
    let reading = at(0, Stage::Reading, |facts| facts.reading = Reading::default());
    Model::first(images(verify), &reading, DEFAULT_STALL_AFTER_NS)
}

#[test]
fn progress_counts_from_the_whole_though_that_is_known_only_later() {
    let model = first(false);
    assert_eq!((model.state, model.progress.initial_bytes), (State::Merging, 0));
    let model = model.next(&copied(1, 0)).next(&copied(3, 60));
    assert_eq!(model.progress.initial_bytes, TOTAL);
    assert_eq!(model.progress.fraction(), 0.6);
    assert_eq!(model.rate.bytes_per_s, 20.0 * CHUNK as f64);
    assert_eq!((model.sees_runs(), model.upcoming.is_none()), (false, true));
}

#[test]
fn all_is_merged_only_once_the_store_is_empty() {
    let model = first(false).next(&copied(1, 100));
    assert_eq!(model.progress.left_bytes, CHUNK);
    let flushing = model.next(&at(2, Stage::Flushing, |_| ()));
    assert_eq!((flushing.state, flushing.progress.left_bytes), (State::Merging, CHUNK));
    let cleared = |facts: &mut OfflineFacts| facts.reading.cleared_exceptions = 100;
    let clearing = flushing.next(&at(3, Stage::Clearing, cleared));
    assert_eq!(clearing.progress.left_bytes, CHUNK);
    let done = clearing.next(&at(4, Stage::Done, |facts| facts.end = Some(OfflineEnd::Merged)));
    assert_eq!((done.state, done.progress.left_bytes), (State::DoneNotFinished, 0));
    let end = |facts: &mut OfflineFacts| facts.end = Some(OfflineEnd::Finished);
    let finished = done.next(&at(5, Stage::Done, end));
    assert_eq!((finished.state, finished.elapsed_ns), (State::Finished, 4_000_000_000));
}

#[test]
fn with_verify_a_byte_is_merged_when_it_is_compared() {
    let model = first(true).next(&copied(2, 100));
    assert_eq!(model.progress.fraction(), 0.5);
    let compared = |facts: &mut OfflineFacts| facts.reading.verified_bytes = 50 * CHUNK;
    let model = model.next(&at(3, Stage::Verifying, compared));
    assert_eq!(model.progress.fraction(), 0.75);
    assert_eq!(model.offline.unwrap().moved_bytes(), 150 * CHUNK);
}

#[test]
fn what_a_stopped_merge_has_copied_is_not_merged() {
    let stop = |facts: &mut OfflineFacts| {
        facts.reading.copied_bytes = 60 * CHUNK;
        facts.stopping = true;
    };
    let stopping = first(false).next(&at(2, Stage::Copying, stop));
    assert_eq!((stopping.state, stopping.cause()), (State::Merging, Some(Cause::Stopped)));
    let stopped = stopping.next(&at(3, Stage::Copying, |facts| {
        stop(facts);
        facts.end = Some(OfflineEnd::Stopped);
    }));
    assert_eq!((stopped.state, stopped.progress.left_bytes), (State::Stopped, TOTAL));
    assert!(!stopped.state.is_over());
    let advice = stopped.findings[0].advice.join(" ");
    assert!(advice.contains("merge-ctl start --offline --origin-device"), "{advice}");
}

#[test]
fn an_error_tells_what_is_left() {
    let failed = at(3, Stage::Clearing, |facts| {
        facts.reading.cleared_exceptions = 40;
        facts.end = Some(OfflineEnd::Failed(OfflineFault {
            words: "cow could not be written".to_owned(),
            ..OfflineFault::default()
        }));
    });
    let model = first(false).next(&failed);
    assert_eq!((model.state, model.progress.left_bytes), (State::Failed, 60 * CHUNK));
    assert!(model.verdict().contains("cow could not be written"), "{}", model.verdict());
    assert_eq!(model.cause(), Some(Cause::Failed));
}

#[test]
fn a_standstill_is_a_stall_in_its_stage() {
    let model = first(false).next(&copied(1, 10)).next(&copied(5, 10));
    assert_eq!(model.state, State::Merging);
    let model = model.next(&copied(6, 10));
    let stall = model.stalls.back().unwrap();
    assert_eq!(model.state, State::Stalled);
    assert_eq!((stall.cause, stall.started_ns), (StallCause::Stage(Stage::Copying), 1_000_000_000));
    assert_eq!(stall.cause.name(), "copying");
    let model = model.next(&copied(7, 11));
    assert_eq!((model.state, model.stalls[0].duration_ns(0)), (State::Merging, 6_000_000_000));
}

#[test]
fn exceptions_that_can_be_read_are_progress_while_they_are_read() {
    let reading = |at_s, read| {
        at(at_s, Stage::Reading, |facts| {
            facts.reading = Reading { walked_exceptions: read, ..Reading::default() };
        })
    };
    let model = first(false).next(&reading(4, 1_000)).next(&reading(8, 2_000));
    assert_eq!(model.state, State::Merging);
    let model = model.next(&reading(14, 2_000));
    assert_eq!(model.stalls[0].cause, StallCause::Stage(Stage::Reading));
}

/// The next part of what does not fit into memory is read in the midst of copying.
#[test]
fn exceptions_that_are_walked_again_are_progress_too() {
    let copying =
        |at_s, walked| at(at_s, Stage::Copying, |facts| facts.reading.walked_exceptions = walked);
    let model = first(false).next(&copying(4, 1_000)).next(&copying(8, 2_000));
    assert_eq!(model.state, State::Merging);
    let model = model.next(&copying(14, 2_000));
    assert_eq!(model.stalls[0].cause, StallCause::Stage(Stage::Copying));
}

#[test]
fn a_stage_that_begins_is_progress() {
    let model = first(false).next(&copied(1, 100));
    let model = model.next(&at(5, Stage::Flushing, |_| ())).next(&at(9, Stage::Flushing, |_| ()));
    assert_eq!(model.state, State::Merging);
    let model = model.next(&at(10, Stage::Flushing, |_| ()));
    assert_eq!(model.stalls[0].cause, StallCause::Stage(Stage::Flushing));
}

#[test]
fn the_time_left_lies_around_the_truth_and_shrinks() {
    // 1 chunk a second; at 30 s the truth is 70 s.
    let mut model = first(false);
    let mut last_high = f64::INFINITY;
    for second in 1..=60_u64 {
        model = model.next(&copied(second, second));
        let Some(left) = model.left else { continue };
        let truth = (100 - second) as f64;
        assert!(left.low_s <= truth && truth <= left.high_s, "{second}: {left:?}");
        assert!(left.high_s <= last_high, "{second}: {left:?} after {last_high}");
        last_high = left.high_s;
    }
    assert!(last_high < 60.0, "{last_high}");
}

#[test]
fn comparing_is_in_the_time_left() {
    let at_half = |verify| {
        let samples = (1..=50).map(|second| copied(second, second));
        samples.fold(first(verify), |model, sample| model.next(&sample)).left.unwrap()
    };
    assert!(at_half(true).high_s > at_half(false).high_s * 2.0);
    assert!(at_half(true).low_s > at_half(false).low_s * 1.5);
}

#[test]
fn the_map_is_merged_up_to_the_frontier() {
    let cells = vec![1; 1000];
    let picture = StorePicture { chunks_per_cell: 1, cells, ..StorePicture::default() };
    let mut sample = copied(2, 10);
    sample.store = Some(StoreView::Read(picture));
    if let Some(facts) = &mut sample.offline {
        facts.reading.frontier_bytes = 10 * CHUNK;
    }
    let model = first(false).next(&sample);
    assert_eq!(model.map.cells[9], MapCell { merged: 1, merging: 0, to_do: Some(0) });
    assert_eq!(model.map.cells[10], MapCell { merged: 0, merging: 1, to_do: Some(1) });
    assert_eq!((model.map.cells[11].merged, model.ahead), (0, None));
    let model = model.next(&at(9, Stage::Flushing, |_| ()));
    assert!(model.map.cells.iter().all(|cell| (cell.merged, cell.merging) == (1, 0)));
}

#[test]
fn a_limit_that_holds_it_back_is_named() {
    let mut identity = images(false);
    let limit = NonZeroU64::new(10 * CHUNK);
    identity.offline =
        identity.offline.map(|terms| OfflineTerms { bandwidth_bytes: limit, ..terms });
    let model = Model::first(identity, &copied(0, 0), DEFAULT_STALL_AFTER_NS);
    assert_eq!(model.clone().next(&copied(2, 6)).cause(), Some(Cause::Offline));
    assert_eq!(model.next(&copied(2, 20)).cause(), Some(Cause::Bandwidth));
}

#[test]
fn the_same_samples_give_the_same_model() {
    let samples: Vec<Sample> = (1..50).map(|second| copied(second, second * 2)).collect();
    let replay = || samples.iter().fold(first(true), Model::next);
    assert_eq!(replay(), replay());
}

#[test]
fn samples_survive_being_written_down() {
    let sample = copied(3, 7);
    let text = serde_json::to_string(&sample).unwrap();
    assert_eq!(serde_json::from_str::<Sample>(&text).unwrap(), sample);
}
