//! The kernel: its version, its configuration, its modules.

use super::check::{Check, Code};
use super::facts::Facts;

/// The oldest kernel that merge-ctl is tested on.
const OLDEST: (u32, u32) = (5, 10);

pub(super) fn look(facts: &Facts) -> Vec<Check> {
    vec![version(facts), config(facts), modules(facts)]
}

fn version(facts: &Facts) -> Check {
    let code = Code::Kernel;
    let Some(release) = &facts.kernel else {
        return Check::unknown(code, "The kernel does not tell its release.");
    };
    match numbers(release) {
        Some(version) if version < OLDEST => Check::degraded(
            code,
            format!("Linux {release} is older than 5.10, the oldest that merge-ctl is tested on."),
        )
        .costs("What merge-ctl relies on of dm-snapshot was not looked at there.")
        .way_out("Boot Linux 5.10 or later."),
        Some(_) => Check::ok(code, format!("Linux {release}.")),
        None => Check::unknown(code, format!("How old Linux {release} is cannot be told.")),
    }
}

fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn config(facts: &Facts) -> Check {
    let code = Code::KernelConfig;
    match facts.options_not_set.as_deref() {
        None => Check::unknown(
            code,
            "The kernel's configuration cannot be read (/proc/config.gz, /boot/config-RELEASE).",
        ),
        Some([]) => Check::ok(code, "Every option that merge-ctl has a use for is set."),
        Some(options) => Check::degraded(code, format!("Not set: {}.", options.join(", ")))
            .costs("What the checks below say of it.")
            .way_out("Boot a kernel that has it."),
    }
}

fn modules(facts: &Facts) -> Check {
    let code = Code::Modules;
    match &facts.modules {
        None => Check::unknown(code, "Where the kernel's modules are is not known."),
        Some((path, true)) => Check::ok(code, format!("The modules of this kernel are in {path}.")),
        Some((path, false)) => Check::degraded(
            code,
            format!(
                "There is no {path}: this kernel has no modules, or was replaced since it was booted."
            ),
        )
        .costs("What is not loaded by now cannot be.")
        .way_out("Reboot into the kernel that is installed, or install the modules of this one."),
    }
}
