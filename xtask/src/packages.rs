//! The packages of the system that the tasks need, and getting exactly the missing ones.

use std::env;
use std::path::Path;

use anyhow::{Result, bail};

use crate::run::{Command, say};

/// What is needed, by its name in Debian 12, and for what.
const NEEDED: &[(&str, &str)] = &[
    ("rustc-web", "the compiler of the eBPF programs"),
    ("libstd-rust-web-dev-bpf", "core for the BPF target"),
    ("rust-web-clippy", "lints for the eBPF programs"),
    ("llvm-22-dev", "to build bpf-linker"),
    ("libpolly-22-dev", "to build bpf-linker"),
    ("zlib1g-dev", "to build bpf-linker"),
    ("libzstd-dev", "to build bpf-linker"),
    ("libxml2-dev", "to build bpf-linker"),
    ("g++", "to build bpf-linker and the fuzz targets"),
    ("gcc", "to link"),
    ("libc6-dev", "to link, statically too"),
    ("qemu-system-x86", "the VMs"),
    ("busybox-static", "in the VMs"),
    ("bash", "in the VMs"),
    ("dmsetup", "in the VMs"),
    ("lvm2", "in the VMs"),
    ("fio", "in the VMs"),
    ("e2fsprogs", "in the VMs"),
    ("util-linux", "in the VMs"),
    ("kmod", "to pack modules, and in the VMs"),
    ("xz-utils", "to unpack modules"),
    ("zstd", "to unpack modules"),
];

/// Installs what is missing: as root by apt, otherwise by telling what to type.
pub(crate) fn ensure() -> Result<()> {
    if !has_apt() {
        return without_apt();
    }
    let missing = missing()?;
    if missing.is_empty() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "packages are missing. As root, type:\n    apt-get install -y \
             --no-install-recommends {}",
            missing.join(" ")
        );
    }
    install(&missing)
}

/// Gets one more package for a task that can do without it; what stands in the way is the error.
pub(crate) fn ensure_extra(package: &str, program: &str) -> Result<()> {
    if find(program).is_some() {
        return Ok(());
    }
    if !has_apt() || !rustix::process::geteuid().is_root() {
        bail!("{program} is not installed");
    }
    install(&[package])
}

/// The same for a package without a program.
pub(crate) fn ensure_package(package: &str) -> Result<()> {
    if !has_apt() || !rustix::process::geteuid().is_root() {
        bail!("{package} can only be had as root, where apt is");
    }
    let (_, known) = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status}", package])
        .stdout_whatever_status()?;
    if known == "installed" { Ok(()) } else { install(&[package]) }
}

/// Where a program of a Debian package lies, asked of the package: another of the same name may
/// come first on PATH.
pub(crate) fn file_of(package: &str, ends_with: &str) -> Option<String> {
    let (status, files) =
        Command::new("dpkg-query").args(["-L", package]).stdout_whatever_status().ok()?;
    let file = files.lines().find(|line| line.ends_with(ends_with))?;
    (status.success() && Path::new(file).is_file()).then(|| file.to_owned())
}

/// Whether `program` can be run from PATH (or the places where root's programs lie).
pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(Into::into))
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// Whether the system is one that apt and dpkg keep.
pub(crate) fn has_apt() -> bool {
    find("apt-get").is_some() && find("dpkg-query").is_some()
}

fn missing() -> Result<Vec<&'static str>> {
    let names = NEEDED.iter().map(|(name, _)| *name);
    // It fails as soon as one name is unknown; what it does know is what counts.
    let (_, known) = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\\n"])
        .args(names.clone())
        .stdout_whatever_status()?;
    let there = |name: &str| known.lines().any(|line| line == format!("{name} installed"));
    Ok(names.filter(|name| !there(name)).collect())
}

fn install(packages: &[&str]) -> Result<()> {
    say(format_args!("installing {}", packages.join(" ")));
    let install =
        || apt().args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages).run();
    // The lists may be absent (a container) or stale: only then is an update worth its time.
    install().or_else(|_| {
        apt().args(["update", "-qq"]).run()?;
        install()
    })
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

/// Elsewhere the names differ, so what counts is whether the programs are there.
fn without_apt() -> Result<()> {
    let programs = [
        "cc",
        "c++",
        "qemu-system-x86_64",
        "busybox",
        "bash",
        "dmsetup",
        "lvm",
        "fio",
        "mkfs.ext4",
        "losetup",
        "modprobe",
        "depmod",
        "xz",
        "zstd",
        "bpf-linker",
    ];
    let missing: Vec<_> = programs.into_iter().filter(|name| find(name).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let debian = NEEDED
        .iter()
        .map(|(name, why)| format!("    {name}: {why}"))
        .collect::<Vec<_>>()
        .join("\n");
    bail!(
        "this system has no apt, and these programs are not on PATH: {}\nInstall what here \
         corresponds to Debian's\n{debian}",
        missing.join(" ")
    );
}
