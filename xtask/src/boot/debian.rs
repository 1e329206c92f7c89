//! A minimal Debian that builds initramfs images with Debian's own tools, and has a kernel to boot.
//!
//! It is made once by debootstrap, from the mirror that this machine's apt uses, and kept in the user's
//! cache. Nothing is mounted in it but in a mount namespace that goes with the command.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};

use crate::kernels;
use crate::packages;
use crate::run::{Command, say};
use crate::workspace::Workspace;

const SUITE: &str = "bookworm";
/// What it has beside what every Debian has. dracut-core goes beside initramfs-tools, dracut does not.
const PACKAGES: &str =
    "initramfs-tools,dracut-core,lvm2,udev,busybox,zstd,systemd,systemd-sysv,linux-image-amd64";
/// What the booted machine needs of the kernel's modules: few, so that it boots soon.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "ext4", "dm_mod", "dm_snapshot"];
/// A program that neither ends nor heeds a signal.
const HANGS: &str = "#!/bin/sh\ntrap '' INT TERM HUP\nwhile :; do sleep 1; done\n";
/// Runs its arguments in the directory that it is given first.
const IN_ROOT: &str = "for dir in proc sys dev; do mount --rbind \"/$dir\" \"$1/$dir\" || exit 1; done; \
    root=$1; shift; exec chroot \"$root\" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \"$@\"";

/// The hook files below `merge-ctl/boot`, and where the recipe puts them.
pub(crate) const FILES: [(&str, &str); 7] = [
    ("merge-ctl-boot", "usr/local/lib/merge-ctl/merge-ctl-boot"),
    ("initramfs-tools/hooks/merge-ctl", "etc/initramfs-tools/hooks/merge-ctl"),
    (
        "initramfs-tools/scripts/init-top/merge-ctl",
        "etc/initramfs-tools/scripts/init-top/merge-ctl",
    ),
    (
        "initramfs-tools/scripts/local-top/merge-ctl",
        "etc/initramfs-tools/scripts/local-top/merge-ctl",
    ),
    ("dracut/90merge-ctl/module-setup.sh", "usr/lib/dracut/modules.d/90merge-ctl/module-setup.sh"),
    (
        "dracut/90merge-ctl/merge-ctl-settled.sh",
        "usr/lib/dracut/modules.d/90merge-ctl/merge-ctl-settled.sh",
    ),
    (
        "dracut/90merge-ctl/merge-ctl-missed.sh",
        "usr/lib/dracut/modules.d/90merge-ctl/merge-ctl-missed.sh",
    ),
];

/// What builds an initramfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// Debian's own
    InitramfsTools,
    /// dracut
    Dracut,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::InitramfsTools, Self::Dracut];
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InitramfsTools => "initramfs-tools",
            Self::Dracut => "dracut",
        })
    }
}

/// What is called merge-ctl in an initramfs.
pub(super) enum Program<'a> {
    MergeCtl(&'a Path),
    /// [`HANGS`].
    Hangs,
}

/// Whether this is a machine where one can be made.
pub(crate) fn can_be_had() -> bool {
    rustix::process::geteuid().is_root() && packages::has_apt()
}

/// See the module.
pub(super) struct Debian {
    root: PathBuf,
    /// One build at a time, in whatever checkout.
    _lock: File,
}

impl Debian {
    /// The one in the cache, or a new one.
    pub(super) fn ensure(workspace: &Workspace) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("an initramfs is built as root. As root, type:\n    cargo xtask boot");
        }
        let above = workspace.cache.join("boot");
        fs::create_dir_all(&above).with_context(|| format!("cannot make {}", above.display()))?;
        let lock = File::create(above.join("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let root = above.join(SUITE);
        if !root.is_dir() {
            make(&above, &root)?;
        }
        Ok(Self { root, _lock: lock })
    }

    /// The kernel that it has.
    pub(super) fn kernel(&self) -> Result<PathBuf> {
        Ok(self.root.join(format!("boot/vmlinuz-{}", self.version()?)))
    }

    fn version(&self) -> Result<String> {
        let dir = self.root.join("lib/modules");
        let version = fs::read_dir(&dir)?.flatten().next();
        let version = version.with_context(|| format!("no kernel in {}", dir.display()))?;
        Ok(version.file_name().to_string_lossy().into_owned())
    }

    /// Puts the hook files and the program where the recipe says, and builds.
    pub(super) fn build(
        &self,
        workspace: &Workspace,
        kind: Kind,
        program: &Program<'_>,
        initrd: &Path,
    ) -> Result<()> {
        self.install(&workspace.root.join("merge-ctl/boot"))?;
        let to = self.root.join("usr/local/sbin/merge-ctl");
        match program {
            Program::MergeCtl(file) => fs::copy(file, &to).map(drop)?,
            Program::Hangs => fs::write(&to, HANGS)?,
        }
        executable(&to)?;
        let built = format!("/var/tmp/{kind}.img");
        let version = self.version()?;
        let modules = MODULES.join(" ");
        let command: &[&str] = match kind {
            Kind::InitramfsTools => {
                let dir = self.root.join("etc/initramfs-tools");
                fs::write(dir.join("modules"), MODULES.join("\n"))?;
                fs::write(dir.join("conf.d/boot-test"), "MODULES=list\n")?;
                &["mkinitramfs", "-o", &built, &version]
            }
            Kind::Dracut => &[
                "dracut",
                "--quiet",
                "--force",
                "--no-hostonly",
                "--kver",
                &version,
                "--drivers",
                &modules,
                "--add",
                "lvm merge-ctl",
                &built,
            ],
        };
        self.run(command)?;
        let inside = self.root.join(built.trim_start_matches('/'));
        fs::copy(&inside, initrd)?;
        Ok(fs::remove_file(inside)?)
    }

    /// What docs/offline.md tells people to do by hand.
    fn install(&self, from: &Path) -> Result<()> {
        for (file, to) in FILES {
            let to = self.root.join(to);
            fs::create_dir_all(to.parent().context("a path without a directory")?)?;
            fs::copy(from.join(file), &to).with_context(|| format!("cannot copy {file}"))?;
            executable(&to)?;
        }
        Ok(())
    }

    fn run(&self, command: &[&str]) -> Result<()> {
        let mut inside = Command::new("unshare");
        inside.args(["--mount", "--", "sh", "-c", IN_ROOT, "sh"]).arg(&self.root).args(command);
        inside.quietly()
    }
}

fn make(above: &Path, root: &Path) -> Result<()> {
    say("making a minimal Debian to build initramfs images in: minutes, once");
    let since = SystemTime::now();
    let half = tempfile::Builder::new().prefix(".half-").tempdir_in(above)?;
    debootstrap(PACKAGES, half.path())?;
    fs::rename(half.keep(), root).with_context(|| format!("cannot make {}", root.display()))?;
    let took = since.elapsed().unwrap_or_default().as_secs();
    say(format_args!("it is kept in {} ({took} s)", root.display()));
    Ok(())
}

/// Makes a minimal Debian with these packages, from the mirror that this machine's apt uses.
pub(crate) fn debootstrap(packages: &str, root: &Path) -> Result<()> {
    packages::ensure_extra("debootstrap", "debootstrap")
        .context("to make one, type as root:\n    apt-get install -y debootstrap")?;
    let mirror = kernels::mirror(SUITE)?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.arg("--variant=minbase").arg(format!("--include={packages}")).arg(SUITE);
    debootstrap.arg(root).arg(mirror).quietly().context("debootstrap")?;
    Ok(fs::set_permissions(root, fs::Permissions::from_mode(0o755))?)
}

fn executable(file: &Path) -> Result<()> {
    Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o755))?)
}
