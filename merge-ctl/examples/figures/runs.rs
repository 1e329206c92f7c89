//! How fast the kernel merges, by the length of its runs, the size of its chunks and the latency of the
//! devices. Lines: `merge LATENCY_US CHUNK_KIB RUN_KIB RUNS SECONDS`, `latency LATENCY_US READ WRITE FLUSH`
//! in seconds, and `raw LATENCY_US BYTES SECONDS` for writes of 1 MiB, eight at a time.

use anyhow::Result;
use merge_ctl::dm::Control;

use super::disk::Disk;
use super::made::Made;
use super::merging;

/// Two disks that take as long for a request.
struct Pair {
    latency_us: u64,
    real: Disk,
    cow: Disk,
    /// How many runs make a merge of one or two seconds.
    runs: u64,
}

const LATENCIES_US: [(u64, u64); 3] = [(100, 512), (1_000, 256), (8_000, 32)];
const CHUNKS_KIB: [u64; 3] = [4, 16, 64];
const RUNS_KIB: [u64; 6] = [4, 16, 64, 256, 1024, 4096];
/// More chunks than an area of the store has entries for cannot be one run; and as much is left out
/// as says nothing new.
const LONGEST_CHUNKS: u64 = 256;

/// Each round merges each kind once, and begins with another one. `mib` bounds a merge.
pub(crate) fn run(rounds: u64, mib: u64) -> Result<()> {
    merging::load_modules()?;
    let control = Control::open()?;
    let pair = |(latency_us, runs): (u64, u64)| -> Result<Pair> {
        let disk = |what| Disk::new(&format!("{what}{latency_us}"), 2 * mib + 32, latency_us);
        Ok(Pair { latency_us, real: disk("real")?, cow: disk("cow")?, runs })
    };
    let pairs: Vec<Pair> = LATENCIES_US.into_iter().map(pair).collect::<Result<_>>()?;
    for Pair { latency_us, real, cow, .. } in &pairs {
        // The first time, memory is found for it.
        cow.fill()?;
        real.fill()?;
        for _ in 0..rounds {
            println!("raw {latency_us} {} {}", real.mib << 20, real.fill()?);
        }
        for latencies in real.latencies(50)? {
            let [read, write, flush] = latencies.map(|latency| latency.as_secs_f64());
            println!("latency {latency_us} {read} {write} {flush}");
        }
    }
    let mut kinds: Vec<(&Pair, Made)> =
        pairs.iter().flat_map(|pair| kinds(pair, mib).map(move |made| (pair, made))).collect();
    for _ in 0..rounds {
        for (pair, made) in &kinds {
            let seconds = merging::merge(&control, "runs", *made, (&pair.real, &pair.cow))?;
            let run_kib = made.run_chunks * made.chunk_kib;
            let (latency_us, chunk_kib, runs) = (pair.latency_us, made.chunk_kib, made.runs);
            println!("merge {latency_us} {chunk_kib} {run_kib} {runs} {seconds}");
        }
        kinds.rotate_left(7);
    }
    Ok(())
}

fn kinds(pair: &Pair, mib: u64) -> impl Iterator<Item = Made> {
    let most = pair.runs;
    CHUNKS_KIB.into_iter().flat_map(move |chunk_kib| {
        let fits =
            move |run_kib: &u64| *run_kib >= chunk_kib && *run_kib / chunk_kib <= LONGEST_CHUNKS;
        RUNS_KIB.into_iter().filter(fits).map(move |run_kib| Made {
            chunk_kib,
            run_chunks: run_kib / chunk_kib,
            runs: most.min(mib * 1024 / run_kib).max(2),
        })
    })
}
