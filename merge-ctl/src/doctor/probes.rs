//! What is needed to see inside a merge: types, addresses, and each eBPF program.

use super::check::{Check, Code};
use super::facts::{Addresses, Facts, Outcome, Part, Survey, Trial, Types};

/// What is lost where the programs of runs are.
const NO_RUNS: &str =
    "Runs and their phases are not seen; progress comes from the kernel's status line.";
/// What is lost where those of siblings are.
const NO_SIBLINGS: &str = "A run's wait for other snapshots is counted as its drain.";
/// What is lost where those of I/O are.
const NO_IO: &str = "Application I/O is not seen: neither writes in flight nor latencies.";
/// What is lost where all are.
const NO_PROBES: &str =
    "Neither runs nor application I/O are seen; progress comes from the kernel's status line.";

pub(super) fn look(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![
        lockdown(facts),
        privilege(facts),
        btf_kernel(facts),
        btf_module(facts),
        addresses(facts),
        kprobes(facts),
        object(facts),
    ];
    checks.extend(programs(facts));
    checks.push(kernel_log(facts));
    checks
}

fn lockdown(facts: &Facts) -> Check {
    let code = Code::Lockdown;
    match facts.confidential {
        None => Check::unknown(code, "The kernel does not say whether it is locked down."),
        Some(false) => Check::ok(code, "The kernel is not locked down for confidentiality."),
        Some(true) => Check::missing(code, "The kernel is locked down for confidentiality.")
            .costs(NO_PROBES)
            .way_out("Boot with lockdown=integrity, or without lockdown."),
    }
}

fn privilege(facts: &Facts) -> Check {
    let code = Code::EbpfPrivilege;
    match facts.rights {
        None => {
            Check::unknown(code, "What this process may do cannot be read (/proc/self/status).")
        }
        Some(rights) if !rights.may_load => Check::missing(
            code,
            "This process may not load eBPF programs (CAP_BPF and CAP_PERFMON).",
        )
        .costs(NO_PROBES)
        .way_out("Run it as root, or with CAP_BPF, CAP_PERFMON and CAP_SYSLOG."),
        Some(_) => Check::ok(code, "This process may load eBPF programs."),
    }
}

fn btf_kernel(facts: &Facts) -> Check {
    let code = Code::BtfKernel;
    let Some(survey) = &facts.probes else {
        return Check::unknown(code, "Whether the kernel tells its types was not looked at.");
    };
    let newer = "Get a newer merge-ctl: this kernel has other types than those it knows.";
    match &survey.types {
        Err(why) => Check::missing(code, format!("The kernel does not tell its types: {why}."))
            .costs(NO_PROBES)
            .way_out("Boot a kernel with CONFIG_DEBUG_INFO_BTF."),
        Ok(Types { block_devices: false, .. }) => {
            Check::degraded(code, "The kernel does not tell what a block device is.")
                .costs(NO_RUNS)
                .way_out(newer)
        }
        Ok(Types { bio: false, .. }) => {
            Check::degraded(code, "The kernel does not tell what an I/O is.")
                .costs(NO_IO)
                .way_out(newer)
        }
        Ok(_) => Check::ok(code, "The kernel tells its types (/sys/kernel/btf/vmlinux)."),
    }
}

fn btf_module(facts: &Facts) -> Check {
    let code = Code::BtfModule;
    let not_looked =
        || Check::unknown(code, "Whether dm-snapshot tells its types was not looked at.");
    let Some(Survey { types: Ok(types), addresses, .. }) = &facts.probes else {
        return not_looked();
    };
    match (types.snapshot, addresses) {
        (true, _) => Check::ok(code, "dm-snapshot tells its types."),
        (false, Addresses::NotLoaded) => Check::unknown(code, NOT_LOADED),
        (false, Addresses::Unreadable(_)) => not_looked(),
        (false, Addresses::Told | Addresses::Hidden) => {
            Check::degraded(code, "dm-snapshot does not tell its types.")
                .costs("Which merge a run belongs to is known only once its first copy has begun.")
                .way_out("Boot Linux 5.11 or later with CONFIG_DEBUG_INFO_BTF_MODULES.")
        }
    }
}

/// Of what is about a module that is not there.
const NOT_LOADED: &str = "It can be seen only once dm-snapshot is loaded.";

fn addresses(facts: &Facts) -> Check {
    let code = Code::KernelAddresses;
    let Some(survey) = &facts.probes else {
        return Check::unknown(code, "Whether the kernel tells its addresses was not looked at.");
    };
    match &survey.addresses {
        Addresses::Told => Check::ok(code, "The kernel tells its addresses."),
        Addresses::NotLoaded => Check::unknown(code, NOT_LOADED),
        Addresses::Unreadable(why) => {
            Check::missing(code, format!("/proc/kallsyms cannot be read: {why}."))
                .costs(NO_RUNS)
                .way_out("Boot a kernel with CONFIG_KALLSYMS.")
        }
        Addresses::Hidden => {
            let way_out = match facts.rights {
                Some(rights) if rights.may_see_addresses => "sysctl kernel.kptr_restrict=1",
                _ => "Run it as root, or with CAP_SYSLOG.",
            };
            let words = "The kernel hides its addresses (kernel.kptr_restrict, or CAP_SYSLOG).";
            Check::missing(code, words).costs(NO_RUNS).way_out(way_out)
        }
    }
}

fn kprobes(facts: &Facts) -> Check {
    let code = Code::Kprobes;
    match facts.probes.as_ref().map(|survey| survey.kprobes) {
        None => Check::unknown(code, "Whether the kernel has kprobes was not looked at."),
        Some(true) => Check::ok(code, "The kernel has kprobes; tracefs is not needed for them."),
        Some(false) => Check::missing(code, "The kernel has no kprobes.")
            .costs(NO_RUNS)
            .way_out("Boot a kernel with CONFIG_KPROBE_EVENTS."),
    }
}

fn object(facts: &Facts) -> Check {
    let code = Code::Ebpf;
    match facts.probes.as_ref().and_then(|survey| survey.object.as_ref()) {
        None => Check::unknown(code, not_tried(facts)),
        Some(Ok(())) => Check::ok(code, "The kernel takes the maps of the eBPF programs."),
        Some(Err(why)) => {
            Check::missing(code, format!("The eBPF programs cannot be loaded: {why}."))
                .costs(NO_PROBES)
                .way_out(
                    "Boot a kernel with CONFIG_BPF_SYSCALL; in a container, give it these rights.",
                )
        }
    }
}

fn not_tried(facts: &Facts) -> &'static str {
    let survey = facts.probes.as_ref();
    if facts.rights.is_none_or(|rights| !rights.may_load) {
        "Not tried: this process may not load eBPF programs."
    } else if survey.is_some_and(|survey| survey.types.is_err()) {
        "Not tried: the kernel does not tell its types."
    } else if survey.is_some_and(|survey| matches!(survey.object, Some(Err(_)))) {
        "Not tried: the eBPF programs cannot be loaded."
    } else {
        "Not tried."
    }
}

/// Each program once. Those that were tried have something to say; of the others it is not known.
fn programs(facts: &Facts) -> Vec<Check> {
    let trials = facts.probes.as_ref().map_or(&[][..], |survey| &survey.trials);
    let codes = Code::ALL.iter().copied().filter(|code| code.is_program());
    let of_code = |code: Code| {
        let trial = trials.iter().find(|trial| Code::of_program(trial.program) == Some(code));
        trial.map_or_else(
            || Check::unknown(code, not_tried(facts)),
            |trial| program(facts, code, trial),
        )
    };
    codes.map(of_code).collect()
}

fn program(facts: &Facts, code: Code, trial: &Trial) -> Check {
    match &trial.outcome {
        Outcome::Attached => Check::ok(code, "Attached, and taken off again."),
        Outcome::NotTried => {
            let loaded = facts.probes.as_ref().is_some_and(|it| matches!(it.object, Some(Ok(()))));
            let words = match (loaded, trial.part) {
                (false, _) => not_tried(facts),
                (true, Part::Io) => "Not tried: the kernel does not tell what an I/O is.",
                (true, Part::Runs | Part::Siblings) => "Not tried: dm-snapshot is not loaded.",
            };
            Check::unknown(code, words)
        }
        Outcome::Refused(why) => {
            let cost = match trial.part {
                Part::Runs => NO_RUNS,
                Part::Siblings => NO_SIBLINGS,
                Part::Io => NO_IO,
            };
            let words = format!("{} cannot be followed: {why}.", trial.at);
            Check::missing(code, words).costs(cost).way_out(
                "Boot a kernel that has it: docs/kernel-notes.md names those that were tried.",
            )
        }
    }
}

fn kernel_log(facts: &Facts) -> Check {
    let code = Code::KernelLog;
    match &facts.kernel_log {
        None => Check::unknown(code, "The kernel's log was not looked at."),
        Some(Ok(())) => Check::ok(code, "The kernel's log can be read."),
        Some(Err(why)) => Check::degraded(code, format!("The kernel's log cannot be read: {why}."))
            .costs("Why a merge failed that nobody watched is not known.")
            .way_out("Run it as root, or with CAP_SYSLOG."),
    }
}
