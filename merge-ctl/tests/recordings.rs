//! Recordings of real merges, made in VMs (`recordings/make.sh`): replayed on any machine to the very lines that were
//! printed live, shown as pictures, cut, damaged, and driven in a terminal.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, to keep the trace")]

mod terminal;

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Output};

use flate2::read::GzDecoder;
use merge_ctl::model::{Model, State};
use merge_ctl::recording::{Pace, Player, Speed, Survey};
use merge_ctl::view::replay::Replay;
use merge_ctl::view::{self, ViewState};
use ratatui::Terminal as Screen;
use ratatui::backend::TestBackend;
use serde_json::Value;
use terminal::Terminal;

/// The kernels that they were made on.
const KERNELS: [&str; 4] = ["5.10", "6.1", "6.12", "experimental"];

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(name)
}

fn recording(kernel: &str) -> PathBuf {
    path(&format!("{kernel}.mrec"))
}

/// What `--output json` printed while the recording was made.
fn live(kernel: &str) -> String {
    let packed = File::open(path(&format!("{kernel}.jsonl.gz"))).unwrap();
    let mut text = String::new();
    GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    text
}

fn replay(file: &std::path::Path, output: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_merge-ctl"));
    command.arg("replay").arg(file).args(["--output", output]).output().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_recording_is_explained_with_the_verdict_that_was_shown_last() {
    for kernel in KERNELS {
        let mut command = Command::new(env!("CARGO_BIN_EXE_merge-ctl"));
        let said = command.arg("explain").arg(recording(kernel)).arg("--json").output().unwrap();
        assert_eq!(said.status.code(), Some(0), "{kernel}");
        let told: Vec<Value> =
            text(said.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let then = live(kernel);
        let summary: Value = serde_json::from_str(then.lines().last().unwrap()).unwrap();
        assert_eq!(summary["type"], "summary", "{kernel}");
        assert_eq!(told.len(), 1, "{kernel}");
        assert_eq!(told[0]["verdict"], summary["verdict"], "{kernel}");
        let watched_ns = told[0]["watched_ns"].as_u64();
        assert!(watched_ns >= summary["elapsed_ns"].as_u64(), "{kernel}: {watched_ns:?}");
    }
}

#[test]
fn every_replay_prints_what_was_printed_live() {
    for kernel in KERNELS {
        let replay = replay(&recording(kernel), "json");
        assert_eq!(replay.status.code(), Some(0), "{kernel}");
        assert_eq!(text(replay.stderr), "", "{kernel}");
        let (now, then) = (text(replay.stdout), live(kernel));
        assert_eq!(now.lines().last(), then.lines().last(), "{kernel}: the final report");
        assert!(now == then, "{kernel}: other lines");
        assert!(then.lines().count() > 100, "{kernel}: it proves little");
    }
}

fn survey(kernel: &str) -> (Player<File>, Survey) {
    let mut player = Player::open(File::open(recording(kernel)).unwrap()).unwrap();
    let survey = player.survey().unwrap();
    assert_eq!(survey.faults.1, 0, "{kernel}");
    (player, survey)
}

fn picture(model: &Model, pace: Pace, (width, height): (u16, u16)) -> String {
    let replay = Some(Replay { pace, damaged: 0 });
    let state = ViewState { replay, ..ViewState::default() };
    let mut screen = Screen::new(TestBackend::new(width, height)).unwrap();
    screen.draw(|frame| view::draw(frame, model, &state)).unwrap();
    screen.backend().to_string()
}

#[test]
fn the_dashboard_of_a_real_merge() {
    for kernel in KERNELS {
        let (mut player, survey) = survey(kernel);
        let mut pace = Pace::new(survey.first_ns, survey.last_ns, Speed::Times(10));
        for (name, part) in [("midst", 45), ("end", 100)] {
            pace.go_to(survey.first_ns + (survey.last_ns - survey.first_ns) / 100 * part);
            if part == 100 {
                pace.go_to(survey.last_ns);
            }
            player.seek(pace.at_ns).unwrap();
            let model = &player.merges()[0].model;
            for size in [(80, 24), (200, 50), (60, 15)] {
                let name = format!("{kernel}-{name}-{}x{}", size.0, size.1);
                insta::assert_snapshot!(name, picture(model, pace, size));
            }
        }
        assert_eq!(player.merges()[0].model.state, State::Finished, "{kernel}");
    }
}

#[test]
fn the_stall_that_there_was_is_shown_at_its_time() {
    for kernel in KERNELS {
        let (mut player, survey) = survey(kernel);
        player.seek(survey.last_ns).unwrap();
        let stall = player.merges()[0].model.stalls.back().unwrap().clone();
        let (begun, ended) = (stall.started_ns, stall.ended_ns.unwrap());
        player.seek(begun + (ended - begun) / 4 * 3).unwrap();
        assert_eq!(player.merges()[0].model.state, State::Stalled, "{kernel}");
        player.seek(ended + 1_000_000_000).unwrap();
        assert_ne!(player.merges()[0].model.state, State::Stalled, "{kernel}");
        player.seek(begun.saturating_sub(500_000_000)).unwrap();
        assert_ne!(player.merges()[0].model.state, State::Stalled, "{kernel}");
    }
}

#[test]
fn a_file_that_is_cut_off_is_shown_up_to_there() {
    let directory = tempfile::tempdir().unwrap();
    let cut = directory.path().join("cut");
    let whole = fs::read(recording("6.1")).unwrap();
    let then = live("6.1");
    let mut most = 0;
    for part in 1..8 {
        fs::write(&cut, &whole[..whole.len() / 8 * part]).unwrap();
        let replay = replay(&cut, "json");
        let told = text(replay.stderr);
        assert_eq!(replay.status.code(), Some(0), "{told}");
        assert!(told.contains("the file is cut off here"), "{told}");
        assert!(told.contains("the recording has no end"), "{told}");
        let now = text(replay.stdout);
        // All but the summary, which there was none of.
        let lines = now.lines().count().saturating_sub(1);
        assert!(now.lines().take(lines).eq(then.lines().take(lines)), "{part} eighths");
        assert!(lines >= most, "{part} eighths");
        most = lines;
    }
    assert!(most > then.lines().count() / 2, "{most} lines");
}

#[test]
fn what_is_damaged_is_named_and_the_rest_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let damaged = directory.path().join("damaged");
    let mut bytes = fs::read(recording("6.1")).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&damaged, &bytes).unwrap();
    let replay = replay(&damaged, "json");
    let (told, now) = (text(replay.stderr), text(replay.stdout));
    assert_eq!(replay.status.code(), Some(1), "{told}");
    let fault = told.lines().find(|line| line.contains("the checksum is wrong")).unwrap();
    let numbers: Vec<usize> =
        fault.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    assert!(numbers[0] <= at && at < numbers[1], "{fault} for {at}");
    let then = live("6.1");
    let first = then.lines().next().unwrap();
    assert_eq!(now.lines().next(), Some(first));
    // The group behind it is sound, and the end is that of the merge.
    assert!(now.lines().last().unwrap().contains("\"state\":\"finished\""), "{now}");
    assert!(now.lines().count() > then.lines().count() / 4);
}

#[test]
fn what_is_no_recording_is_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let odd = directory.path().join("odd");
    fs::write(&odd, "a text\n".repeat(100)).unwrap();
    let refused = |words: &str, code| {
        let replay = replay(&odd, "plain");
        let told = text(replay.stderr);
        assert_eq!(replay.status.code(), Some(code), "{told}");
        assert!(told.contains(words), "{told}");
    };
    refused("this is no recording of merge-ctl", 1);
    let mut newer = fs::read(recording("6.1")).unwrap();
    newer[8] = 2;
    let mut sum = flate2::Crc::new();
    sum.update(&newer[..12]);
    newer[12..16].copy_from_slice(&sum.sum().to_le_bytes());
    fs::write(&odd, newer).unwrap();
    refused("use a newer merge-ctl", 1);
    fs::remove_file(&odd).unwrap();
    refused("No such file", 1);
    fs::create_dir(&odd).unwrap();
    refused("is no file", 2);
}

#[test]
fn a_replay_is_driven_by_keys() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_merge-ctl"));
    command.arg("replay").arg(recording("6.1")).args(["--speed", "2"]);
    let mut terminal = Terminal::start(&mut command);
    terminal.wait_for("REPLAY");
    terminal.wait_for("data-snap");
    terminal.press(b" ");
    terminal.wait_for("paused");
    // End, and all that there was.
    terminal.press(b"\x1b[F");
    terminal.wait_for("end");
    terminal.wait_for("FINISHED");
    terminal.press(b"\x1b[H");
    terminal.seen.clear();
    terminal.wait_for("MERGING");
    terminal.press(b"?");
    terminal.wait_for("stand, or go on");
    terminal.press(b"?");
    // What means nothing changes nothing, and a terminal that becomes small or large is filled anew.
    terminal.press(b"zZ%&\x01\x02\x1b[19~\x1b[200~junk\x1b[201~\xff\xfe\xc3\x28");
    for ((columns, rows), there) in [((40, 12), "writes in flight"), ((200, 50), "recent runs")] {
        terminal.seen.clear();
        terminal.resize(columns, rows);
        terminal.wait_for(there);
    }
    // On, back, faster, slower, and to its end.
    terminal.press(b"+-\x1b[C\x1b[D\x1b[A\x1b[B\x1b[5~\x1b[6~\x1b[F");
    terminal.wait_for("FINISHED");
    terminal.press(b"q");
    assert_eq!(terminal.exit_status(), 0, "{}", terminal.seen);
}
