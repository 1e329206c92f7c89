//! All files of the packages as they are installed, each package's below a directory of its own.
//!
//! Here is decided where everything goes; cargo-deb, cargo-generate-rpm and tar take what they find.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::archive::gzip;
use super::binary::release_dir;
use super::moment::Moment;
use super::{VERSION, copyright, remade};
use crate::boot;
use crate::workspace::Workspace;

/// Where merge-ctl itself goes: beside lvm2 and dmsetup.
pub(super) const BINARY: &str = "usr/sbin/merge-ctl";
/// Where a unit looks that was installed by hand.
const BY_HAND: &str = "/usr/local/bin/merge-ctl";

/// Files of the checkout, below `merge-ctl`, and where they go.
const FILES: [(&str, &str); 5] = [
    ("contrib/systemd/merge-ctl-export.service", "usr/lib/systemd/system/merge-ctl-export.service"),
    (
        "contrib/prometheus/merge-ctl.rules.yml",
        "usr/share/merge-ctl/prometheus/merge-ctl.rules.yml",
    ),
    (
        "contrib/prometheus/merge-ctl.rules.test.yml",
        "usr/share/merge-ctl/prometheus/merge-ctl.rules.test.yml",
    ),
    ("contrib/grafana/merge-ctl.json", "usr/share/merge-ctl/grafana/merge-ctl.json"),
    ("packaging/debian/lintian-overrides", "usr/share/lintian/overrides/merge-ctl"),
];

/// The trees.
pub(super) struct Stage {
    root: PathBuf,
    /// Who answers for the packages, as Debian's tools are told: `DEBFULLNAME` and `DEBEMAIL`.
    pub(super) maintainer: String,
}

impl Stage {
    /// Makes them anew.
    pub(super) fn make(workspace: &Workspace, moment: Moment, binary: &Path) -> Result<Self> {
        let stage = Self { root: release_dir(workspace).join("package"), maintainer: maintainer() };
        remade(&stage.root)?;
        put(binary, &stage.main().join(BINARY), 0o755)?;
        stage.manual(workspace, moment)?;
        for (from, to) in FILES {
            let from = workspace.root.join("merge-ctl").join(from);
            put(&from, &stage.main().join(to), 0o644)?;
        }
        stage.point_unit_at_package()?;
        let overrides =
            workspace.root.join("merge-ctl/packaging/debian/initramfs.lintian-overrides");
        let to = stage.initramfs().join("usr/share/lintian/overrides/merge-ctl-initramfs");
        put(&overrides, &to, 0o644)?;
        for (from, to) in boot::packaged() {
            let from = workspace.root.join("merge-ctl/boot").join(from);
            put(&from, &stage.initramfs().join(to), 0o755)?;
        }
        stage.documents(workspace, moment)?;
        Ok(stage)
    }

    /// Above both packages' files, which lie in `main` and `initramfs`.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The files of the package merge-ctl.
    pub(super) fn main(&self) -> PathBuf {
        self.root.join("main")
    }

    /// The files of the package merge-ctl-initramfs.
    pub(super) fn initramfs(&self) -> PathBuf {
        self.root.join("initramfs")
    }

    /// The program.
    pub(super) fn binary(&self) -> PathBuf {
        self.main().join(BINARY)
    }

    /// Manual pages, packed, and completions.
    fn manual(&self, workspace: &Workspace, moment: Moment) -> Result<()> {
        let share = self.main().join("usr/share");
        let mut cargo = workspace.cargo();
        cargo
            .args([
                "run",
                "--quiet",
                "--locked",
                "--package",
                "merge-ctl",
                "--example",
                "manual",
                "--",
            ])
            .arg(&share)
            .arg(moment.written("+%F")?);
        cargo.cargo_build("building what makes manual pages").context("no manual pages")?;
        fs::create_dir_all(share.join("man"))?;
        fs::rename(share.join("man8"), share.join("man/man8"))?;
        for page in super::files(&share.join("man/man8"))? {
            gzip(&page)?;
        }
        Ok(())
    }

    fn point_unit_at_package(&self) -> Result<()> {
        let file = self.main().join(FILES[0].1);
        let unit = fs::read_to_string(&file)?;
        let command = format!("/{BINARY}");
        let unit = unit.replace(BY_HAND, &command);
        anyhow::ensure!(unit.contains(&command), "the unit does not start {BY_HAND}");
        let about =
            "Documentation=man:merge-ctl-export(8) file:/usr/share/doc/merge-ctl/docs/metrics.md\n";
        Ok(fs::write(file, unit.replacen("After=", &format!("{about}After="), 1))?)
    }

    fn documents(&self, workspace: &Workspace, moment: Moment) -> Result<()> {
        let copyright = copyright::text(workspace)?;
        let changes = debian_changelog(&self.maintainer, moment)?;
        for (tree, name) in [(self.main(), "merge-ctl"), (self.initramfs(), "merge-ctl-initramfs")]
        {
            let doc = tree.join("usr/share/doc").join(name);
            write(&doc.join("copyright"), &copyright)?;
            write(&doc.join("changelog.Debian"), &changes)?;
            gzip(&doc.join("changelog.Debian"))?;
            put(&workspace.root.join("CHANGELOG.md"), &doc.join("changelog"), 0o644)?;
            gzip(&doc.join("changelog"))?;
        }
        let doc = self.main().join("usr/share/doc/merge-ctl");
        put(&workspace.root.join("README.md"), &doc.join("README.md"), 0o644)?;
        copy_tree(&workspace.root.join("docs"), &doc.join("docs"))
    }
}

/// The documents with what they show, one directory deep or more.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for file in super::files(from)? {
        let to = to.join(file.file_name().context("a file without a name")?);
        match file.is_dir() {
            true => copy_tree(&file, &to)?,
            false => put(&file, &to, 0o644)?,
        }
    }
    Ok(())
}

fn write(to: &Path, text: &str) -> Result<()> {
    made_for(to)?;
    fs::write(to, text)?;
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(0o644))?)
}

fn put(from: &Path, to: &Path, mode: u32) -> Result<()> {
    made_for(to)?;
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(mode))?)
}

fn made_for(file: &Path) -> Result<()> {
    let directory = file.parent().context("a path without a directory")?;
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))
}

fn maintainer() -> String {
    let variable = |name: &str, usual: &str| match env::var(name) {
        Ok(value) if !value.is_empty() => value,
        _ => usual.to_owned(),
    };
    let (name, mail) = (
        variable("DEBFULLNAME", "merge-ctl developers"),
        variable("DEBEMAIL", "nobody@example.org"),
    );
    format!("{name} <{mail}>")
}

/// Says no more than that it is this version: what has changed is in the other one.
fn debian_changelog(maintainer: &str, moment: Moment) -> Result<String> {
    let date = moment.written("+%a, %d %b %Y %H:%M:%S %z")?;
    Ok(format!(
        "merge-ctl ({VERSION}-1) unstable; urgency=medium\n\n  * What has changed is in changelog.gz.\n\n \
         -- {maintainer}  {date}\n"
    ))
}
