//! Hooks on real merges: run once, with the facts, beside a merge that they cannot disturb.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use super::merge_ctl::{Running, Waiter, merge_ctl};
use super::testbed::{Testbed, dmsetup};

/// A hook that writes the facts of each call on a line of a log, and then does something more.
struct Hook {
    path: String,
    log: String,
}

impl Hook {
    fn new(name: &str, more: &str) -> Self {
        let (path, log) = (format!("/tmp/{name}.sh"), format!("/tmp/{name}.log"));
        let facts = "$MERGE_CTL_EVENT|$MERGE_CTL_ORIGIN|$MERGE_CTL_STATE|$MERGE_CTL_CAUSE|$MERGE_CTL_EXIT|$MERGE_CTL_DETAIL";
        fs::write(&path, format!("#!/bin/sh\necho \"$1|{facts}\" >>{log}\n{more}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let _ = fs::remove_file(&log);
        Self { path, log }
    }

    fn calls(&self) -> Vec<String> {
        fs::read_to_string(&self.log).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

fn wait_for_calls(hook: &Hook, count: usize) {
    let begun = Instant::now();
    while hook.calls().len() < count {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", hook.calls());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_stall_and_the_end_are_told_once_while_a_hook_hangs() {
    let bed = Testbed::new("hook", 16, 8);
    bed.write_snapshot((0..300).map(|i| i * 7), 3);
    let content = bed.image("snap");
    bed.slow_down(4);
    // Not with our standard error in its hands: it would keep the test's pipe open.
    let stall = Hook::new("hook-stall", "exec sleep 600 >/dev/null 2>&1");
    let done = Hook::new("hook-done", "exit 3");
    let on_stall = format!("{} 'first argument'", stall.path);
    let mut running = Running::start(&[
        "start",
        "--yes",
        "--output",
        "json",
        "--stall-after",
        "1s",
        "--on-stall",
        &on_stall,
        "--on-done",
        &done.path,
        &bed.dm("snap"),
    ]);
    running.line_where(|line| line["type"] == "run");
    let waited = Hook::new("hook-wait", "");
    let waiter = Waiter::start(&[
        "--on-stall",
        &waited.path,
        "--on-done",
        &waited.path,
        "--stall-after",
        "40s",
        &bed.dm("origin"),
    ]);
    for _ in 0..2 {
        dmsetup(&["suspend", "--noflush", "--nolockfs", &bed.dm("cow")]);
        wait_for_calls(&stall, 1);
        std::thread::sleep(Duration::from_secs(2));
        dmsetup(&["resume", &bed.dm("cow")]);
    }
    let begun = Instant::now();
    let ended = running.wait().expect(0);
    // The hook that hangs holds up no more than the end, and that not for long.
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
    assert!(ended.stderr.contains("is left to itself"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("hook-done.sh` (done of hook-origin) failed"),
        "{}",
        ended.stderr
    );
    let calls = stall.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert!(
        calls[0].starts_with("first argument|stall|hook-origin|stalled|suspended|4|"),
        "{calls:?}"
    );
    assert!(calls[0].contains("hook-cow"), "{calls:?}");
    assert_eq!(done.calls().len(), 1);
    assert!(
        done.calls()[0].starts_with("|done|hook-origin|finished|finished|0|"),
        "{:?}",
        done.calls()
    );
    assert_eq!(waiter.end(0)["state"], "finished");
    assert_eq!(waited.calls().len(), 1, "{:?}", waited.calls());
    assert!(bed.image("origin") == content, "the origin differs from the snapshot");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_failure_is_told_and_a_missing_command_found_before_anything_begins() {
    let bed = Testbed::new("hookfail", 16, 8);
    bed.write_snapshot((0..300).map(|i| i * 7), 3);
    bed.slow_down(4);
    let before = dmsetup(&["table"]);
    for option in ["--on-done", "--on-stall"] {
        let refused = merge_ctl(&["start", "--yes", option, "/no/such/program x", &bed.dm("snap")]);
        assert!(refused.stderr.contains("/no/such/program"), "{}", refused.stderr);
        refused.expect(2);
    }
    assert_eq!(dmsetup(&["table"]), before);
    let done = Hook::new("hookfail-done", "");
    let mut running = Running::start(&[
        "start",
        "--yes",
        "--output",
        "json",
        "--on-done",
        &done.path,
        &bed.dm("snap"),
    ]);
    running.line_where(|line| line["type"] == "run");
    bed.fail_writes("cow");
    running.wait().expect(5);
    let calls = done.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert!(calls[0].starts_with("|done|hookfail-origin|failed|failed|5|"), "{calls:?}");
}
