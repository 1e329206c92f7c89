//! Watches one device as merge-ctl does while it shows a merge, until stdin closes: what
//! `cargo xtask bench overhead` measures.
//!
//! `trace MAJOR:MINOR [--costs]` prints `ready` once it watches. At the end it prints a line
//! `completed N` with the I/Os that it saw whole, and with `--costs` a line `cost PROGRAM RUNS NS`
//! for each program.

use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use merge_ctl::probe::{Probe, ProbeOptions};
use merge_ctl::units::DeviceNumber;
use tokio::net::unix::pipe;
use tokio::time::interval;

/// How often merge-ctl takes a sample.
const SAMPLE_EVERY: Duration = Duration::from_millis(200);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let (device, stats) = match words[..] {
        [device] => (device, false),
        [device, "--costs"] => (device, true),
        _ => bail!("usage: trace MAJOR:MINOR [--costs]"),
    };
    let device = number(device)?;
    let mut probe = Probe::attach(ProbeOptions { stats, ..ProbeOptions::default() });
    probe.watch(device).with_context(|| format!("watch {device}"))?;
    println!("ready");
    follow(&mut probe, device).await?;
    report(&probe, device);
    Ok(())
}

/// Takes samples until nobody holds stdin open any more.
async fn follow(probe: &mut Probe, device: DeviceNumber) -> Result<()> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let stdin = pipe::Receiver::from_owned_fd(stdin).context("stdin has to be a pipe")?;
    let mut tick = interval(SAMPLE_EVERY);
    loop {
        tokio::select! {
            // Nothing is ever written, so the pipe becomes readable at its end only.
            ended = stdin.readable() => return Ok(ended?),
            () = probe.readable() => drop(probe.drain()),
            _ = tick.tick() => drop((probe.drain(), probe.current(), probe.io(device), probe.dropped())),
        }
    }
}

fn report(probe: &Probe, device: DeviceNumber) {
    let io = probe.io(device);
    let completed = io.map_or(0, |io| io.reads.completed + io.writes.completed);
    println!("completed {completed}");
    for cost in probe.costs().iter().filter(|cost| cost.runs > 0) {
        println!("cost {} {} {}", cost.program, cost.runs, cost.ns);
    }
}

fn number(text: &str) -> Result<DeviceNumber> {
    let (major, minor) = text.split_once(':').context("a device is MAJOR:MINOR")?;
    Ok(DeviceNumber { major: major.parse()?, minor: minor.parse()? })
}
