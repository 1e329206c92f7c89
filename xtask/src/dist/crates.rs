//! The crates whose code is in the published binary, the eBPF programs' among them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::build::TARGET;
use crate::workspace::Workspace;

/// One of them.
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) version: String,
    /// As its manifest says it.
    pub(crate) license: String,
    pub(crate) authors: Vec<String>,
    pub(crate) repository: Option<String>,
    /// Where its sources lie here.
    pub(crate) directory: PathBuf,
    /// SHA-256 of what the registry has; none for our own.
    pub(crate) checksum: Option<String>,
    /// Names and versions of those of this list that it uses itself.
    pub(crate) uses: BTreeSet<(String, String)>,
}

type Key = (String, String);

/// All of them, by name.
pub(crate) fn linked(workspace: &Workspace) -> Result<Vec<Crate>> {
    let mut keys = in_tree(workspace, "merge-ctl", TARGET)?;
    keys.extend(in_tree(workspace, "merge-ebpf", "bpfel-unknown-none")?);
    let metadata = workspace
        .cargo()
        .args(["metadata", "--format-version", "1", "--locked", "--all-features"])
        .output()?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let sums = checksums(&fs::read_to_string(workspace.root.join("Cargo.lock"))?);
    let ids = keys_by_id(&metadata);
    let uses = uses(&metadata, &ids, &keys);
    let packages = metadata["packages"].as_array().context("cargo names no packages")?;
    let mut all = Vec::new();
    for package in packages {
        let key = key(package);
        if keys.contains(&key) {
            all.push(told(package, &sums, uses.get(&key).cloned().unwrap_or_default())?);
        }
    }
    all.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
    Ok(all)
}

/// What cargo links into a package for a target: no build script, no macro.
fn in_tree(workspace: &Workspace, package: &str, target: &str) -> Result<BTreeSet<Key>> {
    let tree = workspace
        .cargo()
        .args(["tree", "--locked", "--package", package, "--target", target])
        .args(["--edges", "normal,no-proc-macro", "--prefix", "none", "--no-dedupe"])
        .args(["--format", "{p}"])
        .output()?;
    let keys = tree.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        Some((name.to_owned(), version.to_owned()))
    });
    Ok(keys.collect())
}

fn key(package: &Value) -> Key {
    (text(&package["name"]), text(&package["version"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn keys_by_id(metadata: &Value) -> BTreeMap<String, Key> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages.map(|package| (text(&package["id"]), key(package))).collect()
}

fn uses(
    metadata: &Value,
    ids: &BTreeMap<String, Key>,
    keys: &BTreeSet<Key>,
) -> BTreeMap<Key, BTreeSet<Key>> {
    let nodes = metadata["resolve"]["nodes"].as_array().into_iter().flatten();
    let known = |id: &Value| ids.get(id.as_str()?).filter(|key| keys.contains(*key)).cloned();
    let of = |node: &Value| {
        let dependencies = node["deps"].as_array().into_iter().flatten();
        let normal = dependencies.filter(|it| {
            it["dep_kinds"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|it| it["kind"].is_null()))
        });
        Some((known(&node["id"])?, normal.filter_map(|it| known(&it["pkg"])).collect()))
    };
    nodes.filter_map(of).collect()
}

fn told(package: &Value, sums: &BTreeMap<Key, String>, uses: BTreeSet<Key>) -> Result<Crate> {
    let key = key(package);
    let manifest = PathBuf::from(text(&package["manifest_path"]));
    let directory = manifest.parent().context("a manifest without a directory")?.to_owned();
    let authors = package["authors"].as_array().into_iter().flatten().map(text).collect();
    let license = package["license"].as_str();
    Ok(Crate {
        license: license.with_context(|| format!("{} names no licence", key.0))?.to_owned(),
        authors,
        repository: package["repository"].as_str().map(ToOwned::to_owned),
        directory,
        checksum: sums.get(&key).cloned(),
        uses,
        name: key.0,
        version: key.1,
    })
}

fn checksums(lock: &str) -> BTreeMap<Key, String> {
    let value = |entry: &str, name: &str| {
        let start = format!("{name} = \"");
        let line = entry.lines().find_map(|line| line.strip_prefix(&start))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    let entries = lock.split("[[package]]");
    let told = |entry| {
        Some(((value(entry, "name")?, value(entry, "version")?), value(entry, "checksum")?))
    };
    entries.filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_known_with_its_licence_and_checksum() {
        let all = linked(&Workspace::find().unwrap()).unwrap();
        let find = |name: &str| all.iter().find(|it| it.name == name);
        let ours = find("merge-ctl").unwrap();
        assert!(ours.checksum.is_none() && ours.uses.iter().any(|(name, _)| name == "aya"));
        assert!(find("aya-ebpf").is_some(), "the eBPF programs are in it too");
        assert!(find("proptest").is_none() && find("clap_derive").is_none());
        assert!(all.iter().all(|it| it.checksum.is_some() || it.name.starts_with("merge-")));
    }
}
