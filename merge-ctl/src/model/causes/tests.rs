//! Every cause: found on its figures, and not found just below them.

use super::thresholds::*;
use super::*;
use crate::model::tests::{identity, sample};
use crate::model::{
    DEFAULT_STALL_AFTER_NS, DiskPair, DiskTimes, DiskUse, OpUse, PhaseTime, Phases, RunCount,
    State, TimeRange, Totals, Writer,
};
use crate::sample::{
    CurrentRun, End, Fault, KernelView, Owner, Phase, ProbeTier, Run, Sample, ToldBy,
};

const MS: u64 = 1_000_000;
const CHUNK: u64 = 4096;

/// So many runs of so many chunks each, and the milliseconds of each by phase.
fn seen(runs: u64, chunks: u64, ms: [u64; 6]) -> Model {
    let identity = identity(Owner::DeviceMapper, ProbeTier::Full);
    let mut model = Model::first(identity, &sample(100, 9_000), DEFAULT_STALL_AFTER_NS);
    let time = PhaseTime { ns: ms.map(|ms| ms * MS * runs), between_ns: 0 };
    let last_minute_runs = RunCount { runs, chunks: runs * chunks };
    model.phases =
        Phases { last_minute: time, since_start: time, last_minute_runs, finished: time };
    model.totals = Totals { runs, chunks: runs * chunks, largest_run_chunks: chunks };
    model.recent_runs = (0..runs.min(64)).map(|i| run(7_919 * i % 10_007, chunks, ms)).collect();
    model
}

fn run(old_chunk: u64, chunks: u64, ms: [u64; 6]) -> Run {
    Run {
        old_chunk,
        new_chunk: 2,
        chunks: chunks as u32,
        started_ns: 0,
        finished_ns: 1,
        phase_ns: ms.map(|ms| ms * MS),
    }
}

/// With reads on the COW device and writes on the origin's of so many microseconds, `count` each.
fn with_disks(mut model: Model, count: u64, read_us: u64, write_us: u64) -> Model {
    let ops = |us| OpUse { count, bytes: count * CHUNK, ns: count * us * 1_000 };
    let cow = DiskUse { reads: ops(read_us), ..DiskUse::default() };
    let real = DiskUse { writes: ops(write_us), ..DiskUse::default() };
    let pair = DiskPair { cow, real };
    model.disks = Some(DiskTimes { last_minute: pair, since_start: pair });
    model
}

fn causes(model: &Model) -> Vec<Cause> {
    of(model).into_iter().map(|finding| finding.cause).collect()
}

#[track_caller]
fn has(model: &Model, cause: Cause) -> Finding {
    let findings = of(model);
    let found = findings.iter().find(|finding| finding.cause == cause);
    found.cloned().unwrap_or_else(|| panic!("no {cause:?} among {findings:#?}"))
}

#[track_caller]
fn has_not(model: &Model, cause: Cause) {
    let findings = of(model);
    assert!(findings.iter().all(|finding| finding.cause != cause), "{findings:#?}");
}

#[test]
fn short_runs_that_pay_for_flush_and_commit_are_fragmentation() {
    let model = seen(4_812, 1, [0, 0, 0, 2, 10, 12]);
    let finding = has(&model, Cause::Fragmentation);
    assert_eq!(
        finding.sentence,
        "92 % of the time is flush and commit: 4,812 runs of one chunk, 24 ms each; the snapshot \
         was written at random."
    );
    assert_eq!(of(&model)[0].cause, Cause::Fragmentation);
    // 64 chunks are a quarter of the longest run of 256.
    has(&seen(100, 63, [0, 0, 0, 2, 10, 12]), Cause::Fragmentation);
    has_not(&seen(100, 64, [0, 0, 0, 2, 10, 12]), Cause::Fragmentation);
    has_not(&seen(ENOUGH_RUNS - 1, 1, [0, 0, 0, 200, 500, 500]), Cause::Fragmentation);
    // Short runs that cost next to nothing are none.
    has(&seen(100, 1, [0, 0, 74, 0, 13, 13]), Cause::Fragmentation);
    has_not(&seen(100, 1, [0, 0, 76, 0, 12, 12]), Cause::Fragmentation);
}

#[test]
fn the_rest_of_a_long_merge_of_lvm_can_go_offline() {
    let mut model = seen(4_812, 1, [0, 0, 0, 2, 10, 12]);
    model.left = Some(TimeRange { low_s: 20.0, high_s: 60.0 });
    let advised =
        |model: &Model| has(model, Cause::Fragmentation).advice[0].contains("--scheduled");
    assert!(!advised(&model), "of plain device-mapper it cannot");
    model.identity.owner = Owner::Lvm;
    assert!(advised(&model));
    let except = |change: fn(&mut Model)| {
        let mut model = model.clone();
        change(&mut model);
        assert!(!advised(&model), "{:?}", of(&model));
    };
    except(|model| model.left = Some(TimeRange { low_s: 20.0, high_s: 59.0 }));
    except(|model| model.identity.siblings.push("vg/other".to_owned()));
    except(|model| model.state = State::Finished);
}

#[test]
fn copying_a_little_at_a_time_is_fragmentation_too() {
    let finding = has(&seen(100, 1, [0, 0, 0, 20, 2, 2]), Cause::Fragmentation);
    assert!(finding.sentence.contains("copying a little at a time"), "{}", finding.sentence);
}

#[test]
fn how_a_snapshot_was_written_is_said_only_where_the_runs_show_it() {
    let mut model = seen(100, 1, [0, 0, 0, 2, 10, 12]);
    model.recent_runs = (0..64).map(|i| run(100 + i, 1, [0; 6])).collect();
    assert!(has(&model, Cause::Fragmentation).sentence.contains("written backwards"));
    model.recent_runs =
        (0..64).map(|i| run(i * 50, if i % 5 == 0 { 40 } else { 1 }, [0; 6])).collect();
    assert!(!has(&model, Cause::Fragmentation).sentence.contains("written"));
}

#[test]
fn flush_and_commit_that_dwarf_the_copy_are_flush_latency() {
    let finding = has(&seen(20, 256, [0, 0, 0, 2, 20, 21]), Cause::FlushLatency);
    assert!(finding.sentence.contains("41 ms for each run against 2.0 ms"), "{}", finding.sentence);
    assert_eq!(causes(&seen(20, 256, [0, 0, 0, 2, 20, 21])), [Cause::FlushLatency]);
    // Not where the copy takes more than half as long,
    has(&seen(20, 256, [0, 0, 0, 20, 20, 20]), Cause::FlushLatency);
    has_not(&seen(20, 256, [0, 0, 0, 21, 20, 20]), Cause::FlushLatency);
    // nor where they are quick.
    has(&seen(20, 256, [0, 0, 0, 0, 2, 2]), Cause::FlushLatency);
    has_not(&seen(20, 256, [0, 0, 0, 0, 1, 2]), Cause::FlushLatency);
    // With short runs it is the second thing to say.
    let both = causes(&seen(200, 1, [0, 0, 0, 1, 20, 21]));
    assert_eq!(both, [Cause::Fragmentation, Cause::FlushLatency]);
}

#[test]
fn a_device_that_is_slower_by_far_is_the_slow_one() {
    let copying = |count, read_us, write_us| {
        with_disks(seen(20, 256, [0, 0, 0, 100, 5, 5]), count, read_us, write_us)
    };
    let cow = copying(40, 24_000, 400);
    assert_eq!(of(&cow)[0].cause, Cause::SlowCow);
    let sentence = &of(&cow)[0].sentence;
    assert!(sentence.contains("vg/snap-cow: a read there takes 24 ms on average"), "{sentence}");
    assert_eq!(of(&copying(40, 400, 24_000))[0].cause, Cause::SlowOrigin);
    has(&copying(40, 6_000, 2_000), Cause::SlowCow);
    has_not(&copying(40, 5_900, 2_000), Cause::SlowCow);
    has_not(&copying(40, 1_900, 100), Cause::SlowCow);
    has_not(&copying(ENOUGH_IOS - 1, 24_000, 400), Cause::SlowCow);
    has(&copying(2, 500_000, 4_000), Cause::SlowCow);
    has_not(&copying(1, 1_000_000, 4_000), Cause::SlowCow);
    // The slow device has nothing to do with it where the time goes elsewhere.
    let draining = with_disks(seen(20, 256, [0, 0, 300, 100, 0, 0]), 40, 24_000, 400);
    has_not(&draining, Cause::SlowCow);
}

#[test]
fn flushes_that_count_as_writes_do_not_make_the_origin_slow() {
    let mut model = with_disks(seen(20, 256, [0, 0, 0, 2, 40, 0]), 60, 500, 500);
    let disks = model.disks.as_mut().unwrap();
    disks.last_minute.real.writes.ns += 20 * 40 * MS;
    assert_eq!(causes(&model), [Cause::FlushLatency]);
}

#[test]
fn draining_names_the_writers() {
    let mut model = seen(20, 256, [0, 0, 25, 75, 0, 0]);
    model.awaited = vec![Writer { comm: "postgres".into(), pid: 812, writes: 3 }];
    let finding = has(&model, Cause::DrainingWriters);
    assert!(finding.sentence.contains("postgres[812]"), "{}", finding.sentence);
    assert!(finding.advice[0].contains("postgres[812]"), "{:?}", finding.advice);
    has_not(&seen(20, 256, [0, 0, 24, 76, 0, 0]), Cause::DrainingWriters);
}

#[test]
fn siblings_are_named() {
    let mut model = seen(20, 256, [0, 25, 0, 75, 0, 0]);
    model.identity.siblings = vec!["vg/nightly".into()];
    assert!(has(&model, Cause::Siblings).sentence.contains("vg/nightly"));
    has_not(&seen(20, 256, [0, 24, 0, 76, 0, 0]), Cause::Siblings);
}

#[test]
fn the_throttle_is_to_blame_only_for_what_it_slept() {
    let throttled = |percent, copy_ms, read_us| {
        let mut model = with_disks(seen(20, 1, [0, 0, 0, copy_ms, 1, 1]), 40, read_us, 0);
        model.throttle_percent = Some(percent);
        model
    };
    assert_eq!(of(&throttled(10, 120, 1_000))[0].cause, Cause::Throttle);
    has_not(&throttled(100, 120, 1_000), Cause::Throttle);
    // It sleeps for 100 ms: none of these copies can have slept.
    has_not(&throttled(10, 99, 1_000), Cause::Throttle);
    // The devices were at work all the time.
    has_not(&throttled(10, 120, 60_000), Cause::Throttle);
    let mut blind = throttled(10, 120, 1_000);
    blind.disks = None;
    has_not(&blind, Cause::Throttle);
}

#[test]
fn long_runs_that_copy_all_the_time_go_at_device_speed() {
    let model = with_disks(seen(20, 256, [0, 0, 0, 90, 5, 5]), 40, 3_000, 5_000);
    assert_eq!(causes(&model), [Cause::DeviceSpeed]);
    assert!(of(&model)[0].sentence.contains("1.0 MiB on average"), "{}", of(&model)[0].sentence);
    // 128 chunks are one job of kcopyd's; of 16, an eighth of the copy counts as data.
    has(&seen(20, 128, [0, 0, 75, 25, 0, 0]), Cause::DeviceSpeed);
    has_not(&seen(20, 128, [0, 0, 76, 24, 0, 0]), Cause::DeviceSpeed);
    has_not(&seen(20, 16, [0, 0, 0, 90, 5, 5]), Cause::DeviceSpeed);
}

#[test]
fn where_nothing_stands_out_that_is_said() {
    let model = seen(20, 256, [20, 20, 20, 20, 10, 10]);
    assert_eq!(causes(&model), [Cause::NoSingleCause]);
    assert!(model.awaited.is_empty());
}

#[test]
fn too_little_is_no_evidence() {
    let few = seen(3, 1, [0, 0, 0, 2, 10, 12]);
    assert_eq!(causes(&few), [Cause::NothingYet]);
    assert!(of(&few)[0].sentence.contains("3 runs seen so far"));
    assert_eq!(causes(&seen(0, 0, [0; 6])), [Cause::NothingYet]);
    // Few runs, but four seconds of them.
    has(&seen(2, 256, [0, 0, 2_000, 0, 0, 0]), Cause::DrainingWriters);
}

#[test]
fn without_probes_the_devices_still_tell() {
    let blind = |read_us, write_us| {
        let mut model = with_disks(seen(0, 0, [0; 6]), 40, read_us, write_us);
        model.identity.probes.tier = ProbeTier::None;
        model
    };
    assert_eq!(causes(&blind(3_000, 3_000)), [Cause::NotSeen]);
    assert_eq!(causes(&blind(24_000, 400)), [Cause::SlowCow]);
    assert_eq!(causes(&blind(400, 24_000)), [Cause::SlowOrigin]);
}

/// After this sample on top of a merge that has begun.
fn after(change: impl FnOnce(&mut Sample)) -> Model {
    let identity = identity(Owner::Lvm, ProbeTier::Full);
    let mut last = sample(110, 9_000);
    change(&mut last);
    Model::first(identity, &sample(100, 9_000), DEFAULT_STALL_AFTER_NS).next(&last)
}

#[test]
fn a_state_that_needs_somebody_comes_before_all_shares() {
    let state = |kernel: KernelView| after(|sample| sample.kernel = kernel).cause();
    assert_eq!(state(KernelView::MergeFailed), Some(Cause::Failed));
    assert_eq!(state(KernelView::Invalid), Some(Cause::Invalid));
    assert_eq!(state(KernelView::Scheduled), Some(Cause::Scheduled));
    assert_eq!(state(KernelView::Unknown { text: String::new() }), Some(Cause::StatusUnreadable));
    let target = Some("linear".to_owned());
    assert_eq!(state(KernelView::NotMerging { target }), Some(Cause::Finished));
    assert_eq!(state(KernelView::NotMerging { target: None }), Some(Cause::Gone));
    let done = Model::first(
        identity(Owner::DeviceMapper, ProbeTier::Full),
        &sample(100, 0),
        DEFAULT_STALL_AFTER_NS,
    );
    assert_eq!(done.cause(), Some(Cause::NotFinished));
    assert!(done.findings[0].advice[0].contains("merge-ctl finish vg/data"));
}

#[test]
fn a_failure_names_its_step_and_its_device() {
    let failed = |fault, told_by, errno, chunks| {
        let end = End::Failed { at_ns: 0, fault, told_by, errno, old_chunk: 7, chunks };
        after(|sample| {
            sample.kernel = KernelView::MergeFailed;
            sample.end = Some(end);
        })
    };
    let seen = |fault| failed(Some(fault), ToldBy::Probes, -5, 1).verdict();
    assert!(seen(Fault::CommitCow).starts_with(
        "Writing metadata to vg/snap-cow (253:2) failed in the commit of the run at chunk 7 (1 \
         chunk): EIO."
    ));
    assert!(seen(Fault::FlushOrigin).starts_with("Flushing vg/data-real (253:1) failed"));
    assert!(seen(Fault::CopyReadCow).starts_with("Reading from vg/snap-cow (253:2) failed"));
    let silent = failed(Some(Fault::CopyWriteOrigin), ToldBy::Probes, 0, 2).verdict();
    assert!(silent.starts_with(
        "Writing to vg/data-real (253:1) failed in the copy of the run at chunk 7 (2 chunks)."
    ));
    let early = failed(Some(Fault::MetadataReadCow), ToldBy::Probes, -5, 0).verdict();
    assert!(early.starts_with("Reading metadata from vg/snap-cow (253:2) failed: EIO."), "{early}");
}

#[test]
fn what_only_the_log_tells_and_what_nobody_saw_is_told_as_such() {
    let failed = |end| {
        after(|sample| {
            sample.kernel = KernelView::MergeFailed;
            sample.end = end;
        })
    };
    let end = |fault, told_by| End::Failed {
        at_ns: 0,
        fault,
        told_by,
        errno: 0,
        old_chunk: 0,
        chunks: 0,
    };
    let log = failed(Some(end(Some(Fault::FlushOrigin), ToldBy::KernelLog)));
    assert!(log.verdict().starts_with("By the kernel log, flushing vg/data-real (253:1) failed."));
    for unseen in [None, Some(end(None, ToldBy::Probes))] {
        let unseen = failed(unseen);
        assert!(unseen.verdict().contains("which device failed is not known"));
        let figure = &unseen.findings[0].figures[0];
        assert_eq!((figure.name, &figure.value), ("fault", &Value::Text("unknown".to_owned())));
    }
}

#[test]
fn a_suspended_device_is_named_with_the_way_to_resume_it() {
    let origin = after(|sample| {
        if let KernelView::Merging { suspended, .. } = &mut sample.kernel {
            *suspended = true;
        }
    });
    assert_eq!(origin.cause(), Some(Cause::Suspended));
    assert!(origin.findings[0].advice[0].contains("dmsetup resume vg-data"));
    let cow = after(|sample| {
        let disks = sample.disks.insert(crate::sample::Disks::default());
        disks.cow.suspended = true;
    });
    assert_eq!(cow.cause(), Some(Cause::Suspended));
    assert!(cow.findings[0].advice[0].contains("--major 253 --minor 2"));
    assert_ne!(after(|_| {}).cause(), Some(Cause::Suspended));
}

#[test]
fn a_stall_is_blamed_on_what_it_waits_for() {
    let stalled = |phase, cow_in_flight, real_in_flight| {
        after(|sample| {
            let disks = sample.disks.insert(crate::sample::Disks::default());
            (disks.cow.in_flight, disks.real.in_flight) = (cow_in_flight, real_in_flight);
            sample.current = Some(CurrentRun {
                old_chunk: 8,
                new_chunk: 9,
                chunks: 4,
                phase,
                started_ns: 101_000 * MS,
                phase_started_ns: 101_000 * MS,
                phase_ns: [0; 6],
            });
        })
    };
    for (phase, cow, real, cause) in [
        (Phase::Metadata, 1, 0, Cause::SlowCow),
        (Phase::Siblings, 0, 0, Cause::Siblings),
        (Phase::Drain, 0, 0, Cause::DrainingWriters),
        (Phase::Copy, 1, 0, Cause::SlowCow),
        (Phase::Copy, 0, 1, Cause::SlowOrigin),
        (Phase::Copy, 1, 1, Cause::DeviceSpeed),
        (Phase::Flush, 0, 1, Cause::FlushLatency),
        (Phase::Commit, 1, 0, Cause::FlushLatency),
    ] {
        let model = stalled(phase, cow, real);
        assert_eq!(model.cause(), Some(cause), "{phase:?}");
        assert!(model.verdict().starts_with("Stalled for 9.0 s: "), "{}", model.verdict());
    }
    assert!(stalled(Phase::Copy, 2, 0).verdict().contains("2 I/Os in flight on vg/snap-cow"));
}

#[test]
fn a_merge_that_is_over_says_where_its_time_went() {
    let mut model = seen(4_812, 1, [0, 0, 0, 2, 10, 12]);
    model.state = State::Finished;
    let findings = of(&model);
    assert_eq!(findings[0].cause, Cause::Finished);
    assert!(verdict(&findings).starts_with("All is merged"));
    assert!(verdict(&findings).contains("92 % of the time"), "{}", verdict(&findings));
}

#[test]
fn shares_are_shares_and_the_largest_leads() {
    let model = with_disks(seen(200, 1, [0, 30, 40, 30, 20, 21]), 500, 25_000, 300);
    let shares: Vec<f64> = of(&model).iter().filter_map(|finding| finding.share).collect();
    assert!(shares.len() > 1 && shares.is_sorted_by(|a, b| a >= b), "{shares:?}");
    assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
}

#[test]
fn every_cause_is_documented_and_every_entry_is_a_cause() {
    let text = include_str!("../../../../docs/causes.md");
    let entries: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    assert_eq!(entries, Cause::ALL.map(Cause::code));
}

#[test]
fn every_threshold_is_documented() {
    let text = include_str!("../../../../docs/causes.md");
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let ms = |ns: u64| format!("{} ms", ns / MS);
    for (name, value) in [
        ("WORTH_SAYING", percent(WORTH_SAYING)),
        ("ENOUGH_RUNS", ENOUGH_RUNS.to_string()),
        ("ENOUGH_TIME_NS", format!("{} s", ENOUGH_TIME_NS / MS / 1_000)),
        ("SHORT_RUN", percent(SHORT_RUN)),
        ("LONG_COPY_BYTES", format!("{} KiB", LONG_COPY_BYTES / 1024)),
        ("DEAR_FLUSH_NS", ms(DEAR_FLUSH_NS)),
        ("FLUSH_OVER_COPY", format!("{FLUSH_OVER_COPY}")),
        ("SLOWER", format!("{SLOWER}")),
        ("SLOW_NS", ms(SLOW_NS)),
        ("ENOUGH_IOS", ENOUGH_IOS.to_string()),
        ("ENOUGH_IO_NS", format!("{} s", ENOUGH_IO_NS / MS / 1_000)),
        ("SCATTERED", percent(SCATTERED)),
        ("THROTTLE_SLEEP_NS", ms(THROTTLE_SLEEP_NS)),
    ] {
        let row = format!("| `{name}` | {value} |");
        assert!(text.contains(&row), "docs/causes.md lacks {row}");
    }
}
