//! What the offline merge engine is worth: beside the kernel's merge in a VM, and beside fio on this host.

use anyhow::Result;

use super::Bench;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many rounds of each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

impl Args {
    /// The two benches.
    pub(super) fn parts(&self) -> Result<[Bench; 2]> {
        let rounds = self.rounds.to_string();
        let part = |name| Bench::of(name, &["--rounds", &rounds]);
        Ok([part("offline-vm")?, part("offline-host")?])
    }
}
