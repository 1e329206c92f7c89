//! What this process may do, from `/proc/self/status`, and what it will therefore not see.

use std::fs;
use std::io;

use super::super::facts::Privilege;
use crate::probe::survey;

/// Bits of `include/uapi/linux/capability.h`.
const IPC_LOCK: u32 = 14;
const SYS_ADMIN: u32 = 21;
const SYSLOG: u32 = 34;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// Effective capabilities and user.
pub(crate) struct Capabilities {
    effective: u64,
    root: bool,
}

impl Capabilities {
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/self/status")?;
        Self::parse(&text).ok_or_else(|| io::Error::other("/proc/self/status is not understood"))
    }

    fn parse(text: &str) -> Option<Self> {
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let effective = u64::from_str_radix(line("CapEff:")?.trim(), 16).ok()?;
        // Real, effective, saved and file system's.
        let root = line("Uid:")?.split_ascii_whitespace().nth(1)? == "0";
        Some(Self { effective, root })
    }

    const fn has(&self, capability: u32) -> bool {
        self.effective >> capability & 1 == 1
    }

    pub(crate) const fn privilege(&self) -> Privilege {
        Privilege { admin: self.has(SYS_ADMIN), lock_memory: self.has(IPC_LOCK), root: self.root }
    }

    /// Whether eBPF programs may be loaded.
    pub(crate) const fn may_load(&self) -> bool {
        self.has(SYS_ADMIN) || (self.has(BPF) && self.has(PERFMON))
    }

    /// Whether the kernel tells its addresses, as far as capabilities decide it.
    pub(crate) const fn may_see_addresses(&self) -> bool {
        self.has(SYSLOG) || self.has(SYS_ADMIN)
    }

    /// What the eBPF programs will not show, as far as it is known without loading them.
    pub(super) fn not_seen(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if !self.may_load() {
            missing.push(
                "Neither runs nor application I/O will be seen: CAP_BPF and CAP_PERFMON are \
                          missing."
                    .to_owned(),
            );
            return missing;
        }
        if !survey::has_types() {
            missing.push("Application I/O will not be seen: this kernel has no BTF.".to_owned());
        }
        if !survey::has_kprobes() {
            missing.push(
                "Runs and their phases will not be seen: this kernel has no kprobes.".to_owned(),
            );
        }
        if !self.may_see_addresses() {
            missing.push("Runs may not be seen: CAP_SYSLOG is missing.".to_owned());
        }
        if is_confidential() == Some(true) {
            missing.push(
                "Neither runs nor application I/O will be seen: the kernel is locked down for \
                          confidentiality."
                    .to_owned(),
            );
        }
        missing
    }
}

/// Whether the kernel is locked down for confidentiality, which forbids all probes; none where it
/// does not say.
pub(crate) fn is_confidential() -> Option<bool> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    Some(text.contains("[confidentiality]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_and_user_are_read_from_the_kernels_lines() {
        let text = |uid: &str, bits: &str| {
            format!("Name:\tx\nUid:\t1000\t{uid}\t{uid}\t{uid}\nCapPrm:\t0\nCapEff:\t{bits}\n")
        };
        let root = Capabilities::parse(&text("0", "000001ffffffffff")).unwrap().privilege();
        assert_eq!(root, Privilege { admin: true, lock_memory: true, root: true });
        let nobody = Capabilities::parse(&text("1000", "0000000000000000")).unwrap();
        assert_eq!(nobody.privilege(), Privilege { admin: false, lock_memory: false, root: false });
        assert!(nobody.not_seen()[0].contains("CAP_BPF"));
        let container = Capabilities::parse(&text("0", "00000000a80425fb")).unwrap().privilege();
        assert_eq!(container, Privilege { admin: false, lock_memory: false, root: true });
        assert!(Capabilities::parse("Name:\tx\n").is_none());
    }
}
