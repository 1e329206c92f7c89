use std::fs;
use std::future::pending;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use merge_ctl::dm::SnapshotStatus;
use merge_ctl::model::{DEFAULT_STALL_AFTER_NS, State};
use merge_ctl::sample::{KernelView, MergeIdentity, Owner, ProbeReport, ProbeTier, Sample};
use merge_ctl::units::{ChunkSize, DeviceNumber, Sectors};

use super::*;

const S: u64 = 1_000_000_000;

fn sample(at_s: u64, kernel: KernelView) -> Sample {
    Sample::of(at_s * S, at_s, kernel)
}

fn merging(status: &str) -> KernelView {
    let Some(usage) = SnapshotStatus::parse(status).usage() else { panic!("{status}") };
    KernelView::Merging {
        allocated: usage.allocated,
        total: usage.total,
        metadata: usage.metadata,
        suspended: false,
    }
}

fn begun(origin: &str) -> Model {
    let dev = |minor| DeviceNumber { major: 253, minor };
    let identity = MergeIdentity {
        origin: origin.to_owned(),
        origin_label: origin.to_owned(),
        snapshot_label: None,
        origin_dev: dev(0),
        real_dev: dev(1),
        cow_dev: dev(2),
        real_label: String::new(),
        cow_label: String::new(),
        owner: Owner::DeviceMapper,
        finished_here: true,
        driven_by: None,
        chunk_size: ChunkSize::from_sectors(8).unwrap(),
        size: Sectors(8000),
        siblings: Vec::new(),
        kernel: String::new(),
        probes: ProbeReport { tier: ProbeTier::None, missing: Vec::new() },
        offline: None,
    };
    Model::first(identity, &sample(0, merging("96/1000 16")), DEFAULT_STALL_AFTER_NS)
}

fn stalled(origin: &str) -> Model {
    let model = begun(origin).next(&sample(6, merging("96/1000 16")));
    assert_eq!(model.state, State::Stalled);
    model
}

fn failed(origin: &str) -> Model {
    begun(origin).next(&sample(7, KernelView::MergeFailed))
}

fn hooks(on_stall: Option<&str>, on_done: Option<&str>, dashboard: bool) -> Hooks {
    let parse = |text: &str| HookCommand::parse(text).unwrap();
    let options = HookOptions { on_stall: on_stall.map(parse), on_done: on_done.map(parse) };
    Hooks::new(&options, dashboard)
}

/// Waits for all hooks to end and gives the news of them.
fn ended(hooks: &mut Hooks) -> Vec<String> {
    let begin = Instant::now();
    while !hooks.all_ended() {
        assert!(begin.elapsed() < Duration::from_secs(20), "a hook does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    hooks.news()
}

/// A script that does not go through the quoting of a command line.
fn script(directory: &TempDir, name: &str, body: &str) -> String {
    let path = directory.path().join(name);
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[test]
fn words_are_split_by_quotes_and_nothing_is_expanded() {
    let hook = HookCommand::parse(r#"/bin/sh -c 'a "b"  $x' "two words" *"#).unwrap();
    assert_eq!(hook.program, Path::new("/bin/sh"));
    assert_eq!(hook.arguments, ["-c", "a \"b\"  $x", "two words", "*"]);
    assert!(HookCommand::parse("sh").unwrap().program.is_absolute());
}

#[test]
fn a_relative_path_is_from_where_it_was_said() {
    let directory = TempDir::new().unwrap();
    let absolute = script(&directory, "hook", "");
    let here = env::current_dir().unwrap();
    let up = "../".repeat(here.components().count() - 1);
    let relative = format!("{up}{}", absolute.trim_start_matches('/'));
    let program = HookCommand::parse(&relative).unwrap().program;
    assert_eq!(program, here.join(&relative));
    assert!(program.is_absolute() && is_program(&program));
}

#[test]
fn a_command_that_is_not_there_is_found_out_at_once() {
    for text in
        ["", "  ", "''", "'unclosed", "no-such-program-anywhere x", "/no/such", "/etc/passwd", "/"]
    {
        HookCommand::parse(text).unwrap_err();
    }
}

#[test]
fn a_stall_and_the_outcome_are_told_once_each_with_their_facts() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let body = format!(
        "echo \"$MERGE_CTL_EVENT $MERGE_CTL_ORIGIN $MERGE_CTL_STATE $MERGE_CTL_EXIT $#\" >>{}",
        log.display()
    );
    let hook = script(&directory, "hook", &body);
    let command = format!("{hook} 'a b' c");
    let mut hooks = hooks(Some(&command), Some(&command), true);
    let hostile = "x'; touch /tmp/y; $(z)";
    for model in [begun(hostile), stalled(hostile), stalled(hostile), failed(hostile)] {
        hooks.see(&model);
        assert_eq!(ended(&mut hooks), [""; 0]);
    }
    hooks.see(&failed(hostile));
    hooks.see_last(&failed(hostile));
    assert_eq!(ended(&mut hooks), [""; 0]);
    let lines = fs::read_to_string(log).unwrap();
    assert_eq!(lines, format!("stall {hostile} stalled 4 2\ndone {hostile} failed 5 2\n"));
}

#[test]
fn a_hook_that_fails_is_told_with_its_last_words() {
    let mut hooks =
        hooks(Some("/bin/sh -c 'echo one; printf \"t\\033wo\\n\" >&2; exit 3'"), None, true);
    hooks.see(&stalled("x"));
    let news = ended(&mut hooks).join("\n");
    assert!(news.contains("exit status: 3") && news.contains(": t\\x1bwo."), "{news}");
}

#[test]
fn a_hook_that_hangs_holds_nobody_up_and_is_not_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let count = directory.path().join("count");
    let hook = script(
        &directory,
        "hook",
        &format!(
            "echo x >>{0}; for i in $(seq 400); do [ -e {0}.go ] && break; sleep 0.05; done",
            count.display()
        ),
    );
    let mut hooks = hooks(Some(&hook), None, false);
    let begin = Instant::now();
    hooks.see(&stalled("x"));
    let mut later = stalled("x");
    later.stalls.back_mut().unwrap().started_ns += 1;
    for _ in 0..20 {
        hooks.see(&later);
    }
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(hooks.running.len(), 1);
    fs::write(count.with_extension("go"), "").unwrap();
    ended(&mut hooks);
    // The other stall still lasts, and its turn has come.
    hooks.see(&later);
    ended(&mut hooks);
    assert_eq!(fs::read_to_string(count).unwrap(), "x\nx\n");
}

#[test]
fn so_many_run_at_once_and_no_outcome_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    let body = format!(
        "for i in $(seq 400); do [ -e {} ] && break; sleep 0.05; done; echo >>{}",
        go.display(),
        go.with_extension("log").display()
    );
    let mut hooks = hooks(None, Some(&script(&directory, "hook", &body)), false);
    for i in 0..AT_ONCE + 3 {
        hooks.see(&failed(&format!("origin{i}")));
    }
    assert_eq!((hooks.running.len(), hooks.waiting.len()), (AT_ONCE, 3));
    fs::write(&go, "").unwrap();
    ended(&mut hooks);
    let lines = fs::read_to_string(go.with_extension("log")).unwrap();
    assert_eq!(lines.lines().count(), AT_ONCE + 3);
}

#[test]
fn a_hook_that_talks_without_end_fills_nothing() {
    let mut hooks = hooks(Some("/bin/sh -c 'yes | head -c 300000; echo; echo end'"), None, true);
    hooks.see(&stalled("x"));
    let begin = Instant::now();
    while !hooks.all_ended() {
        assert!(hooks.running[0].output.as_ref().unwrap().bytes.len() <= TAIL_BYTES);
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
    assert_eq!(hooks.news(), ["end"]);
}

#[tokio::test(flavor = "current_thread")]
async fn an_interrupt_ends_the_waiting_and_leaves_the_hook() {
    let mut hooks = hooks(Some("sleep 12"), None, true);
    hooks.see(&stalled("x"));
    let begin = Instant::now();
    hooks.end(tokio::time::sleep(Duration::from_millis(50))).await;
    assert!(begin.elapsed() < PATIENCE / 2 && hooks.running.is_empty());
    hooks.end(pending()).await;
}
