//! Reports of recordings of real merges, and of one with a million runs: as a ticket, a page and a trace; and the page
//! in a real browser, where there is one.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, to keep the trace")]

#[path = "report/browser.rs"]
mod browser;
#[path = "report/many.rs"]
mod many;
#[path = "report/page.rs"]
mod page;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use browser::Browser;
use merge_ctl::recording::Player;
use merge_ctl::report::{Format, Report};
use serde_json::Value;

/// The kernels that the recordings were made on.
const KERNELS: [&str; 4] = ["5.10", "6.1", "6.12", "experimental"];
const MIB: usize = 1 << 20;

fn recording(kernel: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    directory.join(format!("{kernel}.mrec"))
}

fn run(subject: &Path, output: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_merge-ctl"));
    command.arg("report").arg(subject).arg("-o").arg(output).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What the command makes of a recording.
fn report(subject: &Path, ending: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(format!("report.{ending}"));
    let output = run(subject, &path);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    fs::read_to_string(path).unwrap()
}

fn made(bytes: &[u8], format: Format) -> String {
    Report::gather(Player::open(bytes).unwrap(), format).unwrap().write().unwrap()
}

#[test]
fn a_ticket_tells_of_a_real_merge() {
    for kernel in KERNELS {
        insta::assert_snapshot!(format!("{kernel}-ticket"), report(&recording(kernel), "md"));
    }
}

#[test]
fn a_page_has_a_table_for_each_figure_and_needs_nothing_else() {
    for kernel in KERNELS {
        let html = report(&recording(kernel), "html");
        assert_eq!(page::check(&html), 7, "{kernel}");
        page::check_alone(&html);
        assert_eq!(html, report(&recording(kernel), "html"), "{kernel}: other bytes");
    }
}

/// Checks a trace; gives how many slices of each name there are.
fn check_trace(text: &str) -> BTreeMap<String, usize> {
    let trace: Value = serde_json::from_str(text).unwrap();
    let mut names = BTreeMap::new();
    let mut last_us = 0.0;
    // The ends of the slices that are open, by process and thread.
    let mut open: BTreeMap<(u64, u64), Vec<f64>> = BTreeMap::new();
    for event in trace["traceEvents"].as_array().unwrap() {
        let (at, phase) = (event["ts"].as_f64().unwrap(), event["ph"].as_str().unwrap());
        assert!(at >= last_us, "{event}");
        last_us = at;
        let pid = event["pid"].as_u64().unwrap();
        match phase {
            "M" => assert!(event["args"].as_object().unwrap().len() == 1, "{event}"),
            "C" => {
                let values = event["args"].as_object().unwrap().values();
                assert!(
                    values.clone().count() > 0 && values.clone().all(Value::is_number),
                    "{event}"
                );
            }
            "X" => {
                let ends = at + event["dur"].as_f64().unwrap();
                let open = open.entry((pid, event["tid"].as_u64().unwrap())).or_default();
                // A thousandth of a nanosecond is what a number may be off by.
                open.retain(|end| *end > at + 1e-6);
                assert!(open.iter().all(|end| ends <= end + 1e-3), "{event} does not nest");
                open.push(ends);
                let name = event["name"].as_str().unwrap().to_owned();
                *names.entry(name).or_default() += 1;
            }
            other => panic!("{other}"),
        }
    }
    names
}

#[test]
fn a_trace_has_each_run_with_its_phases_and_the_stall() {
    for kernel in KERNELS {
        let names = check_trace(&report(&recording(kernel), "json"));
        let runs: usize =
            names.iter().filter(|(name, _)| name.starts_with("run of")).map(|it| it.1).sum();
        assert!(runs > 100, "{kernel}: {names:?}");
        // One more of the phase that the stall was in, which has its own thread.
        assert!((runs..=runs + 1).contains(&names["copy"]), "{kernel}: {names:?}");
        let phases = ["metadata", "siblings", "drain", "copy", "flush", "commit"];
        assert!(
            names.keys().all(|name| name.starts_with("run of") || phases.contains(&name.as_str()))
        );
        assert!(names.values().any(|count| *count == runs + 1), "{kernel}: {names:?}");
    }
}

#[test]
fn what_cannot_be_made_is_refused_before_anything_is() {
    let directory = tempfile::tempdir().unwrap();
    let subject = recording("6.1");
    let refused = |subject: &Path, name: &str, code, words: &str| {
        let output = run(subject, &directory.path().join(name));
        assert_eq!(output.status.code(), Some(code), "{}", told(&output));
        assert!(told(&output).contains(words), "{}", told(&output));
    };
    refused(
        &subject,
        "report.pdf",
        2,
        ".html for a page, .md for a ticket, .json for a trace viewer",
    );
    refused(&subject, "report", 2, ".html for a page");
    fs::write(directory.path().join("old.html"), "theirs").unwrap();
    refused(&subject, "old.html", 8, "is there already");
    std::os::unix::fs::symlink("/dev/null", directory.path().join("link.md")).unwrap();
    refused(&subject, "link.md", 8, "is there already");
    refused(&subject, "missing/new.md", 1, "cannot create");
    let odd = directory.path().join("odd.txt");
    fs::write(&odd, "a text\n".repeat(100)).unwrap();
    refused(&odd, "new.html", 1, "this is no recording of merge-ctl");
    assert_eq!(fs::read_to_string(directory.path().join("old.html")).unwrap(), "theirs");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3, "something was left behind");
}

#[test]
fn of_a_damaged_recording_the_rest_is_told_and_the_damage_named() {
    let directory = tempfile::tempdir().unwrap();
    let subject = directory.path().join("damaged.mrec");
    let mut bytes = fs::read(recording("6.1")).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&subject, &bytes).unwrap();
    let path = directory.path().join("damaged.md");
    let output = run(&subject, &path);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("## What is missing") && text.contains("the checksum is wrong"),
        "{text}"
    );
    bytes[at] ^= 1;
    fs::write(&subject, &bytes[..bytes.len() / 4 * 3]).unwrap();
    let text = report(&subject, "html");
    assert!(text.contains("whoever recorded was stopped by force"));
    assert!(page::check(&text) >= 4, "few figures");
}

#[test]
fn a_million_runs_fit() {
    let bytes = many::recording(1_000_000, 500);
    let html = made(&bytes, Format::Html);
    eprintln!("a million runs: a page of {} bytes", html.len());
    assert!(html.len() < 2 * MIB, "{}", html.len());
    assert_eq!(page::check(&html), 7);
    assert!(html.contains("1,000,000"));
    // What stands out is not lost among the others.
    assert!(html.contains("257 chunks") || html.contains("256 chunks"));
    let markdown = made(&bytes, Format::Markdown);
    assert!(markdown.len() < MIB / 16, "{}", markdown.len());
    let trace = made(&bytes, Format::Trace);
    eprintln!("a million runs: a trace of {} bytes", trace.len());
    assert!(trace.len() < 24 * MIB, "{}", trace.len());
    let names = check_trace(&trace);
    let slices: usize =
        names.iter().filter(|(name, _)| name.contains(" chunk")).map(|it| it.1).sum();
    assert!((8_192..=16_384).contains(&slices), "{slices}");
    assert!(trace.contains("Too many runs for a slice each: up to 64 share one"));
    in_a_browser(&html, "a million runs");
}

/// Shows it, and gives how long that took.
fn in_a_browser(html: &str, what: &str) {
    let Some(browser) = Browser::find() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (file, profile) = (directory.path().join("report.html"), directory.path().join("profile"));
    fs::write(&file, html).unwrap();
    for arguments in [
        &["--window-size=1280,900"][..],
        &["--window-size=390,844"],
        &["--window-size=1280,900", "--blink-settings=preferredColorScheme=0"],
    ] {
        let shown = browser.show(&file, &profile, arguments);
        assert_eq!(shown.console, Vec::<String>::new(), "{what} {arguments:?}");
        assert!(shown.dom.contains("</footer>"), "{what}");
        eprintln!("{what} {arguments:?}: {:?}, the browser's start among it", shown.took);
    }
}

#[test]
fn a_browser_shows_it_without_a_complaint_or_a_request() {
    for kernel in KERNELS {
        in_a_browser(&report(&recording(kernel), "html"), kernel);
    }
}

#[test]
fn on_a_phone_and_on_a_desk_all_can_be_read() {
    let Some(browser) = Browser::find() else { return };
    let directory = tempfile::tempdir().unwrap();
    for kernel in KERNELS {
        let html = report(&recording(kernel), "html");
        for width in [320, 390, 700, 1280] {
            let layout = browser.lay_out(&html, width, directory.path());
            assert_eq!(layout.width, width, "{kernel}: wider than the screen: {layout:?}");
            assert_eq!(layout.figures, 7, "{kernel} {width}");
            assert!(layout.lowest_text >= 11.0, "{kernel} {width}: {layout:?}");
            assert_eq!(layout.in_the_way, Vec::<String>::new(), "{kernel} {width}");
        }
    }
}

#[test]
fn a_browser_would_complain() {
    let Some(browser) = Browser::find() else { return };
    let html = report(&recording("6.1"), "html");
    let directory = tempfile::tempdir().unwrap();
    let (file, profile) = (directory.path().join("report.html"), directory.path().join("profile"));
    for odd in ["<img src=\"http://127.0.0.1:9/x.png\">", "<script>alert(1)</script>"] {
        fs::write(&file, html.replace("<main>", &format!("<main>{odd}"))).unwrap();
        assert!(!browser.show(&file, &profile, &[]).console.is_empty(), "{odd}");
    }
}
