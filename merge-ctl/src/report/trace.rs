//! A report for a trace viewer: events in the JSON that Chrome and Perfetto read.
//!
//! A merge is a process with two threads: its runs, with their phases in them, and its stalls. Beside
//! these stand counters: bytes a second, writes in flight, writes held.
//!
//! What always holds: events are in the order of their times; slices of a thread nest; there are never
//! more than [`MOST_SLICES`] slices of runs of a merge. Where there are more runs, neighbours share a
//! slice, all along, and the file says so.

use std::io;

use serde_json::{Value, json};

use super::Merge;
use super::gather::MergeLog;
use super::{plain, shown};
use crate::harmless;
use crate::human;
use crate::recording::Facts;
use crate::sample::{Phase, PhaseNs, Run};

/// How many slices stand for runs of a merge at most.
pub(super) const MOST_SLICES: usize = 16_384;

const RUNS: u64 = 1;
const STALLS: u64 = 2;

/// One run, or several that follow each other.
#[derive(Clone, Debug, PartialEq)]
struct Slice {
    runs: u64,
    chunks: u64,
    old_chunk: u64,
    started_ns: u64,
    finished_ns: u64,
    longest_ns: u64,
    phase_ns: PhaseNs,
}

impl Slice {
    fn of(run: &Run) -> Self {
        Self {
            runs: 1,
            chunks: run.chunks.into(),
            old_chunk: run.old_chunk,
            started_ns: run.started_ns,
            finished_ns: run.finished_ns,
            longest_ns: run.finished_ns.saturating_sub(run.started_ns),
            phase_ns: run.phase_ns,
        }
    }

    fn join(&mut self, next: &Self) {
        self.runs += next.runs;
        self.chunks += next.chunks;
        self.started_ns = self.started_ns.min(next.started_ns);
        self.finished_ns = self.finished_ns.max(next.finished_ns);
        self.longest_ns = self.longest_ns.max(next.longest_ns);
        for (sum, ns) in self.phase_ns.iter_mut().zip(next.phase_ns) {
            *sum = sum.saturating_add(ns);
        }
    }

    fn name(&self) -> String {
        let chunks = human::counted(self.chunks, "chunk");
        match self.runs {
            1 => format!("run of {chunks}"),
            runs => format!("{}, {chunks}", human::counted(runs, "run")),
        }
    }
}

/// The runs of a merge.
#[derive(Clone, Debug)]
pub(super) struct Slices {
    slices: Vec<Slice>,
    /// How many runs share a slice.
    each: u64,
}

impl Default for Slices {
    fn default() -> Self {
        Self { slices: Vec::new(), each: 1 }
    }
}

impl Slices {
    /// Takes in more runs.
    pub(super) fn take(&mut self, runs: &[Run]) {
        for run in runs {
            match self.slices.last_mut().filter(|last| last.runs < self.each) {
                Some(last) => last.join(&Slice::of(run)),
                None => self.slices.push(Slice::of(run)),
            }
            if self.slices.len() > MOST_SLICES {
                self.halve();
            }
        }
    }

    fn halve(&mut self) {
        self.each *= 2;
        self.slices = self
            .slices
            .chunks(2)
            .map(|pair| {
                let mut slice = pair[0].clone();
                for next in &pair[1..] {
                    slice.join(next);
                }
                slice
            })
            .collect();
    }

    /// What is to be known of it; none where each run has its slice.
    fn note(&self) -> Option<String> {
        (self.each > 1).then(|| {
            format!(
                "Too many runs for a slice each: up to {} share one. Its phases are the sums of theirs.",
                human::count(self.each)
            )
        })
    }
}

/// An event, with what it is sorted by: when it begins, and the longer first.
struct Event {
    at_ns: u64,
    lasts_ns: u64,
    json: Value,
}

struct Events {
    base_ns: u64,
    events: Vec<Event>,
}

/// Microseconds, as the viewers have it.
fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

impl Events {
    fn since(&self, ns: u64) -> u64 {
        ns.saturating_sub(self.base_ns)
    }

    /// A span of time; both ends count from the base.
    fn slice(
        &mut self,
        name: &str,
        place: (usize, u64),
        (from_ns, to_ns): (u64, u64),
        args: &Value,
    ) {
        let lasts_ns = to_ns.saturating_sub(from_ns);
        let json = json!({
            "name": shown(name), "cat": if place.1 == RUNS { "run" } else { "stall" }, "ph": "X",
            "ts": us(from_ns), "dur": us(lasts_ns), "pid": place.0, "tid": place.1, "args": args,
        });
        self.events.push(Event { at_ns: from_ns, lasts_ns, json });
    }

    fn counter(&mut self, name: &str, pid: usize, at_ns: u64, args: &Value) {
        let json = json!({ "name": name, "ph": "C", "ts": us(at_ns), "pid": pid, "args": args });
        self.events.push(Event { at_ns, lasts_ns: 0, json });
    }

    fn label(&mut self, what: &str, pid: usize, tid: u64, args: &Value) {
        let json =
            json!({ "name": what, "ph": "M", "ts": 0, "pid": pid, "tid": tid, "args": args });
        // Before all that happens.
        self.events.push(Event { at_ns: 0, lasts_ns: u64::MAX, json });
    }

    fn runs(&mut self, pid: usize, slices: &Slices) {
        let mut ended = 0;
        for slice in &slices.slices {
            let from = self.since(slice.started_ns).max(ended);
            let to = self.since(slice.finished_ns).max(from);
            ended = to;
            let mut args = json!({ "chunks": slice.chunks, "first_old_chunk": slice.old_chunk });
            if slice.runs > 1 {
                args["runs"] = slice.runs.into();
                args["longest_ms"] = (slice.longest_ns as f64 / 1e6).into();
            }
            self.slice(&slice.name(), (pid, RUNS), (from, to), &args);
            let mut at = from;
            for phase in Phase::ALL {
                let ns = slice.phase_ns[phase as usize].min(to - at);
                if ns > 0 {
                    self.slice(phase.name(), (pid, RUNS), (at, at + ns), &json!({}));
                    at += ns;
                }
            }
        }
    }

    fn stalls(&mut self, pid: usize, log: &MergeLog, now_ns: u64) {
        let mut ended = 0;
        for stall in log.stalls() {
            let from = self.since(stall.started_ns).max(ended);
            let to = self.since(stall.ended_ns.unwrap_or(now_ns)).max(from);
            ended = to;
            let args = json!({ "waiting_for": shown(&stall.detail) });
            self.slice(stall.cause.name(), (pid, STALLS), (from, to), &args);
        }
    }

    fn counters(&mut self, pid: usize, log: &MergeLog) {
        let begins = self.since(log.start_ns);
        for (from_ns, moment) in log.timeline.bins() {
            let at_ns = begins.saturating_add(from_ns);
            if let Some(rate) = moment.rate.mean() {
                self.counter(
                    "bytes merged a second",
                    pid,
                    at_ns,
                    &json!({ "bytes": rate.round() }),
                );
            }
            if let (Some(all), Some(held)) = (moment.in_flight.most(), moment.held.most()) {
                let args = json!({ "held": held, "others": (all - held).max(0.0) });
                self.counter("writes in flight", pid, at_ns, &args);
            }
        }
    }
}

/// The file.
///
/// # Errors
/// Where an event cannot be written as JSON.
pub(super) fn write(merges: &[Merge], facts: &Facts) -> io::Result<String> {
    let begins = merges.iter().flat_map(|merge| {
        let first = merge.slices.iter().filter_map(|slices| slices.slices.first());
        first.map(|slice| slice.started_ns).chain([merge.log.start_ns])
    });
    let mut all = Events { base_ns: begins.min().unwrap_or(0), events: Vec::new() };
    let mut notes = Vec::new();
    for (pid, merge) in (1..).zip(merges) {
        let title = plain::title(&merge.model.identity);
        all.label("process_name", pid, 0, &json!({ "name": shown(&title) }));
        for (tid, name) in [(RUNS, "runs"), (STALLS, "stalls")] {
            all.label("thread_name", pid, tid, &json!({ "name": name }));
        }
        if let Some(slices) = &merge.slices {
            if let Some(note) = slices.note() {
                all.label("process_labels", pid, 0, &json!({ "labels": note }));
                notes.push(json!({ "merge": shown(&title), "note": note }));
            }
            all.runs(pid, slices);
        }
        all.stalls(pid, &merge.log, merge.model.now_ns);
        all.counters(pid, &merge.log);
    }
    all.events.sort_by_key(|event| (event.at_ns, std::cmp::Reverse(event.lasts_ns)));
    let about = json!({
        "merge_ctl": env!("CARGO_PKG_VERSION"), "kernel": shown(&facts.kernel), "machine": shown(&facts.machine),
        "begins_unix_s": merges.iter().map(|merge| merge.log.start_unix_s).min(), "notes": notes,
    });
    let mut text = String::from("{\"displayTimeUnit\":\"ms\",\"otherData\":");
    text.push_str(&harmless::json(&about)?);
    text.push_str(",\"traceEvents\":[");
    for (place, event) in all.events.iter().enumerate() {
        text.push_str(if place == 0 { "\n" } else { ",\n" });
        text.push_str(&harmless::json(&event.json)?);
    }
    text.push_str("\n]}\n");
    Ok(text)
}
