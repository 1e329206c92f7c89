//! What the process may do, once all is set up.
//!
//! Device-mapper answers nobody without `CAP_SYS_ADMIN` (`drivers/md/dm-ioctl.c`, `ctl_ioctl`), on every
//! call; that capability stays on the thread that asks. The probes, which are attached whenever a merge
//! begins, need `CAP_BPF` and `CAP_PERFMON` where they are not part of it, and `CAP_SYSLOG` for kernel
//! addresses and for the kernel log's word on a merge that failed. `CAP_DAC_OVERRIDE` stays only where the
//! directory of the text file is another user's. The thread that speaks to the network keeps nothing.
//!
//! Capabilities belong to threads: what is dropped here is dropped for the calling thread and those that it
//! starts later.

use std::path::Path;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

/// What reading needs.
const TO_READ: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::BPF)
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYSLOG);

/// Drops all but what reading devices needs, for this thread and those to come.
///
/// # Errors
/// What the kernel refuses.
pub(super) fn keep_what_is_needed(textfile: Option<&Path>) -> anyhow::Result<()> {
    // Kernels before 5.11 count maps as locked memory, and only here may it be lifted.
    let lifted = Rlimit { current: None, maximum: None };
    if getrlimit(Resource::Memlock) != lifted {
        // Refused, newer kernels do as well.
        let _ = setrlimit(Resource::Memlock, lifted);
    }
    set_no_new_privs(true).context("cannot give up new privileges")?;
    let is_foreign = textfile.is_some_and(|directory| !is_ours(directory));
    let to_write = if is_foreign { CapabilitySet::DAC_OVERRIDE } else { CapabilitySet::empty() };
    keep(TO_READ.union(to_write))
}

/// Drops everything, for this thread.
///
/// # Errors
/// What the kernel refuses.
pub(super) fn drop_all() -> anyhow::Result<()> {
    keep(CapabilitySet::empty())
}

fn keep(wanted: CapabilitySet) -> anyhow::Result<()> {
    let have = capabilities(None).context("cannot read the capabilities")?;
    let kept = have.permitted.intersection(wanted);
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).context("cannot drop capabilities")
}

/// Whether the directory is of the user that we are, who may then write there by himself.
fn is_ours(directory: &Path) -> bool {
    rustix::fs::stat(directory).is_ok_and(|stat| {
        stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o300 == 0o300
    })
}
