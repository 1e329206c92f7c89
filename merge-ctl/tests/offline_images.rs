//! `merge-ctl start --offline` of two files, by whoever owns them, without device-mapper.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, to keep the trace")]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const CHUNK: usize = 4096;
/// Entries in an area of metadata.
const AREA: usize = CHUNK / 16;
const CHUNKS: u64 = 1024;

/// An origin and a COW device, as files in a directory of their own.
struct Images {
    _directory: tempfile::TempDir,
    origin: PathBuf,
    cow: PathBuf,
    /// What the origin must hold in the end.
    merged: Vec<u8>,
}

fn block(of: u64) -> Vec<u8> {
    (0..CHUNK as u64).map(|at| (of * 31 + at * 7 + at / 251) as u8).collect()
}

impl Images {
    /// With so many exceptions, in an order of their own.
    fn with(exceptions: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (origin, cow) = (directory.path().join("origin"), directory.path().join("a cow"));
        let mut merged: Vec<u8> = (0..CHUNKS).flat_map(block).collect();
        fs::write(&origin, &merged).unwrap();
        let file = File::create(&cow).unwrap();
        let mut header = vec![0; CHUNK];
        for (word, bytes) in [0x7041_6e53_u32, 1, 1, 8].iter().zip(header.chunks_exact_mut(4)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        file.write_all_at(&header, 0).unwrap();
        for number in 0..exceptions {
            let (area, entry) = (number / AREA as u64, number % AREA as u64);
            let area_chunk = 1 + area * (AREA as u64 + 1);
            let (old, new) = ((number * 37 + 5) % CHUNKS, area_chunk + 1 + entry);
            let pair: Vec<u8> = [old, new].iter().flat_map(|chunk| chunk.to_le_bytes()).collect();
            file.write_all_at(&pair, area_chunk * CHUNK as u64 + entry * 16).unwrap();
            let data = block(10_000 + number);
            file.write_all_at(&data, new * CHUNK as u64).unwrap();
            merged[old as usize * CHUNK..][..CHUNK].copy_from_slice(&data);
        }
        file.set_len((CHUNKS + 8) * CHUNK as u64).unwrap();
        Self { _directory: directory, origin, cow, merged }
    }

    fn merge(&self, more: &[&str], said: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_merge-ctl"))
            .args(["start", "--offline"])
            .args(more)
            .arg("--origin-device")
            .arg(&self.origin)
            .arg("--cow-device")
            .arg(&self.cow)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Who refuses before it asks does not read it.
        let _ = child.stdin.take().unwrap().write_all(said.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn content(&self) -> (Vec<u8>, Vec<u8>) {
        (fs::read(&self.origin).unwrap(), fs::read(&self.cow).unwrap())
    }
}

fn words(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(text).unwrap()
}

/// Ended like this, with these words, and nothing has changed.
#[track_caller]
fn untouched(images: &Images, more: &[&str], said: &str, code: i32, wanted: &[&str]) {
    let before = images.content();
    let output = images.merge(more, said);
    let text = words(&output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in wanted {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
    assert!(images.content() == before, "something has changed");
}

#[test]
fn two_files_are_merged_and_may_be_merged_again() {
    for more in [&["--yes"][..], &["--yes", "--verify"]] {
        let images = Images::with(600);
        for round in ["600, 600 cleared", "0, 0 cleared"] {
            let output = images.merge(more, "");
            let text = words(&output);
            assert_eq!(output.status.code(), Some(0), "{text}");
            assert!(text.contains(round), "{text}");
            let (origin, cow) = images.content();
            assert!(origin == images.merged, "the origin differs from the snapshot");
            assert!(cow[CHUNK..][..CHUNK].iter().all(|byte| *byte == 0), "not cleared");
        }
    }
}

#[test]
fn without_yes_it_says_what_overwrites_what_and_asks() {
    let images = Images::with(300);
    let wanted =
        ["300 exceptions", "1.2 MiB of data", "2 areas", "4.0 MiB", "Merge?", "nothing was"];
    untouched(&images, &[], "", 8, &wanted);
    untouched(&images, &[], "n\n", 8, &wanted);
    assert_eq!(images.merge(&[], "y\n").status.code(), Some(0));
    assert!(images.content().0 == images.merged);
}

#[test]
fn a_dry_run_counts_and_writes_nothing() {
    let images = Images::with(300);
    let wanted = ["300 exceptions", "1.2 MiB of data", "pieces", "2 areas", "Nothing was changed"];
    for path in [&images.origin, &images.cow] {
        let mut readable = fs::metadata(path).unwrap().permissions();
        readable.set_readonly(true);
        fs::set_permissions(path, readable).unwrap();
    }
    untouched(&images, &["--dry-run"], "", 0, &wanted);
    let output = images.merge(&["--dry-run", "--output", "json"], "");
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    let object: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&object["type"], &object["owner"]), (&"dry-run".into(), &"image".into()));
    assert_eq!((&object["exceptions"], &object["areas"]), (&300.into(), &2.into()));
    assert_eq!(object["origin"], images.origin.to_str().unwrap());
}

#[test]
fn what_is_no_pair_of_images_is_refused() {
    let images = Images::with(5);
    let same = Images { origin: images.cow.clone(), ..Images::with(0) };
    let same = Images { cow: images.cow.clone(), ..same };
    untouched(&same, &["--yes"], "", 8, &["the same"]);
    let directory = images.origin.parent().unwrap().join("directory");
    fs::create_dir(&directory).unwrap();
    let mut other = Images::with(5);
    fs::write(&other.cow, vec![7; 1 << 20]).unwrap();
    untouched(&other, &["--yes"], "", 8, &["no exception store"]);
    fs::write(&other.cow, vec![0; 1 << 20]).unwrap();
    untouched(&other, &["--yes"], "", 8, &["all zeroes"]);
    other.cow = directory;
    let output = other.merge(&["--yes"], "");
    assert_eq!(output.status.code(), Some(8), "{}", words(&output));
    other.cow = other.origin.with_file_name("absent");
    let output = other.merge(&["--yes"], "");
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
}

#[test]
fn a_store_that_the_kernel_had_given_up_is_not_merged() {
    let images = Images::with(5);
    let file = File::options().write(true).open(&images.cow).unwrap();
    file.write_all_at(&0_u32.to_le_bytes(), 4).unwrap();
    drop(file);
    untouched(&images, &["--yes"], "", 5, &["invalid"]);
}

/// By their open files, which is all that there is to see of a program that serves an image.
#[test]
fn what_another_process_has_open_is_refused_with_its_name() {
    let images = Images::with(5);
    for path in [&images.origin, &images.cow] {
        let file = File::open(path).unwrap();
        let mut other = Command::new("sleep").arg("600").stdin(file).spawn().unwrap();
        let pid = format!("sleep[{}]", other.id());
        untouched(&images, &["--yes"], "", 8, &["in use", &pid]);
        other.kill().unwrap();
        other.wait().unwrap();
    }
    assert_eq!(images.merge(&["--yes"], "").status.code(), Some(0));
}

#[test]
fn an_origin_that_is_too_short_is_not_written_to() {
    let images = Images::with(300);
    File::options().write(true).open(&images.origin).unwrap().set_len(64 * 4096).unwrap();
    untouched(&images, &["--yes"], "", 5, &["origin"]);
}
