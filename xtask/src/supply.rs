//! `cargo xtask supply`: what others have written and is used here.
//!
//! Licences, sources and duplicates by cargo-deny, from the lock file alone; RustSec's advisories where their
//! database can be reached; and the oldest compiler that the manifests name. What cannot be had is left out
//! and said, never taken for passed.

use anyhow::{Context as _, Result, bail};

use crate::run::{Command, say};
use crate::tool::Tool;
use crate::workspace::Workspace;

const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };
/// What cargo-deny says where it could not get the database.
const UNREACHABLE: &str = "failed to fetch advisory database";
/// The oldest compiler.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// All of it; cargo-deny is built and the oldest compiler installed if need be.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    CARGO_DENY.ensure(workspace)?;
    // Where there is no rustup, or nothing to be had by it, `oldest` says what is left out.
    let version = format!("{OLDEST}.0");
    let install = ["toolchain", "install", &version, "--profile", "minimal", "--no-self-update"];
    if let Err(error) = Command::new("rustup").args(install).quietly() {
        println!("Rust {version} is not installed by rustup: {error:#}");
    }
    let told = deny(workspace)?.into_iter().chain([oldest(workspace, &["--all-targets"])?]);
    told.for_each(|line| println!("{line}"));
    Ok(())
}

/// What `cargo xtask test` does of it: with what is there, since cargo-deny takes minutes to build.
pub(crate) fn shortly(workspace: &Workspace) -> Result<String> {
    let mut told = match CARGO_DENY.find(workspace)? {
        Some(_) => deny(workspace)?,
        None => vec!["licences, sources and duplicates left out (cargo xtask supply)".to_owned()],
    };
    told.push(oldest(workspace, &[])?);
    Ok(told.join("; "))
}

fn deny(workspace: &Workspace) -> Result<Vec<String>> {
    say("licences, sources and duplicates");
    let check = |what: &[&str]| -> Result<Command> {
        let mut command = workspace.with_cargo(CARGO_DENY.ensure(workspace)?);
        command.args(["--locked", "check"]).args(what);
        Ok(command)
    };
    check(&["licenses", "bans", "sources"])?.quietly().context("cargo-deny refuses")?;
    let mut told = vec!["licences, sources and duplicates are right".to_owned()];
    told.push(match check(&["advisories"])?.quietly() {
        Ok(()) => "no advisory".to_owned(),
        Err(error) if format!("{error:#}").contains(UNREACHABLE) => {
            "advisories left out: RustSec's database cannot be reached from here".to_owned()
        }
        Err(error) => return Err(error.context("there are advisories")),
    });
    Ok(told)
}

/// Whether it all compiles with the oldest compiler, in a target directory of its own.
fn oldest(workspace: &Workspace, more: &[&str]) -> Result<String> {
    let toolchain = format!("+{OLDEST}.0");
    if Command::new("cargo").args([&toolchain, "--version"]).dir(&workspace.root).quietly().is_err()
    {
        return Ok(format!("Rust {OLDEST} left out: rustup toolchain install {OLDEST}.0"));
    }
    say(format_args!("compiling with Rust {OLDEST}"));
    // rustup's own cargo: ours belongs to one toolchain.
    let mut cargo = workspace.with_cargo("cargo".into());
    cargo
        .unset("RUSTUP_TOOLCHAIN")
        .unset("RUSTC")
        .unset("RUSTDOC")
        .args([toolchain.as_str(), "check", "--quiet", "--locked", "--workspace"])
        .args(["--exclude", "merge-ebpf"])
        .args(more)
        .env("CARGO_TARGET_DIR", workspace.target.join("oldest"));
    match cargo.quietly() {
        Ok(()) => Ok(format!("compiles with Rust {OLDEST}")),
        Err(error) => bail!("does not compile with Rust {OLDEST}: {error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    const REASONS: &str = include_str!("../../docs/dependencies.md");

    /// The crates and tools that the tables name, in order.
    fn named(text: &str) -> BTreeSet<&str> {
        let cell = |line: &'static str| line.strip_prefix("| `")?.split_once("` |").map(|it| it.0);
        let rows = REASONS.lines().filter_map(cell);
        rows.filter(|name| text.contains(&format!("| `{name}` |"))).collect()
    }

    #[test]
    fn every_direct_dependency_has_a_reason_and_every_reason_a_dependency() {
        let workspace = Workspace::find().unwrap();
        let metadata = workspace
            .cargo()
            .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
            .output()
            .unwrap();
        let metadata: Value = serde_json::from_str(&metadata).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let direct: BTreeSet<_> = packages
            .iter()
            .flat_map(|package| package["dependencies"].as_array().unwrap())
            .map(|dependency| dependency["name"].as_str().unwrap())
            .filter(|name| *name != "merge-common")
            .collect();
        let (crates, _) = REASONS.split_once("## Build tools").unwrap();
        assert_eq!(named(crates), direct);
    }

    #[test]
    fn the_tools_that_are_named_are_those_that_are_built() {
        let (_, tools) = REASONS.split_once("## Build tools").unwrap();
        let ours = ["bpf-linker", "cargo-deb", "cargo-deny", "cargo-fuzz", "cargo-generate-rpm"];
        assert_eq!(named(tools), BTreeSet::from(ours));
    }
}
