//! Several merges in one process: told apart, each to its own end.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use merge_ctl::store::Run;
use serde_json::Value;

use super::lvm::VolumeGroup;
use super::merge_ctl::{Ended, Running, merge_ctl, promised_runs};
use super::runs::mixed_writes;
use super::testbed::{Testbed, dmsetup};

/// Testbeds with different contents.
fn beds<const N: usize>(name: &str) -> [Testbed; N] {
    std::array::from_fn(|i| {
        let bed = Testbed::new(&format!("{name}{i}"), 16, 8);
        mixed_writes(&bed, 100 * i as u64 + 7);
        bed
    })
}

/// `start` of all their snapshots.
fn start_all(beds: &[Testbed]) -> Running {
    let snapshots: Vec<_> = beds.iter().map(|bed| bed.dm("snap")).collect();
    start(snapshots.iter().map(String::as_str))
}

fn start<'a>(snapshots: impl Iterator<Item = &'a str>) -> Running {
    let arguments: Vec<_> =
        ["start", "--yes", "--output", "json"].into_iter().chain(snapshots).collect();
    Running::start(&arguments)
}

/// Reads on what it says, to its end: nobody else does, and it would wait for a reader.
fn in_background(running: Running) -> JoinHandle<Ended> {
    std::thread::spawn(|| running.wait())
}

/// What was told of each origin.
fn by_origin(ended: Ended) -> BTreeMap<String, Ended> {
    let mut all: BTreeMap<String, Ended> = BTreeMap::new();
    for line in ended.lines {
        let origin = line["origin"].as_str().unwrap().to_owned();
        let of = all.entry(origin).or_insert_with(|| Ended {
            code: ended.code,
            lines: Vec::new(),
            stderr: ended.stderr.clone(),
        });
        of.lines.push(line);
    }
    all
}

fn is_run_of(bed: &Testbed) -> impl Fn(&Value) -> bool + '_ {
    |line| line["type"] == "run" && line["origin"] == bed.dm("origin")
}

fn merges_at_once<const N: usize>(name: &str) {
    let beds: [Testbed; N] = beds(name);
    let contents = beds.each_ref().map(|bed| bed.image("snap"));
    let promised: [Vec<Run>; N] = beds.each_ref().map(promised_runs);
    for bed in &beds {
        bed.slow_down(1);
    }
    let ended = start_all(&beds).wait().expect(0);
    let first_summary = ended.lines.iter().position(|line| line["type"] == "summary").unwrap();
    assert_eq!(ended.lines.len() - first_summary, N, "the summaries do not come last");
    let told = by_origin(ended);
    assert_eq!(told.len(), N);
    for ((bed, content), promised) in beds.iter().zip(contents).zip(promised) {
        let told = &told[&bed.dm("origin")];
        assert_eq!(told.lines[0]["type"], "begin");
        assert_eq!(told.of_type("begin").count(), 1);
        assert_eq!(told.runs(), promised);
        assert_eq!(told.summary()["state"], "finished");
        assert!(bed.image("origin") == content, "the origin differs from the snapshot");
        assert!(dmsetup(&["table", &bed.dm("origin")]).contains("linear"));
        assert!(!bed.path("snap").exists());
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn two_merges_in_one_start() {
    merges_at_once::<2>("pair");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn four_merges_in_one_start() {
    merges_at_once::<4>("four");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn ten_merges_are_all_followed_smoothly() {
    let beds: [Testbed; 10] = std::array::from_fn(|i| {
        let bed = Testbed::new(&format!("ten{i}"), 8, 8);
        bed.write_snapshot((0..150).map(|block| block * 3), 5);
        bed.slow_down(1);
        bed
    });
    let mut running = start_all(&beds);
    let began = Instant::now();
    let mut cpu = Duration::ZERO;
    let mut told: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    while let Some(line) = running.next_line() {
        if line["type"] == "progress" {
            let at = told.entry(line["origin"].to_string()).or_default();
            at.push(line["at_ns"].as_u64().unwrap());
            cpu = cpu_time(running.pid()).unwrap_or(cpu);
        }
    }
    println!("ten merges: {cpu:?} of CPU in {:?}", began.elapsed());
    running.wait().expect(0);
    assert_eq!(told.len(), 10);
    for (origin, at) in told {
        let gaps = at.windows(2).map(|pair| pair[1] - pair[0]);
        let longest = Duration::from_nanos(gaps.max().unwrap_or(0));
        // A line is due every second.
        assert!(longest < Duration::from_secs(3), "{origin}: nothing for {longest:?}");
    }
}

/// What a process has used, while it is there.
fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn one_that_fails_leaves_the_others_alone() {
    let beds: [Testbed; 3] = beds("onefails");
    let contents = beds.each_ref().map(|bed| bed.image("snap"));
    for bed in &beds {
        bed.slow_down(2);
    }
    let mut running = start_all(&beds);
    running.line_where(is_run_of(&beds[1]));
    beds[1].fail_writes("cow");
    let told = by_origin(running.wait().expect(5));
    for (place, (bed, content)) in beds.iter().zip(contents).enumerate() {
        let summary = told[&bed.dm("origin")].summary();
        if place == 1 {
            assert_eq!(summary["state"], "failed");
            assert_eq!(summary["failed"]["phase"], "commit", "{summary}");
            assert!(dmsetup(&["status", &bed.dm("origin")]).contains("Merge failed"));
            assert!(dmsetup(&["info", &bed.dm("origin")]).contains("ACTIVE"));
        } else {
            assert_eq!(summary["state"], "finished");
            assert!(bed.image("origin") == content, "the origin differs from the snapshot");
        }
    }
}

/// Refused before anything was touched, with these words.
#[track_caller]
fn refused(snapshots: &[String], words: &[&str]) {
    let before = dmsetup(&["table"]);
    let ended = start(snapshots.iter().map(String::as_str)).wait().expect(8);
    for word in words {
        assert!(ended.stderr.contains(word), "no {word:?} in: {}", ended.stderr);
    }
    assert_eq!(before, dmsetup(&["table"]));
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn two_snapshots_of_one_origin_are_refused() {
    let mut bed = Testbed::new("oneorigin", 8, 8);
    let sibling = bed.add_sibling(16, 8);
    let (snapshot, sibling) = (bed.dm("snap"), bed.dm(&sibling));
    refused(&[snapshot.clone(), sibling], &["one merge an origin at a time", "in its turn"]);
    refused(&[snapshot.clone(), snapshot], &["named twice"]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn where_one_is_refused_none_is_begun() {
    let beds: [Testbed; 3] = beds("onerefused");
    let holder = beds[2].open("snap");
    refused(&beds.each_ref().map(|bed| bed.dm("snap")), &["onerefused2-snap", "in use"]);
    drop(holder);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn where_one_cannot_begin_those_before_it_go_on_and_those_behind_it_wait() {
    let group = VolumeGroup::new("vgfirst");
    group.write_snapshot();
    let beds: [Testbed; 2] = beds("behind");
    let tables = || beds.each_ref().map(|bed| dmsetup(&["table", &bed.dm("origin")]));
    let before = tables();
    let (volume, snapshots) = (group.volume("snap"), beds.each_ref().map(|bed| bed.dm("snap")));

    // Preflight does not look for what an earlier merge may have left behind.
    let journal = Path::new("/var/lib/merge-ctl/merges/behind0-origin.merge");
    std::fs::create_dir_all(journal.parent().unwrap()).unwrap();
    std::fs::write(journal, "no journal").unwrap();
    let ended = merge_ctl(&[
        "start",
        "--yes",
        "--output",
        "json",
        "--probes",
        "none",
        &volume,
        &snapshots[0],
        &snapshots[1],
    ])
    .expect(1);
    std::fs::remove_file(journal).unwrap();

    for words in [
        "the merge of behind0-snap could not begin",
        "begun before, and going on: the merge into vgfirst/data",
        "not begun, and unchanged: behind1-snap",
    ] {
        assert!(ended.stderr.contains(words), "no {words:?} in: {}", ended.stderr);
    }
    assert_eq!(before, tables());
    assert_eq!(by_origin(ended)["vgfirst-data"].summary()["state"], "finished");
    assert!(dmsetup(&["table", "vgfirst-data"]).contains("linear"));
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_logical_volume_and_a_plain_device_in_one_start() {
    let group = VolumeGroup::new("vgmixed");
    group.write_snapshot();
    let [bed]: [Testbed; 1] = beds("mixed");
    let content = bed.image("snap");
    let ended = start([group.volume("snap"), bed.dm("snap")].iter().map(String::as_str));
    let told = by_origin(ended.wait().expect(0));
    for origin in ["vgmixed-data", &bed.dm("origin")] {
        assert_eq!(told[origin].summary()["state"], "finished");
    }
    assert!(bed.image("origin") == content, "the origin differs from the snapshot");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn monitor_sees_a_merge_that_begins_later() {
    let [early, late]: [Testbed; 2] = beds("later");
    for bed in [&early, &late] {
        bed.slow_down(20);
    }
    let mut first = start_all(std::slice::from_ref(&early));
    first.line_where(|line| line["type"] == "run");
    let first = in_background(first);
    let mut all = Running::start(&["monitor", "--output", "json"]);
    all.line_where(is_run_of(&early));
    let mut one = Running::start(&["monitor", "--output", "json", &early.dm("origin")]);
    one.line_where(is_run_of(&early));
    let one = in_background(one);

    let second = in_background(start_all(std::slice::from_ref(&late)));
    let began = Instant::now();
    all.line_where(|line| line["type"] == "begin" && line["origin"] == late.dm("origin"));
    println!("the second merge was seen {:?} after its start was asked for", began.elapsed());
    all.line_where(is_run_of(&late));
    for bed in [&early, &late] {
        bed.slow_down(0);
    }
    for start in [first, second] {
        start.join().unwrap().expect(0);
    }
    let told = by_origin(all.wait().expect(0));
    assert_eq!(told.keys().collect::<Vec<_>>(), [&early.dm("origin"), &late.dm("origin")]);
    for (origin, told) in &told {
        assert_eq!(told.summary()["state"], "finished", "{origin}");
    }
    assert_eq!(by_origin(one.join().unwrap().expect(0)).len(), 1, "it was asked about one");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn an_origin_that_is_merged_once_more_is_another_merge() {
    let [slow]: [Testbed; 1] = beds("slow");
    slow.slow_down(50);
    let mut long = start_all(std::slice::from_ref(&slow));
    long.line_where(|line| line["type"] == "run");
    let long = in_background(long);
    let mut monitor = Running::start(&["monitor", "--output", "json"]);
    monitor.line_where(is_run_of(&slow));
    for turn in 0..2 {
        // The devices have the numbers of those before.
        let bed = Testbed::new("again", 8, 8);
        bed.write_snapshot((0..100).map(|block| block * 3), turn);
        bed.slow_down(5);
        let start = in_background(start_all(std::slice::from_ref(&bed)));
        monitor.line_where(|line| line["type"] == "begin" && line["origin"] == bed.dm("origin"));
        bed.slow_down(0);
        start.join().unwrap().expect(0);
        // Until it was seen to be over.
        std::thread::sleep(Duration::from_millis(600));
    }
    slow.slow_down(0);
    long.join().unwrap().expect(0);
    let told = by_origin(monitor.wait().expect(0));
    let again = &told["again-origin"];
    assert_eq!((again.of_type("begin").count(), again.of_type("summary").count()), (2, 2));
    assert!(again.of_type("summary").all(|summary| summary["state"] == "finished"));
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn monitor_counts_every_run_of_all() {
    let beds: [Testbed; 2] = beds("allruns");
    let promised = beds.each_ref().map(promised_runs);
    for bed in &beds {
        bed.slow_down(5);
    }
    let mut start = start_all(&beds);
    for bed in &beds {
        start.line_where(is_run_of(bed));
    }
    let start = in_background(start);
    let told = by_origin(merge_ctl(&["monitor", "--output", "json"]).expect(0));
    start.join().unwrap().expect(0);
    for (bed, promised) in beds.iter().zip(promised) {
        let seen = told[&bed.dm("origin")].runs();
        assert!(seen.len() > 10, "{} runs", seen.len());
        assert_eq!(seen, promised[promised.len() - seen.len()..]);
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn an_interrupt_leaves_all_of_them_running() {
    use rustix::process::{Pid, Signal, kill_process};
    let beds: [Testbed; 2] = beds("leaveboth");
    let contents = beds.each_ref().map(|bed| bed.image("snap"));
    for bed in &beds {
        bed.slow_down(2);
    }
    let mut running = start_all(&beds);
    running.line_where(is_run_of(&beds[1]));
    kill_process(Pid::from_raw(running.pid() as i32).unwrap(), Signal::INT).unwrap();
    let ended = running.wait().expect(3);
    for bed in &beds {
        let words = format!("merge-ctl monitor {}", bed.dm("origin"));
        assert!(ended.stderr.contains(&words), "no {words:?} in: {}", ended.stderr);
        assert!(dmsetup(&["table", &bed.dm("origin")]).contains("snapshot-merge"));
        bed.slow_down(0);
    }
    merge_ctl(&["monitor", "--output", "json"]).expect(3);
    for (bed, content) in beds.iter().zip(contents) {
        merge_ctl(&["finish", &bed.dm("origin")]).expect(0);
        assert!(bed.image("origin") == content, "the origin differs from the snapshot");
    }
}
