//! `cargo xtask bench overhead`: the share of its I/O rate that an application keeps while
//! merge-ctl's tracer is attached.
//!
//! One run is short, because a machine's speed drifts: each round runs the application once without
//! a tracer and once beside each tracer, in an order that changes from round to round, and only the
//! ratios inside a round count. What one program run takes is asked of the kernel in rounds of
//! their own: to measure it costs more than the program.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Error, Result, bail};

use super::bcc::Bcc;
use super::device::{Number, RamDevice};
use super::findings::{Claim, Findings};
use super::fio::{Done, Fio};
use super::ratios::Spread;
use super::tracer::{Report, Tracefs, Tracer, ensure_bpftrace};
use super::{machine, stop};
use crate::build;
use crate::run::say;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many rounds
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long one run of the application lasts, in seconds
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

/// What is attached during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Beside {
    Nothing,
    Watching,
    WatchingAnother,
    Bpftrace,
    Bcc,
}

impl Beside {
    const ALL: [Self; 5] =
        [Self::Nothing, Self::Watching, Self::WatchingAnother, Self::Bpftrace, Self::Bcc];

    fn title(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Watching => "merge-ctl, watching this device",
            Self::WatchingAnother => "merge-ctl, watching another device",
            Self::Bpftrace => "bpftrace, latency histogram",
            Self::Bcc => "bcc, latency histogram",
        }
    }

    /// The share that is to be kept.
    fn aim(self) -> Option<f64> {
        match self {
            Self::Watching => Some(0.95),
            Self::WatchingAnother => Some(0.99),
            Self::Nothing | Self::Bpftrace | Self::Bcc => None,
        }
    }
}

/// What is needed for a run.
struct Bench<'a> {
    trace: PathBuf,
    fio: Fio<'a>,
    device: Number,
    /// The others, or why they are left out.
    bpftrace: Result<()>,
    bcc: Result<Bcc>,
}

/// The runs of one kind, round by round.
#[derive(Default)]
struct Column {
    iops: Vec<f64>,
    /// In how many runs the tracer measured each I/O that the application did.
    exact: usize,
}

type Columns = BTreeMap<Beside, Column>;

/// Runs and nanoseconds of each program, by what was watched.
type Costs = BTreeMap<(Beside, String), (u64, u64)>;

/// Measures.
pub(super) fn run(workspace: &Workspace, args: &Args) -> Result<Findings> {
    if !rustix::process::geteuid().is_root() {
        bail!("tracing the block layer needs root");
    }
    let trace = build::example(workspace, "trace")?;
    let tracefs = Tracefs::ensure();
    let bpftrace = ensure_bpftrace();
    let bcc = Bcc::ensure();
    let device = RamDevice::new()?;
    let path = device.path();
    let fio = Fio::new(&path, args.seconds);
    let bench = Bench { trace, fio, device: device.number()?, bpftrace, bcc };
    let mut body = machine(&device, &bench.fio)?;
    if let Ok(bcc) = &bench.bcc {
        body += &format!("- bcc: {}\n", bcc.describe());
    }
    let (columns, costs) = bench.measure(args.rounds)?;
    body = format!("{body}\n{}\n", kept(&columns));
    for (name, error) in bench.left_out() {
        body += &format!("{name} is left out: {error}.\n\n");
    }
    drop(tracefs);
    body += &program_costs(&costs);
    Ok(Findings { how: vec![machine::rounds(args.rounds)], body, claims: verdict(&columns) })
}

impl Bench<'_> {
    /// Those that cannot be had here, and why, in one line.
    fn left_out(&self) -> Vec<(&'static str, String)> {
        let line =
            |error: &Error| format!("{error:#}").lines().next().unwrap_or_default().to_owned();
        let bpftrace = self.bpftrace.as_ref().err().map(|error| ("bpftrace", line(error)));
        bpftrace
            .into_iter()
            .chain(self.bcc.as_ref().err().map(|error| ("bcc", line(error))))
            .collect()
    }

    fn measure(&self, rounds: u32) -> Result<(Columns, Costs)> {
        let mut kinds = Beside::ALL.to_vec();
        kinds.retain(|kind| match kind {
            Beside::Bpftrace => self.bpftrace.is_ok(),
            Beside::Bcc => self.bcc.is_ok(),
            _ => true,
        });
        say(format_args!("{rounds} rounds of {} runs", kinds.len()));
        let mut columns = Columns::new();
        for _ in 0..rounds {
            for kind in &kinds {
                let (done, report) = self.once(*kind, false)?;
                let column = columns.entry(*kind).or_default();
                column.iops.push(done.iops);
                column.exact += usize::from(report.measured == done.ios);
            }
            kinds.rotate_left(1);
        }
        let mut costs = Costs::new();
        for _ in 0..rounds.div_ceil(6) {
            for kind in [Beside::Watching, Beside::WatchingAnother] {
                for cost in self.once(kind, true)?.1.costs {
                    let (runs, ns) = costs.entry((kind, cost.program)).or_default();
                    *runs += cost.runs;
                    *ns += cost.ns;
                }
            }
        }
        Ok((columns, costs))
    }

    fn once(&self, beside: Beside, costs: bool) -> Result<(Done, Report)> {
        let done = self.attach(beside, costs).and_then(|tracer| {
            let done = self.fio.run()?;
            Ok((done, tracer.map_or_else(|| Ok(Report::default()), Tracer::stop)?))
        });
        // Our children got the same signal, and what they say of it is not the cause.
        stop::check()?;
        done
    }

    fn attach(&self, beside: Beside, costs: bool) -> Result<Option<Tracer>> {
        let merge_ctl = |device| Tracer::merge_ctl(&self.trace, device, costs);
        match beside {
            Beside::Nothing => return Ok(None),
            Beside::Watching => merge_ctl(self.device),
            Beside::WatchingAnother => merge_ctl(self.device.neighbour()),
            Beside::Bpftrace => Tracer::bpftrace(self.device),
            Beside::Bcc => match &self.bcc {
                Ok(bcc) => Tracer::bcc(self.device, bcc),
                Err(_) => return Ok(None),
            },
        }
        .map(Some)
    }
}

fn machine(device: &RamDevice, fio: &Fio<'_>) -> Result<String> {
    Ok(format!(
        "- mitigations: {}\n- device: {}\n- application: {}\n",
        mitigations(),
        device.kind(),
        fio.describe()?,
    ))
}

/// What makes each call and each return in the kernel dear on many processors.
fn mitigations() -> String {
    let of = |name: &str| {
        let file = format!("/sys/devices/system/cpu/vulnerabilities/{name}");
        fs::read_to_string(file)
            .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
    };
    format!(
        "spectre_v2: {}; spec_rstack_overflow: {}",
        of("spectre_v2"),
        of("spec_rstack_overflow")
    )
}

/// What comes of the I/O rates with a tracer and without one, round by round.
fn compared(
    columns: &Columns,
    beside: Beside,
    compare: impl Fn(f64, f64) -> f64,
) -> Option<Spread> {
    let untraced = &columns.get(&Beside::Nothing)?.iops;
    let traced = &columns.get(&beside)?.iops;
    Spread::of(traced.iter().zip(untraced).map(|(traced, untraced)| compare(*traced, *untraced)))
}

/// The share of the I/O rate that is left.
fn share(columns: &Columns, beside: Beside) -> Option<Spread> {
    compared(columns, beside, |traced, untraced| traced / untraced)
}

/// How much longer an I/O takes, in nanoseconds: fio and the device share one thread here.
fn longer_ns(columns: &Columns, beside: Beside) -> Option<Spread> {
    compared(columns, beside, |traced, untraced| 1e9 / traced - 1e9 / untraced)
}

fn kept(columns: &Columns) -> String {
    let mut table = "| tracer | IOPS, median | kept, median | quartiles | aim | ns more an I/O, \
                     median | runs with every I/O measured |\n|---|---|---|---|---|---|---|\n"
        .to_owned();
    table.extend(columns.iter().filter_map(|(beside, column)| row(columns, *beside, column)));
    table
}

fn row(columns: &Columns, beside: Beside, column: &Column) -> Option<String> {
    let iops = Spread::of(column.iops.iter().copied())?.median;
    if beside == Beside::Nothing {
        return Some(format!("| {} | {iops:.0} | 1 | | | | |\n", beside.title()));
    }
    let Spread { low, median, high } = share(columns, beside)?;
    let longer = longer_ns(columns, beside)?.median;
    let aim = beside.aim().map_or_else(String::new, |aim| format!("≥ {aim:.2} "));
    let exact = match beside {
        Beside::WatchingAnother => String::new(),
        _ => format!("{} of {} ", column.exact, column.iops.len()),
    };
    Some(format!(
        "| {} | {iops:.0} | {median:.3} | {low:.3} to {high:.3} | {aim}| {longer:.0} | {exact}|\n",
        beside.title()
    ))
}

fn program_costs(costs: &Costs) -> String {
    let mut table =
        "| program | tracer | runs | ns a run, measuring included |\n|---|---|---|---|\n"
            .to_owned();
    for ((beside, program), (runs, ns)) in costs {
        let mean = ns.checked_div(*runs).unwrap_or(0);
        table += &format!("| {program} | {} | {runs} | {mean} |\n", beside.title());
    }
    table
}

fn verdict(columns: &Columns) -> Vec<Claim> {
    let traced = Beside::ALL.into_iter().filter(|beside| *beside != Beside::Nothing);
    let claims = traced.filter_map(|beside| {
        let kept = share(columns, beside)?.median;
        let what = format!("I/O rate kept beside {}", beside.title());
        let figure = format!("{kept:.3}");
        Some(match beside.aim() {
            Some(aim) => Claim::judged(what, format!("≥ {aim:.2}"), figure, kept >= aim),
            None => Claim::plain(what, figure),
        })
    });
    claims.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_the_median_of_pairs() {
        let column = |iops: [f64; 3]| Column { iops: iops.to_vec(), exact: 3 };
        let columns = Columns::from([
            (Beside::Nothing, column([1000.0, 2000.0, 1000.0])),
            (Beside::Watching, column([900.0, 1920.0, 970.0])),
        ]);
        assert_eq!(share(&columns, Beside::Watching).unwrap().median, 0.96);
        let claims = verdict(&columns);
        assert_eq!((claims.len(), claims[0].met), (1, Some(true)));
        assert!(kept(&columns).contains("| 970 | 0.960 |"), "{}", kept(&columns));
    }
}
