//! Everything a contributor to merge-ctl types: `cargo xtask <what>`.
//!
//! Each subcommand lives in a file of its name and asks for what it needs itself, so any of them
//! works first on a fresh clone. The network is reached through apt and cargo only.

mod bench;
mod boot;
mod build;
mod cpio;
mod crash;
mod demo;
mod dist;
#[cfg(test)]
mod documented;
mod ebpf;
mod fuzz;
mod initramfs;
mod kernels;
mod labelled;
mod linker;
mod lint;
mod package;
mod packages;
mod prometheus;
mod remap;
mod run;
mod screencast;
mod setup;
mod supply;
mod test;
mod tool;
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Everything a contributor to merge-ctl types")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Get what the other tasks need: packages, the BPF linker, cargo-fuzz, kernels
    Setup(setup::Args),
    /// Build the eBPF programs into target/ebpf
    Ebpf,
    /// Build merge-ctl with the eBPF programs inside, static, as it goes into the VMs
    Build,
    /// Check format, lints (user side and eBPF) and documentation links
    Lint,
    /// Run everything: lints, unit tests, a minute of fuzzing, and the integration tests on real
    /// kernels
    Test(test::Args),
    /// Cut the power of VMs in the middle of merges, kill merge-ctl there, and see that nothing is lost
    Crash(crash::Args),
    /// Boot real initramfs images of Debian's that merge a root snapshot before the root is activated
    Boot(boot::Args),
    /// Read stores that nobody wrote, until one breaks the reader or the time is over
    Fuzz(fuzz::Args),
    /// Watch a real merge in a disposable VM, live in this terminal, and see it proved right
    Demo(demo::Args),
    /// Measure what merge-ctl costs; prints Markdown
    Bench(bench::Args),
    /// Make the moving picture of the dashboard in README, from a real merge
    Screencast(screencast::Args),
    /// Make what is published: static binary, packages, manual pages, completions, SBOM, checksums
    Dist(dist::Args),
    /// Check dependencies: licences, sources, duplicates, advisories; and the oldest Rust
    Supply,
    /// Install, use and purge the Debian package in a VM that runs Debian, and look for what is left behind
    Package(package::Args),
    /// Run a command as root in a disposable VM; its output here, its exit status ours
    Vm(vm::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            // A VM's own command may well exit 1; what went wrong before it ran must not look so.
            ExitCode::from(vm::TROUBLE)
        }
    }
}

fn run(task: Task) -> Result<u8> {
    let workspace = Workspace::find()?;
    match task {
        Task::Setup(args) => setup::run(&workspace, &args).map(|()| 0),
        Task::Ebpf => {
            setup::tools(&workspace)?;
            ebpf::build(&workspace).map(|()| 0)
        }
        Task::Build => {
            setup::tools(&workspace)?;
            build::merge_ctl(&workspace).map(|path| {
                println!("{}", path.display());
                0
            })
        }
        Task::Lint => {
            setup::tools(&workspace)?;
            lint::run(&workspace).map(|()| 0)
        }
        Task::Test(args) => test::run(&workspace, &args),
        Task::Crash(args) => crash::run(&workspace, &args),
        Task::Boot(args) => boot::run(&workspace, &args),
        Task::Fuzz(args) => fuzz::run(&workspace, &args).map(|()| 0),
        Task::Demo(args) => demo::run(&workspace, &args),
        Task::Bench(args) => bench::run(&workspace, &args).map(|()| 0),
        Task::Screencast(args) => screencast::run(&workspace, &args).map(|()| 0),
        Task::Dist(args) => dist::run(&workspace, &args).map(|()| 0),
        Task::Supply => supply::run(&workspace).map(|()| 0),
        Task::Package(args) => package::run(&workspace, &args),
        Task::Vm(args) => vm::run(&workspace, &args),
    }
}
