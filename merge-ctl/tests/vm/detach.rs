//! A merge that was detached goes on without whoever started it.

#[path = "../terminal/pty.rs"]
mod pty;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::merge_ctl::{Ended, Waiter, merge_ctl};
use super::testbed::{Testbed, dmsetup};

const PATIENCE: Duration = Duration::from_secs(60);

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A merge that takes a while.
fn slow_merge(name: &str) -> (Testbed, Vec<u8>) {
    let bed = Testbed::new(name, 16, 8);
    bed.write_snapshot((0..400).map(|i| i * 5), 3);
    let promised_content = bed.image("snap");
    bed.slow_down(5);
    (bed, promised_content)
}

fn told(ended: &Ended) -> &Value {
    let [line] = &ended.lines[..] else { panic!("{:#?}", ended.lines) };
    assert_eq!(line["type"], "detached", "{line}");
    assert_eq!(line["unit"], Value::Null, "there is no systemd here");
    line
}

fn pid(told: &Value) -> Pid {
    Pid::from_raw(told["pid"].as_i64().unwrap() as i32).unwrap()
}

/// A field of `/proc/PID/stat`, counted from the state; none where the process is gone or dead.
fn stat(pid: Pid, field: usize) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    (fields[0] != "Z").then(|| fields[field].to_owned())
}

fn is_merging(bed: &Testbed) -> bool {
    dmsetup(&["table", &bed.dm("origin")]).contains("snapshot-merge")
}

fn finishes(bed: &Testbed, pid: Pid, promised_content: &[u8]) {
    bed.slow_down(0);
    wait_until("the end of the detached one", || stat(pid, 0).is_none());
    assert!(dmsetup(&["table", &bed.dm("origin")]).contains("linear"));
    assert!(bed.image("origin") == promised_content, "the origin differs from the snapshot");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn the_foreground_returns_and_the_merge_is_followed_and_finished() {
    let (bed, promised_content) = slow_merge("detach");
    let begin = Instant::now();
    let ended = merge_ctl(&["start", "--detach", "--yes", "--output", "json", &bed.dm("snap")]);
    let ended = ended.expect(0);
    println!("returned after {:?}", begin.elapsed());
    let told = told(&ended);
    assert_eq!((&told["news"], &told["origin"]), (&"begun".into(), &bed.dm("origin").into()));
    assert!(is_merging(&bed));
    let pid = pid(told);
    // A session of its own, and no terminal.
    let raw = pid.as_raw_nonzero().to_string();
    assert_eq!((stat(pid, 3), stat(pid, 4)), (Some(raw.clone()), Some("0".to_owned())));
    let cwd = fs::read_link(format!("/proc/{raw}/cwd")).unwrap();
    assert_eq!(cwd, Path::new("/"));
    kill_process(pid, Signal::HUP).unwrap();
    let status = merge_ctl(&["status", "--json", &bed.dm("origin")]).expect(0);
    let status: Value = serde_json::from_str(status.lines[0].as_str().unwrap()).unwrap();
    assert_eq!(status["devices"][0]["driver_pid"], told["pid"], "{status}");
    assert_eq!(status["begun"][0]["state"], "driven", "{status}");
    assert!(stat(pid, 0).is_some(), "a hangup is none of its business");
    finishes(&bed, pid, &promised_content);
    let log = fs::read_to_string(told["log"].as_str().unwrap()).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["state"]), (&"summary".into(), &"finished".into()), "{log}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn the_end_of_the_terminal_ends_the_shell_and_not_the_merge() {
    let (bed, promised_content) = slow_merge("hangup");
    let (ours, theirs) = pty::pair();
    let script = format!("merge-ctl start --detach --output json {}; sleep 100", bed.dm("snap"));
    // Leads a session, and has the terminal for its own.
    let mut shell = Command::new("setsid")
        .args(["-c", "sh", "-c", &script])
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs.try_clone().unwrap())
        .stderr(theirs)
        .spawn()
        .unwrap();
    (&ours).write_all(b"y\n").unwrap();
    let lines = BufReader::new(&ours).lines().map(Result::unwrap);
    let line = lines.inspect(|line| println!("{line}")).find(|line| line.contains("detached"));
    // The question stands before it on its line.
    let line = line.unwrap();
    let told: Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
    let pid = pid(&told);
    let leader = Pid::from_raw(shell.id() as i32).unwrap();
    assert_ne!(stat(leader, 4), Some("0".to_owned()), "or the shell has no terminal to lose");
    assert_ne!(stat(pid, 3), stat(leader, 3));
    drop(ours);
    let status = shell.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::HUP.as_raw()), "{status}");
    assert!(is_merging(&bed));
    assert!(stat(pid, 0).is_some());
    finishes(&bed, pid, &promised_content);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn why_a_merge_did_not_begin_is_told_in_the_foreground() {
    let bed = Testbed::new("detach-refused", 8, 8);
    let held = bed.open("snap");
    let ended = merge_ctl(&["start", "--detach", "--yes", &bed.dm("snap")]).expect(8);
    assert!(ended.stderr.contains("in use"), "{}", ended.stderr);
    drop(held);
    // What only the detached one finds out: it cannot finish what it may not begin.
    let ended = merge_ctl(&["start", "--detached", "/nowhere", &bed.dm("absent")]).expect(2);
    assert!(ended.stderr.contains("absent"), "{}", ended.stderr);
    assert!(dmsetup(&["table", &bed.dm("origin")]).contains("snapshot-origin"));
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_quiet_moment_is_waited_for_without_the_terminal() {
    let (bed, promised_content) = slow_merge("detach-quiet");
    let begin = Instant::now();
    let ended = merge_ctl(&[
        "start",
        "--detach",
        "--yes",
        "--when-quiet",
        "--for",
        "2s",
        "--output",
        "json",
        &bed.dm("snap"),
    ])
    .expect(0);
    let told = told(&ended);
    assert_eq!(told["news"], "waits");
    assert!(begin.elapsed() < Duration::from_secs(2) || !is_merging(&bed));
    let pid = pid(told);
    // Whoever waits from now on waits for a merge that is still to begin.
    let waiter = Waiter::start(&[&bed.dm("origin"), "--until", "merged"]);
    wait_until("the begin", || is_merging(&bed));
    assert!(begin.elapsed() >= Duration::from_secs(2));
    bed.slow_down(0);
    assert_ne!(waiter.end(0)["state"], "none", "it did not wait");
    finishes(&bed, pid, &promised_content);
}
