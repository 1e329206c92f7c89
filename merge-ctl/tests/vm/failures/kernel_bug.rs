//! Why a failed merge must not be suspended and resumed: what the kernel then does, shown on the
//! kernels that do it.

use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::testbed::{BLOCK, SECTOR, Testbed, dmsetup};
use super::inject::Break;
use super::{fails, fails_unseen, recovers, scattered};

/// What the kernel makes of a suspend and resume after the merge has failed, the devices sound
/// again: the content of the device below, once the kernel has come to rest.
fn suspend_and_resume(bed: &Testbed) -> Vec<u8> {
    let origin = bed.dm("origin");
    dmsetup(&["suspend", &origin]);
    dmsetup(&["resume", &origin]);
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut before = bed.image("cow");
    loop {
        sleep(Duration::from_millis(500));
        let now = bed.image("cow");
        if now == before {
            return bed.image("real");
        }
        assert!(Instant::now() < deadline, "the kernel goes on and on");
        before = now;
    }
}

/// Past the harness's capturing of output: it is a fact about the kernel, not about us.
fn tell(what: &str) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let line = format!("\nkernel {}: {what}\n", release.trim());
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// A merge whose first commit fails, and what the snapshot held.
fn commit_fails(name: &str) -> (Testbed, Vec<u8>) {
    let bed = Testbed::new(name, 16, 8);
    bed.write_snapshot(scattered(), 3);
    let promised = bed.image("snap");
    fails_unseen(&bed, &Break::Writes { device: "cow", sectors: 8..16 });
    bed.slow_down(0);
    (bed, promised)
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_resume_after_a_failed_commit_overwrites_the_first_chunk_and_the_safe_path_does_not() {
    let chunk = 8 * SECTOR as usize;
    let (bed, promised) = commit_fails("bug-commit");
    assert!(bed.image("real")[..chunk] == promised[..chunk]);
    let real = suspend_and_resume(&bed);
    if real[..chunk] == promised[..chunk] {
        tell("a resume after a failed commit spares the origin's first chunk: no such bug here");
        assert!(bed.image("origin") == promised, "but something else is wrong");
    } else {
        tell("a resume after a failed commit overwrites the origin's first chunk");
        assert_eq!(&real[..4], b"SnAp", "something else than the COW device's header");
    }
    drop(bed);

    let (bed, promised) = commit_fails("safe-commit");
    recovers(&bed, &promised);
    assert!(bed.image("real")[..chunk] == promised[..chunk]);
}

/// A merge with three areas of metadata, of which the second cannot be read back: it breaks while the
/// runs of the last are merged.
fn metadata_fails(name: &str) -> (Testbed, Vec<u8>) {
    let bed = Testbed::new(name, 16, 8);
    bed.write_snapshot((7..7 + 2 * AREA).chain((0..40).map(|i| 800 + i * 11)), 3);
    let promised = bed.image("snap");
    // Area 1 lies behind the first area and its data.
    let sectors = (AREA + 2) * 8..(AREA + 3) * 8;
    fails(&bed, &Break::All { device: "cow", sectors }, "metadata-read-cow", "cow");
    bed.slow_down(0);
    (bed, promised)
}

/// Exceptions in an area, at chunks of 4 KiB.
const AREA: u64 = 256;

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_resume_after_a_failed_read_of_metadata_loses_an_area_and_the_safe_path_does_not() {
    let (bed, promised) = metadata_fails("bug-metadata");
    suspend_and_resume(&bed);
    // What the device shows when it is next activated.
    let (origin, merging) = (bed.dm("origin"), dmsetup(&["table", &bed.dm("origin")]));
    dmsetup(&["remove", "--retry", &origin]);
    dmsetup(&["create", &origin, "--table", merging.trim()]);
    let lost = different_chunks(&bed.image("origin"), &promised);
    if lost.is_empty() {
        tell("a resume after a failed read of metadata loses nothing: no such bug here");
    } else {
        tell(&format!(
            "a resume after a failed read of metadata loses {} chunks, {} to {}",
            lost.len(),
            lost[0],
            lost[lost.len() - 1]
        ));
        assert!(lost.iter().all(|chunk| (7 + AREA..7 + 2 * AREA).contains(chunk)), "{lost:?}");
    }
    drop(bed);

    let (bed, promised) = metadata_fails("safe-metadata");
    recovers(&bed, &promised);
}

fn different_chunks(one: &[u8], other: &[u8]) -> Vec<u64> {
    let pairs = one.chunks(BLOCK).zip(other.chunks(BLOCK));
    (0..).zip(pairs).filter(|(_, (one, other))| one != other).map(|(chunk, _)| chunk).collect()
}
