//! Reports of merges that go on: followed to their end, or left.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::merge_ctl::{Running, promised_runs};
use super::runs::mixed_writes;
use super::testbed::Testbed;

/// Waits until a process has begun the file that it is to make.
fn wait_for_part(directory: &str, pid: u32) {
    let part = Path::new(directory).join(format!(".merge-ctl-{pid}.part"));
    let until = Instant::now() + Duration::from_secs(120);
    while !part.exists() {
        assert!(Instant::now() < until, "{} does not appear", part.display());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_merge_is_followed_to_its_end_and_told_of() {
    let bed = Testbed::new("repend", 16, 8);
    mixed_writes(&bed, 3);
    let promised = promised_runs(&bed);
    bed.slow_down(4);
    let mut merge = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
    merge.line_where(|line| line["type"] == "run");
    let directory = "/tmp/repend";
    fs::create_dir(directory).unwrap();
    let path = format!("{directory}/trace.json");
    let report = Running::start(&["report", &bed.dm("origin"), "-o", &path]);
    wait_for_part(directory, report.pid());
    assert_eq!(merge.wait().expect(0).summary()["state"], "finished");
    let ended = report.wait();
    assert_eq!(ended.code, 0);
    let trace: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let is_run = |event: &&Value| event["name"].as_str().unwrap().starts_with("run of");
    let runs = events.iter().filter(is_run).count();
    assert!(runs > 0 && runs < promised.len(), "{runs} of {}", promised.len());
    // What was kept meanwhile is gone.
    assert_eq!(fs::read_dir(directory).unwrap().count(), 1);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_merge_that_is_left_is_told_of_as_far_as_it_was_seen() {
    let bed = Testbed::new("repleft", 16, 8);
    mixed_writes(&bed, 4);
    bed.slow_down(8);
    let mut merge = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
    merge.line_where(|line| line["type"] == "run");
    let directory = "/tmp/repleft";
    fs::create_dir(directory).unwrap();
    let path = format!("{directory}/left.html");
    let report = Running::start(&["report", &bed.dm("origin"), "-o", &path]);
    wait_for_part(directory, report.pid());
    std::thread::sleep(Duration::from_secs(3));
    kill_process(Pid::from_raw(report.pid() as i32).unwrap(), Signal::INT).unwrap();
    assert_eq!(report.wait().code, 3);
    let page = fs::read_to_string(&path).unwrap();
    assert!(page.contains("<dd>merging</dd>"), "{page}");
    assert!(page.contains("whoever watched has left") && page.contains("</footer>"));
    // Before anything is looked at: the name is taken.
    let again = Command::new("merge-ctl").args(["report", &bed.dm("origin"), "-o", &path]).output();
    assert_eq!(again.unwrap().status.code(), Some(8));
    bed.slow_down(0);
    assert_eq!(merge.wait().expect(0).summary()["state"], "finished");
    fs::remove_dir_all(directory).unwrap();
}
