//! What `plan` says before a merge is what the merge then does.

use std::fs;
use std::os::unix::fs::FileExt;
use std::process::Command;

use merge_ctl::store::Run;
use serde_json::Value;

use super::merge_ctl::{Running, merge_ctl, promised_runs};
use super::runs::mixed_writes;
use super::testbed::{Testbed, dmsetup, mix, run};

/// Fields of a block device's `stat` in sysfs.
const WRITES: usize = 4;
const SECTORS_WRITTEN: usize = 6;

/// A plan as JSON, without timed reads unless they are asked for.
fn plan(name: &str, more: &[&str]) -> Value {
    let (code, stdout, stderr) = plan_text(&[&["--json", name], more].concat());
    assert_eq!(code, 0, "{stderr}");
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&value["schema"], &value["type"]), (&1.into(), &"plan".into()));
    value
}

fn plan_text(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new("merge-ctl").arg("plan").args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("no {field} in {value}"))
}

fn merge(bed: &Testbed) -> Vec<Run> {
    merge_ctl(&["start", "--yes", "--lose-siblings", "--output", "json", &bed.dm("snap")])
        .expect(0)
        .runs()
}

/// Requests of a device as the kernel counts them: the numbers behind its name in /proc/diskstats.
fn counters(device: &str) -> Vec<u64> {
    let stats = fs::read_to_string("/proc/diskstats").unwrap();
    let mut lines = stats.lines().map(|line| line.split_whitespace().skip(2));
    let line = lines.find(|words| words.clone().next() == Some(device));
    line.unwrap().skip(1).map(|word| word.parse().unwrap()).collect()
}

fn kernel_name(bed: &Testbed, what: &str) -> String {
    let minor = run("dmsetup", &["info", "-c", "--noheadings", "-o", "minor", &bed.dm(what)]);
    format!("dm-{}", minor.trim())
}

/// Exceptions of a sibling, as its status counts them; none where it is invalid.
fn exceptions(bed: &Testbed, what: &str, chunk_sectors: u64) -> Option<u64> {
    let status = dmsetup(&["status", &bed.dm(what)]);
    let words: Vec<&str> = status.split_whitespace().collect();
    let allocated: u64 = words[3].split_once('/')?.0.parse().unwrap();
    let metadata: u64 = words[4].parse().unwrap();
    Some((allocated - metadata) / chunk_sectors)
}

fn does_as_planned(name: &str, chunk_sectors: u64) {
    let bed = Testbed::new(name, 16, chunk_sectors);
    mixed_writes(&bed, 11);
    let plan = plan(&bed.dm("snap"), &["--runs", "--no-calibrate"]);
    let (cow, real) = (kernel_name(&bed, "cow"), kernel_name(&bed, "real"));
    let (cow_before, real_before) = (counters(&cow), counters(&real));

    let merged = merge(&bed);

    let planned: Vec<Run> = serde_json::from_value(plan["runs"].clone()).unwrap();
    assert_eq!(planned, merged);
    assert_eq!(number(&plan, "run_count"), merged.len() as u64);
    let largest = merged.iter().map(|run| run.chunks).max();
    assert_eq!(Some(number(&plan["largest_run"], "chunks")), largest.map(u64::from));
    let chunks: u64 = merged.iter().map(|run| u64::from(run.chunks)).sum();
    assert_eq!(number(&plan, "chunks"), chunks);
    // Of the COW device only metadata is written, and of the real device only data.
    let [cow_after, real_after] = [counters(&cow), counters(&real)];
    let done = |after: &[u64], before: &[u64], field: usize| after[field] - before[field];
    assert_eq!(done(&cow_after, &cow_before, WRITES), number(&plan, "commits"));
    assert_eq!(done(&cow_after, &cow_before, SECTORS_WRITTEN) * 512, number(&plan, "commit_bytes"));
    assert_eq!(done(&real_after, &real_before, SECTORS_WRITTEN) * 512, number(&plan, "bytes"));
    let cells = plan["map"]["cells"].as_array().unwrap();
    assert_eq!(cells.iter().map(|cell| cell.as_u64().unwrap()).sum::<u64>(), chunks);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn the_kernel_does_as_planned_with_4_kib_chunks() {
    does_as_planned("plan4k", 8);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn the_kernel_does_as_planned_with_32_kib_chunks() {
    does_as_planned("plan32k", 64);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn siblings_copy_as_many_chunks_as_planned() {
    let mut bed = Testbed::new("plansib", 16, 16);
    // Smaller, equal and larger chunks than those that are merged; each has something already.
    let siblings: Vec<(String, u64)> =
        [8, 16, 128].map(|chunk| (bed.add_sibling(32, chunk), chunk)).into();
    mixed_writes(&bed, 3);
    for ((sibling, _), seed) in siblings.iter().zip(1..) {
        let file = bed.open(sibling);
        let mut buffer = super::testbed::AlignedBuffer::new(4096);
        for i in 0..40 {
            let block = mix(seed * 1000 + i) % (bed.bytes() / 4096);
            file.write_all_at(buffer.as_mut(), block * 4096).unwrap();
        }
    }
    let transient = bed.add_sibling_on(32 * 2048, 8, 'N');
    let plan = plan(&bed.dm("snap"), &["--no-calibrate"]);
    let told = |what: &str| {
        let label = Value::from(bed.dm(what));
        plan["siblings"].as_array().unwrap().iter().find(|it| it["label"] == label).unwrap()
    };
    let before: Vec<_> = siblings.iter().map(|(it, chunk)| exceptions(&bed, it, *chunk)).collect();
    let transient_before = exceptions(&bed, &transient, 8).unwrap();

    merge(&bed);

    for ((sibling, chunk), before) in siblings.iter().zip(before) {
        let copied = exceptions(&bed, sibling, *chunk).unwrap() - before.unwrap();
        let told = told(sibling);
        assert!(copied > 50, "{copied}");
        assert_eq!(number(told, "copies_low"), copied, "{told}");
        assert_eq!(number(told, "copies_high"), copied, "{told}");
        assert_eq!(told["fate"], "kept");
    }
    let copied = exceptions(&bed, &transient, 8).unwrap() - transient_before;
    let told = told(&transient);
    assert!((number(told, "copies_low")..=number(told, "copies_high")).contains(&copied), "{told}");
    assert_eq!(told["fate"], "kept");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_sibling_is_lost_exactly_where_the_plan_says_so() {
    const WRITTEN: u64 = 256;
    let mut bed = Testbed::new("planfull", 16, 8);
    // Header and area, then room for data; with 258 chunks the last one would fill the area, and
    // there is no place for the next.
    let siblings: Vec<String> =
        [250, 258, 259, 300].map(|chunks| bed.add_sibling_on(chunks * 8, 8, 'P')).into();
    bed.write_snapshot((0..WRITTEN).map(|i| i * 7 % 4000), 5);
    let plan = plan(&bed.dm("snap"), &["--no-calibrate"]);
    let fates: Vec<_> = siblings
        .iter()
        .map(|sibling| {
            let label = Value::from(bed.dm(sibling));
            let told = plan["siblings"].as_array().unwrap();
            told.iter().find(|told| told["label"] == label).unwrap()["fate"].clone()
        })
        .collect();
    assert_eq!(fates, ["lost", "lost", "kept", "kept"]);
    assert_eq!(number(&plan, "chunks"), WRITTEN);

    merge(&bed);

    let lost = |sibling: &String| exceptions(&bed, sibling, 8).is_none();
    assert_eq!(siblings.iter().map(lost).collect::<Vec<_>>(), [true, true, false, false]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn the_time_is_of_the_right_order() {
    type Writes = fn(&Testbed);
    let layouts: [(&str, u64, u32, Writes); 5] = [
        ("1 chunk of 4 KiB", 8, 1, |bed| bed.write_snapshot((0..300).map(|i| i * 13), 1)),
        ("runs of 4", 8, 1, |bed| bed.write_snapshot((0..800).map(|i| i / 4 * 9 + i % 4), 1)),
        ("1 chunk of 64 KiB", 128, 1, |bed| bed.write_snapshot((0..120).map(|i| i * 33), 1)),
        ("sequential", 8, 1, |bed| bed.write_snapshot(0..4096, 1)),
        ("mixed, slower", 32, 12, |bed| mixed_writes(bed, 1)),
    ];
    for ((layout, chunk_sectors, delay_ms, write), index) in layouts.into_iter().zip(0..) {
        let bed = Testbed::new(&format!("plantime{index}"), 32, chunk_sectors);
        write(&bed);
        bed.slow_down(delay_ms);
        let plan = plan(&bed.dm("snap"), &[]);
        let [low, high] = ["time_low_s", "time_high_s"].map(|end| plan[end].as_f64().unwrap());
        let ended = merge_ctl(&["start", "--yes", "--output", "json", &bed.dm("snap")]).expect(0);
        // From the first run to the last: what merge-ctl does before and after is no merge.
        let runs: Vec<_> = ended.of_type("run").collect();
        let (first, last) = (runs[0], runs[runs.len() - 1]);
        let took = (number(last, "finished_ns") - number(first, "started_ns")) as f64 / 1e9;
        let count = runs.len();
        println!("{layout}: {count} runs, planned {low:.2} to {high:.2} s, took {took:.2} s");
        assert!(high < 8.0 * low, "{layout}: {low} to {high} s says little");
        // The machine may be busy with something else.
        assert!(low / 2.0 < took && took < 2.0 * high + 0.5, "{layout}: {low} to {high}, {took} s");
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn what_is_left_of_a_merge_is_planned_too() {
    let bed = Testbed::new("planleft", 16, 8);
    mixed_writes(&bed, 9);
    let promised = promised_runs(&bed);
    bed.slow_down(8);
    let mut running = Running::start(&["start", "--yes", "--output", "json", &bed.dm("snap")]);
    running.line_where(|line| line["type"] == "run");
    let plan = plan(&bed.dm("origin"), &["--runs", "--no-calibrate"]);
    assert_eq!(plan["merging"], true);
    let left: Vec<Run> = serde_json::from_value(plan["runs"].clone()).unwrap();
    assert!(!left.is_empty() && left.len() < promised.len(), "{} left", left.len());
    assert_eq!(number(&plan, "run_count"), left.len() as u64);
    assert_eq!(left[1..], promised[promised.len() - left.len() + 1..]);
    bed.slow_down(0);
    running.wait().expect(0);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn odd_stores_are_told_in_words() {
    let bed = Testbed::new("planodd", 16, 8);
    let snapshot = bed.dm("snap");
    let (code, text, _) = plan_text(&[&snapshot]);
    assert_eq!(code, 0);
    assert!(text.contains("nothing to merge"), "{text}");
    let empty = plan(&snapshot, &["--runs", "--no-calibrate"]);
    assert_eq!((&empty["run_count"], &empty["runs"]), (&0.into(), &Value::Array(Vec::new())));

    // The same store by its COW device, and as a file.
    mixed_writes(&bed, 4);
    let by_name = plan(&snapshot, &["--runs", "--no-calibrate"]);
    fs::write("/tmp/planodd.cow", bed.image("cow")).unwrap();
    for other in [&bed.dm("cow"), "/tmp/planodd.cow"] {
        let plan = plan(other, &["--runs", "--no-calibrate"]);
        assert_eq!((&plan["runs"], &plan["commits"]), (&by_name["runs"], &by_name["commits"]));
    }
    let (code, text, _) = plan_text(&["/tmp/planodd.cow", "--run-cost=25ms", "--byte-rate=1GiB"]);
    assert!(code == 0 && text.contains("costs that were given"), "{text}");

    // The second entry names the first one's chunk.
    let mut image = fs::read("/tmp/planodd.cow").unwrap();
    image.copy_within(4096..4112, 4112);
    fs::write("/tmp/planodd.cow", &image).unwrap();
    let (code, text, stderr) = plan_text(&["/tmp/planodd.cow"]);
    assert_eq!((code, text.as_str()), (1, ""), "{stderr}");
    assert!(stderr.contains("area 0, entry 1"), "{stderr}");
    fs::remove_file("/tmp/planodd.cow").unwrap();

    let mut bed = Testbed::new("planlost", 16, 8);
    let full = bed.add_sibling_on(16 * 8, 8, 'P');
    let write = Command::new("dd")
        .args(["if=/dev/zero", "bs=4096", "count=64", "conv=fsync"])
        .arg(format!("of={}", bed.path("origin").display()))
        .output();
    assert!(write.is_ok());
    assert_eq!(exceptions(&bed, &full, 8), None, "it was to become invalid");
    let (code, _, stderr) = plan_text(&[&bed.dm(&full)]);
    assert_eq!(code, 5, "{stderr}");
    assert!(stderr.contains("invalid"), "{stderr}");
}
