//! Which tests run on which kernel. Each runs on one of the kernels at least. On each of them run
//! those that judge what the kernel does; the others, which take long and judge what merge-ctl makes
//! of it, are shared out among the kernels of a run for which nobody named any.

use std::ffi::OsString;

use anyhow::{Result, ensure};

/// The modules of tests that run on one kernel only: on the first, on the second.
const SHARES: [&[&str]; KERNELS] = [
    &[
        "detach",
        "dump",
        "explain",
        "export",
        "hooks",
        "in_flight",
        "leaving",
        "lvm_scenarios",
        "names",
        "offline_lvm",
        "plan",
        "several",
        "offline_lvm_errors",
        "offline_seen",
        "siblings",
    ],
    &[
        "check",
        "hostile",
        "offline_differential",
        "offline_errors",
        "offline_images",
        "offline_log_writes",
        "offline_raw",
        "offline_scheduled",
        "offline_time_limit",
        "quiet",
        "refusals",
        "resume",
        "throttle",
        "wait",
    ],
];

/// Among so many kernels.
pub(super) const KERNELS: usize = 2;

/// The arguments of the harness that leave out, on the kernel at this place of the run, what runs on
/// the other.
pub(super) fn left_out(kernel: usize) -> Vec<OsString> {
    let others = SHARES.iter().enumerate().filter(|(place, _)| *place != kernel);
    let modules = others.flat_map(|(_, modules)| modules.iter());
    modules.flat_map(|module| ["--skip".into(), format!("{module}::").into()]).collect()
}

/// Sees that no test is left out everywhere: the harness leaves out every name that contains what
/// it is given, so the name of a module must not be found in another's.
///
/// # Errors
/// Names the module, or the test.
pub(super) fn check(tests: &[String]) -> Result<()> {
    for module in SHARES.iter().copied().flatten() {
        let named = || tests.iter().filter(|test| test.contains(&format!("{module}::")));
        ensure!(named().count() > 0, "there is no module {module} of tests in VMs any more");
        for test in named() {
            ensure!(
                test.starts_with(&format!("{module}::")),
                "{test} would be left out with the module {module}: give one of them another name"
            );
        }
    }
    Ok(())
}
