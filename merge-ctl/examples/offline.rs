//! What `cargo xtask bench offline-vm` runs in its VM: the same snapshots merged by the kernel and by
//! merge-ctl's own engine, one after the other, on delayed devices. One line a merge.
//!
//!     offline ROUNDS DELAY_MS KIB=MIB …   in a VM: runs of KIB, MIB in all
//!
//! ```text
//! 4 kernel 24.813
//! 4 engine 0.402
//! ```

#[path = "../tests/vm/testbed.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "made for the tests, which use all of it and panic where they fail"
)]
mod testbed;

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use testbed::{BLOCK, Testbed, dmsetup, mix, put};

/// Chunks of 4 KiB: an area has 256 of them, so no run is longer than 1 MiB.
const CHUNK_SECTORS: u64 = 8;
const JUDGE: &str = "bench-merge";

/// Who merges.
const WAYS: [(&str, &[&str]); 3] = [("kernel", &[]), ("engine", &[]), ("verify", &["--verify"])];

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let mut number = |what| words.next().context("not all said")?.parse::<u64>().context(what);
    let (rounds, delay_ms) = (number("how many rounds")?, number("what delay")?);
    for word in words {
        let (kib, mib) = word.split_once('=').context("KIB=MIB")?;
        let snapshot = Snapshot::new(kib.parse()?, mib.parse()?);
        for round in 0..rounds as usize {
            for turn in 0..WAYS.len() {
                // Each round begins with another one.
                let (way, options) = WAYS[(turn + round) % WAYS.len()];
                let seconds = snapshot.merged(way, options, delay_ms as u32)?;
                println!("{kib} {way} {seconds:.3}");
            }
        }
    }
    Ok(())
}

/// A snapshot that is merged again and again.
struct Snapshot {
    bed: Testbed,
    real: Vec<u8>,
    cow: Vec<u8>,
    promised: Vec<u8>,
}

impl Snapshot {
    /// Runs of `kib` that were written in any order, with a chunk between neighbours.
    fn new(kib: u64, mib: u64) -> Self {
        let (length, runs) = (kib * 1024 / BLOCK as u64, mib * 1024 / kib);
        let whole_mib = (runs * (length + 1) * BLOCK as u64).div_ceil(1 << 20) + 1;
        let bed = Testbed::new("bench", whole_mib.max(mib + 4), CHUNK_SECTORS);
        let mut order: Vec<u64> = (0..runs).collect();
        order.sort_unstable_by_key(|run| mix(*run));
        let begins = order.into_iter().map(|run| run * (length + 1));
        bed.write_snapshot(begins.flat_map(|begin| begin..begin + length), 3);
        let promised = bed.image("snap");
        for upper in ["origin", "snap"] {
            dmsetup(&["remove", "--retry", &bed.dm(upper)]);
        }
        let (real, cow) = (bed.image("real"), bed.image("cow"));
        Self { bed, real, cow, promised }
    }

    /// Merges a copy of it; how many seconds that took.
    fn merged(&self, way: &str, options: &[&str], delay_ms: u32) -> anyhow::Result<f64> {
        put(&self.bed.path("real"), &self.real);
        put(&self.bed.path("cow"), &self.cow);
        self.bed.slow_down(delay_ms);
        let begun = Instant::now();
        match way {
            "kernel" => self.by_kernel(),
            _ => self.by_engine(options)?,
        }
        let seconds = begun.elapsed().as_secs_f64();
        self.bed.slow_down(0);
        if way == "kernel" {
            dmsetup(&["remove", "--retry", JUDGE]);
        }
        if self.bed.image("real") != self.promised {
            bail!("{way}: the origin is not what the snapshot held");
        }
        Ok(seconds)
    }

    /// From the load to the empty store.
    fn by_kernel(&self) {
        let [real, cow] = ["real", "cow"].map(|what| self.bed.path(what).display().to_string());
        let sectors = self.bed.sectors();
        let table = format!("0 {sectors} snapshot-merge {real} {cow} P {CHUNK_SECTORS}");
        dmsetup(&["create", JUDGE, "--table", &table]);
        while !is_merged(&dmsetup(&["status", JUDGE])) {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// All of merge-ctl, from its start to its end.
    fn by_engine(&self, options: &[&str]) -> anyhow::Result<()> {
        let output = Command::new("merge-ctl")
            .args(["start", "--offline", "--yes", "--output", "plain", "--origin-device"])
            .arg(self.bed.path("real"))
            .arg("--cow-device")
            .arg(self.bed.path("cow"))
            .args(options)
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

/// Whether a status line says that only metadata is in use.
fn is_merged(status: &str) -> bool {
    let words: Vec<&str> = status.split_whitespace().collect();
    let [_, _, _, usage, metadata] = words[..] else { panic!("{status}") };
    usage.split_once('/').is_some_and(|(allocated, _)| allocated == metadata)
}
