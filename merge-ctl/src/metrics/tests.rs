mod promtool;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::text::{Format, write};
use super::*;
use crate::model::filling::Filling;
use crate::model::{Model, State};
use crate::output::fixture;
use crate::recording::Player;
use crate::sample::{Dropped, Owner};
use crate::units::{DeviceNumber, Sectors};

const KERNELS: [&str; 4] = ["5.10", "6.1", "6.12", "experimental"];

/// Every model of a recorded merge.
fn replayed(kernel: &str, mut see: impl FnMut(&Model)) {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let file = File::open(directory.join(format!("{kernel}.mrec"))).unwrap();
    let mut player = Player::open(file).unwrap();
    while player.step().unwrap().is_some() {
        if let Some(merge) = player.merges().first() {
            see(&merge.model);
        }
    }
}

fn page_of(model: &Model) -> Page {
    let mut page = Page::new(model.unix_s as f64);
    add_merge(&mut page, model);
    page
}

fn snapshot(name: &str, state: SnapshotState) -> SnapshotFacts {
    SnapshotFacts {
        dev: DeviceNumber { major: 253, minor: 7 },
        name: name.to_owned(),
        label: "vg/home-before".to_owned(),
        owner: Owner::Lvm,
        origin_label: "vg/home".to_owned(),
        cow_label: "vg/home-before-cow".to_owned(),
        state,
    }
}

fn half_full() -> SnapshotState {
    SnapshotState::Active { allocated: Sectors(4096), total: Sectors(8192), metadata: Sectors(32) }
}

fn own() -> Own {
    Own {
        started_unix_s: 1_793_875_000.0,
        sampled_unix_s: Some(1_793_875_327.0),
        device_mapper: true,
        dropped: Some(Dropped { runs: 3, ..Dropped::default() }),
        cpu_s: Some(0.25),
        resident_bytes: Some(9 << 20),
    }
}

/// A snapshot that fills up, and the exporter itself.
fn small() -> Page {
    let mut page = Page::new(1_793_875_327.0);
    let mut filling = Filling::default();
    for look in 0..10 {
        filling.look(look * 15_000_000_000, (1 << 20) + (look << 12), 4 << 20);
    }
    add_snapshot(&mut page, &snapshot("vg-home--before", half_full()), &filling);
    add_own(&mut page, &own());
    page
}

fn unversioned(text: &str) -> String {
    text.replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[test]
fn a_small_page_in_open_metrics() {
    insta::assert_snapshot!(unversioned(&write(&small(), Format::OpenMetrics)));
}

#[test]
fn a_small_page_for_a_text_file() {
    insta::assert_snapshot!(unversioned(&write(&small(), Format::Prometheus)));
}

#[test]
fn a_small_page_in_otlp() {
    let json: Json = serde_json::from_str(&otlp::write(&small(), "here")).unwrap();
    insta::assert_snapshot!(unversioned(&serde_json::to_string_pretty(&json).unwrap()));
}

#[test]
fn a_merge_in_open_metrics() {
    insta::assert_snapshot!(write(&page_of(&fixture::stalled()), Format::OpenMetrics));
}

/// What one sample line says: the series, and its value.
fn series(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

fn get(series: &BTreeMap<String, f64>, name: &str, label: &str) -> f64 {
    let mut found = series.iter().filter(|(key, _)| {
        key.split_once('{').is_some_and(|(it, labels)| it == name && labels.contains(label))
    });
    let value = *found.next().unwrap_or_else(|| panic!("no {name} with {label}")).1;
    assert!(found.next().is_none(), "more than one {name} with {label}");
    value
}

#[test]
fn a_recorded_merge_tells_all_of_its_runs_and_its_end() {
    for kernel in KERNELS {
        let mut last = None;
        replayed(kernel, |model| last = Some(model.clone()));
        let model = last.unwrap();
        let now = series(&write(&page_of(&model), Format::OpenMetrics));
        assert_eq!(model.state, State::Finished, "{kernel}");
        assert_eq!(get(&now, "merge_ctl_merge_state", r#"state="finished""#), 1.0);
        assert_eq!(get(&now, "merge_ctl_merge_state", r#"state="merging""#), 0.0);
        assert_eq!(get(&now, "merge_ctl_merge_remaining_bytes", ""), 0.0);
        let runs = get(&now, "merge_ctl_merge_run_chunks_count", "");
        assert!(runs > 10.0, "{kernel}: it proves little");
        assert_eq!(runs, model.totals.runs as f64);
        assert_eq!(get(&now, "merge_ctl_merge_run_chunks_sum", ""), model.totals.chunks as f64);
        assert_eq!(get(&now, "merge_ctl_merge_run_chunks_bucket", r#"le="+Inf""#), runs);
        let chunks = now.iter().filter(|(key, _)| key.starts_with("merge_ctl_merge_chunks_total"));
        assert_eq!(chunks.map(|(_, value)| value).sum::<f64>(), model.totals.chunks as f64);
        let stalls = now.iter().filter(|(key, _)| key.starts_with("merge_ctl_merge_stalls_total"));
        assert_eq!(stalls.map(|(_, value)| *value as usize).sum::<usize>(), model.stalls.len());
    }
}

#[test]
fn what_counts_never_falls_and_every_series_is_there_once() {
    for kernel in KERNELS {
        let mut before = BTreeMap::new();
        replayed(kernel, |model| {
            let page = page_of(model);
            let text = write(&page, Format::OpenMetrics);
            let now = series(&text);
            let lines = text.lines().filter(|line| !line.starts_with('#')).count();
            assert_eq!(now.len(), lines, "{kernel}: a series is there twice");
            let counts = |key: &&String| {
                let name = key.split('{').next().unwrap();
                ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end))
            };
            for key in before.keys().filter(counts) {
                let (then, now) = (before[key], now.get(key));
                assert!(now.is_some_and(|now| *now >= then), "{kernel}: {key} {then} {now:?}");
            }
            before = now;
        });
    }
}

#[test]
fn the_list_is_closed_and_every_name_fits_its_type_and_unit() {
    let mut page = small();
    for kernel in KERNELS {
        let mut count = 0;
        replayed(kernel, |model| {
            count += 1;
            if count % 50 == 0 {
                add_merge(&mut page, model);
            }
        });
    }
    let told: BTreeSet<_> = page.families().iter().map(|filled| filled.family.name).collect();
    let listed: BTreeSet<_> = list::ALL.iter().map(|family| family.name).collect();
    assert_eq!(told, listed, "a family that nothing is told of, or that is not listed");
    assert_eq!(listed.len(), list::ALL.len());
    for family in list::ALL {
        let name = family.name;
        assert!(name.starts_with("merge_ctl_"));
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(
            family.unit.name().is_none_or(|unit| name.ends_with(&format!("_{unit}"))),
            "{name}"
        );
        for end in ["_total", "_info", "_count", "_sum", "_bucket", "_created"] {
            assert!(!name.ends_with(end), "{name}: the format adds it");
        }
        assert!(family.help.ends_with('.'), "{name}");
    }
}

#[test]
fn the_table_in_the_docs_is_the_list() {
    let docs = include_str!("../../../docs/metrics.md");
    let rows: Vec<&str> = docs.lines().filter(|line| line.starts_with("| `merge_ctl_")).collect();
    let common = ["device", "name", "vg", "lv"];
    let wanted = list::ALL.iter().map(|family| {
        let labels = family.labels.iter().filter(|label| !common.contains(label));
        let labels: Vec<_> = labels.map(|label| format!("`{label}`")).collect();
        let (name, kind) = (family.sample_name(), family.kind.name());
        format!("| `{name}` | {kind} | {} | {} |", labels.join(", "), family.help)
    });
    assert_eq!(rows, wanted.collect::<Vec<_>>());
}

/// The words that look like a metric of ours.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("merge_ctl_")).collect()
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_there_are() {
    let mut samples = BTreeSet::new();
    for family in list::ALL {
        match family.kind {
            Kind::Histogram => {
                samples
                    .extend(["_bucket", "_sum", "_count"].map(|end| family.name.to_owned() + end));
            }
            _ => drop(samples.insert(family.sample_name())),
        }
    }
    let files = [
        include_str!("../../contrib/prometheus/merge-ctl.rules.yml"),
        include_str!("../../contrib/prometheus/merge-ctl.rules.test.yml"),
        include_str!("../../contrib/grafana/merge-ctl.json"),
    ];
    for file in files {
        let named = metrics_in(file);
        assert!(named.len() >= 5, "it proves little: {named:?}");
        for name in named {
            assert!(samples.contains(name), "there is no {name}");
        }
    }
}

#[test]
fn the_dashboard_is_json_whose_panels_have_a_title_and_ask_something() {
    let dashboard: Json =
        serde_json::from_str(include_str!("../../contrib/grafana/merge-ctl.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 5);
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(!panel["title"].as_str().unwrap().is_empty(), "{panel}");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let targets = panel["targets"].as_array();
        assert!(panel["type"] == "row" || targets.is_some_and(|all| !all.is_empty()), "{panel}");
    }
}

#[test]
fn what_is_not_known_is_left_out() {
    let mut page = Page::new(0.0);
    add_own(&mut page, &Own { device_mapper: false, ..Own::default() });
    add_snapshot(&mut page, &snapshot("x", SnapshotState::Invalid), &Filling::default());
    let text = write(&page, Format::OpenMetrics);
    assert!(text.contains("merge_ctl_exporter_device_mapper_up 0\n"), "{text}");
    assert!(!text.contains("last_sample") && !text.contains("used_bytes"), "{text}");
    assert!(!text.contains("full_seconds"), "{text}");
}

#[test]
fn the_worst_figures_there_are_stay_numbers() {
    let text = write(&page_of(&fixture::nasty()), Format::OpenMetrics);
    assert!(series(&text).values().all(|value| value.is_finite()), "{text}");
}

/// The labels of a line, read as a scraper does.
fn read_labels(line: &str) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    let mut rest = line.split_once('{').unwrap().1;
    loop {
        let (name, after) = rest.split_once("=\"").unwrap();
        let (mut value, mut chars) = (String::new(), after.char_indices());
        let end = loop {
            match chars.next().unwrap() {
                (place, '"') => break place,
                (_, '\\') => value.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    c => c,
                }),
                (_, c) => value.push(c),
            }
        };
        labels.push((name.to_owned(), value));
        match after[end + 1..].strip_prefix(',') {
            Some(more) => rest = more,
            None => return labels,
        }
    }
}

proptest! {
    #[test]
    fn no_name_breaks_out_of_its_label(
        name in "[\\x00-\\xff\"\\\\\n{},#= \u{202e}\u{1f600}]{0,40}",
        origin in "(\\PC|\"|\\\\|\n|\r){0,40}",
    ) {
        let facts = SnapshotFacts {
            origin_label: origin.clone(),
            ..snapshot(&name, half_full())
        };
        let mut page = Page::new(0.0);
        add_snapshot(&mut page, &facts, &Filling::default());
        let lines = |page: &Page| {
            let text = write(page, Format::OpenMetrics);
            text.split('\n').map(str::to_owned).collect::<Vec<_>>()
        };
        let mut plain = Page::new(0.0);
        add_snapshot(&mut plain, &snapshot("x", half_full()), &Filling::default());
        let (hostile, plain) = (lines(&page), lines(&plain));
        prop_assert_eq!(hostile.len(), plain.len());
        let info = hostile.iter().find(|line| line.starts_with("merge_ctl_snapshot_info")).unwrap();
        let labels = read_labels(info);
        prop_assert_eq!(&labels[1].1, &crate::harmless::printable(&name));
        prop_assert_eq!(&labels[4], &("origin".to_owned(), origin));
        prop_assert!(info.ends_with(" 1"));
        let json: Result<Json, _> = serde_json::from_str(&otlp::write(&page, &name));
        prop_assert!(json.is_ok());
    }
}
