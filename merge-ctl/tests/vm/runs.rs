//! The runs that merge-ctl reports are exactly those that the kernel merged.

use super::merge_ctl::{Running, merge_ctl, promised_runs};
use super::testbed::{Testbed, dmsetup, mix};

/// Sequential, random, descending, interleaved and overwriting, over several areas.
pub(crate) fn mixed_writes(bed: &Testbed, seed: u64) {
    let blocks = bed.bytes() / 4096;
    bed.write_snapshot(0..600, seed);
    bed.write_snapshot((0..80).map(|i| mix(seed + i) % blocks), seed + 1);
    bed.write_snapshot((1000..1040).rev(), seed + 2);
    bed.write_snapshot((0..60).flat_map(|i| [2000 + i, 3000 + i]), seed + 3);
    bed.write_snapshot(100..200, seed + 4);
    bed.write_snapshot(0..1, seed + 5);
}

fn merges_as_promised(name: &str, chunk_sectors: u64) {
    let bed = Testbed::new(name, 16, chunk_sectors);
    mixed_writes(&bed, 7);
    let promised_content = bed.image("snap");
    let promised = promised_runs(&bed);
    assert!(promised.len() > 20, "only {} runs", promised.len());

    let ended = merge_ctl(&["start", "--yes", "--output", "json", &bed.dm("snap")]).expect(0);

    assert_eq!(ended.runs(), promised);
    let summary = ended.summary();
    assert_eq!(summary["state"], "finished");
    assert_eq!(summary["runs"], promised.len());
    let chunks: u64 = promised.iter().map(|run| u64::from(run.chunks)).sum();
    assert_eq!(summary["chunks"], chunks);
    assert_eq!(summary["merged_bytes"], chunks * chunk_sectors * 512);
    assert!(bed.image("origin") == promised_content, "the origin differs from the snapshot");
    assert!(dmsetup(&["table", &bed.dm("origin")]).contains("linear"));
    assert!(!bed.path("snap").exists());
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_merge_with_4_kib_chunks() {
    merges_as_promised("runs4k", 8);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_merge_with_16_kib_chunks() {
    merges_as_promised("runs16k", 32);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn an_empty_snapshot_merges_at_once() {
    let bed = Testbed::new("runs0", 8, 8);
    let ended = merge_ctl(&["start", "--yes", "--output", "json", &bed.dm("snap")]).expect(0);
    assert_eq!(ended.runs(), []);
    assert_eq!(ended.summary()["state"], "finished");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn two_merges_at_once_are_told_apart() {
    let beds = [Testbed::new("twin0", 16, 8), Testbed::new("twin1", 16, 8)];
    mixed_writes(&beds[0], 100);
    mixed_writes(&beds[1], 200);
    for bed in &beds {
        bed.slow_down(1);
    }
    let promised = [promised_runs(&beds[0]), promised_runs(&beds[1])];
    assert_ne!(promised[0], promised[1]);
    let running = beds
        .each_ref()
        .map(|bed| Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]));
    for ((running, promised), bed) in running.into_iter().zip(promised).zip(&beds) {
        let ended = running.wait().expect(0);
        assert!(ended.of_type("run").all(|run| run["origin"] == bed.dm("origin")));
        assert_eq!(ended.runs(), promised);
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn attached_half_way_it_tells_every_run_from_there_on() {
    let bed = Testbed::new("halfway", 16, 8);
    mixed_writes(&bed, 7);
    let promised_content = bed.image("snap");
    let promised = promised_runs(&bed);
    bed.slow_down(1);
    let mut first = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
    first.line_where(|line| line["type"] == "run");
    // It is gone in the middle, and somebody else looks in.
    let killed = rustix::process::Pid::from_raw(first.pid() as i32).unwrap();
    rustix::process::kill_process(killed, rustix::process::Signal::KILL).unwrap();
    first.wait();
    assert!(dmsetup(&["table", &bed.dm("origin")]).contains("snapshot-merge"));

    let ended = merge_ctl(&["monitor", "--output", "json", &bed.dm("origin")]).expect(3);

    let seen = ended.runs();
    assert!(seen.len() > 10 && seen.len() < promised.len(), "{} runs", seen.len());
    assert_eq!(seen, promised[promised.len() - seen.len()..]);
    assert_eq!(ended.summary()["state"], "done-not-finished");
    merge_ctl(&["finish", &bed.dm("origin")]).expect(0);
    assert!(dmsetup(&["table", &bed.dm("origin")]).contains("linear"));
    assert!(bed.image("origin") == promised_content, "the origin differs from the snapshot");
}
