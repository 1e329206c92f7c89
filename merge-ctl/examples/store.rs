//! Makes exception stores to measure with, and measures one pass over one: what
//! `cargo xtask bench store` runs, one process for each figure, so that the peak memory is that
//! of the pass.
//!
//! `store make FILE KIND EXCEPTIONS` writes a COW device with chunks of 4 KiB as a sparse file: of
//! an origin of 1 TiB that was written in rising order (`sequential`), in no order (`random`), or
//! by one writer of either kind in turn (`mixed`).
//! `store pass FILE WHAT` prints `name value` lines. Beside the passes over a store there are two
//! that say what could be had at best: `read` only reads the areas, and `bits` only reads them and
//! sets a bit for each old chunk in one flat map of 32 MiB.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use merge_ctl::store::{Exception, FileSource, ForwardRuns, Opened, Place, Store};
use merge_ctl::units::Sectors;
use rustix::time::{ClockId, clock_gettime};

const CHUNK_BYTES: u64 = 4096;
const ENTRIES: u64 = CHUNK_BYTES / 16;
/// Chunks of the origin: 1 TiB.
const ORIGIN_CHUNKS: u64 = 1 << 28;
/// How many chunks each of two writers takes in turn.
const TURN: u64 = 8;

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["make", file, kind, exceptions] => make(file.as_ref(), kind, exceptions.parse()?),
        ["pass", file, what] => pass(file.as_ref(), what),
        _ => bail!("usage: store make FILE KIND EXCEPTIONS | store pass FILE WHAT"),
    }
}

/// Where an area begins, in bytes.
const fn area_at(area: u64) -> u64 {
    (1 + area * (ENTRIES + 1)) * CHUNK_BYTES
}

fn make(file: &Path, kind: &str, exceptions: u64) -> Result<()> {
    let old_chunk: fn(u64) -> u64 = match kind {
        "sequential" => |index| index,
        "random" => |index| shuffled(index, ORIGIN_CHUNKS),
        "mixed" => mixed,
        _ => bail!("a store is sequential, random or mixed, not {kind}"),
    };
    if exceptions > ORIGIN_CHUNKS / 2 {
        bail!("at most {} exceptions", ORIGIN_CHUNKS / 2);
    }
    let mut file = BufWriter::new(File::create(file)?);
    file.write_all(b"SnAp\x01\0\0\0\x01\0\0\0\x08\0\0\0")?;
    // One area more than are full: there the store ends.
    let areas = exceptions / ENTRIES + 1;
    for area in 0..areas {
        file.seek(SeekFrom::Start(area_at(area)))?;
        for index in area * ENTRIES..((area + 1) * ENTRIES).min(exceptions) {
            let new_chunk = 2 + index + index / ENTRIES;
            file.write_all(&old_chunk(index).to_le_bytes())?;
            file.write_all(&new_chunk.to_le_bytes())?;
        }
    }
    Ok(file.into_inner()?.set_len(area_at(areas))?)
}

/// A number below `below`, a power of two, and another one for each: multiplying by odd numbers
/// and folding the upper half down can be undone.
const fn shuffled(index: u64, below: u64) -> u64 {
    let (mask, half) = (below - 1, below.trailing_zeros() / 2);
    let word = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask;
    let word = (word ^ (word >> half)).wrapping_mul(0xd6e8_feb8_6659_fd93) & mask;
    word ^ (word >> half)
}

/// One writer goes up through the lower half of the origin, one is anywhere in the upper half.
const fn mixed(index: u64) -> u64 {
    let (turn, within) = (index / TURN, index % TURN);
    let own = turn / 2 * TURN + within;
    let half = ORIGIN_CHUNKS / 2;
    if turn.is_multiple_of(2) { own } else { half + shuffled(own, half) }
}

/// What a pass went through.
#[derive(Default)]
struct Told {
    exceptions: u64,
    runs: u64,
    areas: u64,
}

fn pass(file: &Path, what: &str) -> Result<()> {
    let store = open(file)?;
    let (begun, cpu) = (Instant::now(), cpu_time());
    let told = match what {
        "read" => read(file, |_| {})?,
        "bits" => bits(file)?,
        "walk" => walk(&store)?,
        "walk-runs" => walk_runs(&store)?,
        "survey" => survey(&store)?,
        "backwards" => return backwards(&store),
        _ => bail!("there is no pass {what}"),
    };
    report(&told, begun.elapsed(), cpu_time() - cpu)
}

fn report(told: &Told, wall: Duration, cpu: Duration) -> Result<()> {
    println!("exceptions {}\nruns {}\nareas {}", told.exceptions, told.runs, told.areas);
    println!("wall_s {}\ncpu_s {}", wall.as_secs_f64(), cpu.as_secs_f64());
    println!("peak_kib {}", peak_kib()?);
    Ok(())
}

fn open(file: &Path) -> Result<Store<FileSource>> {
    let origin = Sectors(ORIGIN_CHUNKS * CHUNK_BYTES / 512);
    match Store::open(FileSource::open(file)?, Some(origin))? {
        Opened::Usable(store) => Ok(store),
        other => bail!("not usable: {other:?}"),
    }
}

/// Reads the areas one after the other, up to the first that is not full, and nothing else.
fn read(file: &Path, mut each: impl FnMut(&[u8])) -> Result<Told> {
    let file = File::open(file)?;
    let mut area = vec![0; CHUNK_BYTES as usize];
    let mut told = Told::default();
    loop {
        file.read_exact_at(&mut area, area_at(told.areas))?;
        each(black_box(&area));
        told.areas += 1;
        told.exceptions += ENTRIES;
        if area.ends_with(&[0; 8]) {
            return Ok(told);
        }
    }
}

fn bits(file: &Path) -> Result<Told> {
    let mut map = vec![0_u64; (ORIGIN_CHUNKS / 64) as usize];
    let mut twice = 0;
    let told = read(file, |area| {
        for entry in area.as_chunks::<16>().0 {
            let old_chunk = Exception::decode(entry).old_chunk % ORIGIN_CHUNKS;
            let (word, mask) = (&mut map[(old_chunk / 64) as usize], 1 << (old_chunk % 64));
            twice += u64::from(*word & mask != 0);
            *word |= mask;
        }
    })?;
    black_box(twice);
    Ok(told)
}

fn walk(store: &Store<FileSource>) -> Result<Told> {
    let mut told = Told::default();
    for placed in store.exceptions() {
        black_box(placed?);
        told.exceptions += 1;
    }
    Ok(told)
}

fn walk_runs(store: &Store<FileSource>) -> Result<Told> {
    let (mut told, mut runs) = (Told::default(), ForwardRuns::default());
    for placed in store.exceptions() {
        told.runs += u64::from(runs.add(placed?).is_some());
        told.exceptions += 1;
    }
    told.runs += u64::from(runs.finish().is_some());
    Ok(told)
}

fn survey(store: &Store<FileSource>) -> Result<Told> {
    let (mut told, mut runs) = (Told::default(), ForwardRuns::default());
    let survey = store.survey(|placed| told.runs += u64::from(runs.add(placed).is_some()))?;
    told.runs += u64::from(runs.finish().is_some());
    told.exceptions = survey.exceptions;
    if survey.not_searched_for_duplicates != 0 {
        bail!("{} were not searched for", survey.not_searched_for_duplicates);
    }
    Ok(told)
}

/// The end has to be found first, which is not part of the figure.
fn backwards(store: &Store<FileSource>) -> Result<()> {
    let mut end = Place::default();
    for placed in store.exceptions() {
        end = store.layout().after(placed?.place);
    }
    let (begun, cpu) = (Instant::now(), cpu_time());
    let mut told = Told::default();
    for run in store.runs(end) {
        told.exceptions += u64::from(run?.chunks);
        told.runs += 1;
    }
    report(&told, begun.elapsed(), cpu_time() - cpu)
}

/// Processor time of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The most memory that this process ever had.
fn peak_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmHWM")?;
    Ok(kib.trim().parse()?)
}
