//! The root file system of the VMs: three archives one after the other.
//!
//! The tools of this machine (kept until one of them changes), the kernel's modules (packed when
//! the kernel was got), and what differs at each boot. All of it is uncompressed: under emulation
//! copying is cheaper than unpacking.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::cpio::Archive;
use crate::kernels::Kernel;
use crate::packages;
use crate::run::Command;
use crate::workspace::Workspace;

const INIT: &str = include_str!("../guest/init");
const LVM_CONF: &str = include_str!("../guest/lvm.conf");

/// This machine's programs that the guest has: where busybox has one of the same name, it knows
/// less (mount, file systems; losetup, options).
const TOOLS: &[&str] = &[
    "bash",
    "dmsetup",
    "lvm",
    "fio",
    "losetup",
    "blockdev",
    "lsblk",
    "mount",
    "umount",
    "mkfs.ext4",
    "e2fsck",
    "modprobe",
];

/// Other names of those programs, which do different things by name.
const LINKS: &[(&str, &[&str])] = &[
    ("modprobe", &["insmod", "rmmod", "lsmod", "modinfo", "depmod"]),
    ("mkfs.ext4", &["mke2fs"]),
    ("e2fsck", &["fsck.ext4"]),
    (
        "lvm",
        &[
            "lvchange",
            "lvconvert",
            "lvcreate",
            "lvdisplay",
            "lvextend",
            "lvremove",
            "lvrename",
            "lvresize",
            "lvs",
            "lvscan",
            "pvchange",
            "pvcreate",
            "pvdisplay",
            "pvremove",
            "pvs",
            "pvscan",
            "vgchange",
            "vgcreate",
            "vgdisplay",
            "vgextend",
            "vgremove",
            "vgs",
            "vgscan",
        ],
    ),
];

/// A merged /usr, as Debian has it, so that a library is found under either of its names.
const MERGED: &[&str] = &["bin", "sbin", "lib", "lib64"];

const DIRECTORIES: &[&str] =
    &["proc", "sys", "dev", "tmp", "run", "root", "mnt", "etc/lvm", "var/lib", "var/log"];

/// What differs at each boot.
pub(crate) struct Contents<'a> {
    /// Files that land in the guest's working directory under their own names.
    pub(crate) copies: &'a [PathBuf],
    /// A shell script that becomes the command.
    pub(crate) command: Vec<u8>,
    /// What the guest's init reads first.
    pub(crate) settings: String,
}

/// Writes the whole root file system to `out`.
pub(crate) fn write(
    workspace: &Workspace,
    kernel: &Kernel,
    contents: &Contents<'_>,
    out: &Path,
) -> Result<()> {
    let tools = tools(workspace)?;
    let boot = boot(contents)?;
    let mut file = File::create(out).with_context(|| format!("cannot make {}", out.display()))?;
    for archive in [&tools, &kernel.modules] {
        let mut archive =
            File::open(archive).with_context(|| format!("cannot read {}", archive.display()))?;
        std::io::copy(&mut archive, &mut file)?;
    }
    file.write_all(&boot).context("cannot write the VM's root file system")
}

fn boot(contents: &Contents<'_>) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("etc/vm/command", 0o644, &contents.command);
    archive.file("etc/vm/settings", 0o644, contents.settings.as_bytes());
    for copy in contents.copies {
        let name = copy.file_name().with_context(|| format!("{}: not a file", copy.display()))?;
        let name = format!("root/{}", name.to_string_lossy());
        if archive.has(&name) {
            bail!("two files to copy have the name {name}");
        }
        add(&mut archive, copy, &name)?;
    }
    Ok(archive.finish())
}

/// The archive of the tools, made anew when one of them, or what makes it, has changed.
fn tools(workspace: &Workspace) -> Result<PathBuf> {
    let programs = programs()?;
    let dir = workspace.target.join("vm");
    let file = dir.join(format!("tools-{:016x}.cpio", key(&programs)?));
    if file.is_file() {
        return Ok(file);
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    remove_older(&dir);
    let mut half = tempfile::NamedTempFile::new_in(&dir)?;
    half.write_all(&pack_tools(&programs)?)?;
    half.persist(&file).with_context(|| format!("cannot keep {}", file.display()))?;
    Ok(file)
}

/// Archives of tools that have changed are of no use; one that cannot be removed does no harm.
fn remove_older(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("tools-") {
            drop(fs::remove_file(entry.path()));
        }
    }
}

fn programs() -> Result<Vec<PathBuf>> {
    let busybox = std::iter::once(&"busybox");
    let find = |name: &&str| packages::find(name).with_context(|| format!("{name} is missing"));
    busybox.chain(TOOLS).map(find).collect()
}

/// The programs, this program (which knows what goes where), and the index of libraries.
fn key(programs: &[PathBuf]) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    let index = PathBuf::from("/etc/ld.so.cache");
    let ourselves = std::env::current_exe()?;
    for file in programs.iter().chain([&ourselves, &index]) {
        file.hash(&mut hasher);
        if let Ok(metadata) = fs::metadata(file) {
            (metadata.len(), metadata.modified()?).hash(&mut hasher);
        }
    }
    Ok(hasher.finish())
}

fn pack_tools(programs: &[PathBuf]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for name in MERGED {
        archive.directory(&format!("usr/{name}"));
        archive.symlink(name, &format!("usr/{name}"));
    }
    for directory in DIRECTORIES {
        archive.directory(directory);
    }
    // The kernel opens it for init before init can mount anything.
    archive.character_device("dev/console", 5, 1);
    archive.file("etc/lvm/lvm.conf", 0o644, LVM_CONF.as_bytes());
    archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    archive.file("etc/group", 0o644, b"root:x:0:\n");
    for program in programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        add(&mut archive, program, &format!("usr/sbin/{name}"))?;
    }
    archive.symlink("usr/bin/busybox", "../sbin/busybox");
    archive.symlink("usr/bin/bash", "../sbin/bash");
    for (program, names) in LINKS {
        for name in *names {
            archive.symlink(&format!("usr/sbin/{name}"), program);
        }
    }
    for library in libraries(programs)? {
        add(&mut archive, &library, &in_usr(&library))?;
    }
    Ok(archive.finish())
}

fn add(archive: &mut Archive, file: &Path, name: &str) -> Result<()> {
    let cannot = || format!("cannot read {}", file.display());
    let mode = fs::metadata(file).with_context(cannot)?.permissions().mode();
    archive.file(name, mode, &fs::read(file).with_context(cannot)?);
    Ok(())
}

/// The shared libraries of all programs, and their loader.
fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut libraries = BTreeSet::new();
    for program in programs {
        // It fails for a static program, which needs none.
        let (_, text) = Command::new("ldd").arg(program).stdout_whatever_status()?;
        let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
        libraries.extend(paths.map(PathBuf::from).filter(|path| path.is_file()));
    }
    Ok(libraries)
}

fn in_usr(library: &Path) -> String {
    let name = library.to_string_lossy();
    if name.starts_with("/usr/") { name.into_owned() } else { format!("/usr{name}") }
}
