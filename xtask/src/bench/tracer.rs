//! The tracers that are compared, each in a process of its own, attached for one run of the
//! application and then taken off.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::bcc::{Bcc, PYTHON, SCRIPT};
use super::device::Number;
use crate::{packages, run};

const TRACEFS: &str = "/sys/kernel/tracing";

/// A tracer at work. Dropping it ends it.
pub(super) struct Tracer {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Whether it ends by a signal, rather than when its stdin does.
    interrupt: bool,
}

/// What a program has cost.
pub(super) struct Cost {
    pub(super) program: String,
    pub(super) runs: u64,
    pub(super) ns: u64,
}

/// What a tracer said at its end.
#[derive(Default)]
pub(super) struct Report {
    /// The I/Os whose latency it measured.
    pub(super) measured: u64,
    /// What its programs cost, where that was asked.
    pub(super) costs: Vec<Cost>,
}

impl Tracer {
    /// merge-ctl's, watching a device; `program` is its example `trace`.
    pub(super) fn merge_ctl(program: &Path, device: Number, costs: bool) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg(device.to_string());
        if costs {
            command.arg("--costs");
        }
        Self::start(command, false)
    }

    /// A bpftrace script as an operator would write it.
    pub(super) fn bpftrace(device: Number) -> Result<Self> {
        let mut command = Command::new("bpftrace");
        command.args(["-B", "line", "-e", &bpftrace_script(device)]);
        Self::start(command, true)
    }

    /// The same with bcc.
    pub(super) fn bcc(device: Number, bcc: &Bcc) -> Result<Self> {
        let mut command = Command::new(PYTHON);
        command.args(["-c", SCRIPT, &device.of_tracepoints().to_string()]);
        command.envs(bcc.headers().map(|headers| ("BCC_KERNEL_SOURCE", headers)));
        Self::start(command, false)
    }

    fn start(mut command: Command, interrupt: bool) -> Result<Self> {
        let name = command.get_program().to_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", name.display()))?;
        let stdout = child.stdout.take().context("no pipe")?;
        let mut tracer = Self { child, stdout: BufReader::new(stdout), interrupt };
        let mut line = String::new();
        while line != "ready\n" {
            line.clear();
            if tracer.stdout.read_line(&mut line)? == 0 {
                bail!("{} did not begin to trace", name.display());
            }
        }
        Ok(tracer)
    }

    /// What the process itself has used so far of a processor; its programs run in others' time.
    pub(super) fn processor_time(&self) -> Result<Duration> {
        // Nanoseconds, where the usual file has ticks of ten milliseconds.
        let mut total = Duration::ZERO;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let stat = fs::read_to_string(thread?.path().join("schedstat"))?;
            total += on_processor(&stat).with_context(|| format!("not understood: {stat}"))?;
        }
        Ok(total)
    }

    /// The most memory that it has had.
    pub(super) fn peak_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.context("no peak memory in /proc")
    }

    /// Takes it off; what it has to say.
    pub(super) fn stop(mut self) -> Result<Report> {
        drop(self.child.stdin.take());
        if self.interrupt {
            let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            kill_process(pid.context("no process")?, Signal::INT)?;
        }
        let mut said = String::new();
        self.stdout.read_to_string(&mut said)?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("a tracer failed: {status}");
        }
        Ok(Report::read(&said))
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It may have ended by itself, and after `stop` it has.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long a thread has had a processor, from its scheduler's statistics.
fn on_processor(schedstat: &str) -> Option<Duration> {
    Some(Duration::from_nanos(schedstat.split_whitespace().next()?.parse().ok()?))
}

impl Report {
    fn read(said: &str) -> Self {
        let mut report = Self::default();
        for line in said.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            match words[..] {
                ["completed", count] => report.measured += count.parse().unwrap_or(0),
                ["cost", program, runs, ns] => report.costs.extend(cost(program, runs, ns)),
                _ => report.measured += bar(line).unwrap_or(0),
            }
        }
        report
    }
}

fn cost(program: &str, runs: &str, ns: &str) -> Option<Cost> {
    Some(Cost { program: program.to_owned(), runs: runs.parse().ok()?, ns: ns.parse().ok()? })
}

/// The count of one line of bpftrace's histogram: `[512, 1K)   1234 |@@@@  |`.
fn bar(line: &str) -> Option<u64> {
    let (_, count) = line.strip_prefix('[')?.split_once([')', ']'])?;
    count.split_whitespace().next()?.parse().ok()
}

/// A start map and a histogram in the kernel. It says that it is ready when its last probe is on.
fn bpftrace_script(device: Number) -> String {
    let dev = device.of_tracepoints();
    format!(
        "tracepoint:block:block_bio_queue /args->dev == {dev}/ {{ \
             @start[args->sector] = nsecs; }} \
         tracepoint:block:block_bio_complete /args->dev == {dev} && @start[args->sector]/ {{ \
             @ns = hist(nsecs - @start[args->sector]); delete(@start[args->sector]); }} \
         interval:ms:100 {{ printf(\"ready\\n\"); }}"
    )
}

/// Gets bpftrace; fails with the reason for which it cannot be had.
pub(super) fn ensure_bpftrace() -> Result<()> {
    packages::ensure_extra("bpftrace", "bpftrace")?;
    // A kernel that refuses it must not end the measurement half-way.
    Tracer::bpftrace(Number { major: 0, minor: 0 })?.stop().map(drop)
}

/// Where bpftrace and bcc ask for the tracepoints. Most systems mount it; dropping it puts things back.
pub(super) struct Tracefs {
    mounted: bool,
}

impl Tracefs {
    /// Mounts it where it is not.
    pub(super) fn ensure() -> Result<Self> {
        let mounted = !Path::new(TRACEFS).join("events").is_dir();
        if mounted {
            fs::metadata(TRACEFS).context("the kernel has no tracefs")?;
            run::Command::new("mount").args(["-t", "tracefs", "tracefs", TRACEFS]).quietly()?;
        }
        Ok(Self { mounted })
    }
}

impl Drop for Tracefs {
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = run::Command::new("umount").arg(TRACEFS).quietly()
        {
            eprintln!("warning: {TRACEFS} stays mounted: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_summed() {
        let said = "ready\n\n@ns: \n[256, 512)  12 |@@  |\n[1K, 2K)   30 |@@@@|\n[1]  1 ||\n";
        let said = format!("{said}@start[123]: 456\n");
        assert_eq!(Report::read(&said).measured, 43);
    }

    #[test]
    fn processor_time_comes_first() {
        assert_eq!(on_processor("4200000 77 9\n"), Some(Duration::from_micros(4200)));
        assert_eq!(on_processor(""), None);
    }

    #[test]
    fn costs_are_read() {
        let report = Report::read("completed 9\ncost bio_queue 10 1230\ncost x y 1\n");
        assert_eq!(report.measured, 9);
        let costs: Vec<_> =
            report.costs.iter().map(|cost| (&*cost.program, cost.runs, cost.ns)).collect();
        assert_eq!(costs, [("bio_queue", 10, 1230)]);
    }
}
