//! After the cut: what an operator would type, and then the verdict, which trusts none of it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::content::Content;
use crate::offline;
use crate::stack::{self, Kind, Stack, activate_group, create_lower, path};
use crate::testbed::{AlignedBuffer, BLOCK, SECTOR, open_direct};
use crate::watch::{State, wait_for};
use crate::{Round, STATE, to_its_end};

/// The slowest merge here takes seconds; LVM's own poller looks every fifteen.
const PATIENCE: Duration = Duration::from_secs(90);

/// Puts right what the cut left, and judges it; in words what there was, or what is wrong.
pub(crate) fn recover(round: &Round) -> Result<String, String> {
    let stack = Stack::new(round.kind, round.seed);
    let content = Content::of(round.seed);
    let mut words = Vec::new();
    let found = match stack.kind {
        Kind::Raw => recover_raw(round, stack, &mut words)?,
        Kind::Lvm => recover_lvm(stack, &mut words)?,
        Kind::Offline => return offline::recover(round),
    };
    let durable = match found {
        Found::Merged => round.durable,
        Found::NotBegun if round.begun => {
            return Err("the merge had begun, and is forgotten".into());
        }
        Found::NotBegun => {
            words.push("as before the merge".to_owned());
            check_not_begun(stack, &content)?;
            merge_now(stack)?;
            0
        }
    };
    content.check(&path(stack.origin()), &content.merged(durable))?;
    check_at_rest(stack)?;
    Ok(words.join(", "))
}

/// What there is after the recovery.
enum Found {
    /// The origin is plain; the merge is over.
    Merged,
    /// The snapshot is there as ever.
    NotBegun,
}

fn recover_raw(round: &Round, stack: Stack, words: &mut Vec<String>) -> Result<Found, String> {
    let said = merge_ctl(&["resume", "--yes"])?;
    words.push(format!("resume: {}", said.lines().last().unwrap_or("nothing")));
    if !path(stack.origin()).exists() {
        return without_journal(round, stack, words);
    }
    let settled = [State::Before, State::Finished, State::Done, State::Failed];
    match wait_for(&settled, stack.origin(), stack.snapshot(), PATIENCE)? {
        State::Before => Ok(Found::NotBegun),
        State::Finished => Ok(Found::Merged),
        state => Err(format!("resume left the merge {}: {said}", state.word())),
    }
}

/// merge-ctl knows of nothing: only right where there was nothing to know.
fn without_journal(round: &Round, stack: Stack, words: &mut Vec<String>) -> Result<Found, String> {
    create_lower();
    let empty = store_is_empty()?;
    match (round.begun, empty) {
        (true, false) => Err("the merge had begun, is not done, and resume knows nothing".into()),
        (_, true) => {
            words.push("the merge was over".to_owned());
            let table =
                format!("0 {} linear /dev/mapper/raw-real 0", crate::content::ORIGIN_SECTORS);
            crate::testbed::dmsetup(&["create", stack.origin(), "--table", &table]);
            Ok(Found::Merged)
        }
        (false, false) => {
            stack.create_upper();
            Ok(Found::NotBegun)
        }
    }
}

fn recover_lvm(stack: Stack, words: &mut Vec<String>) -> Result<Found, String> {
    activate_group();
    let settled = [State::Before, State::Finished, State::Done, State::Failed];
    let state = wait_for(&settled, stack.origin(), stack.snapshot(), PATIENCE)?;
    words.push(format!("after activation: {}", state.word()));
    match state {
        State::Before => return Ok(Found::NotBegun),
        State::Finished => {}
        State::Done => {
            // lvm2's own poller may be faster, and then there is nothing to finish.
            let said = merge_ctl(&["finish", "crash/data"]);
            words.push(format!("finish: {}", said.unwrap_or_else(|words| words)));
            wait_for(&[State::Finished], stack.origin(), stack.snapshot(), PATIENCE)?;
        }
        state => return Err(format!("the merge is {}", state.word())),
    }
    Ok(Found::Merged)
}

/// The kernel holds no more of the merge, and neither does anybody's record.
fn check_at_rest(stack: Stack) -> Result<(), String> {
    wait_for(&[State::Finished], stack.origin(), stack.snapshot(), Duration::ZERO)?;
    let suspended =
        crate::testbed::dmsetup(&["info", "-c", "--noheadings", "-o", "name,suspended"]);
    if suspended.lines().any(|line| line.ends_with(":Suspended")) {
        return Err(format!("something is suspended: {suspended}"));
    }
    match stack.kind {
        Kind::Raw | Kind::Offline if !store_is_empty()? => Err("the store is not empty".into()),
        Kind::Raw | Kind::Offline => match journals() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("journals are left: {left:?}")),
        },
        Kind::Lvm => {
            let volumes = stack::volumes();
            match volumes.contains("snap") {
                true => Err(format!("lvm2 still has the snapshot: {volumes}")),
                false => Ok(()),
            }
        }
    }
}

/// The journals of merges that are not over.
fn journals() -> Vec<String> {
    let directory = Path::new(STATE).join("lib/merges");
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.strip_suffix(".merge").is_some()).collect()
}

fn check_not_begun(stack: Stack, content: &Content) -> Result<(), String> {
    content.check(&path(stack.snapshot()), &Content::only(|block| content.in_snapshot(block)))?;
    content.check(&path(stack.origin()), &Content::only(|block| content.on_origin_before(block)))
}

/// Begins anew what had not begun.
fn merge_now(stack: Stack) -> Result<(), String> {
    let arguments = ["merge-ctl", "start", "--yes", "--output", "json", stack.snapshot_name()];
    match to_its_end(&arguments) {
        0 => Ok(()),
        code => Err(format!("a second start ended with {code}")),
    }
}

/// Reads the store's first entry itself (`docs/exception-store.md`), from the disk: past the page cache, and whatever
/// devices there are above.
pub(crate) fn store_is_empty() -> Result<bool, String> {
    let file: File = open_direct(&stack::disk("cow"));
    let mut buffer = AlignedBuffer::new(BLOCK);
    let mut read = |at: u64| {
        file.read_exact_at(buffer.as_mut(), stack::COW_AT * SECTOR + at)
            .map_err(|error| error.to_string())?;
        Ok::<_, String>(buffer.as_mut().to_vec())
    };
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let header = read(0)?;
    if word(&header, 0) != 0x7041_6e53 || word(&header, 4) != 1 {
        return Err(format!("the store has no valid header: {:02x?}", &header[..16]));
    }
    let area = read(u64::from(word(&header, 12)) * 512)?;
    Ok(area[8..16].iter().all(|byte| *byte == 0))
}

/// Runs merge-ctl; what it said, as an error if it failed.
fn merge_ctl(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("merge-ctl")
        .args(arguments)
        .env("MERGE_CTL_STATE_DIR", STATE)
        .output()
        .map_err(|error| error.to_string())?;
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    match output.status.success() {
        true => Ok(said),
        false => Err(format!("merge-ctl {}: {}: {said}", arguments.join(" "), output.status)),
    }
}
