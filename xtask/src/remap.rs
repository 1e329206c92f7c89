//! The builder's paths, kept out of what is built: the same sources give the same bytes wherever they lie.

use std::env;
use std::path::PathBuf;

use crate::run::Command;
use crate::workspace::Workspace;

/// What the compiler is to call the checkout, the sources of crates and its own.
pub(crate) fn flags(workspace: &Workspace) -> Vec<String> {
    let names = [
        (Some(workspace.root.clone()), "/merge-ctl"),
        (cargo_home().map(|home| home.join("registry/src")), "/crates"),
        (sysroot(), "/rust"),
    ];
    let known = names.into_iter().filter_map(|(path, name)| Some((path?, name)));
    known.map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display())).collect()
}

/// Where cargo keeps the sources of crates.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}

/// Where the compiler lies; the standard library's sources are below it, if they are there.
fn sysroot() -> Option<PathBuf> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).args(["--print", "sysroot"]).output().ok()?;
    Some(PathBuf::from(said.trim()))
}
