//! An offline merge of image files as its users meet it: in a terminal, in lines, in JSON. Needs neither
//! root nor device-mapper.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, to keep the trace")]

mod terminal;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use terminal::Terminal;

const CHUNK: usize = 4096;
/// Every other chunk of the origin has an exception.
const EXCEPTIONS: u64 = 4096;
/// So that a merge lasts some seconds.
const SLOWLY: &str = "--bandwidth=4MiB";

/// Two files: an origin, and a store with what it is to hold.
struct Images {
    directory: TempDir,
    promised: Vec<u8>,
}

impl Images {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut promised = vec![b'o'; 2 * EXCEPTIONS as usize * CHUNK];
        fs::write(directory.path().join("origin"), &promised).unwrap();
        let mut cow = vec![0; CHUNK];
        for (at, field) in [0x7041_6e53_u32, 1, 1, CHUNK as u32 / 512].into_iter().enumerate() {
            cow[at * 4..][..4].copy_from_slice(&field.to_le_bytes());
        }
        let per_area = CHUNK as u64 / 16;
        // One area more than there are exceptions for: the end of them all.
        for area in 0..=EXCEPTIONS / per_area {
            let entries = (area * per_area..(area + 1) * per_area).take_while(|i| *i < EXCEPTIONS);
            let mut metadata = vec![0; CHUNK];
            let mut data = Vec::new();
            for (place, exception) in entries.enumerate() {
                // Scattered: neighbours in the store lie far apart on the origin.
                let old = exception * 1031 % EXCEPTIONS * 2;
                let new = 2 + area * (per_area + 1) + place as u64;
                metadata[place * 16..][..8].copy_from_slice(&old.to_le_bytes());
                metadata[place * 16 + 8..][..8].copy_from_slice(&new.to_le_bytes());
                let chunk = vec![b'a' + (exception % 26) as u8; CHUNK];
                promised[old as usize * CHUNK..][..CHUNK].copy_from_slice(&chunk);
                data.extend(chunk);
            }
            cow.extend(metadata);
            cow.extend(data);
        }
        fs::write(directory.path().join("cow"), cow).unwrap();
        Self { directory, promised }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_merge-ctl"));
        command.args(["start", "--offline", "--yes", "--origin-device"]).arg(self.path("origin"));
        command.arg("--cow-device").arg(self.path("cow")).args(options);
        command
    }

    /// Whether the origin is what the snapshot promised.
    fn is_merged(&self) -> bool {
        fs::read(self.path("origin")).unwrap() == self.promised
    }

    fn store(&self) -> Vec<u8> {
        fs::read(self.path("cow")).unwrap()
    }

    /// What is in the way of a second one must not be left behind.
    fn merges_later(&self) {
        let output = self.command(&["--output", "json"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(self.is_merged());
        let first_area = &self.store()[CHUNK..2 * CHUNK];
        assert!(first_area.iter().all(|byte| *byte == 0), "the store is not empty");
    }
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
}

/// The whole stream of an offline merge, checked for what holds of all of them.
fn stream(images: &Images, options: &[&str]) -> Vec<Value> {
    let mut command = images.command(options);
    let output = command.args(["--output", "json", "--interval", "200ms"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(parse).collect();
    let of = |kind| lines.iter().filter(move |line| line["type"] == kind);
    let begin = of("begin").next().unwrap();
    assert_eq!((&begin["owner"], &begin["chunk_bytes"]), (&"image".into(), &4096.into()));
    let total = EXCEPTIONS * CHUNK as u64;
    let merged: Vec<u64> = of("progress").map(|line| number(&line["merged_bytes"])).collect();
    assert!(merged.is_sorted(), "{merged:?}");
    let between = merged.iter().filter(|bytes| (1..total).contains(*bytes)).count();
    assert!(between >= 3, "not met in the midst: {merged:?}");
    let mut frontier = 0;
    for line in of("progress").filter(|line| line["offline"]["stage"] == "copying") {
        let now = number(&line["offline"]["frontier_bytes"]);
        assert!(now >= frontier, "{line}");
        frontier = now;
    }
    let summary = lines.last().unwrap();
    assert_eq!((&summary["type"], &summary["state"]), (&"summary".into(), &"finished".into()));
    assert_eq!((number(&summary["merged_bytes"]), number(&summary["left_bytes"])), (total, 0));
    assert_eq!(number(&summary["offline"]["cleared_exceptions"]), EXCEPTIONS);
    assert_eq!(summary["offline"]["end"], "finished");
    assert!(images.is_merged());
    lines
}

#[test]
fn the_json_stream_tells_an_offline_merge_from_its_beginning_to_its_end() {
    let lines = stream(&Images::new(), &[SLOWLY]);
    assert_eq!(lines[0]["offline"]["bandwidth_bytes_per_s"], 4 << 20);
    assert!(lines.iter().all(|line| number_or_0(&line["offline"]["verified_bytes"]) == 0));
}

#[test]
fn the_json_stream_tells_what_is_compared() {
    let lines = stream(&Images::new(), &["--bandwidth=8MiB", "--verify"]);
    assert_eq!(lines[0]["offline"]["verify"], true);
    let last = lines.last().unwrap();
    assert_eq!(number(&last["offline"]["verified_bytes"]), EXCEPTIONS * CHUNK as u64);
    let halves = lines.iter().filter(|line| line["offline"]["stage"] == "copying");
    let most = halves.filter_map(|line| line["fraction"].as_f64()).fold(0.0, f64::max);
    assert!(most <= 0.5, "{most} before anything was compared");
}

/// Waits until the merge is in the midst of its copying.
fn until_it_copies(terminal: &mut Terminal) {
    terminal.wait_for("MERGING OFFLINE");
    // Only what changes is written; this comes whole, once the exceptions are counted.
    terminal.wait_for("(--verify)");
}

fn stopped_by_keys(keys: &[u8]) {
    let images = Images::new();
    let before = images.store();
    let mut terminal = Terminal::start(&mut images.command(&["--bandwidth=1MiB"]));
    until_it_copies(&mut terminal);
    terminal.press(keys);
    assert_eq!(terminal.exit_status(), 3, "{}", terminal.seen);
    // The summary is folded to the terminal.
    let seen = terminal.seen.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["Stopping", "stopped", "merge-ctl start --offline --origin-device"] {
        assert!(seen.contains(words), "no {words:?} in {seen}");
    }
    assert!(images.store() == before, "the store was touched");
    assert!(!images.is_merged(), "or nothing was stopped");
    images.merges_later();
}

#[test]
fn q_stops_it_with_the_store_as_it_was_and_the_rest_can_be_merged_later() {
    stopped_by_keys(b"q");
}

#[test]
fn a_second_ctrl_c_is_no_worse_than_the_first() {
    stopped_by_keys(b"\x03\x03\x03q\x03");
}

fn hung_up(output: &str, in_the_midst: &str) {
    let images = Images::new();
    let before = images.store();
    let mut command = images.command(&["--bandwidth=1MiB", "--output", output]);
    let mut terminal = Terminal::start(&mut command);
    terminal.wait_for(in_the_midst);
    let Terminal { keyboard, screen, mut child, .. } = terminal;
    // The thread that reads holds the terminal too: it ends with its receiver, at the next word.
    drop((keyboard, screen));
    signal(&child, Signal::HUP);
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(images.store() == before, "the store was touched");
    images.merges_later();
}

#[test]
fn a_terminal_that_goes_away_stops_it() {
    hung_up("tui", "(--verify)");
    hung_up("plain", "iB/s  left");
}

/// Starts it with JSON on a pipe, and waits until it copies.
fn in_the_midst(
    images: &Images,
    options: &[&str],
) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut command = images.command(&["--output", "json"]);
    let mut child = command
        .args(["--interval", "200ms"])
        .args(options)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let copies = lines.find(|line| number_or_0(&parse(line)["offline"]["copied_bytes"]) > 0);
    assert!(copies.is_some(), "it ended before it was met");
    (child, lines)
}

fn number_or_0(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

#[test]
fn signals_stop_it_and_are_told() {
    for asked in [Signal::TERM, Signal::HUP, Signal::INT] {
        let images = Images::new();
        let before = images.store();
        let (child, lines) = in_the_midst(&images, &["--bandwidth=1MiB"]);
        signal(&child, asked);
        signal(&child, asked);
        let summary = parse(&lines.last().unwrap());
        assert_eq!((&summary["type"], &summary["state"]), (&"summary".into(), &"stopped".into()));
        assert_eq!(summary["left_bytes"], summary["initial_bytes"]);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("Stopping after the requests under way"), "{told}");
        assert!(images.store() == before, "the store was touched");
        images.merges_later();
    }
}

#[test]
fn a_reader_that_goes_away_does_not_end_the_merge() {
    let images = Images::new();
    let (mut child, lines) = in_the_midst(&images, &[SLOWLY]);
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(images.is_merged());
}

fn script(directory: &Path, name: &str, body: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&path, executable).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_hook_is_told_how_it_ended() {
    let images = Images::new();
    let told = images.path("told");
    let body = format!("env | grep ^MERGE_CTL > {}", told.display());
    let hook = script(images.directory.path(), "hook", &body);
    let output = images.command(&["--output", "plain", "--on-done", &hook]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let told = fs::read_to_string(told).unwrap();
    for fact in ["EVENT=done", "STATE=finished", "EXIT=0", "OWNER=image", "LEFT_BYTES=0"] {
        assert!(told.contains(&format!("MERGE_CTL_{fact}\n")), "no {fact} in {told}");
    }
}

#[test]
fn plain_lines_sum_up_in_words() {
    let images = Images::new();
    let output = images.command(&["--output", "plain"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for words in ["offline merge of", "finished after", "4,096 cleared", "time by stage"] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}

#[test]
fn what_cannot_be_had_offline_is_refused() {
    let images = Images::new();
    for option in [&["--detach"][..], &["--throttle", "30%"], &["--probes", "none"]] {
        let output = images.command(option).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{option:?}");
    }
}

/// What a replay of a recording prints, and what it tells.
fn replayed(recording: &Path, output: &str) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_merge-ctl"));
    let output = command.arg("replay").arg(recording).args(["--output", output]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    (String::from_utf8(output.stdout).unwrap(), told)
}

#[test]
fn a_recording_is_replayed_to_the_lines_that_there_were() {
    for (output, options) in
        [("json", [SLOWLY, "--verify"]), ("plain", ["--interval=200ms", SLOWLY])]
    {
        let images = Images::new();
        let recording = images.path("recording");
        let mut command = images.command(&options);
        command.args(["--output", output, "--record"]).arg(&recording);
        let live = command.output().unwrap();
        assert_eq!(live.status.code(), Some(0));
        let told = String::from_utf8(live.stderr).unwrap();
        assert!(told.contains("merge-ctl: recorded "), "{told}");
        let live = String::from_utf8(live.stdout).unwrap();
        assert_eq!(replayed(&recording, output), (live, String::new()));
        // Nothing is overwritten, and nothing is begun.
        let again = command.output().unwrap();
        assert_eq!(again.status.code(), Some(8), "{}", String::from_utf8_lossy(&again.stderr));
    }
}

#[test]
fn a_merge_that_is_stopped_has_a_recording_that_says_so() {
    let images = Images::new();
    let recording = images.path("recording");
    let record = recording.to_str().unwrap().to_owned();
    let (child, lines) = in_the_midst(&images, &["--bandwidth=1MiB", "--record", &record]);
    signal(&child, Signal::INT);
    let last = lines.last().unwrap();
    child.wait_with_output().unwrap();
    let (lines, told) = replayed(&recording, "json");
    assert_eq!(lines.lines().last(), Some(&*last));
    assert!(told.contains("Stopping after the requests under way"), "{told}");
}

#[test]
fn killed_by_force_it_leaves_a_recording_of_what_there_was() {
    let images = Images::new();
    let recording = images.path("recording");
    let record = recording.to_str().unwrap().to_owned();
    let (mut child, mut lines) = in_the_midst(&images, &["--bandwidth=1MiB", "--record", &record]);
    // What was recorded is in the file a second later.
    let seen: Vec<_> = lines.by_ref().take(15).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_merge-ctl"));
    let output = command.arg("replay").arg(&recording).args(["--output", "json"]).output().unwrap();
    let (text, told) = (String::from_utf8(output.stdout).unwrap(), output.stderr);
    let told = String::from_utf8(told).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("the recording has no end"), "{told}");
    let replayed: Vec<_> = text.lines().collect();
    for line in &seen[..seen.len() - 8] {
        assert!(replayed.contains(&&**line), "{line} is missing");
    }
}
