//! The bill of materials: what is in the binary, as CycloneDX 1.5 in JSON.
//!
//! Written here and not by cargo-cyclonedx: that one names the builder's paths and a random number, and knows
//! neither of the eBPF programs' crates nor of the C library that is linked in.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::VERSION;
use super::crates::{Crate, linked};
use crate::workspace::Workspace;

/// Writes it.
pub(super) fn write(workspace: &Workspace, file: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(&bill(&linked(workspace)?))?;
    Ok(fs::write(file, text + "\n")?)
}

/// No time and no serial number: the same sources give the same bytes.
fn bill(crates: &[Crate]) -> Value {
    let (ours, others): (Vec<_>, Vec<_>) = crates.iter().partition(|one| one.name == "merge-ctl");
    let mut components: Vec<_> = others.into_iter().map(component).collect();
    components.extend(libraries());
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": ours.into_iter().map(application).next(),
            "tools": { "components": [
                { "type": "application", "name": "cargo xtask dist", "version": VERSION },
            ] },
        },
        "components": components,
        "dependencies": crates.iter().map(dependencies).collect::<Vec<_>>(),
    })
}

fn application(one: &Crate) -> Value {
    let mut value = component(one);
    value["type"] = "application".into();
    value
}

fn component(one: &Crate) -> Value {
    let mut value = json!({
        "type": "library",
        "bom-ref": reference(&one.name, &one.version),
        "name": one.name,
        "version": one.version,
        "purl": reference(&one.name, &one.version),
        "licenses": [{ "expression": one.license.replace('/', " OR ") }],
    });
    if let Some(sum) = &one.checksum {
        value["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
    }
    if let Some(url) = &one.repository {
        value["externalReferences"] = json!([{ "type": "vcs", "url": url }]);
    }
    value
}

fn dependencies(one: &Crate) -> Value {
    let uses: Vec<_> = one.uses.iter().map(|(name, version)| reference(name, version)).collect();
    json!({ "ref": reference(&one.name, &one.version), "dependsOn": uses })
}

fn reference(name: &str, version: &str) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

/// What no crate is.
fn libraries() -> [Value; 2] {
    let library = |name: &str, licence: &str| {
        json!({
            "type": "library",
            "bom-ref": format!("pkg:generic/{name}"),
            "name": name,
            "purl": format!("pkg:generic/{name}"),
            "licenses": [{ "expression": licence }],
        })
    };
    [library("glibc", "LGPL-2.1-or-later"), library("rust-std", "MIT OR Apache-2.0")]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reference_is_a_component_and_no_path_is_told() {
        let workspace = Workspace::find().unwrap();
        let bill = bill(&linked(&workspace).unwrap());
        let components = bill["components"].as_array().unwrap().iter();
        let known: BTreeSet<_> = components
            .chain([&bill["metadata"]["component"]])
            .map(|it| it["bom-ref"].as_str().unwrap())
            .collect();
        let edges = bill["dependencies"].as_array().unwrap();
        assert!(edges.len() > 100, "{}", edges.len());
        for edge in edges {
            assert!(known.contains(edge["ref"].as_str().unwrap()), "{edge}");
            for one in edge["dependsOn"].as_array().unwrap() {
                assert!(known.contains(one.as_str().unwrap()), "{one}");
            }
        }
        let text = bill.to_string();
        assert!(!text.contains(&workspace.root.display().to_string()));
    }
}
