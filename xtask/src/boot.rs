//! `cargo xtask boot`: the recipe of docs/offline.md, "At boot", on the real thing.
//!
//! A minimal Debian is made with debootstrap, the hook files of `merge-ctl/boot` are put into it, and its own
//! tools build an initramfs of each kind. A VM prepares a disk: a volume group, a root, a snapshot of
//! it whose merge is on record. Then the Debian kernel boots with the initramfs and that disk, and what comes up says
//! what it holds.
//!
//! Always holds: the disk is as it was prepared before every boot; a boot that does not end is a failure.

mod cases;
pub(crate) mod debian;
pub(crate) mod machine;
mod scene;
#[cfg(test)]
mod script;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::kernels::{self, Choice};
use crate::run::say;
use crate::workspace::Workspace;
use crate::{build, setup};
use cases::{CASES, Case};
use debian::{Debian, Kind, Program};
use scene::Scene;

/// The hook files, below `merge-ctl/boot`.
pub(crate) fn scripts() -> impl Iterator<Item = &'static str> {
    debian::FILES.into_iter().map(|(file, _)| file)
}

/// The same, and where a package puts what the recipe puts into `/etc` and `/usr/local`.
pub(crate) fn packaged() -> impl Iterator<Item = (&'static str, String)> {
    let place = |to: &str| {
        let to = to.replacen("usr/local/", "usr/", 1);
        to.replacen("etc/initramfs-tools/", "usr/share/initramfs-tools/", 1)
    };
    debian::FILES.into_iter().map(move |(file, to)| (file, place(to)))
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only initramfs images made by this
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Only the cases whose name contains this
    #[arg(value_name = "CASE")]
    case: Option<String>,
    /// Show what the machines say on their consoles
    #[arg(long)]
    console: bool,
}

/// Boots all cases; the exit status says whether they passed.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<u8> {
    setup::tools(workspace)?;
    let wanted =
        |case: &&Case| args.case.as_ref().is_none_or(|part| case.name.contains(part.as_str()));
    let cases: Vec<_> = CASES.iter().filter(wanted).collect();
    if cases.is_empty() {
        let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
        bail!("there is no such case; there are: {}", names.join(", "));
    }
    let kinds: Vec<_> =
        Kind::ALL.into_iter().filter(|it| args.kind.is_none_or(|kind| kind == *it)).collect();
    let begun = Instant::now();
    let failed = boot(workspace, &kinds, &cases, args.console)?;
    println!(
        "{} boots in {} s, {failed} failed",
        kinds.len() * cases.len(),
        begun.elapsed().as_secs()
    );
    Ok(u8::from(failed > 0))
}

/// What `cargo xtask test` does of it: a merge at boot, with each kind.
pub(crate) fn shortly(workspace: &Workspace) -> Result<String> {
    if !debian::can_be_had() {
        return Ok("left out: it needs root and apt (cargo xtask boot)".to_owned());
    }
    let cases: Vec<_> = CASES.iter().filter(|case| case.in_short).collect();
    match boot(workspace, &Kind::ALL, &cases, false)? {
        0 => Ok(format!("{} boots passed", cases.len() * Kind::ALL.len())),
        failed => bail!("{failed} boots failed"),
    }
}

/// How many failed.
fn boot(workspace: &Workspace, kinds: &[Kind], cases: &[&Case], console: bool) -> Result<usize> {
    let merge_ctl = build::merge_ctl(workspace)?;
    let debian = Debian::ensure(workspace)?;
    let kernel =
        kernels::ensure(workspace, &Choice::Named(kernels::parse(kernels::DEFAULT_VM)?), false)?;
    let scene = Scene::prepare(workspace, &kernel, &merge_ctl)?;
    let dir = tempfile::Builder::new().prefix("merge-boot-").tempdir()?;
    let mut failed = 0;
    for kind in kinds {
        let begun = Instant::now();
        let initrd = dir.path().join(format!("{kind}.img"));
        debian.build(workspace, *kind, &Program::MergeCtl(&merge_ctl), &initrd)?;
        say(format_args!("initramfs by {kind}: built in {} s", begun.elapsed().as_secs()));
        for case in cases {
            let begun = Instant::now();
            let hangs = dir.path().join(format!("{kind}-hangs.img"));
            if case.hangs && !hangs.exists() {
                debian.build(workspace, *kind, &Program::Hangs, &hangs)?;
            }
            let initrd = if case.hangs { &hangs } else { &initrd };
            let outcome = case.run(*kind, &scene, (&debian.kernel()?, initrd), console);
            let took = begun.elapsed().as_secs();
            match outcome {
                Ok(()) => println!("{kind}: {}: passed ({took} s)", case.name),
                Err(error) => {
                    failed += 1;
                    println!("{kind}: {}: FAILED ({took} s): {error:#}", case.name);
                }
            }
        }
    }
    Ok(failed)
}
