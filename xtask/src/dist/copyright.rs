//! The `copyright` file of the packages, in Debian's form (DEP-5): ours, and of all that is linked in.
//!
//! A crate that may be used under one of several licences is used under one that is known here; one that has
//! none of these is an error.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, bail};

use super::crates::{Crate, linked};
use crate::packages;
use crate::run::Command;
use crate::workspace::Workspace;

/// Those that are taken, the first that fits; by their names in SPDX and in DEP-5.
const TAKEN: [(&str, &str); 4] =
    [("MIT", "Expat"), ("Zlib", "Zlib"), ("BSL-1.0", "BSL-1.0"), ("Apache-2.0", "Apache-2.0")];

/// The file.
pub(super) fn text(workspace: &Workspace) -> Result<String> {
    let part = |name: &str| {
        let file = workspace.root.join("merge-ctl/packaging").join(name);
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    let mut out = part("copyright.head")?;
    for one in linked(workspace)? {
        if !one.name.starts_with("merge-") {
            write!(out, "\n{}", stanza(&one)?)?;
        }
    }
    let libc = libc_version().unwrap_or_else(|| "of the build machine".to_owned());
    write!(out, "\n{}", part("copyright.tail")?.replace("@LIBC@", &libc))?;
    Ok(out)
}

fn stanza(one: &Crate) -> Result<String> {
    let Crate { name, version, license, .. } = one;
    let holders = holders(one);
    let taken = taken(license).with_context(|| {
        format!(
            "{name} {version} is under {license}, which xtask/src/dist/copyright.rs does not know"
        )
    })?;
    let mut text = format!("Files: crates/{name}-{version}/*\nCopyright:");
    for holder in holders {
        write!(text, "\n {holder}")?;
    }
    Ok(format!(
        "{text}\nLicense: {taken}\nComment: A crate that is linked in. It may be used under: {license}\n"
    ))
}

/// The licence that is taken of an expression. Where more than one must be kept to, somebody has to look.
fn taken(expression: &str) -> Result<&'static str> {
    if expression.contains(" AND ") || expression.contains('(') {
        bail!("more than one licence at once: {expression}");
    }
    let offered: Vec<_> = expression.split(" OR ").flat_map(|it| it.split('/')).collect();
    let known = TAKEN.into_iter().find(|(spdx, _)| offered.contains(spdx));
    known.map(|(_, name)| name).context("an unknown licence")
}

/// Who is named in the crate's licence files, else its authors.
fn holders(one: &Crate) -> BTreeSet<String> {
    let entries = fs::read_dir(&one.directory).into_iter().flatten().flatten();
    let licences = entries.filter(|entry| {
        let name = entry.file_name().to_string_lossy().to_uppercase();
        ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"]
            .iter()
            .any(|it| name.starts_with(it))
    });
    let texts = licences.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let named: BTreeSet<_> =
        texts.flat_map(|text| text.lines().filter_map(holder).collect::<Vec<_>>()).collect();
    if !named.is_empty() {
        return named;
    }
    let authors: BTreeSet<_> = one.authors.iter().cloned().collect();
    match authors.is_empty() {
        true => BTreeSet::from([format!("the authors of {}", one.name)]),
        false => authors,
    }
}

/// A line that says whose it is, and no line of the licence itself.
fn holder(line: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("Copyright")?.trim_start();
    let rest = rest.strip_prefix("(c)").or(rest.strip_prefix("(C)")).or(rest.strip_prefix('©'));
    let rest = rest.unwrap_or_else(|| line.trim().trim_start_matches("Copyright")).trim();
    let names_one = rest.chars().next().is_some_and(|c| c.is_ascii_digit() || c.is_uppercase());
    (names_one && !rest.contains('[') && !rest.contains('{')).then(|| rest.to_owned())
}

/// The package whose library is linked in.
fn libc_version() -> Option<String> {
    packages::find("dpkg-query")?;
    let mut query = Command::new("dpkg-query");
    let version = query.args(["-W", "-f", "${Version}", "libc6-dev"]).output().ok()?;
    Some(format!("as in Debian's libc6-dev {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_is_taken_only_if_it_is_known_and_alone() {
        assert_eq!(taken("Apache-2.0 OR MIT").unwrap(), "Expat");
        assert_eq!(taken("Unlicense/MIT").unwrap(), "Expat");
        assert_eq!(taken("Apache-2.0 OR BSL-1.0").unwrap(), "BSL-1.0");
        assert!(taken("GPL-3.0-only").is_err() && taken("MIT AND Unicode-3.0").is_err());
        assert!(taken("MIT-0").is_err());
    }

    #[test]
    fn only_a_line_with_a_name_says_whose_it_is() {
        assert_eq!(holder("Copyright (c) 2020 A. Body").unwrap(), "2020 A. Body");
        assert_eq!(holder("  Copyright The Crate Developers").unwrap(), "The Crate Developers");
        assert!(holder("   Copyright [yyyy] [name of copyright owner]").is_none());
        assert!(holder("copyright notice and this permission notice").is_none());
    }
}
