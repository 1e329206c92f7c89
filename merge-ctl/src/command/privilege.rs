//! What a process that only looks may do, once all is set up.
//!
//! Device-mapper answers nobody without `CAP_SYS_ADMIN` (`drivers/md/dm-ioctl.c`, `ctl_ioctl`), on every
//! call; that capability stays on the thread that asks. The probes, which may be attached whenever a merge
//! begins, need `CAP_BPF` and `CAP_PERFMON` where they are not part of it, and `CAP_SYSLOG` for kernel
//! addresses and for the kernel log's word on a merge that failed. Files are root's, who needs no capability
//! for them: `CAP_DAC_OVERRIDE` stays only where what is written lies in another user's directory, or the
//! user is not root.
//!
//! Capabilities belong to threads: what is dropped here is dropped for the calling thread and those that it
//! starts later. So it is dropped before the first of them is started.

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
/// What files of others need.
const FOR_FILES: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::DAC_READ_SEARCH);

/// Drops all but what reading devices needs, for this thread and those to come, and gives up new privileges
/// for good. `written`: the directory in which files will be made.
///
/// # Errors
/// What the kernel refuses.
pub(crate) fn keep_what_is_needed(written: Option<&Path>) -> anyhow::Result<()> {
    // Kernels before 5.11 count maps as locked memory, and only here may it be lifted.
    let lifted = Rlimit { current: None, maximum: None };
    if getrlimit(Resource::Memlock) != lifted {
        // Refused, newer kernels do as well.
        let _ = setrlimit(Resource::Memlock, lifted);
    }
    set_no_new_privs(true).context("cannot give up new privileges")?;
    let is_foreign = written.is_some_and(|directory| !is_ours(directory));
    let past_owners = is_foreign || !rustix::process::geteuid().is_root();
    let for_files = if past_owners { FOR_FILES } else { CapabilitySet::empty() };
    keep(TO_READ.union(for_files))
}

/// Drops everything, for this thread.
///
/// # Errors
/// What the kernel refuses.
pub(crate) fn drop_all() -> anyhow::Result<()> {
    keep(CapabilitySet::empty())
}

fn keep(wanted: CapabilitySet) -> anyhow::Result<()> {
    let have = capabilities(None).context("cannot read the capabilities")?;
    let kept = have.permitted.intersection(wanted);
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).context("cannot drop capabilities")
}

/// Where a file lies that is to be made.
pub(crate) fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether the directory is of the user that we are, who may then write there by himself.
fn is_ours(directory: &Path) -> bool {
    rustix::fs::stat(directory).is_ok_and(|stat| {
        stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o300 == 0o300
    })
}
