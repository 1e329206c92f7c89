//! `cargo xtask package`: the Debian packages on a machine that runs Debian, from installation to purge.
//!
//! A Debian 12 is made once by debootstrap and kept as a disk image; it boots in a VM with systemd as PID 1,
//! its own kernel and initramfs. `guest/package-test` installs what `cargo xtask dist` would publish, uses it,
//! takes it away in the midst of a merge, and looks for what is left behind.
//!
//! Always holds: the image is never written to; a machine that does not end is a failure.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::boot::{debian, machine};
use crate::run::{Command, say};
use crate::workspace::Workspace;
use crate::{build, dist, setup};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Try the package of the boot hooks too: an initramfs is made twice, which takes minutes
    #[arg(long)]
    initramfs: bool,
    /// Show what the machine says on its console
    #[arg(long)]
    console: bool,
}

/// What is run in it, and what the packages run.
pub(crate) const SCRIPTS: [&str; 4] = [
    "xtask/guest/package-test",
    "merge-ctl/packaging/debian/postinst",
    "merge-ctl/packaging/debian/prerm",
    "merge-ctl/packaging/debian/postrm",
];
const TEST: &str = include_str!("../guest/package-test");
/// What it has beside what every Debian has.
const PACKAGES: &str = "initramfs-tools,lvm2,udev,busybox,zstd,systemd,systemd-sysv,dbus,man-db,\
                        bash-completion,linux-image-amd64";
const IMAGE_BYTES: u64 = 1500 << 20;
/// However slow the machine.
const PATIENCE: Duration = Duration::from_secs(600);
const PASSED: &str = "PACKAGE PASSED";
/// systemd runs this in place of what it would bring up; the second disk is an archive.
const OPTIONS: &str = "console=ttyS0 root=/dev/vda rw panic=-1 oops=panic quiet loglevel=3 no_timer_check \
    systemd.show_status=false systemd.run_success_action=none systemd.run_failure_action=none \
    systemd.run=\"/bin/sh -c 'mkdir /run/package && tar -xf /dev/vdb -C /run/package && exec sh /run/package/test'\"";

/// Makes the packages and tries them; the exit status says whether they passed.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<u8> {
    setup::tools(workspace)?;
    if !debian::can_be_had() {
        bail!("a Debian is made as root, with apt. As root, type:\n    cargo xtask package");
    }
    let begun = Instant::now();
    let packages = dist::debian_packages(workspace, None)?;
    let said = try_out(workspace, &packages, args)?;
    for line in said.lines().filter_map(|line| line.trim_end().strip_prefix("ok: ")) {
        println!("{line}");
    }
    println!("the package passed ({} s)", begun.elapsed().as_secs());
    Ok(0)
}

/// What `cargo xtask test` does of it: with the program that its other tests use, which is built already.
pub(crate) fn shortly(workspace: &Workspace) -> Result<String> {
    if !debian::can_be_had() {
        return Ok("left out: it needs root and apt (cargo xtask package)".to_owned());
    }
    let program = build::merge_ctl(workspace)?;
    let packages = dist::debian_packages(workspace, Some(&program))?;
    let said = try_out(workspace, &packages, &Args { initramfs: false, console: false })?;
    Ok(format!("{} checks passed", said.lines().filter(|line| line.starts_with("ok: ")).count()))
}

/// All that was said on the console of a machine where all went well.
fn try_out(workspace: &Workspace, packages: &[PathBuf], args: &Args) -> Result<String> {
    let debian = Debian::ensure(workspace)?;
    let dir = tempfile::Builder::new().prefix("merge-package-").tempdir()?;
    let disk = disk(dir.path(), packages, args.initramfs)?;
    say("booting a Debian, to install, use and purge the package");
    let mut shown = 0;
    let watch = |said: &str| {
        if args.console && said.len() > shown {
            eprint!("{}", &said[shown..]);
            shown = said.len();
        }
    };
    let attach = |command: &mut std::process::Command| {
        for (name, file, snapshot) in [("root", &debian.image, "on"), ("package", &disk, "off")] {
            command.arg("-drive").arg(format!(
                "if=none,id={name},format=raw,cache=unsafe,snapshot={snapshot},file={}",
                file.display()
            ));
            command.args(["-device", &format!("virtio-blk-pci,drive={name},serial={name}")]);
        }
    };
    let booted = (debian.kernel.as_path(), debian.initrd.as_path());
    let said = machine::boot(booted, OPTIONS, attach, PATIENCE, watch)?;
    if !said.lines().any(|line| line.trim_end() == PASSED) {
        bail!("the package failed:\n{}", machine::tail(&said));
    }
    Ok(said)
}

/// The packages and the test, as an archive that the guest reads off its second disk.
fn disk(dir: &Path, packages: &[PathBuf], initramfs: bool) -> Result<PathBuf> {
    let inside = dir.join("inside");
    fs::create_dir(&inside)?;
    for package in packages {
        fs::copy(package, inside.join(package.file_name().context("a package without a name")?))?;
    }
    fs::write(inside.join("test"), TEST)?;
    if initramfs {
        fs::write(inside.join("with-initramfs"), "")?;
    }
    let disk = dir.join("disk");
    let mut tar = Command::new("tar");
    tar.args(["--create", "--file"]).arg(&disk).arg("--directory").arg(&inside).arg(".");
    tar.quietly()?;
    Ok(disk)
}

/// What boots.
struct Debian {
    image: PathBuf,
    kernel: PathBuf,
    initrd: PathBuf,
}

impl Debian {
    /// The one in the cache, or a new one.
    fn ensure(workspace: &Workspace) -> Result<Self> {
        let home = workspace.cache.join("package");
        let part = |name: &str| home.join(name);
        let debian =
            Self { image: part("image"), kernel: part("vmlinuz"), initrd: part("initrd.img") };
        if !home.is_dir() {
            make(&workspace.cache, &home)?;
        }
        Ok(debian)
    }
}

/// Makes it beside its place, and moves it there when it is whole.
fn make(above: &Path, home: &Path) -> Result<()> {
    say("making a minimal Debian to install packages in: minutes, once");
    fs::create_dir_all(above)?;
    let half = tempfile::Builder::new().prefix(".half-").tempdir_in(above)?;
    let root = half.path().join("root");
    debian::debootstrap(PACKAGES, &root)?;
    for (link, name) in [("vmlinuz", "vmlinuz"), ("initrd.img", "initrd.img")] {
        let file = fs::read_link(root.join(link)).context("the Debian has no kernel")?;
        fs::copy(root.join(file), half.path().join(name))?;
    }
    let image = half.path().join("image");
    fs::File::create(&image)?.set_len(IMAGE_BYTES)?;
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-d"]).arg(&root).arg(&image).quietly()?;
    fs::remove_dir_all(&root)?;
    match fs::rename(half.path(), home) {
        // Another checkout may have been faster.
        Err(_) if home.is_dir() => Ok(()),
        moved => {
            moved.with_context(|| format!("cannot make {}", home.display()))?;
            drop(half.keep());
            Ok(())
        }
    }
}
