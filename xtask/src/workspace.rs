//! Where things lie: the sources, what is built from them, and what outlives a clone.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::run::Command;

/// The directories that the tasks work in.
pub(crate) struct Workspace {
    /// The root of the checkout.
    pub(crate) root: PathBuf,
    /// Where cargo builds: `CARGO_TARGET_DIR`, or `target` in the checkout.
    pub(crate) target: PathBuf,
    /// What is worth keeping for the next clone on this machine: kernels, the BPF linker, cargo-fuzz.
    pub(crate) cache: PathBuf,
}

impl Workspace {
    /// Finds them from where xtask was built and from the environment.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask does not lie in a workspace")?
            .to_owned();
        let target = env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), |dir| root.join(PathBuf::from(dir)));
        Ok(Self { cache: user_cache(&root), target, root })
    }

    /// The eBPF object. `.cargo/config.toml` names this place to merge-ctl's build script, so it
    /// does not follow `CARGO_TARGET_DIR`.
    pub(crate) fn ebpf_object(&self) -> PathBuf {
        self.root.join("target/ebpf/merge-ebpf")
    }

    /// The bpf-linker that belongs to this checkout.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join("target/tools")
    }

    /// The cargo that runs us, in the root of the checkout.
    pub(crate) fn cargo(&self) -> Command {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        self.with_cargo(cargo.into())
    }

    /// A program that is cargo, or calls it, in the root of the checkout.
    pub(crate) fn with_cargo(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        command.dir(&self.root);
        // Set by cargo for us; a nested cargo would take them as the user's wishes.
        command.unset("CARGO_MANIFEST_DIR").unset("CARGO_PKG_NAME").unset("RUSTFLAGS");
        command
    }
}

/// `$XDG_CACHE_HOME/merge-ctl`, `~/.cache/merge-ctl`, or a place in the checkout.
fn user_cache(root: &Path) -> PathBuf {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(home)
        .map_or_else(|| root.join("target/cache"), |cache| cache.join("merge-ctl"))
}
