//! Build tools that come as crates, each built once for each version.
//!
//! A copy in the user's cache saves the next clone the minute that this takes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::run::{Command, say};
use crate::workspace::Workspace;

/// A program of the crate of the same name.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
}

impl Tool {
    /// The program, if this checkout or the user's cache has it.
    pub(crate) fn find(&self, workspace: &Workspace) -> Result<Option<PathBuf>> {
        let (path, kept) = (self.path(workspace), self.kept(workspace));
        if !path.is_file() {
            if !kept.is_file() {
                return Ok(None);
            }
            self.keep(&kept, &path)?;
        }
        Ok(Some(path))
    }

    /// The program, built if need be.
    pub(crate) fn ensure(&self, workspace: &Workspace) -> Result<PathBuf> {
        match self.find(workspace)? {
            Some(path) => Ok(path),
            None => self.build(workspace, |_| ()),
        }
    }

    /// Builds it, with what `how` adds to `cargo install`, and puts a copy into the cache.
    pub(crate) fn build(
        &self,
        workspace: &Workspace,
        how: impl FnOnce(&mut Command),
    ) -> Result<PathBuf> {
        let Self { name, version } = self;
        say(format_args!("building {name} {version}: minutes, once"));
        let mut cargo = workspace.cargo();
        cargo
            .args(["install", name, "--quiet", "--locked", "--version", version, "--no-track"])
            .arg("--root")
            .arg(self.root(workspace))
            .unset("CARGO_TARGET_DIR");
        how(&mut cargo);
        cargo.run().with_context(|| format!("{name} {version} does not install"))?;
        let path = self.path(workspace);
        if !path.is_file() {
            bail!("cargo install left no {name} in {}", self.root(workspace).display());
        }
        self.keep(&path, &self.kept(workspace))?;
        Ok(path)
    }

    /// One that was built into the checkout carries its version in its directory's name.
    fn path(&self, workspace: &Workspace) -> PathBuf {
        self.root(workspace).join("bin").join(self.name)
    }

    fn root(&self, workspace: &Workspace) -> PathBuf {
        workspace.tools().join(format!("{}-{}", self.name, self.version))
    }

    fn kept(&self, workspace: &Workspace) -> PathBuf {
        workspace.cache.join(format!("tools/{}-{}", self.name, self.version))
    }

    /// Copies under another name first: a half-written program must never be found.
    fn keep(&self, from: &Path, to: &Path) -> Result<()> {
        let dir = to.parent().context("a path without a directory")?;
        let copy = || -> Result<()> {
            fs::create_dir_all(dir)?;
            let half = dir.join(format!(".{}.{}", self.name, std::process::id()));
            fs::copy(from, &half)?;
            Ok(fs::rename(&half, to)?)
        };
        copy().with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
    }
}
