//! Prints what the probes see, as it comes: a bench for the probes without the rest of merge-ctl.
//!
//! `probe [--best full|no-module-btf|block-only|none] [--watch MAJOR:MINOR]... [--seconds N] [--siblings]
//! [--log] [--costs] [--in-flight]`

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use merge_ctl::probe::{Event, InProgress, Probe, ProbeOptions, What};
use merge_ctl::sample::{IoSample, Phase, PhaseNs, ProbeTier};
use merge_ctl::units::DeviceNumber;

/// What the command line asks for.
struct Options {
    probe: ProbeOptions,
    watch: Vec<DeviceNumber>,
    seconds: u64,
    siblings: bool,
    in_flight: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = parse(std::env::args().skip(1))?;
    let begun = Instant::now();
    let mut probe = Probe::attach(options.probe);
    println!("tier {:?} after {} ms", probe.report().tier, begun.elapsed().as_millis());
    probe.set_siblings(options.siblings);
    for sentence in &probe.report().missing {
        println!("missing: {sentence}");
    }
    for device in &options.watch {
        probe.watch(*device).with_context(|| format!("watch {device}"))?;
    }
    follow(&mut probe, &options).await;
    totals(&probe, &options);
    Ok(())
}

/// Prints events and, every 100 ms, what is in progress.
async fn follow(probe: &mut Probe, options: &Options) {
    let end = tokio::time::sleep(Duration::from_secs(options.seconds));
    tokio::pin!(end);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            () = &mut end => return,
            () = probe.readable() => probe.drain().iter().for_each(print_event),
            _ = tick.tick() => {
                probe.current().iter().for_each(print_current);
                if options.in_flight {
                    print_in_flight(probe, options);
                }
            }
        }
        for line in &probe.drain_log() {
            println!("log: {line}");
        }
    }
}

fn print_event(event: &Event) {
    let devices = devices(event.cow_dev, event.real_dev);
    match &event.what {
        What::Run(run) => println!(
            "run {devices} old {} new {} chunks {} us {}",
            run.old_chunk,
            run.new_chunk,
            run.chunks,
            micros(&run.phase_ns)
        ),
        What::End(end) => println!("end {devices} {end:?}"),
    }
}

fn print_current(current: &InProgress) {
    let run = &current.run;
    println!(
        "now {} old {} chunks {} {} us {}",
        devices(current.cow_dev, current.real_dev),
        run.old_chunk,
        run.chunks,
        run.phase.name(),
        micros(&run.phase_ns)
    );
}

fn print_in_flight(probe: &Probe, options: &Options) {
    for device in &options.watch {
        let Some(io) = probe.io(*device) else { continue };
        let listed: Vec<_> = io.in_flight.iter().take(3).collect();
        println!(
            "in flight {device} writes {} reads {} {listed:?}",
            io.writes_in_flight, io.reads_in_flight
        );
    }
}

fn totals(probe: &Probe, options: &Options) {
    for device in &options.watch {
        if let Some(io) = probe.io(*device) {
            print_totals(*device, &io);
        }
    }
    println!("dropped {:?}", probe.dropped());
    for cost in probe.costs() {
        let mean = cost.ns.checked_div(cost.runs).unwrap_or(0);
        println!("cost {} runs {} ns/run {mean}", cost.program, cost.runs);
    }
}

fn print_totals(device: DeviceNumber, io: &IoSample) {
    for (what, totals) in [("writes", &io.writes), ("reads", &io.reads)] {
        let mean = totals.latency_ns.checked_div(totals.completed).unwrap_or(0);
        println!(
            "total {device} {what} queued {} completed {} bytes {} mean ns {mean} histogram {}",
            totals.queued,
            totals.completed,
            totals.bytes,
            totals.latency.iter().sum::<u64>()
        );
    }
    println!("left {device} writes {} reads {}", io.writes_in_flight, io.reads_in_flight);
}

fn devices(cow: Option<DeviceNumber>, real: Option<DeviceNumber>) -> String {
    let name = |device: Option<DeviceNumber>| device.map_or("?".to_owned(), |d| d.to_string());
    format!("{}>{}", name(cow), name(real))
}

fn micros(phase_ns: &PhaseNs) -> String {
    let phases = Phase::ALL.iter().zip(phase_ns);
    let words: Vec<_> =
        phases.map(|(phase, ns)| format!("{}={}", phase.name(), ns / 1000)).collect();
    words.join(" ")
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options {
        probe: ProbeOptions::default(),
        watch: Vec::new(),
        seconds: 10,
        siblings: false,
        in_flight: false,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} wants a value"));
        match word.as_str() {
            "--best" => options.probe.best = tier(&value()?)?,
            "--watch" => options.watch.push(device(&value()?)?),
            "--seconds" => options.seconds = value()?.parse()?,
            "--siblings" => options.siblings = true,
            "--log" => options.probe.log = true,
            "--costs" => options.probe.stats = true,
            "--in-flight" => options.in_flight = true,
            _ => bail!("unknown option {word}"),
        }
    }
    Ok(options)
}

fn tier(name: &str) -> Result<ProbeTier> {
    Ok(match name {
        "full" => ProbeTier::Full,
        "no-module-btf" => ProbeTier::NoModuleBtf,
        "block-only" => ProbeTier::BlockOnly,
        "none" => ProbeTier::None,
        _ => bail!("unknown tier {name}"),
    })
}

fn device(text: &str) -> Result<DeviceNumber> {
    let (major, minor) = text.split_once(':').context("a device is MAJOR:MINOR")?;
    Ok(DeviceNumber { major: major.parse()?, minor: minor.parse()? })
}
