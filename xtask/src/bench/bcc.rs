//! What bcc needs: its Python module, and headers of a kernel, since it compiles its programs on the spot.
//!
//! Where the running kernel has none, Debian's will do: the programs use tracepoints only, whose fields bcc
//! reads from the running kernel. They are laid out in a directory of links, as bcc wants them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::device::Number;
use super::machine;
use super::tracer::Tracer;
use crate::packages;
use crate::run::Command;

/// The system's: another one that comes first on PATH has no module bcc.
pub(super) const PYTHON: &str = "/usr/bin/python3";
pub(super) const SCRIPT: &str = include_str!("latency.bcc.py");
const MODULE: &str = "python3-bpfcc";
const HEADERS: &str = "linux-headers-amd64";
const SOURCES: &str = "/usr/src";

/// What bcc is run with. Dropping it takes the links away.
pub(super) struct Bcc {
    /// Headers of another kernel; none where bcc finds its own.
    headers: Option<(TempDir, String)>,
}

impl Bcc {
    /// Gets what is needed; fails with the reason for which it cannot be had.
    pub(super) fn ensure() -> Result<Self> {
        packages::ensure_package(MODULE)?;
        let bcc = Self { headers: if has_own_headers() { None } else { Some(links()?) } };
        // A kernel that refuses it must not end the measurement half-way.
        let nobody = Number { major: 0, minor: 0 };
        let tracer = Tracer::bcc(nobody, &bcc).context("bcc cannot trace here")?;
        tracer.stop()?;
        Ok(bcc)
    }

    /// Where it finds headers, if it has to be told.
    pub(super) fn headers(&self) -> Option<&Path> {
        self.headers.as_ref().map(|(directory, _)| directory.path())
    }

    /// What runs, for readers.
    pub(super) fn describe(&self) -> String {
        match &self.headers {
            Some((_, version)) => format!("compiled with the headers of Linux {version}"),
            None => "compiled with the kernel's own headers".to_owned(),
        }
    }
}

fn has_own_headers() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Path::new("/lib/modules").join(release.trim()).join("build").exists()
        || Path::new("/sys/kernel/kheaders.tar.xz").exists()
}

/// Links to the newest headers of Debian's, and their version.
fn links() -> Result<(TempDir, String)> {
    packages::ensure_package(HEADERS)?;
    let entries = fs::read_dir(SOURCES)?.flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let (common, own) = pair(&names).context("no headers in /usr/src")?;
    let version = common.trim_start_matches("linux-headers-");
    let directory = tempfile::Builder::new().prefix("merge-bench-headers-").tempdir()?;
    for part in ["include", "arch/x86/include"] {
        let to = directory.path().join(part);
        fs::create_dir_all(&to)?;
        for from in [&common, &own] {
            let from = format!("{SOURCES}/{from}/{part}/.");
            Command::new("cp").args(["-rsf", &from]).arg(&to).quietly()?;
        }
    }
    Ok((directory, machine::version(version).trim_end_matches('.').to_owned()))
}

/// The newest pair of directories that make up Debian's headers.
fn pair(names: &[String]) -> Option<(String, String)> {
    names.iter().rev().find_map(|name| {
        let version = name.strip_suffix("-common")?;
        let own = format!("{version}-amd64");
        names.contains(&own).then(|| (name.clone(), own))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_in_pairs() {
        let names = [
            "linux-headers-6.1.0-50-amd64",
            "linux-headers-6.1.0-50-common",
            "linux-headers-6.1.0-56-common",
            "linux-kbuild-6.1",
        ];
        let (common, own) = pair(&names.map(str::to_owned)).unwrap();
        assert_eq!([common.as_str(), own.as_str()], [names[1], names[0]]);
        assert_eq!(
            pair(&names[3..].iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()),
            None
        );
    }
}
