//! The same merge with and without `merge-ctl monitor` beside it, in turn. Lines: `merge LATENCY_US RUN_KIB
//! without|with RUNS SECONDS CPU`, the last what monitor used of a processor meanwhile.
//!
//! monitor attaches before the merge begins, or the merge would be half over: a second merge, suspended all
//! the time, is what it watches until then.

use anyhow::{Result, bail};
use merge_ctl::dm::{Control, SuspendOptions};

use super::disk::Disk;
use super::made::Made;
use super::merging::{self, Device, merge_table};
use super::process::Beside;

/// Latency, chunks of 4 KiB in a run.
const CASES: [(u64, u64); 3] = [(100, 1), (100, 64), (1_000, 1)];
/// What fits.
const MIB: u64 = 256;
/// Runs that are merged to find out how long one takes.
const TRIED: u64 = 60;
const NAME: &str = "attached";
const IDLE: &str = "attached-idle";

/// A merge to be, of about so many seconds.
struct Case {
    latency_us: u64,
    disks: (Disk, Disk),
    made: Made,
}

impl Case {
    fn new(control: &Control, (latency_us, run_chunks): (u64, u64), seconds: f64) -> Result<Self> {
        let disk = |what| Disk::new(&format!("{what}{latency_us}-{run_chunks}"), MIB, latency_us);
        let disks = (disk("real")?, disk("cow")?);
        disks.0.fill()?;
        disks.1.fill()?;
        let tried = Made { chunk_kib: 4, run_chunks, runs: TRIED };
        let took = merging::merge(control, NAME, tried, (&disks.0, &disks.1))?;
        let most = (MIB - 16) * 256 / (run_chunks + 1);
        let runs = ((seconds / took * TRIED as f64) as u64).clamp(TRIED, most);
        Ok(Self { latency_us, disks, made: Made { runs, ..tried } })
    }
}

/// Makes each merge both ways in each round.
pub(crate) fn run(rounds: u64, seconds: f64) -> Result<()> {
    merging::load_modules()?;
    let control = Control::open()?;
    let disks = (Disk::new("idle-real", 8, 0)?, Disk::new("idle-cow", 8, 0)?);
    let idle = Made { chunk_kib: 4, run_chunks: 1, runs: 512 };
    idle.write(&disks.1)?;
    // A device that is new is resumed with its first table: so long it has another one.
    let table = format!("0 {} linear {} 0", idle.origin_bytes() / 512, disks.0.name());
    let device = Device::new(&control, IDLE, &table)?;
    control.suspend(IDLE, SuspendOptions::default())?;
    device.load(&merge_table(idle, &disks.0, &disks.1))?;
    control.resume(IDLE)?;
    control.suspend(IDLE, SuspendOptions { lock_fs: true, flush: true })?;
    let cases: Vec<_> =
        CASES.into_iter().map(|case| Case::new(&control, case, seconds)).collect::<Result<_>>()?;
    for round in 0..rounds {
        for case in &cases {
            for turn in 0..2 {
                once(&control, case, (round + turn) % 2 == 1)?;
            }
        }
    }
    Ok(())
}

fn once(control: &Control, case: &Case, is_watched: bool) -> Result<()> {
    let Case { latency_us, disks, made } = case;
    let beside = is_watched.then(monitor).transpose()?;
    let before = beside.as_ref().map(Beside::used).transpose()?;
    let seconds = merging::merge(control, NAME, *made, (&disks.0, &disks.1))?;
    let after = beside.as_ref().map(Beside::used).transpose()?;
    let cpu = after.zip(before).map_or(0.0, |(after, before)| after.cpu_since(before));
    if let Some(beside) = &beside
        && !beside.said()?.contains(&format!("{NAME}:"))
    {
        bail!("monitor did not see the merge:\n{}", beside.said()?);
    }
    let way = if is_watched { "with" } else { "without" };
    let (run_kib, runs) = (made.run_chunks * made.chunk_kib, made.runs);
    println!("merge {latency_us} {run_kib} {way} {runs} {seconds} {cpu}");
    Ok(())
}

/// Attached, with all probes.
fn monitor() -> Result<Beside> {
    let mut beside = Beside::start(&["merge-ctl", "monitor", "--output", "plain"])?;
    beside.wait_for(IDLE)?;
    Ok(beside)
}
