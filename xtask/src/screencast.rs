//! `cargo xtask screencast`: the moving picture of the dashboard in README, made from a real merge.
//!
//! The demo's merge is recorded in a VM; the recording is replayed by merge-ctl itself in a
//! pseudo-terminal, and what stands on that terminal becomes an SVG. Nothing in it is drawn by hand, and
//! it needs no font, script or network to be shown.

mod frames;
mod glyph;
mod svg;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::build;
use crate::run::say;
use crate::setup;
use crate::workspace::Workspace;
use frames::{Frame, Terminal};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Show this recording instead of one that is made for it
    #[arg(long, value_name = "FILE")]
    recording: Option<PathBuf>,
    /// Seconds of the merge for each second of the picture
    #[arg(long, default_value_t = 2)]
    speed: u32,
    /// Where the pictures go [default: docs/images]
    #[arg(long, value_name = "DIRECTORY")]
    to: Option<PathBuf>,
}

/// The terminal in the picture: columns, rows.
const SIZE: (NonZero<u16>, NonZero<u16>) = (NonZero::new(100).unwrap(), NonZero::new(30).unwrap());
/// Time between two frames: with less, the file is large and looks nervous.
const STEP: Duration = Duration::from_millis(500);
/// How long the last frame stands.
const LAST: Duration = Duration::from_secs(4);
/// A picture on the first page of a project has to load quickly.
const MOST_BYTES: usize = 400 << 10;

/// What runs in the VM: the demo, and then its recording on standard output.
const IN_VM: &str = "exec 3>&1 1>&2; demo --output plain --record /demo.mrec && cat /demo.mrec >&3";

/// Makes the pictures.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::tools(workspace)?;
    let merge_ctl = build::merge_ctl(workspace)?;
    let made = tempfile::tempdir().context("there is no place for a recording")?;
    let recording = match &args.recording {
        Some(file) => file.clone(),
        None => record(workspace, made.path())?,
    };
    say("replaying it in a terminal");
    let mut replay = Command::new(merge_ctl);
    replay.arg("replay").arg(&recording).args(["--output", "tui"]);
    replay.args(["--speed", &args.speed.to_string()]);
    let frames = Terminal::start(&mut replay, SIZE)?.film(STEP)?;
    let to = args.to.clone().unwrap_or_else(|| workspace.root.join("docs/images"));
    fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
    write(&to.join("dashboard.svg"), &svg::film(&frames, STEP, LAST))?;
    write(&to.join("dashboard-still.svg"), &svg::still(middle(&frames)?))
}

/// Records the demo's merge in a VM; returns the file.
fn record(workspace: &Workspace, directory: &Path) -> Result<PathBuf> {
    say("recording the demo's merge in a VM");
    let demo = build::demo(workspace)?;
    let file = directory.join("demo.mrec");
    let xtask = std::env::current_exe().context("cannot find this program")?;
    let copy: &OsStr = demo.as_ref();
    let status = Command::new(xtask)
        .args(["vm".as_ref(), "--copy".as_ref(), copy])
        .args(["--", "busybox", "sh", "-c", IN_VM])
        .stdout(File::create(&file)?)
        .status()
        .context("cannot start a VM")?;
    ensure!(status.success(), "the demo's merge was not recorded: {status}");
    Ok(file)
}

/// A frame from the middle says most.
fn middle(frames: &[Frame]) -> Result<&Frame> {
    frames.get(frames.len() / 2).context("the replay showed nothing")
}

fn write(path: &Path, svg: &str) -> Result<()> {
    ensure!(svg.len() <= MOST_BYTES, "{} would have {} KiB", path.display(), svg.len() >> 10);
    fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}: {} KiB", path.display(), svg.len() >> 10);
    Ok(())
}
