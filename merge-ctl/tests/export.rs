//! `merge-ctl export` as a process: what it hands out, and that no client can make it large, slow or silent.
//! It tells the merges of a recording, so no privilege and no device is needed.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, to keep the trace")]

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const RSS_LIMIT_BYTES: u64 = 50 << 20;
/// More connections than it serves at once.
const MANY: usize = 300;
/// Long enough on a machine with other work; nothing waits for it where all is well.
const PATIENCE: Duration = Duration::from_secs(120);

fn recording() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/6.1.mrec")
}

/// A running exporter; it is told to leave at the end.
struct Exporter {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Exporter {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_merge-ctl"));
        command.args(["export", "--interval", "200ms", "--replay"]).arg(recording());
        let mut child = command.args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr }
    }

    /// One that answers over HTTP, and where.
    fn serving() -> (Self, SocketAddr) {
        let mut exporter = Self::start(&["--listen", "127.0.0.1:0"]);
        let told = exporter.line_with("metrics are at");
        let address = told.split("http://").nth(1).unwrap().trim_end().trim_end_matches("/metrics");
        let address = address.parse().unwrap();
        (exporter, address)
    }

    fn line_with(&mut self, words: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.stderr.read_line(&mut line).unwrap() > 0, "it never said: {words}");
            if line.contains(words) {
                return line;
            }
        }
    }

    fn rss_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }

    fn leave(mut self) -> i32 {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A whole answer on a connection of its own: the head and the body.
fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn get(address: SocketAddr, accept: &str) -> (String, String) {
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    );
    ask(address, &request)
}

fn figure(text: &str, series: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(series));
    line.unwrap_or_else(|| panic!("no {series}")).rsplit_once(' ').unwrap().1.parse().unwrap()
}

const OPEN: &str = "application/openmetrics-text; version=1.0.0";

#[test]
fn a_scraper_gets_the_text_it_asks_for_and_newer_figures_later() {
    let (exporter, address) = Exporter::serving();
    let (head, open) = get(address, OPEN);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(open.ends_with("# EOF\n") && open.contains("# TYPE merge_ctl_merge info"), "{open}");
    let (head, text) = get(address, "*/*");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(!text.contains("# EOF") && text.contains("merge_ctl_merge_info gauge"), "{text}");
    let left = |text: &str| figure(text, "merge_ctl_merge_remaining_bytes");
    let (until, first) = (Instant::now() + PATIENCE, left(&open));
    while left(&get(address, OPEN).1) >= first {
        assert!(Instant::now() < until, "the figures stay the same");
        thread::sleep(Duration::from_millis(100));
    }
    let none = |request: &str| ask(address, request).0;
    assert!(none("GET /x HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 404"));
    assert!(none("POST /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 405"));
    let (head, body) = ask(address, "HEAD /metrics HTTP/1.0\r\n\r\n");
    assert!(head.contains("content-length: ") && body.is_empty(), "{head}");
    assert_eq!(exporter.leave(), 0);
}

/// Scrapes on one connection after the other until told to stop. A connection may be ended between two
/// answers, and in none.
fn hammer(address: SocketAddr, stop: &AtomicBool, scrapes: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let mut stream = BufReader::new(connect(address));
        while !stop.load(Ordering::Relaxed) && scrape_again(&mut stream) {
            scrapes.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether one more answer came.
fn scrape_again(stream: &mut BufReader<TcpStream>) -> bool {
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut line = String::new();
    if stream.get_mut().write_all(request).is_err()
        || !matches!(stream.read_line(&mut line), Ok(1..))
    {
        return false;
    }
    assert_eq!(line, "HTTP/1.1 200 OK\r\n");
    let mut length = 0;
    while line != "\r\n" {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the answer ends in its head");
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim_end().parse().unwrap();
        }
    }
    assert!(length > 1000, "{length}");
    stream.read_exact(&mut vec![0; length]).unwrap();
    true
}

#[test]
fn many_scrapes_neither_stop_the_sampling_nor_make_it_large() {
    let (exporter, address) = Exporter::serving();
    let (stop, scrapes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stop, scrapes) = (Arc::clone(&stop), Arc::clone(&scrapes));
            thread::spawn(move || hammer(address, &stop, &scrapes))
        })
        .collect();
    let sampled = || {
        let text = get(address, OPEN).1;
        figure(&text, "merge_ctl_exporter_last_sample_timestamp_seconds")
    };
    let first = sampled();
    while scrapes.load(Ordering::Relaxed) < 5_000 {
        assert!(begun.elapsed() < PATIENCE, "only {} scrapes", scrapes.load(Ordering::Relaxed));
        thread::sleep(Duration::from_millis(50));
    }
    let (seconds, peak) = (begun.elapsed().as_secs_f64(), exporter.rss_bytes());
    // So many may come between two samples; they go on until there is another.
    while sampled() <= first {
        assert!(begun.elapsed() < PATIENCE, "nothing is sampled meanwhile");
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    println!("{:.0} scrapes a second, {} KiB at most", 5_000.0 / seconds, peak >> 10);
    assert!(peak < RSS_LIMIT_BYTES, "{peak}");
    assert_eq!(exporter.leave(), 0);
}

/// Waits until the other side has ended a connection, whatever it says before.
fn ended(mut stream: TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return true,
            Err(_) => return false,
        }
    }
}

#[test]
fn who_asks_for_nothing_or_never_ends_asking_is_shown_out_and_others_are_served() {
    let (exporter, address) = Exporter::serving();
    let half_open: Vec<_> = (0..MANY).map(|_| connect(address)).collect();
    let mut dribbling = connect(address);
    let begun = Instant::now();
    // It stands behind all of them, and gets its answer.
    let (head, _) = get(address, OPEN);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    println!("served after {:.1} s behind {MANY} that say nothing", begun.elapsed().as_secs_f64());
    while dribbling.write_all(b"G").is_ok() {
        assert!(begun.elapsed() < PATIENCE, "a request may go on for ever");
        thread::sleep(Duration::from_millis(100));
    }
    assert!(half_open.into_iter().all(ended), "one is still connected");
    // A connection that was used is not kept for ever either.
    let mut idle = connect(address);
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(ended(idle), "an idle connection stays");
    assert!(exporter.rss_bytes() < RSS_LIMIT_BYTES);
    assert_eq!(exporter.leave(), 0);
}

#[test]
fn who_does_not_read_holds_a_place_for_seconds_and_no_memory() {
    let (exporter, address) = Exporter::serving();
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(400);
    let slow: Vec<_> = (0..MANY)
        .map(|_| {
            let mut stream = connect(address);
            stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            // More than is taken: it must not be kept for later.
            let _ = stream.write_all(&request);
            stream
        })
        .collect();
    let begun = Instant::now();
    let (head, _) = get(address, OPEN);
    println!("served after {:.1} s behind slow readers", begun.elapsed().as_secs_f64());
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(exporter.rss_bytes() < RSS_LIMIT_BYTES, "{}", exporter.rss_bytes());
    drop(slow);
    assert_eq!(exporter.leave(), 0);
}

#[test]
fn garbage_is_refused_and_others_are_served() {
    let (exporter, address) = Exporter::serving();
    let mut seed = 88_172_645_463_325_252_u64;
    for length in 0..300_usize {
        let bytes: Vec<u8> = (0..length * 7)
            .map(|_| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed as u8
            })
            .collect();
        let mut stream = connect(address);
        // It may have hung up already.
        let _ = stream.write_all(&bytes);
    }
    let mut endless = connect(address);
    let header = format!("x: {}\r\n", "y".repeat(4000));
    let _ = endless.write_all(b"GET /metrics HTTP/1.1\r\n");
    while endless.write_all(header.as_bytes()).is_ok() {}
    assert!(get(address, OPEN).0.starts_with("HTTP/1.1 200"));
    assert!(exporter.rss_bytes() < RSS_LIMIT_BYTES);
    assert_eq!(exporter.leave(), 0);
}

fn wait_for(path: &Path) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        match fs::read_to_string(path) {
            Ok(text) => return text,
            Err(_) => assert!(Instant::now() < until, "there is no {}", path.display()),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_text_file_is_always_whole_and_goes_with_whoever_writes_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("merge-ctl.prom");
    let exporter = Exporter::start(&["--textfile", directory.path().to_str().unwrap()]);
    let (mut pages, mut last) = (0, String::new());
    while pages < 5 {
        let text = wait_for(&path);
        let end = text.lines().last().unwrap();
        assert!(end.starts_with("merge_ctl_exporter_start_timestamp_seconds "), "{end}");
        assert!(text.ends_with('\n'));
        pages += u32::from(text != last);
        last = text;
    }
    assert_eq!(exporter.leave(), 0);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_collector_gets_a_request_of_otlp_and_one_that_is_away_is_told_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut exporter = Exporter::start(&["--otlp", &url, "--otlp-interval", "200ms"]);
    for _ in 0..2 {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim_end().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        assert!(head.starts_with("POST /v1/metrics HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/json\r\n"), "{head}");
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let metrics = &json["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
        let names = metrics.as_array().unwrap().iter().map(|metric| metric["name"].as_str());
        assert!({ names }.any(|name| name == Some("merge_ctl_merge_remaining_bytes")), "{json}");
    }
    drop(listener);
    let told = exporter.line_with("cannot push");
    assert!(told.contains(&url), "{told}");
    assert_eq!(exporter.leave(), 0);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let refused = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_merge-ctl"));
        let output = command.arg("export").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let directory = tempfile::tempdir().unwrap();
    let none = directory.path().join("none");
    for (arguments, words) in [
        (&["--otlp", "https://collector"][..], "TLS"),
        (&["--textfile", none.to_str().unwrap()], "no directory"),
        (&["--interval", "100ms"], "200ms"),
        (&["--listen", "everywhere"], "invalid"),
    ] {
        let (code, told) = refused(arguments);
        assert_eq!(code, Some(2), "{told}");
        assert!(told.contains(words), "{told}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, told) = refused(&["--listen", &taken.local_addr().unwrap().to_string()]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("cannot listen"), "{told}");
}
