//! A merge is started, shown and finished with whatever can be seen.

use super::merge_ctl::merge_ctl;
use super::runs::mixed_writes;
use super::testbed::{Testbed, run};

fn merges_with(name: &str, probes: &str, tiers: &[&str]) {
    let bed = Testbed::new(name, 16, 8);
    mixed_writes(&bed, 7);
    let promised_content = bed.image("snap");
    let ended =
        merge_ctl(&["start", "--yes", "--output", "json", "--probes", probes, &bed.dm("snap")])
            .expect(0);
    let summary = ended.summary();
    let tier = summary["probes"]["tier"].as_str().unwrap();
    assert!(tiers.contains(&tier), "{tier} is none of {tiers:?}");
    assert_eq!(summary["state"], "finished");
    assert!(bed.image("origin") == promised_content, "the origin differs from the snapshot");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn the_best_tier_is_the_one_that_this_kernel_allows() {
    let release = run("uname", &["-r"]);
    let expected = if release.starts_with("5.10") { "no-module-btf" } else { "full" };
    merges_with("tier-full", "full", &[expected]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn with_block_tracepoints_only() {
    merges_with("tier-block", "block", &["block-only"]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn with_no_probes_at_all() {
    merges_with("tier-none", "none", &["none"]);
}
