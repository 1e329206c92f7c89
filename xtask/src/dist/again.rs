//! The second build, of a copy of the sources that lies elsewhere, and the comparison.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::moment::Moment;
use super::{files, make};
use crate::run::{Command, say};
use crate::workspace::Workspace;

/// Fails where a byte differs, and says in which files.
pub(super) fn compare(workspace: &Workspace, moment: Moment, first: &Path) -> Result<()> {
    let above = tempfile::Builder::new().prefix("merge-again-").tempdir()?;
    // Not as long as the other's name, so that also lengths would show.
    let root = above.path().join("a/second/place");
    copy(workspace, above.path(), &root)?;
    say("building all of it a second time, elsewhere");
    let again = Workspace { target: root.join("target"), root, cache: workspace.cache.clone() };
    let second = make(&again, moment)?;
    let (ours, theirs) = (files(first)?, files(&second)?);
    let names = |files: &[std::path::PathBuf]| -> Vec<_> {
        files.iter().filter_map(|file| file.file_name().map(ToOwned::to_owned)).collect()
    };
    if names(&ours) != names(&theirs) {
        bail!("the second build has other files");
    }
    let mut differ = Vec::new();
    for (one, other) in ours.iter().zip(&theirs) {
        if fs::read(one)? != fs::read(other)? {
            differ.push(one.file_name().unwrap_or_default().display().to_string());
        }
    }
    if !differ.is_empty() {
        let kept = above.keep();
        bail!(
            "not reproducible: {} (the second build is in {})",
            differ.join(", "),
            kept.display()
        );
    }
    say(format_args!("two builds, the same bytes: {} files", ours.len()));
    Ok(())
}

/// What git knows and does not ignore, as it is now.
fn copy(workspace: &Workspace, above: &Path, root: &Path) -> Result<()> {
    fs::create_dir_all(root)?;
    let list = above.join("list");
    let known = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .dir(&workspace.root)
        .output()
        .context("a second build needs a checkout of git")?;
    let there = known
        .split_inclusive('\0')
        .filter(|name| workspace.root.join(name.trim_end_matches('\0')).exists());
    fs::write(&list, there.collect::<String>())?;
    let tar = above.join("sources.tar");
    let mut pack = Command::new("tar");
    pack.dir(&workspace.root).args(["--create", "--null", "--file"]).arg(&tar);
    pack.arg("--files-from").arg(&list).quietly()?;
    File::open(&tar)?;
    Command::new("tar").dir(root).args(["--extract", "--file"]).arg(&tar).quietly()
}
