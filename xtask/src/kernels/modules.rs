//! The few modules that the VMs use, packed with what `modprobe` needs to find them.
//!
//! Module names here are those of the files. What a kernel has built in, or does not have at all,
//! is left out without a word: the scripts that load a module say what they need.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::cpio::Archive;
use crate::run::Command;

/// What is packed, with all that it depends on.
const WANTED: &[&str] = &[
    // device-mapper
    "dm-mod",
    "dm-bufio",
    "dm-snapshot",
    "dm-delay",
    "dm-flakey",
    "dm-log-writes",
    "dm-thin-pool",
    "dm-zero",
    "dm-dust",
    // devices to put under it
    "brd",
    "loop",
    "null_blk",
    "zram",
    "scsi_mod",
    "scsi_debug",
    "sd_mod",
    // the VM's own devices
    "virtio",
    "virtio_ring",
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    // file systems, and what they and zram ask for by name
    "ext4",
    "jbd2",
    "mbcache",
    "xfs",
    "libcrc32c",
    "crc32c_generic",
    "crc32c-intel",
    "crc16",
    "crc-t10dif",
    "lzo",
    "lzo-rle",
    "lz4",
    "zstd",
];

/// A tree of modules.
pub(super) struct Tree {
    /// What `depmod -b` is given: the directory that holds `lib/modules/VERSION`.
    pub(super) root: PathBuf,
    /// The kernel's version, the last part of [`Self::dir`].
    pub(super) version: String,
    /// The directory `VERSION` itself.
    pub(super) dir: PathBuf,
}

/// Finds the tree at or under `path`: `VERSION` itself, or what holds `lib/modules/VERSION`.
pub(super) fn find(path: &Path) -> Result<Tree> {
    if path.join("kernel").is_dir() {
        return tree(path.canonicalize()?);
    }
    for above in ["lib/modules", "usr/lib/modules", "modules", ""] {
        let dir = path.join(above);
        let found = fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path());
        if let Some(dir) = found.into_iter().find(|dir| dir.join("kernel").is_dir()) {
            return tree(dir.canonicalize()?);
        }
    }
    bail!("{} holds no kernel modules (no VERSION/kernel)", path.display())
}

fn tree(dir: PathBuf) -> Result<Tree> {
    let version = dir.file_name().context("modules in the root directory")?;
    let version = version.to_string_lossy().into_owned();
    let root = dir.ancestors().nth(3).filter(|root| root.join("lib/modules").is_dir());
    let root = root.with_context(|| format!("{} is not in a lib/modules", dir.display()))?;
    Ok(Tree { root: root.to_owned(), version, dir })
}

/// Packs the wanted modules, decompressed, into a cpio archive.
pub(super) fn pack(tree: &Tree) -> Result<Vec<u8>> {
    let stage = tempfile::tempdir()?;
    let dir = stage.path().join("lib/modules").join(&tree.version);
    let dependencies = dependencies(tree)?;
    for module in closure(&dependencies) {
        copy_decompressed(&tree.dir.join(&module), &dir.join(plain(&module)))?;
    }
    for list in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
        if tree.dir.join(list).is_file() {
            fs::copy(tree.dir.join(list), dir.join(list))?;
        }
    }
    depmod(&[], stage.path(), &tree.version)?;
    let mut archive = Archive::default();
    archive_dir(&mut archive, &dir, &format!("usr/lib/modules/{}", tree.version))?;
    Ok(archive.finish())
}

/// Which file needs which: module file → the files it depends on, as depmod sees them.
fn dependencies(tree: &Tree) -> Result<BTreeMap<String, Vec<String>>> {
    // The tree may be read-only, so depmod is asked to print rather than to write.
    let text = match fs::read_to_string(tree.dir.join("modules.dep")) {
        Ok(text) => text,
        Err(_) => depmod(&["-n"], &tree.root, &tree.version)?,
    };
    let rows = text.lines().filter_map(|line| {
        let (module, needs) = line.split_once(':')?;
        Some((module.to_owned(), needs.split_whitespace().map(str::to_owned).collect()))
    });
    Ok(rows.filter(|(module, _): &(String, _)| module.contains(".ko")).collect())
}

fn depmod(options: &[&str], root: &Path, version: &str) -> Result<String> {
    let depmod = crate::packages::find("depmod").context("depmod (package kmod) is missing")?;
    Command::new(depmod).args(options).arg("-b").arg(root).arg(version).output()
}

fn closure(dependencies: &BTreeMap<String, Vec<String>>) -> BTreeSet<String> {
    let wanted = |path: &str| {
        let file = path.rsplit('/').next().unwrap_or(path);
        let name = file.split('.').next().unwrap_or(file);
        WANTED.contains(&name)
    };
    let mut files = BTreeSet::new();
    for (module, needs) in dependencies.iter().filter(|(module, _)| wanted(module)) {
        files.insert(module.clone());
        // depmod lists what a module needs whole, not one step only.
        files.extend(needs.iter().cloned());
    }
    files
}

/// The name without the ending of its compression.
fn plain(module: &str) -> &str {
    module.find(".ko").map_or(module, |at| &module[..at + ".ko".len()])
}

fn copy_decompressed(from: &Path, to: &Path) -> Result<()> {
    let dir = to.parent().context("a path without a directory")?;
    fs::create_dir_all(dir)?;
    let copied = match from.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => decompress("xz", from, to),
        Some("zst") => decompress("zstd", from, to),
        Some("gz") => decompress("gzip", from, to),
        _ => fs::copy(from, to).map(drop).map_err(Into::into),
    };
    copied.with_context(|| format!("cannot unpack {}", from.display()))
}

fn decompress(program: &str, from: &Path, to: &Path) -> Result<()> {
    let output = std::process::Command::new(program).arg("-dc").arg(from).output()?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(fs::write(to, output.stdout)?)
}

fn archive_dir(archive: &mut Archive, dir: &Path, name: &str) -> Result<()> {
    let mut entries: Vec<_> = fs::read_dir(dir)?.collect::<std::io::Result<_>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let inner = format!("{name}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            archive_dir(archive, &entry.path(), &inner)?;
        } else {
            archive.file(&inner, 0o644, &fs::read(entry.path())?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wanted_module_brings_what_it_needs() {
        let of = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let dependencies = BTreeMap::from([
            ("kernel/md/dm-snapshot.ko.xz".to_owned(), of(&["kernel/md/x.ko.xz"])),
            ("kernel/md/x.ko.xz".to_owned(), vec![]),
            ("kernel/other.ko.xz".to_owned(), vec![]),
        ]);
        let files: Vec<_> = closure(&dependencies).into_iter().collect();
        assert_eq!(files, ["kernel/md/dm-snapshot.ko.xz", "kernel/md/x.ko.xz"]);
        assert_eq!(plain(&files[0]), "kernel/md/dm-snapshot.ko");
    }
}
