//! Why a failed merge must not be suspended and resumed: what the kernel then does, shown on the
//! kernels that do it.

use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::testbed::{SECTOR, Testbed, dmsetup};
use super::inject::Break;
use super::{fails_unseen, scattered};

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
    writeln!(std::io::stderr(), "\nkernel {}: {what}", release.trim()).unwrap();
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_resume_after_a_failed_commit_overwrites_the_first_chunk() {
    let bed = Testbed::new("bug-commit", 16, 8);
    bed.write_snapshot(scattered(), 3);
    let promised = bed.image("snap");
    fails_unseen(&bed, &Break::Writes { device: "cow", sectors: 8..16 });
    bed.slow_down(0);
    let chunk = 8 * SECTOR as usize;
    assert!(bed.image("real")[..chunk] == promised[..chunk]);

    let real = suspend_and_resume(&bed);

    if real[..chunk] == promised[..chunk] {
        tell(
            "a resume after a failed commit spares the origin's first chunk: the bug is not there",
        );
        assert!(bed.image("origin") == promised, "but something else is wrong");
    } else {
        tell("a resume after a failed commit overwrites the origin's first chunk");
        assert_eq!(&real[..4], b"SnAp", "something else than the COW device's header");
    }
}
