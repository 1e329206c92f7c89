//! `cargo xtask bench`: what is measured rather than tested. A figure that misses its aim is said,
//! and is no failure: the machine has its part in it.
//!
//! Each bench gives [`Findings`]; they are printed here, and published where that
//! was asked for. Whatever a bench makes on this host is gone when it ends, also after Ctrl-C; what it
//! makes in a VM goes with the VM.

mod all;
mod attached;
mod bcc;
mod device;
mod estimate;
mod figures;
mod findings;
mod finish;
mod fio;
mod footprint;
mod machine;
mod offline;
mod offline_host;
mod offline_vm;
mod overhead;
mod publish;
mod ratios;
mod runs;
mod scale;
mod stop;
mod store;
mod throttle;
mod tracer;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};

use crate::setup;
use crate::workspace::Workspace;
use findings::Findings;
use machine::Stamp;

/// What is published, below the root of the checkout.
const DOCUMENT: &str = "docs/benchmarks.md";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Put the result into its section of docs/benchmarks.md too; `all` does so unless it is quick
    #[arg(long, global = true)]
    publish: bool,
    /// Publish in this file instead, which has the same marks
    #[arg(long, global = true, value_name = "FILE")]
    document: Option<PathBuf>,
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Every bench, each published in docs/benchmarks.md: some 45 minutes, root only
    All(all::Args),
    /// What merge-ctl's tracer costs the application, on this host: root only
    Overhead(overhead::Args),
    /// How fast exception stores are read: from the page cache on this host, and from a slow device
    /// in a VM
    Store(store::Args),
    /// How right the predicted time of a merge is, on slow devices in a VM
    Estimate(estimate::Args),
    /// Both halves of it: `offline-vm` and `offline-host`
    Offline(offline::Args),
    /// How close merge-ctl's own merge engine comes to fio, on files and loop devices on this host
    OfflineHost(offline_host::Args),
    /// How long the kernel and merge-ctl's own engine take to merge the same snapshots, on slow devices in a VM
    OfflineVm(offline_vm::Args),
    /// What a throttle does for an application's writes beside a merge, and what it costs the merge,
    /// on a shared disk in a VM
    Throttle(throttle::Args),
    /// How fast the kernel merges, by the length of a run, the chunk size and the devices' latency, in a VM
    Runs(runs::Args),
    /// What a merge takes longer while `monitor` looks at it with all its probes, in a VM
    Attached(attached::Args),
    /// How long it takes from a merge's last chunk to the plain device, beside lvm2 and a script, in a VM
    Finish(finish::Args),
    /// What merge-ctl itself uses: beside 1 to 100 snapshots in a VM, and beside 100,000 writes a second
    /// on this host: root only
    Footprint(footprint::Args),
    /// How long merge-ctl takes to answer on a large host, in a VM, and for a large store, on this one
    Scale(scale::Args),
}

/// A bench that has a section, and the words that make it as short as it can be.
#[derive(Clone, Copy)]
struct Section {
    name: &'static str,
    quick: &'static [&'static str],
}

/// In the order of the document.
const SECTIONS: [Section; 11] = [
    Section { name: "runs", quick: &["--rounds", "1", "--data-mib", "32"] },
    Section { name: "finish", quick: &["--rounds", "1"] },
    Section { name: "attached", quick: &["--rounds", "1", "--seconds", "3"] },
    Section { name: "overhead", quick: &["--rounds", "2", "--seconds", "0.3"] },
    Section { name: "footprint", quick: &["--seconds", "4"] },
    Section {
        name: "scale",
        quick: &["--rounds", "1", "--seconds", "4", "--exceptions", "1000000"],
    },
    Section { name: "offline-vm", quick: &["--rounds", "1", "4", "1024"] },
    Section { name: "offline-host", quick: &["--rounds", "1", "--data-mib", "64"] },
    Section { name: "estimate", quick: &["stripes, both slow"] },
    Section { name: "throttle", quick: &["--rounds", "1", "none", "fixed 50 %"] },
    Section {
        name: "store",
        quick: &[
            "--exceptions",
            "5000000",
            "--rounds",
            "1",
            "--areas",
            "200",
            "--device-rounds",
            "1",
        ],
    },
];

/// For benches that are named by words.
#[derive(Parser)]
struct Words {
    #[command(subcommand)]
    bench: Bench,
}

impl Bench {
    /// The bench of this name, with these arguments.
    fn of(name: &str, words: &[&str]) -> Result<Self> {
        let words = [&["bench", name], words].concat();
        Ok(Words::try_parse_from(words).with_context(|| name.to_owned())?.bench)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::All(_) => "all",
            Self::Overhead(_) => "overhead",
            Self::Store(_) => "store",
            Self::Estimate(_) => "estimate",
            Self::Offline(_) => "offline",
            Self::OfflineHost(_) => "offline-host",
            Self::OfflineVm(_) => "offline-vm",
            Self::Throttle(_) => "throttle",
            Self::Runs(_) => "runs",
            Self::Attached(_) => "attached",
            Self::Finish(_) => "finish",
            Self::Footprint(_) => "footprint",
            Self::Scale(_) => "scale",
        }
    }

    fn measure(&self, workspace: &Workspace) -> Result<Findings> {
        match self {
            Self::All(_) | Self::Offline(_) => bail!("{} is made of others", self.name()),
            Self::Overhead(args) => overhead::run(workspace, args),
            Self::Store(args) => store::run(workspace, args),
            Self::Estimate(args) => estimate::run(workspace, args),
            Self::OfflineHost(args) => offline_host::run(workspace, args),
            Self::OfflineVm(args) => offline_vm::run(workspace, args),
            Self::Throttle(args) => throttle::run(workspace, args),
            Self::Runs(args) => runs::run(workspace, args),
            Self::Attached(args) => attached::run(workspace, args),
            Self::Finish(args) => finish::run(workspace, args),
            Self::Footprint(args) => footprint::run(workspace, args),
            Self::Scale(args) => scale::run(workspace, args),
        }
    }
}

/// Measures, prints the result as Markdown, and publishes it where that is wanted.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    stop::catch()?;
    let is_asked = args.publish || args.document.is_some();
    let document = args.document.clone().unwrap_or_else(|| workspace.root.join(DOCUMENT));
    let document = |wanted: bool| wanted.then_some(document.as_path());
    match &args.bench {
        Bench::All(all) => all::run(workspace, all, document(is_asked || !all.quick)),
        Bench::Offline(both) => {
            both.parts()?.iter().try_for_each(|bench| one(workspace, bench, document(is_asked)))
        }
        bench => one(workspace, bench, document(is_asked)),
    }
}

fn one(workspace: &Workspace, bench: &Bench, document: Option<&Path>) -> Result<()> {
    if let Some(document) = document {
        publish::check(document, bench.name())?;
    }
    setup::tools(workspace)?;
    let stamp = Stamp::now(workspace)?;
    let findings = bench.measure(workspace)?;
    stop::check()?;
    println!("## {}\n\n{}", bench.name(), findings.result(&stamp));
    match document {
        Some(document) => {
            let order = SECTIONS.map(|section| section.name);
            publish::publish(document, bench.name(), &order, (&stamp, &findings))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_a_bench_with_a_place_in_the_document() {
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(DOCUMENT);
        for section in SECTIONS {
            for words in [&[][..], section.quick] {
                assert_eq!(Bench::of(section.name, words).unwrap().name(), section.name);
            }
            publish::check(&document, section.name).unwrap();
        }
        assert!(Bench::of("nothing", &[]).is_err());
    }
}
