//! What a plan looks like, whole.

use super::*;
use crate::cost::TimeRange;
use crate::model::{RunSizeBucket, RunSizes};
use crate::output::{plan_json, plan_tables as tables};
use crate::plan::costs::{MergeCosts, Timed};
use crate::plan::density::Density;
use crate::plan::offline::{Advice, Circumstances, Faster, Offline};
use crate::plan::replay::{ChunkSizeRow, Counts};
use crate::plan::siblings::{Fate, SiblingPlan};
use crate::plan::{Largest, Subject};
use crate::planner;
use crate::store::Run;

fn subject() -> Subject {
    Subject {
        label: "vg/snap".into(),
        origin: Some("vg/data".into()),
        merging: false,
        origin_bytes: Some(1 << 30),
        cow_bytes: 200 << 20,
        chunk_bytes: Some(4096),
    }
}

fn measured() -> MergeCosts {
    let timed = |cache| Timed {
        small_ns: vec![8_000_000; 30],
        large_ns: vec![10_000_000; 25],
        write_cache: Some(cache),
    };
    MergeCosts::measured(&timed(false), &timed(true), 5_000).unwrap()
}

fn sizes() -> RunSizes {
    let bucket =
        |runs, chunks, seconds: u64| RunSizeBucket { runs, chunks, ns: seconds * 1_000_000_000 };
    RunSizes {
        buckets: vec![
            bucket(4_312, 4_312, 120),
            bucket(0, 0, 0),
            bucket(2, 9, 1),
            bucket(0, 0, 0),
            bucket(0, 0, 0),
            bucket(0, 0, 0),
            bucket(1, 103, 1),
            bucket(0, 0, 0),
            bucket(23, 5_888, 4),
        ],
    }
}

fn siblings() -> Vec<SiblingPlan> {
    vec![
        SiblingPlan {
            label: "vg/other".into(),
            chunk_bytes: 16384,
            copies_low: 3_120,
            copies_high: 3_120,
            room: Some(9_000),
            fate: Fate::Kept,
        },
        SiblingPlan {
            label: "vg/small".into(),
            chunk_bytes: 4096,
            copies_low: 10_312,
            copies_high: 10_312,
            room: Some(255),
            fate: Fate::Overflows,
        },
        SiblingPlan {
            label: "tmp\u{1b}[2J".into(),
            chunk_bytes: 4096,
            copies_low: 9_000,
            copies_high: 10_312,
            room: Some(10_000),
            fate: Fate::Unclear,
        },
        SiblingPlan {
            label: "old".into(),
            chunk_bytes: 4096,
            copies_low: 0,
            copies_high: 1,
            room: None,
            fate: Fate::LostAlready,
        },
    ]
}

fn chunk_sizes(time: Option<TimeRange>) -> Vec<ChunkSizeRow> {
    let row = |chunk_bytes, own, counts: Counts, fits| ChunkSizeRow {
        chunk_bytes,
        own,
        counts: Some(counts),
        time,
        fits,
    };
    let counts = |chunks, runs| Counts {
        chunks_low: chunks,
        chunks_high: chunks,
        runs_low: runs,
        runs_high: runs,
    };
    let bounds =
        Counts { chunks_low: 10_312, chunks_high: 82_496, runs_low: 4_320, runs_high: 82_496 };
    vec![
        row(2048, false, bounds, None),
        row(4096, true, counts(10_312, 4_338), Some(true)),
        row(8192, false, counts(7_312, 4_330), Some(true)),
        row(524_288, false, counts(1_300, 1_250), Some(false)),
    ]
}

fn fragmented() -> Plan {
    let costs = measured();
    let work = Work {
        chunks: 10_312,
        bytes: 10_312 * 4096,
        runs: 4_312 + 26,
        areas: 41,
        chunk_bytes: 4096,
    };
    let time = Some(costs.time(work));
    let mut density = Density::covering((1 << 30) / 4096);
    (0..6000).chain((9..4321).map(|i| i * 37)).for_each(|chunk| density.add(chunk));
    Plan {
        subject: subject(),
        work,
        sizes: sizes(),
        largest: Some(Largest {
            run: Run { old_chunk: 1_024, new_chunk: 771, chunks: 256 },
            time: Some(costs.time_of_run(1 << 20, 4096)),
        }),
        time,
        single_time: Some(costs.time(work.single())),
        siblings: siblings(),
        offline: Some(Offline::new(work, Some(4_200), Some(&costs), time, SIBLINGS)),
        chunk_sizes: chunk_sizes(time),
        density,
        not_searched: 0,
        costs: Ok(costs),
    }
}

const SIBLINGS: Circumstances = Circumstances { merging: false, siblings: true };

const PAPER: Paper = Paper { width: 80, colour: false };

#[test]
fn a_fragmented_snapshot_with_siblings() {
    insta::assert_snapshot!(text(&fragmented(), &PAPER));
}

#[test]
fn an_advice_to_merge_offline_names_the_command() {
    let advised = |advice| {
        let mut plan = Plan { siblings: Vec::new(), ..fragmented() };
        let open = advice == Some(Advice::Online);
        let faster = Some(if open { Faster::Perhaps } else { Faster::Yes });
        plan.offline = plan.offline.map(|offline| Offline { faster, advice, ..offline });
        plan
    };
    let plan = advised(Some(Advice::Offline));
    let words = tables::offline(&plan);
    assert!(words.contains("merge-ctl start --offline vg/snap"), "{words}");
    insta::assert_snapshot!(words);
    let value: serde_json::Value = serde_json::from_str(&plan_json::object(&plan)).unwrap();
    assert_eq!(value["advice"], "offline");
    for advice in [Advice::Online, Advice::OnlineIsShort] {
        let plan = advised(Some(advice));
        insta::assert_snapshot!(tables::offline(&plan));
        let value: serde_json::Value = serde_json::from_str(&plan_json::object(&plan)).unwrap();
        assert_eq!(value["advice"], "online");
    }
    let value: serde_json::Value =
        serde_json::from_str(&plan_json::object(&advised(None))).unwrap();
    assert!(value["advice"].is_null());
}

#[test]
fn nothing_to_merge_says_so() {
    let plan = planner::empty(subject(), Err("there are no devices to try".into()));
    insta::assert_snapshot!(text(&plan, &PAPER));
}

#[test]
fn without_costs_there_is_no_time_and_a_reason() {
    let plan = Plan {
        costs: Err("there are no devices to try; --run-cost and --byte-rate give it".into()),
        time: None,
        single_time: None,
        siblings: Vec::new(),
        subject: Subject { origin: None, merging: true, origin_bytes: None, ..subject() },
        not_searched: 12,
        ..fragmented()
    };
    insta::assert_snapshot!(text(&plan, &PAPER));
}

#[test]
fn no_row_is_wider_than_the_paper_and_no_name_drives_the_terminal() {
    for width in [80, 100, 132] {
        let text = text(&fragmented(), &Paper { width, colour: false });
        assert!(!text.contains('\u{1b}'));
        for row in text.lines() {
            assert!(row.chars().count() <= width, "{width}: {row}");
        }
    }
    assert!(text(&fragmented(), &Paper { width: 80, colour: true }).contains("\u{1b}[36m"));
}

#[test]
fn the_json_object_can_be_closed_behind_a_list_of_runs() {
    let plan = fragmented();
    let alone: serde_json::Value = serde_json::from_str(&plan_json::object(&plan)).unwrap();
    assert_eq!((&alone["type"], &alone["run_count"]), (&"plan".into(), &4338.into()));
    assert_eq!(alone.get("runs"), None);
    assert!(alone["time_low_s"].as_f64() < alone["time_high_s"].as_f64());
    let run = Run { old_chunk: 7, new_chunk: 2, chunks: 3 };
    let text = plan_json::object_before_runs(&plan) + &plan_json::run(&run) + plan_json::END;
    let listed: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(listed["runs"][0], serde_json::json!({"old_chunk": 7, "new_chunk": 2, "chunks": 3}));
    let unknown = Plan { costs: Err("none".into()), time: None, ..plan };
    let unknown: serde_json::Value = serde_json::from_str(&plan_json::object(&unknown)).unwrap();
    assert!(unknown["time_low_s"].is_null() && unknown["run_sizes"][0]["ns"].is_null());
}
