//! What is in the objects, and that each field is documented.

use super::*;
use crate::output::fixture;
use serde_json::{Value, json};

fn parse(line: &str) -> Value {
    assert!(!line.contains('\n'), "one object a line");
    let value: Value = serde_json::from_str(line).unwrap();
    assert_eq!(value["schema"], 1);
    assert_eq!(value["origin"], "vg-data");
    value
}

#[test]
fn a_run_has_its_chunks_and_the_time_of_each_phase() {
    let model = fixture::merging();
    let value = parse(&run(&model.identity, model.recent_runs.back().unwrap()));
    let run = model.recent_runs.back().unwrap();
    assert_eq!(
        value,
        json!({
            "schema": 1, "type": "run", "origin": "vg-data",
            "old_chunk": run.old_chunk, "new_chunk": run.new_chunk, "chunks": run.chunks,
            "metadata_ns": run.phase_ns[0], "siblings_ns": run.phase_ns[1],
            "drain_ns": run.phase_ns[2], "copy_ns": run.phase_ns[3],
            "flush_ns": run.phase_ns[4], "commit_ns": run.phase_ns[5],
            "started_ns": run.started_ns, "finished_ns": run.finished_ns,
        })
    );
}

#[test]
fn progress_lists_what_is_in_flight() {
    let model = fixture::stalled();
    let value = parse(&progress(&model));
    assert_eq!(value["type"], "progress");
    assert_eq!(value["state"], "stalled");
    assert_eq!(value["current"]["phase"], "drain");
    assert_eq!(value["current"]["age_ns"], 3_100_000_000_u64);
    let writes = model.writes.as_ref().unwrap();
    assert_eq!(value["in_flight"].as_array().unwrap().len(), writes.listed.len());
    assert_eq!(value["in_flight"][0]["awaited"], true);
    assert_eq!(value["in_flight"][0]["held"], false);
    assert_eq!(value["in_flight"][0]["comm"], "fio");
    assert_eq!(value["kernel_writes_in_flight"], 13);
    assert_eq!(value["merged_bytes"], model.progress.merged_bytes());
}

#[test]
fn what_is_not_known_is_null() {
    let value = parse(&progress(&fixture::no_probes()));
    for field in ["writes_in_flight", "writes_held", "runs_per_s", "latency", "current"] {
        assert!(value[field].is_null(), "{field}: {}", value[field]);
    }
    for field in ["initial_runs", "runs_left", "largest_run_ahead_chunks"] {
        assert!(value[field].is_null(), "{field}: {}", value[field]);
    }
    assert!(value["store_unread"].as_str().unwrap().contains("permission denied"));
    let mut model = fixture::merging();
    assert_eq!(parse(&progress(&model))["runs_left"], 4_812);
    model.current.as_mut().unwrap().chunks = 0;
    model.rate.bytes_per_s = f64::NAN;
    let value = parse(&progress(&model));
    assert!(value["current"]["old_chunk"].is_null() && value["bytes_per_s"].is_null());
}

#[test]
fn the_summary_has_totals_state_and_phases() {
    let model = fixture::done();
    let value = parse(&summary(&model));
    assert_eq!(value["type"], "summary");
    assert_eq!(value["state"], "done-not-finished");
    assert_eq!(value["over"], true);
    assert_eq!(value["left_bytes"], 0);
    assert_eq!(value["runs"], model.totals.runs);
    assert_eq!(value["phases_ns"]["commit"], model.phases.since_start.ns[5]);
    assert_eq!(value["phases_ns"].as_object().unwrap().len(), Phase::ALL.len() + 1);
    assert_eq!(value["probes"]["tier"], "full");
    assert_eq!(value["stalls"][0]["cause"], "drain");
    assert!(value["stalls"][0].get("event").is_none());
}

#[test]
fn a_failure_has_one_code_a_cause_and_names_its_device() {
    let mut model = fixture::failed();
    let value = parse(&summary(&model));
    assert_eq!(
        value["failed"],
        json!({
            "cause": "copy-write-origin", "told_by": "probes", "phase": "copy",
            "device": "vg/data-real", "dev": "253:1", "errno": 0, "at_ns": model.now_ns,
            "old_chunk": 88_120, "chunks": 256,
        })
    );
    model.end = None;
    let value = parse(&summary(&model));
    assert_eq!(value["failed"]["cause"], "unknown");
    for field in ["told_by", "phase", "device", "dev", "at_ns", "old_chunk", "chunks"] {
        assert!(value["failed"][field].is_null(), "{field}: {}", value["failed"]);
    }
    assert!(parse(&summary(&fixture::done()))["failed"].is_null());
}

#[test]
fn an_offline_merge_tells_its_stages_and_its_error() {
    let terms = parse(&begin(&fixture::offline_limited()));
    assert_eq!((&terms["owner"], &terms["offline"]["verify"]), (&json!("image"), &json!(false)));
    assert_eq!(terms["offline"]["bandwidth_bytes_per_s"], 100 << 20);
    let now = parse(&progress(&fixture::offline()));
    assert_eq!((&now["state"], &now["offline"]["stage"]), (&json!("merging"), &json!("copying")));
    assert_eq!(now["offline"]["stages_ns"]["copying"], 31_900_000_000_u64);
    assert!(now["current"].is_null() && now["offline"]["verify_bytes_per_s"].is_null());
    let ended = parse(&summary(&fixture::offline_finished()));
    assert_eq!((&ended["over"], &ended["offline"]["end"]), (&json!(true), &json!("finished")));
    let stopped = parse(&summary(&fixture::offline_stopped()));
    assert_eq!((&stopped["over"], &stopped["state"]), (&json!(false), &json!("stopped")));
    assert_eq!(stopped["left_bytes"], stopped["initial_bytes"]);
    let failed = parse(&summary(&fixture::offline_failed()));
    assert_eq!(failed["failed"]["cause"], "copy-write-origin");
    assert_eq!(failed["offline"]["error"]["sector"], 704_960);
    assert!(parse(&progress(&fixture::merging()))["offline"].is_null());
}

#[test]
fn a_stall_begins_and_ends() {
    let model = fixture::stalled();
    let mut one = model.stalls.back().unwrap().clone();
    let value = parse(&stall(&model.identity, &one, model.now_ns));
    assert_eq!(
        (&value["event"], &value["duration_ns"]),
        (&json!("begin"), &json!(3_100_000_000_u64))
    );
    one.ended_ns = Some(model.now_ns);
    assert_eq!(parse(&stall(&model.identity, &one, model.now_ns))["event"], "end");
}

#[test]
fn begin_tells_what_is_missing() {
    let value = parse(&begin(&fixture::block_only()));
    assert_eq!(value["probes"]["tier"], "block-only");
    assert_eq!(value["probes"]["missing"].as_array().unwrap().len(), 1);
    assert_eq!(value["chunk_bytes"], 4096);
    assert_eq!(value["owner"], "lvm");
}

#[test]
fn nasty_figures_still_make_an_object() {
    let mut model = fixture::nasty();
    model.identity.origin = "vg-data".to_owned();
    for line in [begin(&model), progress(&model), summary(&model)] {
        parse(&line);
    }
}

#[test]
fn every_field_is_documented() {
    let text = include_str!("../../../../docs/json.md");
    let model = fixture::stalled();
    let stalls = stall(&model.identity, model.stalls.back().unwrap(), model.now_ns);
    let runs = run(&model.identity, model.recent_runs.back().unwrap());
    let announced = fixture::announced();
    let told = announcement(&announced, announced.announcement.as_ref().unwrap());
    for line in [begin(&model), runs, progress(&model), stalls, summary(&model), told] {
        for field in parse(&line).as_object().unwrap().keys() {
            assert!(text.contains(&format!("`{field}`")), "docs/json.md lacks {field}");
        }
    }
    let offline = fixture::offline_failed();
    for line in [begin(&offline), progress(&offline)] {
        for field in parse(&line)["offline"].as_object().unwrap().keys() {
            assert!(text.contains(&format!("`{field}`")), "docs/json.md lacks {field}");
        }
    }
}
