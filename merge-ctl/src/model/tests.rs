//! Whole merges as samples, and what the model makes of them.

use super::*;
use crate::sample::*;
use crate::units::{ChunkSize, DeviceNumber, Sectors};

const S: u64 = 1_000_000_000;

pub(super) fn identity(owner: Owner, tier: ProbeTier) -> MergeIdentity {
    let dev = |minor| DeviceNumber { major: 253, minor };
    MergeIdentity {
        origin: "vg-data".to_owned(),
        origin_label: "vg/data".to_owned(),
        snapshot_label: None,
        origin_dev: dev(0),
        real_dev: dev(1),
        cow_dev: dev(2),
        owner,
        finished_here: false,
        driven_by: None,
        real_label: "vg/data-real".to_owned(),
        cow_label: "vg/snap-cow".to_owned(),
        chunk_size: ChunkSize::from_sectors(8).unwrap(),
        size: Sectors(8 * 1000),
        siblings: Vec::new(),
        kernel: "6.1.0".to_owned(),
        probes: ProbeReport { tier, missing: Vec::new() },
        offline: None,
    }
}

pub(super) fn sample(at_s: u64, left_chunks: u64) -> Sample {
    let kernel = KernelView::Merging {
        allocated: Sectors(16 + left_chunks * 8),
        total: Sectors(100_000),
        metadata: Sectors(16),
        suspended: false,
    };
    Sample { throttle_percent: Some(100), ..Sample::of(at_s * S, 1_000_000 + at_s, kernel) }
}

fn run(old_chunk: u64, chunks: u32, finished_s: u64) -> Run {
    Run {
        old_chunk,
        new_chunk: old_chunk + 2,
        chunks,
        started_ns: finished_s * S - S / 2,
        finished_ns: finished_s * S,
        phase_ns: [0, 0, 0, S / 2, 0, 0],
    }
}

fn current(phase: Phase, since_s: u64) -> CurrentRun {
    CurrentRun {
        old_chunk: 0,
        new_chunk: 2,
        chunks: 4,
        phase,
        started_ns: since_s * S,
        phase_started_ns: since_s * S,
        phase_ns: [0; 6],
    }
}

fn first(sample: &Sample) -> Model {
    Model::first(identity(Owner::DeviceMapper, ProbeTier::Full), sample, DEFAULT_STALL_AFTER_NS)
}

#[test]
fn progress_counts_exceptions_and_not_the_fill_of_the_cow() {
    let model = first(&sample(10, 100)).next(&sample(12, 25));
    assert_eq!(model.progress.initial_bytes, 100 * 4096);
    assert_eq!(model.progress.merged_bytes(), 75 * 4096);
    assert_eq!(model.progress.fraction(), 0.75);
    assert_eq!((model.state, model.elapsed_ns), (State::Merging, 2 * S));
    assert_eq!(model.rate.bytes_per_s, 75.0 * 4096.0 / 2.0);
    assert!(model.left.is_some());
}

#[test]
fn runs_fill_the_histogram_the_map_and_the_totals() {
    let mut more = sample(2, 0);
    more.runs = vec![run(990, 10, 1), run(3, 1, 2)];
    let model = first(&sample(0, 11)).next(&more);
    assert_eq!(model.totals, Totals { runs: 2, chunks: 11, largest_run_chunks: 10 });
    assert_eq!(model.sizes.buckets.len(), 4);
    assert_eq!(model.sizes.buckets[3].chunks, 10);
    let merged: u32 = model.map.cells.iter().map(|cell| cell.merged).sum();
    assert_eq!(merged, 11);
    assert_eq!(model.phases.since_start.ns[Phase::Copy as usize], S);
}

#[test]
fn a_merge_ends_done_then_finished_and_its_time_stops() {
    let mut plain = sample(7, 0);
    plain.kernel = KernelView::NotMerging { target: Some("linear".to_owned()) };
    let done = first(&sample(0, 10)).next(&sample(5, 0));
    assert_eq!(done.state, State::DoneNotFinished);
    assert_eq!(done.progress.fraction(), 1.0);
    let finished = done.next(&plain);
    assert_eq!((finished.state, finished.elapsed_ns), (State::Finished, 5 * S));
}

#[test]
fn a_device_that_vanishes_before_the_end_is_gone_and_not_finished() {
    let mut gone = sample(3, 0);
    gone.kernel = KernelView::NotMerging { target: None };
    assert_eq!(first(&sample(0, 10)).next(&gone).state, State::Gone);
    gone.end = Some(End::Done { at_ns: 2 * S });
    let finished = first(&sample(0, 10)).next(&gone);
    assert_eq!((finished.state, finished.progress.left_bytes), (State::Finished, 0));
}

#[test]
fn a_failure_is_told_with_its_phase_and_what_not_to_do() {
    let mut failed = sample(3, 9);
    failed.end = Some(End::Failed {
        at_ns: 3 * S,
        fault: Some(Fault::CommitCow),
        told_by: ToldBy::Probes,
        errno: -5,
        old_chunk: 77,
        chunks: 3,
    });
    let model = first(&sample(0, 10)).next(&failed);
    assert_eq!(model.state, State::Failed);
    assert_eq!(model.cause(), Some(Cause::Failed));
    let verdict = model.verdict();
    assert!(verdict.contains("commit") && verdict.contains("77"), "{verdict}");
    assert!(verdict.contains("Do not suspend"), "{verdict}");
    assert!(model.findings[0].advice.join(" ").contains("merge-ctl resume"));
}

#[test]
fn a_phase_that_lasts_is_a_stall_until_it_ends() {
    let mut waiting = sample(9, 10);
    waiting.current = Some(current(Phase::Drain, 4));
    waiting.io = Some(IoSample {
        writes: IoTotals::default(),
        reads: IoTotals::default(),
        writes_in_flight: 1,
        reads_in_flight: 0,
        in_flight: vec![InFlightWrite {
            sector: 8,
            bytes: 4096,
            queued_ns: 3 * S,
            pid: 7,
            comm: "fio".to_owned(),
        }],
    });
    let model = first(&sample(0, 10)).next(&waiting);
    assert_eq!(model.state, State::Stalled);
    let stall = model.stalls.back().unwrap();
    assert_eq!((stall.cause, stall.started_ns), (StallCause::Phase(Phase::Drain), 4 * S));
    assert_eq!(stall.started_unix_s, 1_000_004);
    assert!(stall.detail.contains("1 of fio[7]"), "{}", stall.detail);

    let mut moved = sample(11, 6);
    moved.current = Some(current(Phase::Copy, 10));
    let model = model.next(&moved);
    assert_eq!(model.state, State::Merging);
    assert_eq!(model.stalls.len(), 1);
    assert_eq!(model.stalls[0].duration_ns(model.now_ns), 7 * S);
}

#[test]
fn without_probes_a_standstill_is_still_a_stall() {
    let identity = identity(Owner::DeviceMapper, ProbeTier::None);
    let model = Model::first(identity, &sample(0, 10), 5 * S);
    let model = model.next(&sample(4, 10));
    assert_eq!(model.state, State::Merging);
    let model = model.next(&sample(5, 10));
    assert_eq!(model.state, State::Stalled);
    assert_eq!(model.stalls[0].cause, StallCause::NoProgress);
    assert_eq!(model.rate.runs_per_s, None);
}

#[test]
fn a_suspended_origin_is_told_at_once_and_a_stall_after_a_while() {
    let suspended = |at_s| {
        let mut sample = sample(at_s, 10);
        if let KernelView::Merging { suspended, .. } = &mut sample.kernel {
            *suspended = true;
        }
        sample
    };
    let model = first(&sample(0, 10)).next(&suspended(1));
    assert_eq!((model.state, model.stalls.len()), (State::Suspended, 0));
    let model = model.next(&suspended(6));
    assert_eq!((model.state, model.stalls[0].cause), (State::Suspended, StallCause::Suspended));
}

#[test]
fn a_write_in_a_coming_run_is_told_before_it_is_held() {
    let run = |old_chunk| crate::store::Run { old_chunk, new_chunk: old_chunk + 2, chunks: 4 };
    let in_flight = |sector| InFlightWrite {
        sector,
        bytes: 4096,
        queued_ns: 0,
        pid: 7,
        comm: "fio".to_owned(),
    };
    let io = IoSample {
        writes: IoTotals::default(),
        reads: IoTotals::default(),
        writes_in_flight: 2,
        reads_in_flight: 0,
        in_flight: vec![in_flight(0), in_flight(100 * 8)],
    };
    let next_runs = NextRuns { exceptions: 12, runs: vec![run(20), run(10), run(0)] };
    let picture = StorePicture { next_runs, ..StorePicture::default() };
    let at = |at_s, left, merging: Option<u64>| Sample {
        io: Some(io.clone()),
        store: (at_s == 0).then(|| StoreView::Read(picture.clone())),
        current: merging.map(|old_chunk| CurrentRun {
            old_chunk,
            new_chunk: old_chunk + 2,
            ..current(Phase::Copy, at_s)
        }),
        ..sample(at_s, left)
    };
    let told = |model: &Model| model.writes.as_ref().unwrap().listed[0].relation;
    let after = |runs| Relation::Soon { runs, about_ns: None };
    let model = first(&at(0, 12, None));
    assert_eq!(told(&model), after(2));
    let model = model.next(&at(1, 12, Some(20)));
    assert_eq!(told(&model), after(1));
    // The status line is a moment older than the run in progress.
    let model = model.next(&at(2, 12, Some(10)));
    assert_eq!(told(&model), after(0));
    let writes = model.writes.as_ref().unwrap();
    assert_eq!((writes.soon, writes.held, writes.listed[1].relation), (1, 0, Relation::Free));
    assert_eq!(model.upcoming.as_ref().unwrap().first_met().unwrap().1.writers[0].pid, 7);
    let model = model.next(&at(3, 4, Some(0)));
    assert_eq!((told(&model), model.upcoming), (Relation::Held, None));
}

#[test]
fn the_same_samples_give_the_same_model() {
    let samples: Vec<Sample> = (0..50).map(|i| sample(i, 1000 - i * 20)).collect();
    let replay = || samples[1..].iter().fold(first(&samples[0]), Model::next);
    assert_eq!(replay(), replay());
}
