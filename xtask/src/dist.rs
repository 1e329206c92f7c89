//! `cargo xtask dist`: what is published, in `target/dist`.
//!
//! A static binary with the eBPF programs inside; two Debian packages and one for rpm; an archive of the same
//! files for everybody else; a bill of materials; checksums. docs/packaging.md says what is in them, and why.
//!
//! Always holds: the same sources, compilers and tools give the same bytes, wherever and whenever they are
//! built. Time is that of the last commit, or `SOURCE_DATE_EPOCH`; paths are remapped; archives are sorted.
//! `--check` builds a second time from a copy elsewhere, and compares.

mod again;
mod archive;
mod binary;
mod copyright;
mod crates;
mod deb;
mod moment;
mod rpm;
mod sbom;
mod stage;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::run::Command;
use crate::setup;
use crate::workspace::Workspace;
use moment::Moment;
use stage::Stage;

/// What is published carries it.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const SUMS: &str = "SHA256SUMS";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build a second time, from a copy of the sources elsewhere, and compare every byte
    #[arg(long)]
    check: bool,
}

/// Makes all of it, and says what there is.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::tools(workspace)?;
    let moment = Moment::of(workspace)?;
    let made = make(workspace, moment)?;
    if args.check {
        again::compare(workspace, moment, &made)?;
    }
    for file in files(&made)? {
        println!("{}", file.display());
    }
    Ok(())
}

/// Where it is put.
pub(crate) fn directory(workspace: &Workspace) -> PathBuf {
    workspace.target.join("dist")
}

/// The Debian packages, of this program or of the one that is published: merge-ctl's, and that of its boot hooks.
pub(crate) fn debian_packages(
    workspace: &Workspace,
    program: Option<&Path>,
) -> Result<[PathBuf; 2]> {
    let moment = Moment::of(workspace)?;
    let stage = match program {
        Some(program) => Stage::make(workspace, moment, program)?,
        None => staged(workspace, moment)?,
    };
    let out = workspace.target.join("dist-build/debian");
    remade(&out)?;
    deb::make(workspace, moment, &stage, &out)
}

fn make(workspace: &Workspace, moment: Moment) -> Result<PathBuf> {
    let out = directory(workspace);
    remade(&out)?;
    let stage = staged(workspace, moment)?;
    fs::copy(stage.binary(), out.join("merge-ctl"))?;
    deb::make(workspace, moment, &stage, &out)?;
    rpm::make(workspace, moment, &stage, &out)?;
    archive::make(moment, &stage, &out)?;
    sbom::write(workspace, &out.join(format!("merge-ctl-{VERSION}.cdx.json")))?;
    sums(&out)?;
    Ok(out)
}

/// All files as they are installed.
fn staged(workspace: &Workspace, moment: Moment) -> Result<Stage> {
    let binary = binary::build(workspace)?;
    Stage::make(workspace, moment, &binary)
}

fn remade(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))
}

/// In the form that sha256sum(1) checks.
fn sums(out: &Path) -> Result<()> {
    let mut sum = Command::new("sha256sum");
    sum.dir(out).arg("--");
    for file in files(out)? {
        sum.arg(file.file_name().context("a file without a name")?);
    }
    Ok(fs::write(out.join(SUMS), sum.output()?)?)
}

/// Sorted.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    files.sort();
    if files.is_empty() {
        bail!("there is nothing in {}", directory.display());
    }
    Ok(files)
}
