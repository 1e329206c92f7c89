//! An offline merge that is cut, and the kernel that goes on from what is left: no merge-ctl takes part in that.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::content::{Content, ORIGIN_SECTORS};
use crate::recovery::store_is_empty;
use crate::stack::{Stack, create_lower, disk, path};
use crate::testbed::{AlignedBuffer, SECTOR, dmsetup, open_direct};
use crate::{Round, say};

/// The slowest merge here takes seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// Makes an origin and a COW device with nothing above them, and merges until the power goes.
pub(crate) fn begin(round: &Round) {
    let stack = Stack::new(round.kind, round.seed);
    let content = Content::of(round.seed);
    stack.set_up(&content);
    for upper in [stack.origin(), stack.snapshot()] {
        dmsetup(&["remove", "--retry", upper]);
    }
    for serial in ["real", "cow"] {
        File::open(disk(serial)).unwrap().sync_all().unwrap();
    }
    say("ready");
    let [real, cow] = [path("raw-real"), path("raw-cow")];
    let status = Command::new("merge-ctl")
        .args(["start", "--offline", "--yes", "--output", "plain", "--origin-device"])
        .args([real.as_os_str(), "--cow-device".as_ref(), cow.as_os_str()])
        .args(&round.options)
        .stdout(fs::OpenOptions::new().write(true).open("/dev/null").unwrap())
        .status()
        .unwrap();
    say(&format!("ended {}", status.code().unwrap_or(-1)));
    // The host cuts the power; at the latest now.
    thread::sleep(Duration::from_secs(30));
    panic!("the power was not cut");
}

/// Loads a plain snapshot-merge target: its view is right at once, and when the kernel has merged what was left.
pub(crate) fn recover(round: &Round) -> Result<String, String> {
    let stack = Stack::new(round.kind, round.seed);
    let content = Content::of(round.seed);
    let promised = Content::only(|block| content.in_snapshot(block));
    create_lower();
    let chunk = stack.chunk_sectors();
    let table = format!(
        "0 {ORIGIN_SECTORS} snapshot-merge /dev/mapper/raw-real /dev/mapper/raw-cow P {chunk}"
    );
    dmsetup(&["create", stack.origin(), "--table", &table]);
    let words = match usage(stack.origin()) {
        (allocated, metadata) if allocated == metadata => "nothing left to merge".to_owned(),
        (allocated, metadata) => format!("{} chunks left", (allocated - metadata) / chunk),
    };
    let at = |when: &str| {
        let when = when.to_owned();
        move |wrong: String| format!("{when}: {wrong}")
    };
    content.check(&path(stack.origin()), &promised).map_err(at("right after the load"))?;
    wait_merged(stack.origin())?;
    content.check(&path(stack.origin()), &promised).map_err(at("once it is merged"))?;
    dmsetup(&["remove", "--retry", stack.origin()]);
    content.check(&path("raw-real"), &promised).map_err(at("on the origin itself"))?;
    if !store_is_empty()? {
        return Err("the store is not empty".to_owned());
    }
    nothing_can_come_back((chunk * SECTOR) as usize)?;
    Ok(words)
}

/// The first area of the store is all zeroes: the kernel reads it whole when it uses the store again, and
/// what stood behind the end would come back once it has filled the area up to there.
fn nothing_can_come_back(chunk_bytes: usize) -> Result<(), String> {
    let mut buffer = AlignedBuffer::new(chunk_bytes);
    let cow = open_direct(&path("raw-cow"));
    cow.read_exact_at(buffer.as_mut(), chunk_bytes as u64).map_err(|error| error.to_string())?;
    match buffer.as_mut().iter().position(|byte| *byte != 0) {
        None => Ok(()),
        Some(at) => Err(format!("the first area is not clear at byte {at}")),
    }
}

/// Sectors in use and those of the metadata, by the status line.
fn usage(name: &str) -> (u64, u64) {
    let status = dmsetup(&["status", name]);
    let words: Vec<&str> = status.split_whitespace().collect();
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{status}"));
    let (allocated, _) = words[3].split_once('/').unwrap_or_else(|| panic!("{status}"));
    (number(allocated), number(words[4]))
}

/// Waits as long as the kernel gets on with it.
fn wait_merged(name: &str) -> Result<(), String> {
    let (began, first) = (Instant::now(), usage(name));
    let (mut moved, mut last) = (began, first);
    loop {
        match usage(name) {
            (allocated, metadata) if allocated == metadata => return Ok(()),
            now if now != last => (moved, last) = (Instant::now(), now),
            _ if moved.elapsed() > PATIENCE => {
                let status = dmsetup(&["status", name]);
                let before = moved.duration_since(began).as_secs();
                return Err(format!(
                    "the kernel merged for {before} s from {first:?} sectors, and not since: {status}"
                ));
            }
            _ => thread::sleep(Duration::from_millis(5)),
        }
    }
}
