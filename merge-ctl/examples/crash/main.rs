//! What `cargo xtask crash` runs in its VM at each boot: what the power cut left is put right and
//! judged, then the next merge begins, and the host cuts the power again.
//!
//!     crash PLAN        in a VM: a plan is what the host knows, as JSON
//!
//! What it says on standard output, a line each, is how the host knows when to cut, and what was
//! durable by then:
//!
//! ```text
//! @recovering              what the last cut left is about to be put right
//! @verdict {"ok":…}        and has been judged
//! @ready                   a stack stands, and merge-ctl is about to begin
//! @state merging           what the devices are in now
//! @durable 17              so many writes on the merging origin are on the medium
//! @trouble …               the writer met an error, which must not be
//! @held suspend            merge-ctl is held right after this step: cut now
//! @ended 0                 merge-ctl has ended
//! ```

#![expect(clippy::unwrap_used, reason = "a test program panics where it fails")]

mod content;
mod offline;
mod recovery;
mod stack;
#[path = "../../tests/vm/crash/stepper.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod stepper;
#[path = "../../tests/vm/testbed.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod testbed;
mod watch;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use content::Content;
use stack::{Kind, Stack, disk, path};
use stepper::{Progress, Stepper};
use testbed::{open_direct, run};
use watch::{State, Watch};

const STATE: &str = "/mnt/state";

/// What the host wants of this boot.
#[derive(Deserialize)]
struct Plan {
    /// The disks are new.
    fresh: bool,
    /// What was cut.
    recover: Option<Round>,
    /// What is to be cut next.
    next: Option<Round>,
}

/// One merge to be cut, or that was.
#[derive(Clone, Deserialize)]
pub(crate) struct Round {
    /// Fixes the content.
    seed: u64,
    kind: Kind,
    /// Hold merge-ctl after so many steps.
    step: Option<u32>,
    /// So many writes on the merging origin are known to be durable.
    durable: u64,
    /// The kernel was seen merging.
    begun: bool,
    /// Of an offline merge.
    #[serde(default)]
    options: Vec<String>,
}

/// Tells the host.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "@{line}").and_then(|()| out.flush()).unwrap();
}

fn main() {
    let plan = std::env::args().nth(1).unwrap();
    let plan: Plan = serde_json::from_str(&plan).unwrap();
    let rounds = [&plan.recover, &plan.next];
    match rounds.iter().any(|round| round.as_ref().is_some_and(|round| round.kind != Kind::Offline))
    {
        true => prepare(plan.fresh),
        false => drop(run("modprobe", &["dm-snapshot"])),
    }
    if let Some(round) = &plan.recover {
        say("recovering");
        let began = std::time::Instant::now();
        let verdict = recovery::recover(round);
        let seconds = began.elapsed().as_secs_f64();
        let (ok, words) = match verdict {
            Ok(words) => (true, words),
            Err(words) => (false, words),
        };
        say(&format!(
            "verdict {}",
            serde_json::json!({"ok": ok, "words": words, "seconds": seconds})
        ));
        if !ok {
            explain_on_stderr();
            std::process::exit(1);
        }
    }
    match &plan.next {
        Some(round) if round.kind == Kind::Offline => offline::begin(round),
        Some(round) => begin(round),
        None => {}
    }
}

/// Modules, the journals' file system, the volume group.
fn prepare(fresh: bool) {
    for module in ["dm-snapshot", "ext4"] {
        run("modprobe", &[module]);
    }
    let state = disk("state");
    let state = state.to_str().unwrap();
    if fresh {
        // The disks here tear what real ones do not, a superblock among them: without checksums, one
        // that is half old and half new can be mounted.
        let features = "^orphan_file,^metadata_csum_seed,^metadata_csum";
        run("mkfs.ext4", &["-q", "-F", "-O", features, state]);
    }
    fs::create_dir_all(STATE).unwrap();
    run("mount", &["-t", "ext4", state, STATE]);
    if fresh {
        stack::create_group();
        stack::flush_group();
    }
}

/// What a person would look at.
fn explain_on_stderr() {
    let looks: [&[&str]; 4] = [
        &["dmsetup", "table"],
        &["dmsetup", "status"],
        &["dmsetup", "info", "-c"],
        &["find", STATE, "-type", "f", "-exec", "cat", "{}", ";"],
    ];
    for look in looks {
        let output = Command::new(look[0]).args(&look[1..]).output().unwrap();
        eprintln!("{}:\n{}", look.join(" "), String::from_utf8_lossy(&output.stdout));
    }
}

/// Sets a stack up, and merges until the power goes.
fn begin(round: &Round) {
    let stack = Stack::new(round.kind, round.seed);
    let content = Content::of(round.seed);
    stack.set_up(&content);
    stack::flush_group();
    say("ready");
    let watch = Watch::new();
    thread::scope(|scope| {
        scope.spawn(|| watch.follow(stack.origin(), stack.snapshot()));
        scope.spawn(|| write_while_merging(&content, &watch, &path(stack.origin())));
        let arguments = ["merge-ctl", "start", "--yes", "--output", "json", stack.snapshot_name()];
        let code = match round.step {
            Some(step) => hold_at(&arguments, step),
            None => to_its_end(&arguments),
        };
        say(&format!("ended {code}"));
        // The host cuts the power; at the latest now.
        thread::sleep(Duration::from_secs(30));
        watch.end();
    });
    panic!("the power was not cut");
}

fn to_its_end(arguments: &[&str]) -> i32 {
    let status = Command::new(arguments[0])
        .args(&arguments[1..])
        .env("MERGE_CTL_STATE_DIR", STATE)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    status.code().unwrap_or(-1)
}

/// Holds merge-ctl after so many steps, for the power to go just there.
fn hold_at(arguments: &[&str], steps: u32) -> i32 {
    let variable = format!("MERGE_CTL_STATE_DIR={STATE}");
    let command = [&["env", &variable], arguments].concat();
    let mut stepper = Stepper::start(&command);
    for at in 1.. {
        match stepper.next() {
            Progress::Ended(code) => return code,
            Progress::Held(step) if at == steps => {
                say(&format!("held {step}"));
                thread::sleep(Duration::from_secs(30));
            }
            Progress::Held(_) => {}
        }
    }
    unreachable!("it ends, or is held")
}

/// Writes on the origin from when the merge has begun, and says what is durable.
fn write_while_merging(content: &Content, watch: &Watch, origin: &Path) {
    while watch.state() < State::Merging {
        if watch.is_over() {
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
    if watch.state() > State::Finished {
        return;
    }
    let file = open_direct(origin);
    for turn in 0.. {
        if watch.is_over() {
            return;
        }
        if let Err(error) = content.write_during(&file, turn) {
            say(&format!("trouble writing to the merging origin: {error}"));
            return;
        }
        say(&format!("durable {}", turn + 1));
        thread::sleep(Duration::from_millis(10));
    }
}
