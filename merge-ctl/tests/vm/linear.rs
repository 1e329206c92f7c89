//! A linear device below others: a disk that a test can replace by a slow or a broken one.

use std::path::Path;
use std::process::Command;

use super::testbed::{dmsetup, run};

/// A linear device over the whole of another, for as long as this lives.
pub(crate) struct Linear(pub(crate) &'static str);

impl Linear {
    pub(crate) fn over(below: &Path, name: &'static str) -> Self {
        let sectors = run("blockdev", &["--getsz", below.to_str().unwrap()]);
        let table = format!("0 {} linear {} 0", sectors.trim(), below.display());
        dmsetup(&["create", name, "--table", &table]);
        Self(name)
    }
}

impl Drop for Linear {
    fn drop(&mut self) {
        let removed = Command::new("dmsetup").args(["remove", "--retry", self.0]).status();
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("{} could not be removed", self.0);
        }
    }
}
