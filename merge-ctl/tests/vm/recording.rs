//! Recordings of real merges: replayed to the very lines that there were; whatever happens to whoever
//! records, or to the disk, the merge goes on and what was written can be read.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use merge_ctl::store::Run;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::merge_ctl::{Running, merge_ctl, promised_runs};
use super::runs::mixed_writes;
use super::testbed::{Testbed, run};

fn output(arguments: &[&str]) -> Output {
    Command::new("merge-ctl").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a replay prints, which must end with this exit status, and what it tells.
#[track_caller]
fn replayed(path: &str, how: &str, code: i32) -> (String, String) {
    let replay = output(&["replay", path, "--output", how]);
    let told = text(&replay.stderr);
    assert_eq!(replay.status.code(), Some(code), "{told}");
    (text(&replay.stdout), told)
}

fn runs_in(lines: &str) -> Vec<Run> {
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let number = |line: &Value, field: &str| line[field].as_u64().unwrap();
    lines
        .filter(|line| line["type"] == "run")
        .map(|line| Run {
            old_chunk: number(&line, "old_chunk"),
            new_chunk: number(&line, "new_chunk"),
            chunks: number(&line, "chunks") as u32,
        })
        .collect()
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_recorded_start_is_replayed_to_the_lines_that_there_were() {
    for how in ["json", "plain"] {
        let bed = Testbed::new(&format!("rec{how}"), 16, 8);
        mixed_writes(&bed, 3);
        let promised = promised_runs(&bed);
        bed.slow_down(2);
        let path = format!("/tmp/rec-{how}.mrec");
        let start = ["start", "--yes", "--output", how, "--record", &path, &bed.dm("snap")];
        let live = output(&start);
        assert_eq!(live.status.code(), Some(0), "{}", text(&live.stderr));
        assert!(text(&live.stderr).contains("recorded "), "{}", text(&live.stderr));
        let (lines, told) = replayed(&path, how, 0);
        assert!(lines == text(&live.stdout), "live:\n{}\nreplay:\n{lines}", text(&live.stdout));
        assert_eq!(told, "");
        assert_eq!(runs_in(&replayed(&path, "json", 0).0), promised);
        assert_eq!(reported(&path), reported(&path), "another process makes another report of it");
        // The same name again: nothing is begun, and the file stays.
        let size = fs::metadata(&path).unwrap().len();
        println!("{how}: {size} bytes");
        let again = output(&start);
        assert_eq!(again.status.code(), Some(8), "{}", text(&again.stderr));
        assert_eq!(fs::metadata(&path).unwrap().len(), size);
        fs::remove_file(path).unwrap();
    }
}

/// What a report of a recording says, in each of its forms. Every second time it is made without our environment,
/// and in another time zone.
fn reported(path: &str) -> Vec<Vec<u8>> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let made = |ending: &str| {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let report = format!("{path}-{count}.{ending}");
        let mut command = Command::new("merge-ctl");
        command.args(["report", path, "-o", &report]);
        if !(count / 3).is_multiple_of(2) {
            command
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap())
                .env("TZ", "UTC-9")
                .env("LANG", "C")
                .current_dir("/");
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let made = fs::read(&report).unwrap();
        fs::remove_file(report).unwrap();
        made
    };
    ["html", "md", "json"].map(made).into()
}

/// Waits until a file holds so much.
fn wait_for_bytes(path: &str, bytes: u64) {
    let until = Instant::now() + Duration::from_secs(120);
    while fs::metadata(path).map_or(0, |metadata| metadata.len()) < bytes {
        assert!(Instant::now() < until, "{path} does not grow");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_recorder_that_is_killed_leaves_what_it_wrote_and_the_merge_goes_on() {
    let bed = Testbed::new("reckill", 16, 8);
    mixed_writes(&bed, 5);
    let promised = promised_runs(&bed);
    bed.slow_down(12);
    let mut merge = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
    merge.line_where(|line| line["type"] == "run");
    let path = "/tmp/reckill.mrec";
    let recorder = Running::start(&["record", &bed.dm("origin"), "-o", path]);
    wait_for_bytes(path, 4_000);
    // As long as it is written, it can be read.
    let (before, told) = replayed(path, "json", 0);
    assert!(told.contains("no end"), "{told}");
    kill_process(Pid::from_raw(recorder.pid() as i32).unwrap(), Signal::KILL).unwrap();
    assert_eq!(recorder.wait().code, -1);
    let (lines, told) = replayed(path, "json", 0);
    assert!(told.contains("no end"), "{told}");
    let summary = |lines: &str| lines.lines().last().unwrap_or_default().to_owned();
    let size = fs::metadata(path).unwrap().len();
    assert!(lines.contains("\"type\":\"begin\""), "of {size} bytes: {told}");
    assert!(summary(&lines).contains("\"state\":\"merging\""), "{}", summary(&lines));
    assert!(lines.lines().count() >= before.lines().count());
    let runs = runs_in(&lines);
    assert!(!runs.is_empty() && runs.len() < promised.len(), "{} runs", runs.len());
    assert!(promised.windows(runs.len()).any(|part| part == runs), "other runs than there were");
    bed.slow_down(0);
    assert_eq!(merge.wait().expect(0).summary()["state"], "finished");
    fs::remove_file(path).unwrap();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn several_merges_are_recorded_in_one_file() {
    let beds: [Testbed; 2] = std::array::from_fn(|i| {
        let bed = Testbed::new(&format!("recboth{i}"), 16, 8);
        bed.write_snapshot((0..400).map(|block| block * 7), 5 + i as u64);
        bed.slow_down(3);
        bed
    });
    let names = beds.each_ref().map(|bed| bed.dm("snap"));
    let mut merge = Running::start(&["start", "--yes", "--output", "json", &names[0], &names[1]]);
    let begun = |line: &Value| line["type"] == "run" && line["origin"] == beds[1].dm("origin");
    merge.line_where(begun);
    let path = "/tmp/recboth.mrec";
    let origins = beds.each_ref().map(|bed| bed.dm("origin"));
    let ended = merge_ctl(&["record", &origins[0], &origins[1], "-o", path]);
    assert!(ended.stderr.contains("recorded "), "{}", ended.stderr);
    // On a busy host the finishing may take longer than whoever only watches has patience.
    assert!([0, 3].contains(&ended.code), "{}", ended.stderr);
    merge.wait().expect(0);
    let (lines, told) = replayed(path, "json", 0);
    assert_eq!(told, "");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for kind in ["begin", "summary"] {
        let of: Vec<_> = lines.iter().filter(|line| line["type"] == kind).collect();
        assert_eq!(of.len(), 2, "{kind}");
        assert!(of.iter().zip(&origins).all(|(line, origin)| line["origin"] == **origin));
    }
    let ends = ["finished", "done-not-finished"].map(Value::from);
    assert!(
        lines[lines.len() - 2..].iter().all(|line| ends.contains(&line["state"])),
        "{lines:#?}"
    );
    fs::remove_file(path).unwrap();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_full_disk_ends_the_recording_and_not_the_merge() {
    let directory = Path::new("/tmp/recfull");
    fs::create_dir_all(directory).unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=8k", "none", directory.to_str().unwrap()]);
    let bed = Testbed::new("recfull", 16, 8);
    mixed_writes(&bed, 9);
    let content = bed.image("snap");
    bed.slow_down(12);
    let path = "/tmp/recfull/file";
    let ended =
        merge_ctl(&["start", "--yes", "--output", "json", "--record", path, &bed.dm("snap")])
            .expect(0);
    assert_eq!(ended.summary()["state"], "finished");
    let told = "the recording has ended, and the merge goes on: cannot write /tmp/recfull/file: No space left";
    assert_eq!(ended.stderr.matches(told).count(), 1, "{}", ended.stderr);
    assert!(bed.image("origin") == content, "the origin differs from the snapshot");
    let (lines, told) = replayed(path, "json", 0);
    assert!(lines.contains("\"type\":\"begin\""), "{lines}");
    assert!(told.contains("cut off") && told.contains("no end"), "{told}");
    // Nor is it begun where there is no place at all.
    let refused = merge_ctl(&["monitor", "--record", "/nowhere/file"]);
    assert_ne!(refused.code, 0);
    run("umount", &[directory.to_str().unwrap()]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_detached_start_and_a_resume_record_what_they_follow() {
    let bed = Testbed::new("recdet", 16, 8);
    mixed_writes(&bed, 11);
    let content = bed.image("snap");
    bed.slow_down(6);
    let directory = Path::new("/tmp/recdet");
    fs::create_dir_all(directory).unwrap();
    let run_here = |arguments: &[&str]| {
        Command::new("merge-ctl").args(arguments).current_dir(directory).output().unwrap()
    };
    // The name is one of here, and the detached one lives in another directory.
    let refused = ["start", "--detach", "--yes", "--record", "none/a.mrec", &bed.dm("snap")];
    assert_eq!(run_here(&refused).status.code(), Some(1));
    let begun = run_here(&["start", "--detach", "--yes", "--record", "a.mrec", &bed.dm("snap")]);
    let told = text(&begun.stdout);
    assert_eq!(begun.status.code(), Some(0), "{told}{}", text(&begun.stderr));
    assert!(told.contains("recording  /tmp/recdet/a.mrec"), "{told}");
    let pid = told.split_once("process ").unwrap().1.split_whitespace().next().unwrap();
    wait_for_bytes("/tmp/recdet/a.mrec", 1_000);
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    let (lines, told) = replayed("/tmp/recdet/a.mrec", "json", 0);
    assert!(lines.contains("\"type\":\"begin\"") && told.contains("no end"), "{told}{lines}");
    let all = run_here(&["resume", "--yes", "--record", "b.mrec"]);
    assert_eq!(all.status.code(), Some(2), "{}", text(&all.stderr));
    bed.slow_down(1);
    let resume = ["resume", "--yes", "--output", "json", "--record", "b.mrec", &bed.dm("origin")];
    let resumed = run_here(&resume);
    assert_eq!(resumed.status.code(), Some(0), "{}", text(&resumed.stderr));
    assert!(bed.image("origin") == content, "the origin differs from the snapshot");
    let (lines, told) = replayed("/tmp/recdet/b.mrec", "json", 0);
    assert_eq!((lines, told.as_str()), (text(&resumed.stdout), ""));
    fs::remove_dir_all(directory).unwrap();
}
