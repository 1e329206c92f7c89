//! One pass, and what it cost. Beside the passes over a store there are two that say what could be
//! had at best: `read` only reads the areas, and `bits` only reads them and sets a bit for each old
//! chunk in one flat map of 32 MiB.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use merge_ctl::store::{Exception, FileSource, ForwardRuns, Opened, Place, Source, Store};
use merge_ctl::units::Sectors;
use rustix::time::{ClockId, clock_gettime};

use super::{CHUNK_BYTES, ENTRIES, ORIGIN_CHUNKS, area_at};

/// What a pass went through.
#[derive(Default)]
struct Told {
    exceptions: u64,
    runs: u64,
    areas: u64,
}

/// Makes the pass and prints its figures.
pub(crate) fn run(file: &Path, what: &str) -> Result<()> {
    let store = open(FileSource::open(file)?)?;
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
    report(&told, begun.elapsed(), cpu_time().saturating_sub(cpu))
}

fn report(told: &Told, wall: Duration, cpu: Duration) -> Result<()> {
    println!("exceptions {}\nruns {}\nareas {}", told.exceptions, told.runs, told.areas);
    println!("wall_s {}\ncpu_s {}", wall.as_secs_f64(), cpu.as_secs_f64());
    println!("peak_kib {}", peak_kib()?);
    Ok(())
}

/// The store on a source.
pub(crate) fn open<S: Source>(source: S) -> Result<Store<S>> {
    let origin = Sectors(ORIGIN_CHUNKS * CHUNK_BYTES / 512);
    match Store::open(source, Some(origin))? {
        Opened::Usable(store) => Ok(store),
        Opened::New | Opened::Invalid => bail!("there is no usable store"),
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
    report(&told, begun.elapsed(), cpu_time().saturating_sub(cpu))
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
