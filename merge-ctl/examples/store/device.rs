//! How fast the areas of a store come off a slow device: one read after the other, reading ahead,
//! and by fio, which reads the same places and does nothing with them.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use merge_ctl::store::{FileSource, Place, Placed, Source, Store};
use merge_ctl::units::Sectors;

use super::{CHUNK_BYTES, ENTRIES, area_at, make, passes};

const DISK: &str = "/dev/ram0";
const NAME: &str = "store-bench";

/// A device that is read without anything beside.
struct OneByOne(FileSource);

impl Source for OneByOne {
    fn size(&self) -> Sectors {
        self.0.size()
    }
    fn block_bytes(&self) -> u32 {
        self.0.block_bytes()
    }
    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_at(at_bytes, into)
    }
}

/// Makes the device, measures in rounds, and takes the device-mapper device away.
pub(crate) fn run(areas: u64, delay_ms: u32, rounds: u32) -> Result<()> {
    let bytes = area_at(areas + 1);
    command("modprobe", &["brd", "rd_nr=1", &format!("rd_size={}", bytes.div_ceil(1024))])?;
    command("modprobe", &["dm-delay"])?;
    // One entry less than the areas hold: the store ends in the last of them.
    make::run(DISK.as_ref(), "random", areas * ENTRIES - 1)?;
    let table = format!("0 {} delay {DISK} 0 {delay_ms}", bytes / 512);
    command("dmsetup", &["create", NAME, "--table", &table])?;
    let device = format!("/dev/mapper/{NAME}");
    let measured = measure(device.as_ref(), areas, rounds);
    command("dmsetup", &["remove", "--retry", NAME])?;
    measured
}

fn measure(device: &Path, areas: u64, rounds: u32) -> Result<()> {
    let one_by_one = passes::open(OneByOne(FileSource::open(device)?))?;
    let ahead = passes::open(FileSource::open(device)?)?;
    for _ in 0..rounds {
        let (seconds, expected) = walk(&one_by_one)?;
        println!("one-by-one {seconds}");
        let (seconds, told) = walk(&ahead)?;
        println!("ahead {seconds}");
        if told != expected || told.len() as u64 != areas * ENTRIES - 1 {
            bail!("reading ahead tells {} exceptions, not {}", told.len(), expected.len());
        }
        println!("backwards {}", backwards(&ahead, told.len() as u64)?);
        for depth in [16, 32] {
            println!("fio-{depth} {}", fio(device, areas, depth)?);
        }
    }
    Ok(())
}

fn walk<S: Source>(store: &Store<S>) -> Result<(f64, Vec<Placed>)> {
    let begun = Instant::now();
    let told = store.exceptions().collect::<Result<_, _>>()?;
    Ok((begun.elapsed().as_secs_f64(), told))
}

fn backwards<S: Source>(store: &Store<S>, exceptions: u64) -> Result<f64> {
    let end = Place { area: exceptions / ENTRIES, entry: (exceptions % ENTRIES) as u32 };
    let begun = Instant::now();
    let mut chunks = 0;
    for run in store.runs(end) {
        chunks += u64::from(run?.chunks);
    }
    if chunks != exceptions {
        bail!("backwards there are {chunks} chunks, not {exceptions}");
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// How long fio takes to read the same blocks, so many at a time.
fn fio(device: &Path, areas: u64, depth: u32) -> Result<f64> {
    let words = format!(
        "--name=areas --filename={} --rw=read --bs={CHUNK_BYTES} --direct=1 --ioengine=libaio \
         --iodepth={depth} --offset={} --zonemode=strided --zonesize={CHUNK_BYTES} \
         --zoneskip={} --number_ios={areas} --output-format=json",
        device.display(),
        area_at(0),
        ENTRIES * CHUNK_BYTES,
    );
    let report = command("fio", &words.split_whitespace().collect::<Vec<_>>())?;
    let json = report.find('{').map(|start| &report[start..]).context("no report")?;
    let json: serde_json::Value = serde_json::from_str(json)?;
    let read = &json["jobs"][0]["read"];
    if read["total_ios"] != areas {
        bail!("fio did {} reads, not {areas}", read["total_ios"]);
    }
    let iops = read["iops"].as_f64().context("no IOPS")?;
    Ok(areas as f64 / iops)
}

fn command(program: &str, words: &[&str]) -> Result<String> {
    let output = Command::new(program).args(words).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
