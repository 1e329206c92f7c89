//! `merge-ctl doctor` on real kernels: all is well, and what was taken away is named.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use merge_ctl::doctor::Code;
use serde_json::Value;

use super::merge_ctl::merge_ctl;
use super::testbed::{Testbed, dmsetup, run};

const KPTR_RESTRICT: &str = "/proc/sys/kernel/kptr_restrict";
const BTF: &str = "/sys/kernel/btf";

/// What `doctor --json` says, with its exit status; it may have changed nothing.
fn doctor() -> (i32, Value) {
    let modules = || run("sh", &["-c", "cut -d' ' -f1 /proc/modules | sort"]);
    let before = (dmsetup(&["table"]), modules());
    let ended = merge_ctl(&["doctor", "--json"]);
    assert_eq!(before, (dmsetup(&["table"]), modules()));
    assert_eq!(ended.stderr, "");
    let value: Value = serde_json::from_str(ended.lines[0].as_str().unwrap()).unwrap();
    assert_eq!((&value["schema"], &value["type"]), (&1.into(), &"doctor".into()));
    assert_eq!(value["exit_status"], ended.code);
    (ended.code, value)
}

fn check<'a>(value: &'a Value, code: &str) -> &'a Value {
    let mut checks = value["checks"].as_array().unwrap().iter();
    checks.find(|check| check["code"] == code).unwrap()
}

#[track_caller]
fn is(value: &Value, verdict: &str, codes: &[&str]) {
    for code in codes {
        let check = check(value, code);
        assert_eq!(check["verdict"], verdict, "{check:#}");
    }
}

fn programs() -> Vec<&'static str> {
    Code::ALL.iter().filter(|code| code.is_program()).map(|code| code.name()).collect()
}

/// Those of the programs that are on functions of modules.
fn programs_of_runs() -> Vec<&'static str> {
    programs().into_iter().filter(|name| !name.contains("-bio-")).collect()
}

/// Whether this kernel's modules tell their types.
fn has_module_btf() -> bool {
    Path::new(BTF).join("dm_mod").exists()
}

/// Puts `kernel.kptr_restrict` back, also after a panic.
struct KptrRestrict(String);

impl KptrRestrict {
    fn at(value: &str) -> Self {
        let before = std::fs::read_to_string(KPTR_RESTRICT).unwrap();
        std::fs::write(KPTR_RESTRICT, value).unwrap();
        Self(before)
    }
}

impl Drop for KptrRestrict {
    fn drop(&mut self) {
        std::fs::write(KPTR_RESTRICT, &self.0).unwrap();
    }
}

/// Without dm-snapshot, loaded again also after a panic. Nothing may use it.
struct Unloaded;

impl Unloaded {
    fn now() -> Self {
        run("rmmod", &["dm_snapshot"]);
        Self
    }
}

impl Drop for Unloaded {
    fn drop(&mut self) {
        run("modprobe", &["dm-snapshot"]);
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn all_is_well_and_each_probe_attaches() {
    let _bed = Testbed::new("doc-ok", 8, 8);
    let (code, value) = doctor();
    assert_eq!((code, &value["ready"]), (0, &true.into()), "{value:#}");
    assert_eq!(value["can_merge"], serde_json::json!({"lvm": true, "devicemapper": true}));
    is(&value, "ok", &programs());
    let wanted = [
        "kernel",
        "modules",
        "privilege",
        "memory-lock",
        "device-mapper",
        "snapshot-merge",
        "lvm2",
        "run-directory",
        "ebpf-privilege",
        "btf-kernel",
        "kernel-addresses",
        "kprobes",
        "ebpf",
        "kernel-log",
        "throttle",
        "io-uring",
        "udev",
    ];
    is(&value, "ok", &wanted);
    is(&value, if has_module_btf() { "ok" } else { "degraded" }, &["btf-module"]);
    // Nobody is missed who is there: the rest depends on the machine, and is never essential.
    let missing =
        value["checks"].as_array().unwrap().iter().filter(|it| it["verdict"] == "missing");
    assert_eq!(missing.count(), 0, "{value:#}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn probes_are_taken_off_again() {
    let _bed = Testbed::new("doc-off", 8, 8);
    let left = || run("sh", &["-c", "cat /sys/kernel/debug/kprobes/list"]);
    let before = left();
    doctor();
    assert_eq!(left(), before);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn hidden_addresses_are_named() {
    let _bed = Testbed::new("doc-kptr", 8, 8);
    let _hidden = KptrRestrict::at("2");
    let (code, value) = doctor();
    assert_eq!(code, 0, "{value:#}");
    let addresses = check(&value, "kernel-addresses");
    assert_eq!(addresses["verdict"], "missing", "{addresses:#}");
    assert_eq!(addresses["way_out"], "sysctl kernel.kptr_restrict=1");
    assert!(addresses["cost"].as_str().unwrap().contains("Runs"), "{addresses:#}");
    is(&value, "ok", &["probe-bio-queue", "probe-bio-complete", "btf-kernel"]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_module_that_is_not_loaded_is_named_and_stays_so() {
    let unloaded = Unloaded::now();
    let (code, value) = doctor();
    assert_eq!(code, 0, "{value:#}");
    let target = check(&value, "snapshot-merge");
    assert_eq!(
        (&target["verdict"], &target["way_out"]),
        (&"degraded".into(), &"modprobe dm-snapshot".into())
    );
    is(&value, "unknown", &["btf-module", "kernel-addresses", "throttle"]);
    is(&value, "unknown", &programs_of_runs());
    is(&value, "ok", &["probe-bio-queue", "probe-bio-complete"]);
    drop(unloaded);
    is(&doctor().1, "ok", &["snapshot-merge", "probe-copied"]);
}

/// `/sys/kernel/btf` is covered for one process alone.
#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_kernel_without_types_is_named() {
    let _bed = Testbed::new("doc-btf", 8, 8);
    let cover = format!("mount -t tmpfs none {BTF} && exec merge-ctl doctor --json");
    // Mounts are private in this VM, so that nobody else sees it.
    let output = Command::new("unshare").args(["-m", "sh", "-c", &cover]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let types = check(&value, "btf-kernel");
    assert_eq!(types["verdict"], "missing", "{types:#}");
    assert!(types["way_out"].as_str().unwrap().contains("CONFIG_DEBUG_INFO_BTF"), "{types:#}");
    is(&value, "unknown", &programs());
    is(&value, "unknown", &["ebpf", "btf-module"]);
    is(&value, "ok", &["snapshot-merge", "kernel-addresses", "kprobes"]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_throttle_that_somebody_left_is_named() {
    let _bed = Testbed::new("doc-slow", 8, 8);
    let throttled = super::testbed::Throttled::at(10);
    let (code, value) = doctor();
    let throttle = check(&value, "throttle");
    assert_eq!((code, &throttle["verdict"]), (0, &"degraded".into()), "{throttle:#}");
    assert_eq!(throttle["way_out"], "merge-ctl throttle --reset");
    drop(throttled);
    is(&doctor().1, "ok", &["throttle"]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn without_root_it_tells_what_cannot_be_seen() {
    let _bed = Testbed::new("doc-nobody", 8, 8);
    let program = run("sh", &["-c", "command -v merge-ctl"]);
    // /root, where it may lie, is root's alone.
    std::fs::copy(program.trim(), "/tmp/merge-ctl-of-nobody").unwrap();
    let mut command = Command::new("/tmp/merge-ctl-of-nobody");
    let output =
        command.args(["doctor", "--json"]).uid(65534).gid(65534).current_dir("/").output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    is(&value, "missing", &["privilege", "memory-lock", "ebpf-privilege", "kernel-addresses"]);
    is(&value, "unknown", &["device-mapper", "snapshot-merge", "ebpf"]);
    is(&value, "unknown", &programs());
    is(&value, "ok", &["kernel", "btf-kernel", "kprobes", "lvm2"]);
    std::fs::remove_file("/tmp/merge-ctl-of-nobody").unwrap();
}
