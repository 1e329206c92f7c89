//! Tests on a real kernel. They need root and device-mapper, so on a host they are ignored:
//! `cargo xtask test` runs them in VMs.

use std::process::Command;

#[test]
#[ignore = "needs the VM of `cargo xtask test`"]
fn the_kernel_offers_the_snapshot_merge_target() {
    let output = Command::new("dmsetup").arg("targets").output().expect("dmsetup runs");
    let targets = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(targets.lines().any(|line| line.starts_with("snapshot-merge ")), "{targets}");
}
