//! Names that would drive a terminal, break lines or run commands are shown harmless everywhere, and
//! can still be used.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use merge_ctl::harmless;
use serde_json::Value;

use super::in_flight::StopOnDrop;
use super::testbed::{AlignedBuffer, BLOCK, Testbed, open_direct, stamp};

/// Colours, ends its line, turns the direction of writing, and is no UTF-8.
const ORIGIN: &[u8] = b"or\x1b[31mi\n\"'\xff\xe2\x80\xae`id`";
/// Sets the terminal's title, ends its line, and has a control character of eight bits.
const SNAPSHOT: &[u8] = b"-sn \x1b]0;x\x07\n$(id)\xc2\x9b2J";
/// What a process calls itself: at most 15 bytes.
const COMM: &[u8] = b"\x1b[2J\n'\"\xc2\x9b;rm";

/// dmsetup, which takes names as they are.
fn dmsetup_raw(arguments: &[&OsStr]) -> Vec<u8> {
    let mut command = Command::new("dmsetup");
    let output = command.args(["--manglename", "none"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A device under another name for as long as this lives.
struct Renamed {
    usual: String,
    hostile: OsString,
}

impl Renamed {
    fn new(usual: String, hostile: &[u8]) -> Self {
        let hostile = OsStr::from_bytes(hostile).to_owned();
        dmsetup_raw(&["rename".as_ref(), "--".as_ref(), usual.as_ref(), &hostile]);
        Self { usual, hostile }
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/dev/mapper").join(&self.hostile)
    }
}

impl Drop for Renamed {
    fn drop(&mut self) {
        let arguments = ["--manglename", "none", "rename", "--"];
        // A merge takes the snapshot away; then there is nothing to name back.
        let _ = Command::new("dmsetup")
            .args(arguments)
            .arg(&self.hostile)
            .arg(&self.usual)
            .stderr(Stdio::null())
            .status();
    }
}

/// A shell that calls itself [`COMM`] and has a device open until it is dropped.
struct Holder(Child);

impl Holder {
    fn of(path: &std::path::Path) -> Self {
        let comm = OsStr::from_bytes(COMM);
        let script = "exec 3<\"$1\"; printf %s \"$2\" > /proc/$$/comm; echo ready; read line";
        let mut child = Command::new("sh")
            .args(["-c", script, "sh"])
            .args([path.as_os_str(), comm])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let comm = std::fs::read(format!("/proc/{}/comm", child.id())).unwrap();
        assert_eq!(comm, [COMM, b"\n"].concat());
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It reads one line and ends.
        let _ = self.0.stdin.take().map(|mut stdin| stdin.write_all(b"\n"));
        let _ = self.0.wait();
    }
}

/// Runs merge-ctl and sees to it that nothing it says could do anything to a terminal.
#[track_caller]
fn harmless_merge_ctl(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new("merge-ctl").args(arguments).stdin(Stdio::null()).output().unwrap();
    (status.code(), is_harmless(stdout), is_harmless(stderr))
}

#[track_caller]
fn is_harmless(bytes: Vec<u8>) -> String {
    let text = String::from_utf8(bytes).unwrap();
    let bad = |c: &char| (c.is_control() && *c != '\n') || "\u{202e}\u{fffd}".contains(*c);
    assert_eq!(text.chars().find(bad), None, "{text:?}");
    assert!(text.chars().all(|c| !('\u{e000}'..='\u{f8ff}').contains(&c)), "{text:?}");
    text
}

fn names(devices: &Value, field: &str) -> Vec<String> {
    let devices = devices["devices"].as_array().unwrap().iter();
    devices.map(|device| device[field].as_str().unwrap().to_owned()).collect()
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn hostile_names_are_listed_on_one_line_and_can_be_given_back() {
    let bed = Testbed::new("evil-list", 8, 8);
    let origin = Renamed::new(bed.dm("origin"), ORIGIN);
    let snapshot = Renamed::new(bed.dm("snap"), SNAPSHOT);
    let (code, table, _) = harmless_merge_ctl(&["status"]);
    assert_eq!(code, Some(0));
    let line = table.lines().find(|line| line.contains("-sn ")).unwrap();
    assert!(
        line.contains("-sn \\x1b]0;x\\x07\\x0a$(id)\\xc2\\x9b2J") && line.contains("4 KiB"),
        "{line}"
    );
    assert!(line.contains("or\\x1b[31mi\\x0a\"'\\xff\\xe2\\x80\\xae`id`"), "{line}");

    let (_, json, _) = harmless_merge_ctl(&["status", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let dm_names: Vec<_> =
        names(&json, "dm_name").iter().map(|name| harmless::to_bytes(name)).collect();
    for (name, label) in dm_names.iter().zip(names(&json, "name")) {
        if name == ORIGIN || name == SNAPSHOT {
            // As it is printed, as JSON tells it, and, where it is UTF-8, as it is.
            let exact = harmless::from_bytes(name);
            for given in [label.as_str(), &exact, &format!("/dev/mapper/{label}")] {
                let (code, found, error) = harmless_merge_ctl(&["status", "--json", "--", given]);
                assert_eq!(code, Some(0), "{given:?}: {error}");
                let found: Value = serde_json::from_str(&found).unwrap();
                let first = names(&found, "dm_name").remove(0);
                assert_eq!(&harmless::to_bytes(&first), name);
            }
        }
    }
    assert!(
        dm_names.iter().any(|name| name == ORIGIN) && dm_names.iter().any(|name| name == SNAPSHOT)
    );
    drop((origin, snapshot));
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn errors_and_advice_are_harmless_too() {
    let bed = Testbed::new("evil-err", 8, 8);
    let origin = Renamed::new(bed.dm("origin"), ORIGIN);
    let snapshot = Renamed::new(bed.dm("snap"), SNAPSHOT);
    let named = harmless::printable(&harmless::from_bytes(SNAPSHOT));
    let holders = [Holder::of(&snapshot.path()), Holder::of(&origin.path())];
    let (code, text, _) = harmless_merge_ctl(&["start", "--check", "--", &named]);
    assert_eq!(code, Some(8), "{text}");
    assert!(text.contains("\\x1b[2J\\x0a'\"\\xc2\\x9b;rm["), "{text}");
    let (_, json, _) = harmless_merge_ctl(&["start", "--check", "--json", "--", &named]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let codes: Vec<_> = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["code"].as_str().unwrap())
        .collect();
    assert!(codes.contains(&"snapshot-in-use") && codes.contains(&"origin-open"), "{codes:?}");
    let (code, _, error) =
        harmless_merge_ctl(&["start", "--yes", "--output", "json", "--", &named]);
    assert_eq!(code, Some(8), "{error}");
    assert!(error.contains("is in use: \\x1b[2J"), "{error}");
    drop(holders);

    dmsetup_raw(&["suspend".as_ref(), "--".as_ref(), &snapshot.hostile]);
    let (code, json, _) = harmless_merge_ctl(&["start", "--check", "--json", "--", &named]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let way_out = json["findings"][0]["way_out"].as_str().unwrap();
    // The words can be pasted into a shell: they do what they say, and nothing else.
    let command = &way_out[way_out.find("dmsetup").unwrap()..].trim_end_matches('.');
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(code, Some(8));
    let (code, text, _) = harmless_merge_ctl(&["start", "--check", "--", &named]);
    assert_eq!(code, Some(0), "{text}");

    let origin_named = harmless::printable(&harmless::from_bytes(ORIGIN));
    for arguments in [
        &["monitor", "--output", "plain", "--", "\u{1b}[2Jx\n\u{202e}"][..],
        &["monitor", "--output", "plain", "--", &origin_named],
        &["finish", "--", &origin_named],
        &["start", "--yes", "--", &origin_named],
        &["plan", "--no-calibrate", "--", &named],
        &["plan", "--", "/tmp/\u{1b}[2J"],
        &["explain", "--for", "1s", "--", &named],
        &["dump", "-o", "/tmp/evil\u{1b}[2J\n.dump", "--", &named],
        &["dump", "-o", "/tmp/evil\u{1b}[2J\n.dump", "--", &named],
        &["status", "--", "\u{9b}31m"],
    ] {
        harmless_merge_ctl(arguments);
    }
    drop((origin, snapshot));
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_merge_of_hostile_names_is_shown_harmless_and_completes() {
    let bed = Testbed::new("evil-run", 16, 8);
    bed.write_snapshot((0..150).map(|block| block * 3), 5);
    let content = bed.image("snap");
    bed.slow_down(10);
    let origin = Renamed::new(bed.dm("origin"), ORIGIN);
    let snapshot = Renamed::new(bed.dm("snap"), SNAPSHOT);
    let named = harmless::printable(&harmless::from_bytes(SNAPSHOT));
    let origin_named = harmless::printable(&harmless::from_bytes(ORIGIN));
    let start = Command::new("merge-ctl")
        .args(["start", "--yes", "--output", "plain", "--interval", "200ms", "--", &named])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stop = AtomicBool::new(false);
    let (watched, monitored) = thread::scope(|scope| {
        // The thread's name is what the kernel calls its writes.
        let name = String::from_utf8(COMM.to_vec()).unwrap();
        let path = origin.path();
        let stopper = StopOnDrop(&stop);
        let stopped = stopper.0;
        thread::Builder::new()
            .name(name)
            .spawn_scoped(scope, move || write_until(&path, stopped))
            .unwrap();
        for _ in 0..500 {
            let table = dmsetup_raw(&["table".as_ref(), "--".as_ref(), &origin.hostile]);
            if String::from_utf8_lossy(&table).contains("snapshot-merge") {
                break;
            }
            thread::sleep(std::time::Duration::from_millis(20));
        }
        let watch = |output: &'static str| {
            let arguments = ["monitor", "--output", output, "--interval", "200ms", "--"];
            let given = origin_named.clone();
            scope.spawn(move || harmless_merge_ctl(&[&arguments[..], &[&given]].concat()))
        };
        let (json, plain) = (watch("json"), watch("plain"));
        let joined = (json.join().unwrap(), plain.join().unwrap());
        drop(stopper);
        joined
    });
    let output = start.wait_with_output().unwrap();
    let (started, errors) = (is_harmless(output.stdout), is_harmless(output.stderr));
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(
        started.lines().next().unwrap().contains(&format!("{origin_named} ◀ {named}")),
        "{started}"
    );
    assert!(monitored.1.contains(&origin_named), "{}", monitored.1);
    let lines: Vec<Value> =
        watched.1.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |line: &Value| line["origin"].as_str().map(harmless::to_bytes);
    assert!(lines.iter().all(|line| told(line).as_deref() == Some(ORIGIN)), "{}", watched.1);
    assert!(watched.1.contains("\\u001b[2J\\n'\\\"\\u009b;rm"), "no writer in {}", watched.1);
    drop((origin, snapshot));
    bed.slow_down(0);
    // The writer wrote to the last block only.
    let merged = bed.image("origin");
    let end = merged.len() - BLOCK;
    assert!(merged[..end] == content[..end], "the origin differs from the snapshot");
}

/// Writes the last block of the device again and again.
fn write_until(path: &std::path::Path, stop: &AtomicBool) {
    let file = open_direct(path);
    let end = {
        use std::io::{Seek, SeekFrom};
        let mut file = &file;
        file.seek(SeekFrom::End(0)).unwrap()
    };
    let mut buffer = AlignedBuffer::new(BLOCK);
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        stamp(buffer.as_mut(), turn, 1);
        file.write_all_at(buffer.as_mut(), end - BLOCK as u64).unwrap();
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn names_that_begin_with_a_hyphen_are_no_options_of_lvm2() {
    // lvm2 gives no such name; a device that claims one is refused, and lvm2 is not even run.
    let name = OsString::from_vec(b"--yes-snap".to_vec());
    assert!(merge_ctl::lvm::names::VolumeName::from_dm(&name.to_string_lossy()).is_some());
    let error = merge_ctl::lvm::lvm2::Lvm::find().unwrap().poll("-yes", "snap").unwrap_err();
    assert!(error.to_string().contains("no name"), "{error}");
}
