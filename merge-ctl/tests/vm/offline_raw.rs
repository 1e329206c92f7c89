//! `start --offline` of plain device-mapper: the origin holds what the snapshot held, whoever is
//! killed when; nobody uses it meanwhile; and nothing that is in use is touched.

use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::merge_ctl::{Ended, Running, merge_ctl};
use super::testbed::{AlignedBuffer, Testbed, dmsetup, listed, mix, run};

/// Long enough on a slow machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of each read and write below, where a merge must be met in the middle.
const SLOW_MS: u32 = 20;

const OFFLINE: [&str; 5] = ["start", "--offline", "--yes", "--output", "plain"];

/// One request at a time, so that a slow device makes a slow merge.
fn start(bed: &Testbed) -> Running {
    Running::start(&[&OFFLINE[..], &["--requests", "1", &bed.dm("snap")]].concat())
}

fn resume(bed: &Testbed) -> Ended {
    merge_ctl(&["resume", "--yes", "--output", "json", &bed.dm("origin")])
}

pub(crate) fn journal(bed: &Testbed) -> PathBuf {
    merge_ctl::merge::journal::path_of(&bed.dm("origin"))
}

fn journal_says(bed: &Testbed, phase: &str) -> bool {
    std::fs::read_to_string(journal(bed)).is_ok_and(|text| text.contains(&format!("{phase:?}")))
}

#[track_caller]
fn wait_until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "never: {what}\n{}", dmsetup(&["table"]));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn names() -> Vec<String> {
    let names = dmsetup(&["ls"]);
    names.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn is_there(bed: &Testbed, what: &str) -> bool {
    names().contains(&bed.dm(what))
}

fn table(bed: &Testbed, what: &str) -> String {
    dmsetup(&["table", &bed.dm(what)])
}

fn suspended() -> String {
    listed(&["-S", "suspended=Suspended", "-o", "name"])
        .lines()
        .filter(|line| !line.contains("No devices"))
        .collect()
}

/// The merge is over, and nothing of it is left.
#[track_caller]
pub(crate) fn finished(bed: &Testbed, promised: &[u8]) {
    assert!(table(bed, "origin").contains("linear"), "{}", table(bed, "origin"));
    assert_eq!(suspended(), "");
    assert!(!is_there(bed, "snap"), "the snapshot is still there");
    assert!(!journal(bed).exists(), "the journal is still there");
    assert!(bed.image("origin") == promised, "the origin differs from the snapshot");
}

/// An origin with so many scattered chunks to merge, and what it must hold in the end.
fn bed(name: &str, chunks: u64) -> (Testbed, Vec<u8>) {
    let bed = Testbed::new(name, 16, 8);
    bed.write_snapshot((0..chunks).map(|i| mix(i) % 4096), 3);
    let promised = bed.image("snap");
    (bed, promised)
}

/// One that is being copied, slowly.
pub(crate) fn copying(name: &str) -> (Testbed, Vec<u8>, Running) {
    copying_so_many(name, 300)
}

pub(crate) fn copying_so_many(name: &str, chunks: u64) -> (Testbed, Vec<u8>, Running) {
    let (bed, promised) = bed(name, chunks);
    bed.slow_down(SLOW_MS);
    let running = start(&bed);
    wait_until("it copies", || journal_says(&bed, "merging"));
    (bed, promised, running)
}

/// In its summary, or where there is none in its errors.
fn says_who_goes_on(ended: &Ended) {
    let said = format!("{:?} {}", ended.lines.last(), ended.stderr);
    assert!(said.contains("the kernel merges the rest"), "{said}");
}

fn kill(running: Running) {
    kill_process(Pid::from_raw(running.pid() as i32).unwrap(), Signal::KILL).unwrap();
    running.wait();
}

/// The children of a process, which are its guards.
fn guards_of(pid: u32) -> Vec<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let listed: Vec<i32> = match children {
        Ok(text) => text.split_whitespace().map(|pid| pid.parse().unwrap()).collect(),
        Err(_) => children_by_status(pid),
    };
    listed.into_iter().filter_map(Pid::from_raw).collect()
}

/// For kernels that list no children.
fn children_by_status(pid: u32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|child| {
        let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
        status.lines().any(|line| line.split_whitespace().eq(["PPid:", &pid.to_string()]))
    })
    .collect()
}

/// Guards first, then whom they guard.
fn kill_all(running: Running) {
    for guard in guards_of(running.pid()) {
        kill_process(guard, Signal::KILL).unwrap();
    }
    kill(running);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn the_whole_merge_and_the_same_once_more() {
    for (name, verify) in [("off-whole", &[][..]), ("off-verify", &["--verify"])] {
        let (bed, promised) = bed(name, 600);
        let snapshot = bed.dm("snap");
        merge_ctl(&[&OFFLINE[..], verify, &[&snapshot]].concat()).expect(0);
        finished(&bed, &promised);
        let again = merge_ctl(&[&OFFLINE[..], &[&snapshot]].concat());
        assert_eq!(again.code, 2, "there is no such snapshot any more: {}", again.stderr);
        finished(&bed, &promised);
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn an_empty_snapshot_and_a_chunk_size_of_its_own() {
    let bed = Testbed::new("off-empty", 16, 64);
    let promised = bed.image("origin");
    merge_ctl(&[&OFFLINE[..], &[&bed.dm("snap")]].concat()).expect(0);
    finished(&bed, &promised);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_dry_run_says_each_step_and_changes_nothing() {
    let (bed, _) = bed("off-dry", 300);
    let before = (dmsetup(&["table"]), dmsetup(&["info", "-c"]), bed.image("cow"));
    let ended = merge_ctl(&["start", "--offline", "--dry-run", &bed.dm("snap")]).expect(0);
    let said: String = ended.lines.iter().filter_map(|line| line.as_str()).collect();
    let exceptions = bed.image("snap").len();
    assert!(exceptions > 0);
    for words in ["error` into off-dry-origin", "of data", "snapshot-merge", "linear", "unchanged"]
    {
        let words = if words == "unchanged" { "Nothing was changed" } else { words };
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let dry_run = ["start", "--offline", "--dry-run", "--output", "json"];
    let ended = merge_ctl(&[&dry_run[..], &[&bed.dm("snap")]].concat()).expect(0);
    let [object] = &ended.lines[..] else { panic!("{:?}", ended.lines) };
    assert_eq!((&object["type"], &object["real"]), (&"dry-run".into(), &"off-dry-real".into()));
    assert_eq!(object["total_bytes"], object["exceptions"].as_u64().unwrap() * 4096);
    let after = (dmsetup(&["table"]), dmsetup(&["info", "-c"]), bed.image("cow"));
    assert!(before == after, "something has changed");
    assert!(!journal(&bed).exists());
}

/// Refused, with these words, and all is what it was.
#[track_caller]
fn refused(bed: &Testbed, words: &[&str]) {
    let before = dmsetup(&["table"]);
    let ended = merge_ctl(&[&OFFLINE[..], &[&bed.dm("snap")]].concat()).expect(8);
    for word in words {
        assert!(ended.stderr.contains(word), "no {word:?} in: {}", ended.stderr);
    }
    assert_eq!(before, dmsetup(&["table"]));
    assert!(!journal(bed).exists());
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn what_is_in_use_is_refused_with_the_names_of_its_users() {
    let (mut bed, promised) = bed("off-used", 50);
    for what in ["origin", "snap"] {
        let holder = bed.open(what);
        refused(&bed, &["in use", "vm"]);
        drop(holder);
    }
    let other = super::linear::Linear::over(&bed.path("origin"), "off-used-above");
    refused(&bed, &["off-used-above"]);
    drop(other);
    dmsetup(&["suspend", &bed.dm("cow")]);
    refused(&bed, &["off-used-cow", "suspended"]);
    dmsetup(&["resume", &bed.dm("cow")]);
    let other = super::linear::Linear::over(&bed.path("cow"), "off-used-beside");
    refused(&bed, &["off-used-cow", "off-used-beside"]);
    drop(other);
    let sibling = bed.add_sibling(16, 8);
    refused(&bed, &["other snapshots", &bed.dm(&sibling)]);
    dmsetup(&["remove", &bed.dm(&sibling)]);
    merge_ctl(&[&OFFLINE[..], &[&bed.dm("snap")]].concat()).expect(0);
    finished(&bed, &promised);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_mounted_origin_is_refused() {
    let bed = Testbed::new("off-mounted", 16, 8);
    let origin = bed.path("origin");
    run("mkfs.ext4", &["-q", "-F", origin.to_str().unwrap()]);
    std::fs::create_dir_all("/tmp/off-mounted").unwrap();
    run("mount", &[origin.to_str().unwrap(), "/tmp/off-mounted"]);
    refused(&bed, &["mounted on /tmp/off-mounted"]);
    run("umount", &["/tmp/off-mounted"]);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn two_at_once_do_no_harm() {
    let (bed, promised) = bed("off-race", 300);
    bed.slow_down(2);
    let both = [start(&bed), start(&bed)].map(|it| std::thread::spawn(move || it.wait()));
    let codes = both.map(|running| running.join().unwrap().code);
    assert!(codes.contains(&0), "{codes:?}");
    // Seen as being merged already, or as gone.
    assert!(codes.iter().all(|code| [0, 2, 8].contains(code)), "{codes:?}");
    finished(&bed, &promised);
}

/// Nobody sees half a merge, or writes into it, and nobody begins another.
#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn meanwhile_nobody_can_use_it() {
    let (bed, promised, running) = copying_so_many("off-away", 2000);
    let mut buffer = AlignedBuffer::new(4096);
    for what in ["origin", "snap"] {
        let file = bed.open(what);
        let read = file.read_at(buffer.as_mut(), 4096).unwrap_err();
        assert_eq!(read.raw_os_error(), Some(5), "{what}: {read}");
        let write = file.write_at(buffer.as_mut(), 4096).unwrap_err();
        assert_eq!(write.raw_os_error(), Some(5), "{what}: {write}");
    }
    for what in ["real", "cow"] {
        let flags = rustix::fs::OFlags::EXCL.bits() as i32;
        let mut options = std::fs::File::options();
        let error = options.read(true).custom_flags(flags).open(bed.path(what)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{what}: {error}");
    }
    let second = merge_ctl(&[&OFFLINE[..], &[&bed.dm("snap")]].concat()).expect(8);
    let pid = running.pid().to_string();
    assert!(
        second.stderr.contains("merged offline") && second.stderr.contains(&pid),
        "{}",
        second.stderr
    );
    let other = resume(&bed).expect(8);
    assert!(other.stderr.contains(&pid), "{}", other.stderr);
    bed.slow_down(0);
    running.wait().expect(0);
    finished(&bed, &promised);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn stopped_by_hand_the_kernel_goes_on() {
    let (bed, promised, running) = copying("off-int");
    // Until it is sure to copy.
    std::thread::sleep(Duration::from_secs(3));
    kill_process(Pid::from_raw(running.pid() as i32).unwrap(), Signal::INT).unwrap();
    let ended = running.wait().expect(3);
    says_who_goes_on(&ended);
    assert!(table(&bed, "origin").contains("snapshot-merge"));
    assert_eq!(suspended(), "");
    // The view is whole at once.
    assert!(bed.image("origin") == promised, "the origin differs from the snapshot");
    bed.slow_down(0);
    resume(&bed).expect(0);
    finished(&bed, &promised);
}

/// Before the engine begins, all is undone; afterwards the kernel goes on.
#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn interrupted_at_the_beginning_it_is_undone() {
    let signals = [Signal::INT, Signal::TERM, Signal::HUP, Signal::TERM];
    for (delay_ms, signal) in [0, 20, 60, 150].into_iter().zip(signals) {
        let (bed, promised) = bed(&format!("off-int{delay_ms}"), 200);
        bed.slow_down(20);
        let running = start(&bed);
        wait_until("there is a journal", || journal(&bed).exists());
        std::thread::sleep(Duration::from_millis(delay_ms));
        kill_process(Pid::from_raw(running.pid() as i32).unwrap(), signal).unwrap();
        let ended = running.wait();
        println!("interrupted after {delay_ms} ms: {}", ended.code);
        assert_eq!(suspended(), "");
        if ended.code == 8 {
            assert!(ended.stderr.contains("nothing was changed"), "{}", ended.stderr);
            assert!(table(&bed, "origin").contains("snapshot-origin"));
            assert!(table(&bed, "snap").contains("snapshot"));
            assert!(!journal(&bed).exists());
            assert!(bed.image("snap") == promised, "the snapshot is not what it was");
        } else {
            let ended = ended.expect(3);
            says_who_goes_on(&ended);
            assert!(table(&bed, "origin").contains("snapshot-merge"));
        }
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn killed_while_it_copies_the_guard_lets_the_kernel_go_on() {
    for delay_ms in [0, 300, 2000] {
        let (bed, promised, running) = copying(&format!("off-kill{delay_ms}"));
        std::thread::sleep(Duration::from_millis(delay_ms));
        kill(running);
        wait_until("the guard has done its duty", || {
            let origin = table(&bed, "origin");
            suspended().is_empty() && !origin.contains("error")
        });
        bed.slow_down(0);
        resume(&bed).expect(0);
        finished(&bed, &promised);
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn killed_with_its_guard_resume_goes_on() {
    let (bed, promised, running) = copying("off-alone");
    std::thread::sleep(Duration::from_millis(500));
    kill_all(running);
    assert!(table(&bed, "origin").contains("error"), "{}", table(&bed, "origin"));
    let status = merge_ctl(&["status"]);
    let said: String = status.lines.iter().filter_map(|line| line.as_str()).collect();
    assert!(said.contains("interrupted, while it was being merged"), "{said}");
    let again = merge_ctl(&[&OFFLINE[..], &[&bed.dm("snap")]].concat()).expect(8);
    assert!(again.stderr.contains("merge-ctl resume"), "{}", again.stderr);
    // The devices below stay as the journal knows them.
    resume(&bed).expect(0);
    finished(&bed, &promised);
}

/// From the first line of the journal on, some milliseconds later each time.
fn killed_at_the_beginning(name: &str, guard_too: bool) {
    for delay_ms in [0, 5, 20, 60, 150, 400] {
        let (bed, promised) = bed(&format!("{name}{delay_ms}"), 200);
        bed.slow_down(2);
        let running = start(&bed);
        wait_until("there is a journal", || journal(&bed).exists());
        std::thread::sleep(Duration::from_millis(delay_ms));
        if guard_too {
            kill_all(running);
        } else {
            kill(running);
            wait_until("the guard has done its duty", || {
                let origin = table(&bed, "origin");
                suspended().is_empty() && !origin.contains("error")
            });
        }
        println!("killed after {delay_ms} ms: {}", table(&bed, "origin").trim());
        resume(&bed).expect(0);
        finished(&bed, &promised);
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn killed_at_the_beginning_the_guard_brings_the_devices_back() {
    killed_at_the_beginning("off-early", false);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn killed_at_the_beginning_with_its_guard_resume_brings_them_back() {
    killed_at_the_beginning("off-earlier", true);
}

/// All devices are gone, the lower ones too, and the journal is of another boot.
#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn after_a_reboot_the_kernel_goes_on() {
    let (bed, promised, running) = copying("off-boot");
    std::thread::sleep(Duration::from_millis(500));
    kill_all(running);
    for what in ["origin", "snap", "cow", "real"] {
        dmsetup(&["remove", "--retry", &bed.dm(what)]);
    }
    let boot = merge_ctl::merge::journal::boot_id().unwrap();
    let text = std::fs::read_to_string(journal(&bed)).unwrap();
    std::fs::write(journal(&bed), text.replace(&boot, "another boot")).unwrap();
    resume(&bed).expect(0);
    finished(&bed, &promised);
}

/// A device that cannot be written: nothing is left that could be used, until somebody says so.
#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn where_a_device_fails_both_are_taken_down() {
    for what in ["real", "cow"] {
        let (bed, promised, running) = copying(&format!("off-{what}"));
        bed.fail_writes(what);
        let ended = running.wait().expect(5);
        assert!(ended.stderr.contains("could not be written at sector"), "{}", ended.stderr);
        assert!(ended.stderr.contains("merge-ctl resume"), "{}", ended.stderr);
        assert!(!is_there(&bed, "origin") && !is_there(&bed, "snap"), "{:?}", names());
        assert!(journal_says(&bed, "failed"));
        // Repaired: as the journal knows it.
        bed.slow_down(SLOW_MS);
        resume(&bed).expect(0);
        finished(&bed, &promised);
    }
}
