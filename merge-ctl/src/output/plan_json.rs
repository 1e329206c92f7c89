//! A plan as JSON: one object, every field documented in `docs/json.md`.
//!
//! Integers are in base units, ranges of time are seconds as floats, what is not known is `null`.

use serde::Serialize;
use serde_json::{Value, json};

use super::json::SCHEMA;
use crate::cost::TimeRange;
use crate::harmless;
use crate::plan::costs::{CostSource, Costs, DeviceCost, MergeCosts};
use crate::plan::offline::{Advice, Faster, Offline};
use crate::plan::replay::ChunkSizeRow;
use crate::plan::siblings::{Fate, SiblingPlan};
use crate::plan::{Largest, Plan};

/// The object in one line, without its newline.
pub fn object(plan: &Plan) -> String {
    // No key of it is anything but a string, so it can be written.
    harmless::json(&value(plan)).unwrap_or_default()
}

/// The object up to where the list of runs begins; [`END`] closes it.
pub fn object_before_runs(plan: &Plan) -> String {
    let object = object(plan);
    // An object ends with its brace.
    format!("{},\"runs\":[", object.strip_suffix('}').unwrap_or(&object))
}

/// What closes an object that holds a list of runs.
pub const END: &str = "]}";

/// One run of the list, without the comma between.
pub fn run(run: &crate::store::Run) -> String {
    // Three integers cannot fail.
    harmless::json(run).unwrap_or_default()
}

fn value(plan: &Plan) -> Value {
    let (subject, work) = (&plan.subject, &plan.work);
    let mut value = json!({
        "schema": SCHEMA,
        "type": "plan",
        "subject": subject.label,
        "origin": subject.origin,
        "merging": subject.merging,
        "origin_bytes": subject.origin_bytes,
        "cow_bytes": subject.cow_bytes,
        "chunk_bytes": subject.chunk_bytes,
        "chunks": work.chunks,
        "bytes": work.bytes,
        "run_count": work.runs,
        "commits": work.commits(),
        "commit_bytes": work.commit_bytes(),
        "flushes": work.flushes(),
        "areas": work.areas,
        "largest_run": plan.largest.as_ref().map(largest),
        "run_sizes": run_sizes(plan),
        "single_chunk_runs": work.single().runs,
        "costs": plan.costs.as_ref().ok().map(costs),
        "no_costs": plan.costs.as_ref().err(),
        "siblings": plan.siblings.iter().map(sibling).collect::<Vec<_>>(),
        "offline": plan.offline.as_ref().map(offline),
        "advice": plan.offline.as_ref().and_then(|offline| offline.advice).map(Advice::code),
        "chunk_sizes": plan.chunk_sizes.iter().map(chunk_size).collect::<Vec<_>>(),
        "map": {
            "chunks_per_cell": plan.density.chunks_per_cell(),
            "cells": plan.density.cells(),
        },
        "not_searched_for_duplicates": plan.not_searched,
    });
    add_range(&mut value, "time", plan.time);
    add_range(&mut value, "single_chunk_time", plan.single_time);
    value
}

/// Adds the two ends of a range, both `null` where it is not known.
fn add_range(object: &mut Value, name: &str, range: Option<TimeRange>) {
    object[format!("{name}_low_s")] = json!(range.map(|range| range.low_s));
    object[format!("{name}_high_s")] = json!(range.map(|range| range.high_s));
}

fn largest(largest: &Largest) -> Value {
    let mut value = json!(largest.run);
    add_range(&mut value, "time", largest.time);
    value
}

#[derive(Serialize)]
struct Bucket {
    from_chunks: u64,
    runs: u64,
    chunks: u64,
    /// The middle of the range.
    ns: Option<u64>,
}

fn run_sizes(plan: &Plan) -> Vec<Bucket> {
    let timed = plan.costs.is_ok();
    (0..64)
        .zip(&plan.sizes.buckets)
        .filter(|(_, bucket)| bucket.runs > 0)
        .map(|(power, bucket)| Bucket {
            from_chunks: 1 << power,
            runs: bucket.runs,
            chunks: bucket.chunks,
            ns: timed.then_some(bucket.ns),
        })
        .collect()
}

fn costs(costs: &MergeCosts) -> Value {
    let (source, devices) = match &costs.source {
        CostSource::Given => ("given", Value::Null),
        CostSource::Measured { cow, real, reads, wake_up_ns } => (
            "measured",
            json!({
                "reads": reads, "cow": device(cow), "real": device(real), "wake_up_ns": wake_up_ns,
            }),
        ),
    };
    json!({
        "source": source,
        "low": end(&costs.low),
        "high": end(&costs.high),
        "devices": devices,
    })
}

fn end(costs: &Costs) -> Value {
    json!({
        "run_ns": costs.run_ns,
        "byte_ns": costs.byte_ns,
        "metadata_byte_ns": costs.metadata_byte_ns,
        "area_ns": costs.area_ns,
    })
}

fn device(cost: &DeviceCost) -> Value {
    json!({
        "read_low_ns": cost.read_low_ns,
        "read_high_ns": cost.read_high_ns,
        "byte_ns": cost.byte_ns,
        "write_cache": cost.write_cache,
    })
}

fn sibling(sibling: &SiblingPlan) -> Value {
    let fate = match sibling.fate {
        Fate::Kept => "kept",
        Fate::Overflows => "lost",
        Fate::Unclear => "unclear",
        Fate::LostAlready => "invalid",
    };
    json!({
        "label": sibling.label,
        "chunk_bytes": sibling.chunk_bytes,
        "copies_low": sibling.copies_low,
        "copies_high": sibling.copies_high,
        "copy_bytes_low": sibling.copies_low.saturating_mul(sibling.chunk_bytes),
        "copy_bytes_high": sibling.copies_high.saturating_mul(sibling.chunk_bytes),
        "room_chunks": sibling.room,
        "fate": fate,
    })
}

fn offline(offline: &Offline) -> Value {
    let faster = offline.faster.map(|faster| match faster {
        Faster::Yes => "yes",
        Faster::No => "no",
        Faster::Perhaps => "perhaps",
    });
    let mut value = json!({
        "extents": offline.extents,
        "areas": offline.areas,
        "faster": faster,
    });
    add_range(&mut value, "time", offline.time);
    value
}

fn chunk_size(row: &ChunkSizeRow) -> Value {
    let counts = row.counts.as_ref();
    let bytes = |chunks: u64| chunks.saturating_mul(row.chunk_bytes);
    let mut value = json!({
        "chunk_bytes": row.chunk_bytes,
        "own": row.own,
        "chunks_low": counts.map(|counts| counts.chunks_low),
        "chunks_high": counts.map(|counts| counts.chunks_high),
        "bytes_low": counts.map(|counts| bytes(counts.chunks_low)),
        "bytes_high": counts.map(|counts| bytes(counts.chunks_high)),
        "runs_low": counts.map(|counts| counts.runs_low),
        "runs_high": counts.map(|counts| counts.runs_high),
        "fits": row.fits,
    });
    add_range(&mut value, "time", row.time);
    value
}
