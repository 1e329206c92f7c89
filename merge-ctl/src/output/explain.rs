//! `merge-ctl explain`: what was found, for people and as one JSON object.

use std::fmt::Write as _;

use serde::Serialize;

use super::json::{self, Probes, SizeBucket};
use super::plain;
use crate::harmless;
use crate::human;
use crate::model::causes::{self, Figure, Finding, Value};
use crate::model::{Cause, DiskPair, DiskUse, Model, OpUse};
use crate::sample::Phase;

/// Where packages have the documentation.
const DOCS: &str = "/usr/share/doc/merge-ctl";

/// All that is explained.
#[derive(Clone, Debug)]
pub struct Explained<'a> {
    /// What was asked about, as people call it.
    pub name: &'a str,
    /// The merge, where there is one.
    pub merge: Option<Watched<'a>>,
    /// What the exception store promises: of all the snapshot, or of what is left to merge.
    pub store: Option<Finding>,
    /// What could not be seen, in sentences.
    pub missing: Vec<String>,
}

/// A merge that was watched.
#[derive(Clone, Copy, Debug)]
pub struct Watched<'a> {
    /// What it came to.
    pub model: &'a Model,
    /// For how long.
    pub ns: u64,
}

impl Explained<'_> {
    /// What is to blame, most important first: of the merge, or of the store.
    fn findings(&self) -> &[Finding] {
        match &self.merge {
            Some(watched) => &watched.model.findings,
            None => self.store.as_slice(),
        }
    }
}

/// The verdict, the evidence, and what can be done. Several lines, without a newline at their end.
pub fn text(explained: &Explained<'_>) -> String {
    let mut text = format!("{}\n\n", title(explained));
    let findings = explained.findings();
    line(&mut text, &human::printable(&causes::verdict(findings)));
    if let Some(watched) = &explained.merge {
        merge_evidence(&mut text, watched.model, explained.store.as_ref());
    } else if let Some(finding) = &explained.store {
        store_evidence(&mut text, finding);
    }
    section(&mut text, "Also", others(findings).map(|finding| finding.sentence.clone()), false);
    let advice = findings.first().map_or(&[][..], |finding| &finding.advice);
    section(&mut text, "What can be done", advice.iter().cloned(), true);
    section(&mut text, "Not seen here", explained.missing.iter().cloned(), false);
    if let Some(finding) = findings.first() {
        line(&mut text, &format!("\nMore: {} (packages: below {DOCS})", finding.cause.page()));
    }
    text.trim_end().to_owned()
}

/// What the verdict does not say already.
fn others(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    let told = causes::verdict(findings);
    findings.iter().filter(move |finding| !told.contains(&finding.sentence))
}

fn title(explained: &Explained<'_>) -> String {
    match &explained.merge {
        Some(Watched { model, ns }) => {
            let progress = &model.progress;
            // Nothing is known of how much there was where the status line did not tell.
            let merged = match progress.initial_bytes {
                0 => String::new(),
                whole => format!(", {} merged", human::bytes_of(progress.merged_bytes(), whole)),
            };
            format!(
                "{}: {}{merged}; watched for {}",
                plain::title(&model.identity),
                model.state.name(),
                human::duration(*ns),
            )
        }
        None => format!("{}: not merging", human::printable(explained.name)),
    }
}

fn section(text: &mut String, title: &str, entries: impl Iterator<Item = String>, numbered: bool) {
    for (number, entry) in (1..).zip(entries) {
        if number == 1 {
            line(text, &format!("\n{title}"));
        }
        let entry = human::printable(&entry);
        match numbered {
            true => line(text, &format!("  {number}. {entry}")),
            false => line(text, &format!("  {entry}")),
        }
    }
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn row(text: &mut String, name: &str, what: &str) {
    // Writing into a String cannot fail.
    let _ = writeln!(text, "  {:<14} {what}", human::printable(name));
}

fn merge_evidence(text: &mut String, model: &Model, store: Option<&Finding>) {
    line(text, "\nEvidence");
    let (time, runs) = (&model.phases.last_minute, model.phases.last_minute_runs);
    if runs.runs > 0 {
        let seen = format!(
            "{} with {}",
            human::counted(runs.runs, "run"),
            human::counted(runs.chunks, "chunk")
        );
        row(text, "last minute", &seen);
        let of_a_run = Phase::ALL.map(|phase| (phase.name(), time.ns[phase as usize]));
        for (name, ns) in of_a_run.into_iter().chain([("between runs", time.between_ns)]) {
            if ns > 0 {
                let share = human::share(ns as f64 / time.total_ns() as f64);
                let each = human::duration(ns / runs.runs);
                row(text, name, &format!("{share:>5}  {each:>7} a run"));
            }
        }
        row(text, "run sizes", &format!("{} (chunks × runs)", plain::run_sizes(model)));
    }
    if let Some(disks) = model.disks {
        let pair = disks.last_minute;
        let identity = &model.identity;
        for (label, used) in [(&identity.cow_label, pair.cow), (&identity.real_label, pair.real)] {
            if used != DiskUse::default() {
                row(text, label, &device(&used));
            }
        }
    }
    if let Some(percent) = model.throttle_percent.filter(|percent| *percent != 100) {
        row(text, "throttle", &format!("{percent} %"));
    }
    if let Some(finding) = store {
        row(text, "left", finding.sentence.split(':').next().unwrap_or_default());
    }
}

/// `412 reads, 2.0 ms each; 412 writes, 12 ms each; 1 in flight`.
fn device(device: &DiskUse) -> String {
    let ops = |ops: &OpUse, noun| {
        let counted = human::counted(ops.count, noun);
        match ops.mean_ns() {
            // The kernel counts in ticks, and these took less.
            Some(0) => format!("{counted}, no time"),
            Some(ns) => format!("{counted}, {} each", human::duration(ns)),
            None => counted,
        }
    };
    let suspended = if device.suspended { "; suspended" } else { "" };
    format!(
        "{}; {}; {} in flight{suspended}",
        ops(&device.reads, "read"),
        ops(&device.writes, "write"),
        human::count(device.in_flight)
    )
}

fn store_evidence(text: &mut String, finding: &Finding) {
    line(text, "\nEvidence");
    for figure in &finding.figures {
        let (name, value) = (figure_name(figure.name), figure_value(&figure.value));
        // Writing into a String cannot fail.
        let _ = writeln!(text, "  {name:<24} {value}");
    }
}

/// A figure's name as words, without the unit that its value has.
fn figure_name(name: &str) -> String {
    let name = name.strip_suffix("_bytes").or_else(|| name.strip_suffix("_ns")).unwrap_or(name);
    name.replace('_', " ")
}

fn figure_value(value: &Value) -> String {
    match value {
        Value::Share(share) => human::share(*share),
        Value::Count(count) => human::count(*count),
        Value::Mean(mean) => format!("{mean:.1}"),
        Value::Ns(ns) => human::duration(*ns),
        Value::Bytes(bytes) => human::bytes(*bytes),
        Value::BytesPerS(per_s) => human::rate(*per_s),
        Value::Percent(percent) => format!("{percent} %"),
        Value::Text(words) => human::printable(words),
        Value::Names(names) => human::printable(&names.join(", ")),
    }
}

#[derive(Serialize)]
struct Object<'a> {
    schema: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    merging: bool,
    origin: Option<&'a str>,
    origin_label: Option<&'a str>,
    state: Option<&'static str>,
    watched_ns: Option<u64>,
    verdict: String,
    cause: Option<&'static str>,
    findings: Vec<FindingObject<'a>>,
    store: Option<FindingObject<'a>>,
    initial_bytes: Option<u64>,
    left_bytes: Option<u64>,
    runs: Option<u64>,
    chunks: Option<u64>,
    phases_ns: Option<json::PhasesNs>,
    run_sizes: Option<Vec<SizeBucket>>,
    devices: Option<Devices>,
    throttle_percent: Option<u32>,
    probes: Option<Probes<'a>>,
    missing: &'a [String],
}

/// A finding as an object.
#[derive(Serialize)]
struct FindingObject<'a> {
    cause: &'static str,
    page: String,
    share: Option<f64>,
    sentence: &'a str,
    #[serde(serialize_with = "by_name")]
    figures: &'a [Figure],
    advice: &'a [String],
}

fn by_name<S: serde::Serializer>(figures: &&[Figure], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(figures.iter().map(|figure| (figure.name, &figure.value)))
}

impl<'a> From<&'a Finding> for FindingObject<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            cause: finding.cause.code(),
            page: finding.cause.page(),
            share: finding.share,
            sentence: &finding.sentence,
            figures: &finding.figures,
            advice: &finding.advice,
        }
    }
}

#[derive(Serialize)]
struct Devices {
    cow: Device,
    real: Device,
}

#[derive(Serialize)]
struct Device {
    reads: u64,
    read_bytes: u64,
    reads_ns: u64,
    writes: u64,
    written_bytes: u64,
    writes_ns: u64,
    in_flight: u64,
    suspended: bool,
}

impl From<DiskUse> for Device {
    fn from(device: DiskUse) -> Self {
        Self {
            reads: device.reads.count,
            read_bytes: device.reads.bytes,
            reads_ns: device.reads.ns,
            writes: device.writes.count,
            written_bytes: device.writes.bytes,
            writes_ns: device.writes.ns,
            in_flight: device.in_flight,
            suspended: device.suspended,
        }
    }
}

impl From<DiskPair> for Devices {
    fn from(pair: DiskPair) -> Self {
        Self { cow: pair.cow.into(), real: pair.real.into() }
    }
}

/// One JSON object, without its newline.
pub fn json(explained: &Explained<'_>) -> String {
    let model = explained.merge.as_ref().map(|watched| watched.model);
    let findings = explained.findings();
    let object = Object {
        schema: json::SCHEMA,
        kind: "explain",
        name: explained.name,
        merging: model.is_some(),
        origin: model.map(|model| &*model.identity.origin),
        origin_label: model.map(|model| &*model.identity.origin_label),
        state: model.map(|model| model.state.name()),
        watched_ns: explained.merge.map(|watched| watched.ns),
        verdict: causes::verdict(findings),
        cause: findings.first().map(|finding| finding.cause).map(Cause::code),
        findings: findings.iter().map(Into::into).collect(),
        store: explained.store.as_ref().map(Into::into),
        initial_bytes: model.map(|model| model.progress.initial_bytes),
        left_bytes: model.map(|model| model.progress.left_bytes),
        runs: model.map(|model| model.phases.last_minute_runs.runs),
        chunks: model.map(|model| model.phases.last_minute_runs.chunks),
        phases_ns: model.map(|model| model.phases.last_minute.into()),
        run_sizes: model.map(json::size_buckets),
        devices: model.and_then(|model| model.disks).map(|disks| disks.last_minute.into()),
        throttle_percent: model.and_then(|model| model.throttle_percent),
        probes: model.map(|model| (&model.identity.probes).into()),
        missing: &explained.missing,
    };
    // Only a map with keys that are no strings, or a failing Serialize, could fail: neither is here.
    harmless::json(&object).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::causes::{Outlook, outlook};
    use crate::output::fixture;
    use crate::units::ChunkSize;

    fn of(model: &Model) -> Explained<'_> {
        let merge = Some(Watched { model, ns: 10_000_000_000 });
        let missing = model.identity.probes.missing.clone();
        Explained { name: "vg/data", merge, store: Some(promised()), missing }
    }

    fn promised() -> Finding {
        let chunk_size = ChunkSize::from_sectors(8);
        let mut runs = Outlook { chunk_size, ..Outlook::EMPTY };
        (0..500).for_each(|i| runs.add(1 + i % 3));
        outlook(&runs)
    }

    fn snapshot() -> Explained<'static> {
        Explained { name: "vg/snap", merge: None, store: Some(promised()), missing: Vec::new() }
    }

    #[test]
    fn a_merge_is_explained_with_its_evidence() {
        insta::assert_snapshot!(text(&of(&fixture::merging())));
    }

    #[test]
    fn a_failed_merge_says_what_not_to_do() {
        insta::assert_snapshot!(text(&of(&fixture::failed())));
    }

    #[test]
    fn without_probes_it_says_what_is_missing() {
        insta::assert_snapshot!(text(&of(&fixture::no_probes())));
    }

    #[test]
    fn a_snapshot_is_explained_by_its_store() {
        insta::assert_snapshot!(text(&snapshot()));
    }

    #[test]
    fn the_object_is_documented() {
        let documented = include_str!("../../../docs/json.md");
        for line in [json(&of(&fixture::stalled())), json(&snapshot())] {
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!((&value["schema"], &value["type"]), (&1.into(), &"explain".into()));
            assert!(value["findings"][0]["figures"].is_object(), "{value}");
            let devices = value["devices"]["cow"].as_object();
            let fields = value.as_object().unwrap().keys();
            for field in fields.chain(devices.into_iter().flat_map(serde_json::Map::keys)) {
                assert!(documented.contains(&format!("`{field}`")), "docs/json.md lacks {field}");
            }
        }
    }

    #[test]
    fn nothing_that_a_process_is_called_reaches_the_terminal_as_control() {
        let text = text(&of(&fixture::nasty()));
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
}
