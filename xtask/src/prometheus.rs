//! Debian's Prometheus, for the tests: unpacked below `target`, never installed, for an installed one is
//! started and listens on all addresses.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::packages;
use crate::run::{Command, say};
use crate::workspace::Workspace;

/// The programs of it that are used.
pub(crate) struct Prometheus {
    /// The server.
    pub(crate) server: PathBuf,
    /// What checks metrics and rules.
    pub(crate) promtool: PathBuf,
}

/// The one on PATH, the one that was unpacked, or a new one. None where it cannot be had, which is said.
pub(crate) fn ensure(workspace: &Workspace) -> Option<Prometheus> {
    match found().map_or_else(|| unpacked(workspace), Ok) {
        Ok(prometheus) => Some(prometheus),
        Err(error) => {
            say(format_args!(
                "no Prometheus on this machine: the tests that use it are left out ({error:#})"
            ));
            None
        }
    }
}

fn found() -> Option<Prometheus> {
    let (server, promtool) = (packages::find("prometheus")?, packages::find("promtool")?);
    Some(Prometheus { server, promtool })
}

fn unpacked(workspace: &Workspace) -> Result<Prometheus> {
    let root = workspace.tools().join("prometheus");
    if !root.is_dir() {
        unpack_into(&workspace.tools(), &root)?;
    }
    let program = |name: &str| -> Result<PathBuf> {
        let file = root.join("usr/bin").join(name);
        if !file.is_file() {
            bail!("there is no {name} in Debian's package");
        }
        Ok(file)
    };
    Ok(Prometheus { server: program("prometheus")?, promtool: program("promtool")? })
}

/// A download needs no root; new lists of what there is do.
fn unpack_into(above: &Path, root: &Path) -> Result<()> {
    if !packages::has_apt() {
        bail!("it is not installed, and there is no apt");
    }
    say("getting Prometheus, to be unpacked and not installed: 19 MB, once");
    fs::create_dir_all(above)?;
    let half = tempfile::Builder::new().prefix(".half-").tempdir_in(above)?;
    let download = || {
        Command::new("apt-get").dir(half.path()).args(["-qq", "download", "prometheus"]).quietly()
    };
    download().or_else(|error| {
        if !rustix::process::geteuid().is_root() {
            return Err(error);
        }
        Command::new("apt-get").args(["-qq", "update"]).quietly()?;
        download()
    })?;
    let mut files = fs::read_dir(half.path())?;
    let deb = files.next().context("apt-get download left no file")??.path();
    let tree = half.path().join("tree");
    Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&tree).quietly()?;
    fs::rename(&tree, root).with_context(|| format!("cannot make {}", root.display()))
}
