//! A suite of Debian's, read without touching the system's own apt.
//!
//! A private configuration (own sources, lists, cache; an empty package status) makes the suite
//! the only one that apt sees, so its candidate is the suite's kernel. Signatures are checked with
//! the machine's keys. Neither root nor an installation is needed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::sources::{self, Source};
use crate::run::Command;

/// The package that stands for a suite's kernel.
const METAPACKAGE: &str = "linux-image-amd64";
/// What a kernel is made of. Since 7.2 the image package only depends on the other two.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];

/// A suite whose lists were read; they go when it is dropped.
pub(super) struct Suite {
    dir: TempDir,
    packages: Vec<String>,
    version: String,
}

impl Suite {
    /// Reads the suite's lists from the first source that has its kernel.
    pub(super) fn open(suite: &str) -> Result<Self> {
        let mut errors = Vec::new();
        for source in sources::candidates(suite)? {
            match Self::read(&source) {
                Ok(suite) => return Ok(suite),
                Err(error) => errors.push(format!("{}: {error:#}", source.suite)),
            }
        }
        bail!(
            "no kernel of suite {suite} could be had from this machine's mirror. If a key is \
             missing, bring the package debian-archive-keyring up to date.\n{}",
            errors.join("\n")
        )
    }

    /// The version of the kernel's package.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Fetches the packages and unpacks them into a directory that goes when it is dropped.
    pub(super) fn unpack(&self) -> Result<TempDir> {
        let debs = self.dir.path().join("debs");
        fs::create_dir_all(&debs)?;
        let mut apt = self.apt("apt-get");
        apt.dir(&debs).args(["-qq", "download"]).args(&self.packages).quietly()?;
        let tree = tempfile::tempdir()?;
        for deb in fs::read_dir(&debs)? {
            Command::new("dpkg").arg("-x").arg(deb?.path()).arg(tree.path()).quietly()?;
        }
        Ok(tree)
    }

    fn read(source: &Source) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut suite = Self { dir, packages: Vec::new(), version: String::new() };
        for sub in ["lists/partial", "cache/archives/partial", "parts"] {
            fs::create_dir_all(suite.dir.path().join(sub))?;
        }
        fs::write(suite.dir.path().join("parts/kernel.sources"), paragraph(source))?;
        suite.apt("apt-get").args(["-qq", "update", "--error-on=any"]).quietly()?;
        suite.packages = suite.closure()?;
        let kernel = suite.packages.first().context("the suite has no kernel")?.clone();
        suite.version =
            field(&suite.show(&kernel)?, "Version").context("a package of no version")?;
        Ok(suite)
    }

    /// The packages that the metapackage leads to.
    fn closure(&self) -> Result<Vec<String>> {
        let mut seen = BTreeSet::new();
        let mut waiting = vec![METAPACKAGE.to_owned()];
        let mut found = Vec::new();
        while let Some(package) = waiting.pop() {
            let depends = field(&self.show(&package)?, "Depends").unwrap_or_default();
            let parts = depends.split([',', '|']).filter_map(|item| item.split_whitespace().next());
            for part in parts.filter(|name| PARTS.iter().any(|part| name.starts_with(part))) {
                if seen.insert(part.to_owned()) {
                    waiting.push(part.to_owned());
                    found.push(part.to_owned());
                }
            }
        }
        Ok(found)
    }

    fn show(&self, package: &str) -> Result<String> {
        self.apt("apt-cache").args(["show", "--no-all-versions", package]).output()
    }

    fn apt(&self, program: &str) -> Command {
        let at = |option: &str, sub: &str| option_at(option, &self.dir.path().join(sub));
        let mut apt = Command::new(program);
        apt.args([
            at("Dir::Etc::SourceParts", "parts"),
            at("Dir::State::Lists", "lists"),
            at("Dir::Cache", "cache"),
        ]);
        apt.args([
            "-oDir::Etc::SourceList=/dev/null",
            "-oDir::State::status=/dev/null",
            "-oAcquire::Languages=none",
            "-oAcquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            // As root apt would fetch as a user who cannot see our directories.
            "-oAPT::Sandbox::User=",
            "-oAPT::Architecture=amd64",
        ]);
        apt
    }
}

fn option_at(option: &str, path: &Path) -> OsString {
    let mut text = OsString::from(format!("-o{option}="));
    text.push(path);
    text
}

fn paragraph(source: &Source) -> String {
    let Source { uri, suite, signed_by } = source;
    let signed_by = signed_by.as_ref().map(|key| format!("Signed-By: {key}\n")).unwrap_or_default();
    format!("Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\n{signed_by}")
}

fn field(paragraph: &str, name: &str) -> Option<String> {
    let of_name =
        |line: &str| line.strip_prefix(name)?.strip_prefix(':').map(str::trim).map(str::to_owned);
    paragraph.lines().find_map(of_name)
}
