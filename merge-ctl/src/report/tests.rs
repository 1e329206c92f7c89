//! Reports of real and of made-up merges, without any file.

use proptest::prelude::*;
use serde_json::Value;

use super::gather::MergeLog;
use super::*;
use crate::output::fixture;
use crate::recording::Encoder;
use crate::recording::Record;
use crate::recording::record::Merge as MergeRecord;
use crate::sample::{KernelView, MergeIdentity, Run, Sample};
use crate::units::Sectors;

/// A merge that was recorded in a VM.
fn real() -> (MergeIdentity, Vec<Sample>) {
    let mut lines = include_str!("../../tests/recorded/long-first.jsonl").lines();
    let identity = serde_json::from_str(lines.next().unwrap()).unwrap();
    (identity, lines.map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// A recording of these merges.
fn recorded(merges: &[(MergeIdentity, Vec<Sample>)]) -> Vec<u8> {
    let mut encoder = Encoder::new(Facts { kernel: "6.1".to_owned(), ..Facts::default() });
    let mut bytes = Vec::new();
    for (merge, (identity, samples)) in (0..).zip(merges) {
        let identity = identity.clone();
        let record = MergeRecord { merge, identity, stall_after_ns: 2_000_000_000, shown: true };
        assert!(encoder.push(Record::Merge(Box::new(record))));
        for sample in samples {
            let sample = Box::new(sample.clone());
            assert!(encoder.push(Record::Sample { merge, shown: true, sample }));
        }
        bytes.extend(encoder.close_frame().unwrap());
    }
    assert!(encoder.push(Record::End(Outcome::Over)));
    bytes.extend(encoder.close_frame().unwrap());
    bytes
}

fn report(bytes: &[u8], format: Format) -> String {
    Report::gather(Player::open(bytes).unwrap(), format).unwrap().write().unwrap()
}

const FORMATS: [Format; 3] = [Format::Html, Format::Markdown, Format::Trace];

/// The report of a merge that came to this model.
fn of_model(model: &Model, format: Format) -> String {
    let log = MergeLog::new(model, &[], format.room());
    let merge = Merge { log, slices: None, model: model.clone() };
    let survey = Survey::default();
    Report { format, facts: Facts::default(), survey, merges: vec![merge] }.write().unwrap()
}

#[test]
fn the_ending_of_a_name_says_what_is_made() {
    let of = |name: &str| Format::of(Path::new(name));
    assert_eq!(of("a/b.html"), Some(Format::Html));
    assert_eq!(of("a.b.MD"), Some(Format::Markdown));
    assert_eq!(of("trace.json"), Some(Format::Trace));
    for odd in ["html", "a.htm", "a.pdf", "a.", "", ".html", "a.json.gz"] {
        assert_eq!(of(odd), None, "{odd}");
    }
}

#[test]
fn the_same_recording_gives_the_same_bytes() {
    let bytes = recorded(&[real()]);
    for format in FORMATS {
        assert_eq!(report(&bytes, format), report(&bytes, format), "{format:?}");
    }
}

#[test]
fn an_offline_merge_has_stages_and_one_that_failed_says_what_to_do() {
    for model in fixture::offline_all() {
        let text = of_model(&model, Format::Markdown);
        assert!(text.contains("| copying |"), "{text}");
        assert!(!text.contains("Runs could not be seen"), "{text}");
    }
    let failed = of_model(&fixture::failed(), Format::Markdown);
    assert!(failed.starts_with("# Merge of vg/data"), "{failed}");
    assert!(failed.contains("**failed**"), "{failed}");
    let blind = of_model(&fixture::no_probes(), Format::Markdown);
    assert!(blind.contains("Runs could not be seen"), "{blind}");
}

#[test]
fn values_that_are_none_make_no_nonsense() {
    for model in [fixture::nasty(), fixture::empty()] {
        for format in FORMATS {
            let text = of_model(&model, format);
            assert!(!text.contains("NaN") && !text.contains("inf "), "{format:?}\n{text}");
        }
    }
}

#[test]
fn a_recording_without_a_merge_is_a_report_that_says_so() {
    let bytes = recorded(&[]);
    assert!(report(&bytes, Format::Html).contains("without a merge"));
    assert!(report(&bytes, Format::Markdown).contains("without a merge"));
    let trace: Value = serde_json::from_str(&report(&bytes, Format::Trace)).unwrap();
    assert_eq!(trace["traceEvents"], Value::Array(Vec::new()));
}

const NASTY: &str = "<script>alert(1)</script>\"' onload='x' & \u{1b}[31m\u{202e}|`](http://a) @all ]]> </title>\n# x";

fn hostile() -> Vec<u8> {
    let (mut identity, mut samples) = real();
    for name in [
        &mut identity.origin,
        &mut identity.origin_label,
        &mut identity.real_label,
        &mut identity.cow_label,
        &mut identity.kernel,
    ] {
        *name = NASTY.to_owned();
    }
    identity.snapshot_label = Some(NASTY.repeat(1_000));
    identity.siblings = vec![NASTY.to_owned(); 5];
    identity.probes.missing = vec![NASTY.to_owned()];
    for write in samples.iter_mut().filter_map(|it| it.io.as_mut()).flat_map(|io| &mut io.in_flight)
    {
        write.comm = NASTY.to_owned();
    }
    recorded(&[(identity, samples)])
}

#[test]
fn names_of_others_stay_names() {
    let bytes = hostile();
    let html = report(&bytes, Format::Html);
    assert!(html.contains("&lt;script&gt;alert(1)"));
    for odd in ["<script", "onload='", "\u{1b}", "\u{202e}", "href=\"http"] {
        assert!(!html.contains(odd), "{odd:?}");
    }
    assert_eq!(html.matches("<title>").count(), 1);
    assert_eq!(html.matches("</title>").count(), html.matches("<title").count());
    let markdown = report(&bytes, Format::Markdown);
    let bare = markdown.replace("\\]", "").replace("\\`", "").replace("\\[", "");
    for odd in ["<script", "](", "`", "://a", "\u{1b}", "\n# x", " @all"] {
        assert!(!bare.contains(odd), "{odd:?}");
    }
    for line in markdown.lines().filter(|line| line.starts_with("| ")) {
        let bars = line.replace("\\|", "").matches('|').count();
        assert!((3..=6).contains(&bars), "{line}");
    }
    let trace = report(&bytes, Format::Trace);
    assert!(!trace.contains('\u{1b}') && !trace.contains('\u{202e}'));
    serde_json::from_str::<Value>(&trace).unwrap();
    assert!(html.len() < 1 << 20 && markdown.len() < 1 << 20, "{} {}", html.len(), markdown.len());
}

#[test]
fn many_merges_fit_into_one_page() {
    let merges = vec![real(); 200];
    let bytes = recorded(&merges);
    let html = report(&bytes, Format::Html);
    assert!(html.len() < 2 << 20, "{}", html.len());
    assert!(
        html.contains("Report of 200 merges") && html.contains("The merges behind the first 16")
    );
    assert_eq!(html.matches("<article>").count(), CHAPTERS);
    let markdown = report(&recorded(&merges[..2]), Format::Markdown);
    for heading in ["\n## estimate", "\n### Progress\n", "\n#### Rate over time\n", "\n## Host and"]
    {
        assert!(markdown.contains(heading), "{heading:?}");
    }
}

#[test]
fn all_stalls_are_told_and_the_longest_where_they_are_too_many() {
    let mut model = fixture::stalled();
    let stall = model.stalls.back().unwrap().clone();
    let room = Room { bins: 10, stalls: 100 };
    model.stalls.clear();
    let mut log = MergeLog::new(&model, &[], room);
    for number in 0..1_000_u64 {
        let started_ns = number * 10_000_000_000;
        let lasts_ns = 2_000_000_000 + number * 1_000_000;
        let ended_ns = Some(started_ns + lasts_ns);
        model.stalls.push_back(crate::model::Stall { started_ns, ended_ns, ..stall.clone() });
        if model.stalls.len() > Model::STALLS {
            model.stalls.pop_front();
        }
        log.take(&model, &[]);
    }
    let kept = log.stalls().count() as u64;
    assert!((100..=164).contains(&kept), "{kept}");
    assert_eq!(kept + log.stalls_left_out(), 1_000);
    assert!(log.stalls().all(|stall| stall.started_ns >= (1_000 - kept) * 10_000_000_000));
    log.shrink(Room { bins: 10, stalls: 20 });
    assert_eq!((log.stalls().count(), log.stalls_left_out()), (20, 980));
}

/// Times are kept within months: the model counts on what clocks can show.
const LONG_NS: u64 = 1 << 54;

fn run() -> impl Strategy<Value = Run> {
    let times = (0..LONG_NS, 0..LONG_NS, prop::array::uniform6(0..LONG_NS / 8));
    (any::<u32>(), 0..u64::MAX / 4, times).prop_map(
        |(chunks, chunk, (started_ns, ended_ns, phase_ns))| Run {
            old_chunk: chunk,
            new_chunk: chunk,
            chunks,
            started_ns,
            finished_ns: started_ns.max(ended_ns),
            phase_ns,
        },
    )
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let change = (
        0..LONG_NS / 64,
        any::<u32>(),
        prop::collection::vec(run(), 0..4),
        prop::option::of(0..u64::MAX / 2),
        prop::collection::vec(0..u64::MAX / 256, 0..121),
        0..real().1.len(),
    );
    prop::collection::vec(change, 1..24).prop_map(|changes| {
        let templates = real().1;
        let mut at_ns = 1_000;
        let of = |(step_ns, unix_s, runs, left, latency, template): (
            u64,
            u32,
            _,
            Option<u64>,
            Vec<u64>,
            usize,
        )| {
            at_ns += step_ns;
            let mut sample = templates[template].clone();
            (sample.at_ns, sample.unix_s, sample.runs) = (at_ns, unix_s.into(), runs);
            if let (Some(left), KernelView::Merging { allocated, .. }) = (left, &mut sample.kernel)
            {
                *allocated = Sectors(left >> 10);
            }
            if let Some(io) = &mut sample.io {
                io.writes.latency = latency;
            }
            sample
        };
        changes.into_iter().map(of).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_sampled_can_be_told(samples in samples(), name in any::<String>()) {
        let identity = MergeIdentity { origin_label: name, ..real().0 };
        let bytes = recorded(&[(identity, samples)]);
        let html = report(&bytes, Format::Html);
        prop_assert!(html.len() < 2 << 20);
        prop_assert!(!html.contains("NaN"));
        prop_assert!(!report(&bytes, Format::Markdown).contains("NaN"));
        let trace: Value = serde_json::from_str(&report(&bytes, Format::Trace)).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        let times: Vec<_> = events.iter().map(|event| event["ts"].as_f64().unwrap()).collect();
        prop_assert!(times.is_sorted());
    }
}
