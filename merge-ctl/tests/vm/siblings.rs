//! A merge whose origin has other snapshots: they must not notice it.

use super::merge_ctl::{merge_ctl, promised_runs};
use super::runs::mixed_writes;
use super::testbed::{Testbed, dmsetup};

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_sibling_keeps_its_view_and_the_origin_stays_an_origin() {
    let mut bed = Testbed::new("sib", 16, 8);
    let sibling = bed.add_sibling(32, 8);
    mixed_writes(&bed, 7);
    let (promised_content, sibling_content) = (bed.image("snap"), bed.image(&sibling));
    let promised = promised_runs(&bed);

    let ended = merge_ctl(&["start", "--yes", "--output", "json", &bed.dm("snap")]).expect(0);

    assert_eq!(ended.runs(), promised);
    let waited: u64 = ended.of_type("run").map(|run| run["siblings_ns"].as_u64().unwrap()).sum();
    assert!(waited > 0, "the old data was copied into the sibling in no time");
    assert!(bed.image("origin") == promised_content, "the origin differs from the snapshot");
    assert!(bed.image(&sibling) == sibling_content, "the sibling has changed");
    assert!(dmsetup(&["table", &bed.dm("origin")]).contains("snapshot-origin"));
}
