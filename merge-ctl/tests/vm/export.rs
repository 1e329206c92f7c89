//! `merge-ctl export` beside real merges: what it tells of a snapshot, of its merge and of the merge's end; and
//! a real Prometheus that scrapes it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use merge_ctl::store::Run;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::merge_ctl::{Running, promised_runs};
use super::runs::mixed_writes;
use super::testbed::{Testbed, run};

const PATIENCE: Duration = Duration::from_secs(300);

/// A program that runs beside the test, and is ended with it.
struct Beside(Child);

impl Beside {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let child = Command::new(program).args(arguments).spawn();
        Self(child.unwrap_or_else(|error| panic!("cannot run {program}: {error}")))
    }

    /// Asks it to leave, and gives its exit status.
    fn leave(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The body of an answer; none where nobody answers, or not with success.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200 ").then(|| body.to_owned())
}

/// Asks again and again until there is an answer that will do.
#[track_caller]
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "it did not come to this: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// The figure of the one series of this name whose labels contain all of these.
fn figure(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let mut lines = text.lines().filter(|line| {
        let series = line.split_once('{').filter(|(it, _)| *it == name);
        series.is_some_and(|(_, rest)| labels.iter().all(|label| rest.contains(label)))
    });
    let line = lines.next()?;
    assert!(lines.next().is_none(), "more than one {name} with {labels:?}");
    line.rsplit_once(' ')?.1.parse().ok()
}

fn label(name: &str, value: &str) -> String {
    format!("{name}=\"{value}\"")
}

fn exporter(port: u16) -> Beside {
    run("busybox", &["ifconfig", "lo", "127.0.0.1", "up"]);
    let address = format!("127.0.0.1:{port}");
    Beside::start("merge-ctl", &["export", "--listen", &address, "--interval", "200ms"])
}

/// How many of these runs have at most so many chunks.
fn up_to(runs: &[Run], chunks: u32) -> f64 {
    runs.iter().filter(|run| run.chunks <= chunks).count() as f64
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_snapshot_and_its_merge_are_told_to_the_end() {
    let bed = Testbed::new("export", 16, 8);
    mixed_writes(&bed, 11);
    let promised = promised_runs(&bed);
    bed.slow_down(4);
    let (origin, snapshot) = (label("name", &bed.dm("origin")), label("name", &bed.dm("snap")));
    let exporter = exporter(9946);
    let scrape = || get(9946, "/metrics");
    let used = until("the snapshot's fill", || {
        figure(&scrape()?, "merge_ctl_snapshot_used_bytes", &[&snapshot])
    });
    assert!(used > 0.0);

    let merge = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
    let state = |state: &str| {
        let text = scrape()?;
        let state = label("state", state);
        let is_it = figure(&text, "merge_ctl_merge_state", &[&origin, &state])? == 1.0;
        is_it.then_some(text)
    };
    let text = until("the merge", || state("merging"));
    assert_eq!(figure(&text, "merge_ctl_snapshot_used_bytes", &[&snapshot]), None, "it merges");
    let initial = figure(&text, "merge_ctl_merge_initial_bytes", &[&origin]).unwrap();
    // Its output is read to the end first: a merge-ctl whose output nobody reads waits for that.
    let ended = merge.wait().expect(0);
    let text = until("the end of the merge", || state("finished"));

    assert_eq!(figure(&text, "merge_ctl_merge_remaining_bytes", &[&origin]), Some(0.0));
    let seen = figure(&text, "merge_ctl_merge_run_chunks_count", &[&origin]).unwrap();
    // Those before it looked are not seen, and one may have been under way.
    let last = &promised[promised.len() - seen as usize..];
    println!("{seen} of {} runs were seen", promised.len());
    assert!(last.len() > 10, "it proves little");
    assert!(ended.runs().ends_with(last), "start saw others");
    for chunks in [1, 3, 7, 15, 31, 63, 127, 255, 511] {
        let le = label("le", &format!("{chunks}.0"));
        let bucket = figure(&text, "merge_ctl_merge_run_chunks_bucket", &[&origin, &le]);
        assert_eq!(bucket, Some(up_to(last, chunks)), "runs of up to {chunks} chunks");
    }
    let chunks: u64 = last.iter().map(|run| u64::from(run.chunks)).sum();
    assert_eq!(figure(&text, "merge_ctl_merge_run_chunks_sum", &[&origin]), Some(chunks as f64));
    assert!(chunks as f64 * 4096.0 <= initial, "{chunks} chunks of {initial} bytes");
    assert_eq!(exporter.leave(), Some(0));
}

/// `CAP_SYS_ADMIN`, `CAP_SYSLOG`, `CAP_PERFMON` and `CAP_BPF`.
const TO_LOOK: u64 = 1 << 21 | 1 << 34 | 1 << 38 | 1 << 39;
/// `CAP_DAC_OVERRIDE` and `CAP_DAC_READ_SEARCH`.
const FOR_FILES: u64 = 1 << 1 | 1 << 2;

/// What each thread of a process may do.
fn capabilities_of(pid: u32) -> Vec<u64> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    // A thread may end meanwhile.
    let states = threads.flat_map(|thread| std::fs::read_to_string(thread.path().join("status")));
    let kept = states.map(|status| {
        let line = status.lines().find(|line| line.starts_with("CapPrm:")).unwrap();
        u64::from_str_radix(line.split_ascii_whitespace().nth(1).unwrap(), 16).unwrap()
    });
    kept.collect()
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn the_least_of_privileges_is_enough_to_see_runs() {
    let bed = Testbed::new("expcaps", 16, 8);
    mixed_writes(&bed, 12);
    bed.slow_down(4);
    let exporter = exporter(9947);
    let _ = until("an answer", || get(9947, "/metrics"));
    let kept = capabilities_of(exporter.0.id());
    assert!(kept.len() > 1 && kept.contains(&0), "which of {kept:x?} speaks to the network?");
    assert!(kept.iter().all(|kept| kept & !TO_LOOK == 0), "{kept:x?}");
    let mut merge = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
    merge.line_where(|line| line["type"] == "run");
    let origin = label("name", &bed.dm("origin"));
    until("runs", || {
        let text = get(9947, "/metrics")?;
        figure(&text, "merge_ctl_merge_run_chunks_count", &[&origin]).filter(|runs| *runs > 0.0)
    });
    assert_eq!(merge.wait().code, 0);
    assert_eq!(exporter.leave(), Some(0));
}

/// No more than looking at merges and recording them into another user's directory needs.
#[track_caller]
fn keeps_little(pid: u32) {
    for kept in capabilities_of(pid) {
        assert!(kept & TO_LOOK != 0 && kept & !(TO_LOOK | FOR_FILES) == 0, "{kept:x}");
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn monitor_keeps_what_looking_needs_and_sees_merges_that_begin_later() {
    let (first, second) = (Testbed::new("moncaps", 16, 8), Testbed::new("monlate", 16, 8));
    // The first goes on until all others have looked.
    let promised = [(&first, 20), (&second, 8)].map(|(bed, delay_ms)| {
        mixed_writes(bed, 14);
        bed.slow_down(delay_ms);
        promised_runs(bed)
    });
    let directory = tempfile::tempdir().unwrap();
    let foreign = directory.path();
    run("busybox", &["chown", "1000:1000", foreign.to_str().unwrap()]);
    let file = foreign.join("seen.mrec");
    // What nobody reads is waited for, so each is read in a thread of its own. Who looks in just as the first
    // merge ends may not see how.
    let to_its_end = |running: Running| thread::spawn(move || running.wait());
    let start = |bed: &Testbed| {
        let mut merge = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
        merge.line_where(|line| line["type"] == "run");
        to_its_end(merge)
    };
    let first_merge = start(&first);
    let look = ["monitor", "--output", "json"];
    let mut monitor = Running::start(&[&look[..], &["--record", file.to_str().unwrap()]].concat());
    let mut keeps_little_at_a_run_of = |bed: &Testbed| {
        let origin = bed.dm("origin");
        monitor.line_where(|line| line["type"] == "run" && line["origin"] == *origin);
        keeps_little(monitor.pid());
    };
    keeps_little_at_a_run_of(&first);
    let also = foreign.join("also.mrec");
    let recorder = Running::start(&["record", "-o", also.to_str().unwrap()]);
    until("a recording", || also.exists().then_some(()));
    keeps_little(recorder.pid());
    let recorder = to_its_end(recorder);
    let second_merge = start(&second);
    keeps_little_at_a_run_of(&second);
    // Its hooks are somebody else's programs, and run as he may.
    let mut hooked = Running::start(&[&look[..], &["--on-done", "true"]].concat());
    hooked.line_where(|line| line["type"] == "run");
    assert!(capabilities_of(hooked.pid()).contains(&capabilities_of(std::process::id())[0]));
    let hooked = to_its_end(hooked);
    first.slow_down(0);
    let ended = monitor.wait().expect(0);
    for merge in [first_merge, second_merge] {
        merge.join().unwrap().expect(0);
    }
    for onlooker in [hooked, recorder] {
        onlooker.join().unwrap();
    }
    let runs = ended.runs();
    for (bed, promised) in [&first, &second].into_iter().zip(promised) {
        let (last, origin) = (promised.last().unwrap(), bed.dm("origin"));
        assert!(runs.contains(last), "the end of {origin} is missing");
        let summary = ended.of_type("summary").find(|line| line["origin"] == *origin).unwrap();
        assert_eq!(summary["state"], "finished");
    }
    let replayed = run("merge-ctl", &["replay", "--output", "json", file.to_str().unwrap()]);
    assert!(replayed.contains(&second.dm("origin")), "the merge that began later is not recorded");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn scrapes_without_end_and_silent_clients_disturb_no_merge() {
    const PORT: u16 = 9949;
    let bed = Testbed::new("exphard", 16, 8);
    mixed_writes(&bed, 15);
    let (content, promised) = (bed.image("snap"), promised_runs(&bed));
    bed.slow_down(2);
    let exporter = exporter(PORT);
    let _ = until("an answer", || get(PORT, "/metrics"));
    let over = AtomicBool::new(false);
    let (ended, scrapes) = thread::scope(|scope| {
        let scrape = || {
            let mut answers = 0;
            while !over.load(Ordering::Relaxed) {
                answers += u64::from(get(PORT, "/metrics").is_some());
            }
            answers
        };
        let silent = || {
            while !over.load(Ordering::Relaxed) {
                let connect = |_| TcpStream::connect(("127.0.0.1", PORT));
                let connections: Vec<_> = (0..200).map(connect).collect();
                thread::sleep(Duration::from_secs(1));
                drop(connections);
            }
        };
        scope.spawn(silent);
        let scrapers: Vec<_> = (0..4).map(|_| scope.spawn(scrape)).collect();
        let merge = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
        let ended = merge.wait();
        over.store(true, Ordering::Relaxed);
        (ended, scrapers.into_iter().map(|it| it.join().unwrap()).sum::<u64>())
    });
    let (runs, dropped) = (ended.runs(), ended.expect(0).summary()["dropped"].clone());
    // Two processes have probes on the same functions, and a processor that is in one takes no other: what
    // that costs is counted.
    let missed = ["missed", "half_seen"].map(|kind| dropped[kind].as_u64().unwrap()).iter().sum();
    let unseen = promised.iter().filter(|run| !runs.contains(run)).count() as u64;
    assert!(unseen <= missed && runs.len() as u64 + unseen == promised.len() as u64, "{dropped}");
    assert!(bed.image("origin") == content, "the origin differs from the snapshot");
    let status = std::fs::read_to_string(format!("/proc/{}/status", exporter.0.id())).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    println!("{scrapes} scrapes, {peak}");
    let peak_kib: u64 = peak.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(scrapes > 20 && peak_kib < 50 << 10, "{scrapes} scrapes, {peak}");
    assert_eq!(exporter.leave(), Some(0));
}

/// What Prometheus answers to a query: all its series.
fn series(expression: &str) -> Option<Vec<Value>> {
    let answer = get(9090, &format!("/api/v1/query?query={expression}"))?;
    let mut json: Value = serde_json::from_str(&answer).unwrap();
    serde_json::from_value(json["data"]["result"].take()).ok()
}

fn value(series: &Value) -> f64 {
    series["value"][1].as_str().unwrap().parse().unwrap()
}

/// The one series of a query.
fn query(expression: &str) -> Option<f64> {
    let series = series(expression)?;
    assert!(series.len() < 2, "{series:?}");
    series.first().map(value)
}

/// Runs where the host that boots the VM has Prometheus.
#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_merge_is_scraped_by_prometheus() {
    let config = "global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: merge-ctl\n    \
                  static_configs: [{targets: ['127.0.0.1:9948']}]\n";
    std::fs::write("/tmp/prometheus.yml", config).unwrap();
    let bed = Testbed::new("expprom", 16, 8);
    mixed_writes(&bed, 13);
    bed.slow_down(10);
    let exporter = exporter(9948);
    let prometheus = Beside::start(
        "./prometheus",
        &[
            "--config.file=/tmp/prometheus.yml",
            "--storage.tsdb.path=/tmp/prometheus",
            "--web.listen-address=127.0.0.1:9090",
        ],
    );
    until("the first scrape", || query("up").filter(|up| *up == 1.0));
    let merge = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
    let state = |state: &str| {
        let expression =
            format!("max_over_time(merge_ctl_merge_state%7Bstate=%22{state}%22%7D[1h])");
        until(state, || query(&expression).filter(|is_it| *is_it == 1.0));
    };
    state("merging");
    let runs = merge.wait().expect(0).runs();
    state("finished");
    assert_eq!(query("min_over_time(up[1h])"), Some(1.0), "a scrape has failed");
    assert_eq!(query("merge_ctl_merge_remaining_bytes"), Some(0.0));
    let seen = query("merge_ctl_merge_run_chunks_count").unwrap();
    println!("{seen} of {} runs were seen", runs.len());
    assert!(seen > 10.0, "it proves little");
    // Those before it looked are not seen.
    let last = &runs[runs.len() - seen as usize..];
    let buckets = series("merge_ctl_merge_run_chunks_bucket").unwrap();
    assert!(buckets.len() > 10, "{buckets:?}");
    for bucket in buckets {
        let le: f64 = bucket["metric"]["le"].as_str().unwrap().parse().unwrap();
        assert_eq!(value(&bucket), up_to(last, le as u32), "runs of up to {le} chunks");
    }
    assert_eq!(exporter.leave(), Some(0));
    drop(prometheus);
    std::fs::remove_dir_all("/tmp/prometheus").unwrap();
}
