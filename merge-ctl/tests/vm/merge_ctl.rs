//! merge-ctl as its users meet it: the binary, its exit status, its JSON stream.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use merge_ctl::store::{FileSource, Opened, Run, Store};
use serde_json::Value;

use super::testbed::Testbed;

/// What a finished merge-ctl left behind.
pub(crate) struct Ended {
    /// Its exit status.
    pub(crate) code: i32,
    /// Its JSON lines.
    pub(crate) lines: Vec<Value>,
    /// Its error output.
    pub(crate) stderr: String,
}

impl Ended {
    /// The lines of one type.
    pub(crate) fn of_type<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a Value> + 'a {
        self.lines.iter().filter(move |line| line["type"] == wanted)
    }

    /// The last line, which must be the summary.
    pub(crate) fn summary(&self) -> &Value {
        let last = self.lines.last().unwrap_or_else(|| panic!("no output; {}", self.stderr));
        assert_eq!(last["type"], "summary", "{}", self.stderr);
        last
    }

    /// The finished runs in their order, for comparison with what the store promised.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let number = |line: &Value, field: &str| {
            line[field].as_u64().unwrap_or_else(|| panic!("no {field} in {line}"))
        };
        self.of_type("run")
            .map(|line| Run {
                old_chunk: number(line, "old_chunk"),
                new_chunk: number(line, "new_chunk"),
                chunks: number(line, "chunks") as u32,
            })
            .collect()
    }

    /// Panics with all that it said unless it ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stderr: {}\nlines: {:#?}", self.stderr, self.lines.last());
        self
    }
}

/// Runs merge-ctl to its end.
pub(crate) fn merge_ctl(arguments: &[&str]) -> Ended {
    Running::start(arguments).wait()
}

/// Waits for the merge into an origin, and gives what `wait` says of its end.
pub(crate) fn wait(arguments: &[&str], code: i32) -> Value {
    Waiter::start(arguments).end(code)
}

/// A `merge-ctl wait` that runs.
pub(crate) struct Waiter(Running);

impl Waiter {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self(Running::start(&[&["wait", "--json"], arguments].concat()))
    }

    /// Waits for its end and gives what it says of it.
    #[track_caller]
    pub(crate) fn end(self, code: i32) -> Value {
        let ended = self.0.wait();
        println!("wait: {}", ended.stderr.trim_end());
        let said = ended.lines.first().map(|line| parse(line.as_str().unwrap()));
        let said = said.unwrap_or_else(|| panic!("it said nothing; {}", ended.stderr));
        assert_eq!((ended.code, &said["exit"]), (code, &code.into()), "{said:#}\n{}", ended.stderr);
        assert_eq!(said["type"], "wait");
        said
    }
}

/// A merge-ctl that runs.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Whether its lines are JSON; else they are taken as strings.
    json: bool,
    lines: Vec<Value>,
}

impl Running {
    /// Starts it.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new("merge-ctl")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let json = arguments.contains(&"json");
        Self { child, stdout, json, lines: Vec::new() }
    }

    /// Its next line; none at the end.
    pub(crate) fn next_line(&mut self) -> Option<Value> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        let value = if self.json { parse(&line) } else { Value::String(line) };
        self.lines.push(value.clone());
        Some(value)
    }

    /// Reads on to the first line that `wanted` accepts.
    pub(crate) fn line_where(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        while let Some(line) = self.next_line() {
            if wanted(&line) {
                return line;
            }
        }
        let ended = self.read_errors();
        panic!("the output ended before the line that was waited for; {ended}");
    }

    /// Its process number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end and reads all that it says.
    pub(crate) fn wait(mut self) -> Ended {
        while self.next_line().is_some() {}
        let stderr = self.read_errors();
        let status = self.child.wait().unwrap();
        Ended { code: status.code().unwrap_or(-1), lines: self.lines, stderr }
    }

    fn read_errors(&mut self) -> String {
        self.child
            .stderr
            .take()
            .map(|stderr| std::io::read_to_string(stderr).unwrap())
            .unwrap_or_default()
    }
}

fn parse(line: &str) -> Value {
    let value: Value = serde_json::from_str(line)
        .unwrap_or_else(|error| panic!("not a JSON line: {error}: {line:?}"));
    assert_eq!(value["schema"], 1, "{line}");
    value
}

/// The runs that the merge of this testbed's snapshot must have, read from its exception store.
pub(crate) fn promised_runs(bed: &Testbed) -> Vec<Run> {
    promised_runs_of(&bed.path("cow"))
}

/// The same for any COW device.
pub(crate) fn promised_runs_of(cow: &std::path::Path) -> Vec<Run> {
    match Store::open(FileSource::open(cow).unwrap(), None).unwrap() {
        Opened::Usable(store) => store.survey_runs().unwrap().1,
        other => panic!("no exception store on {}: {other:?}", cow.display()),
    }
}

/// The runs that a user is told to expect, by `merge-ctl plan`.
pub(crate) fn planned_runs(subject: impl AsRef<OsStr>) -> Vec<Run> {
    let arguments = ["plan", "--json", "--runs", "--no-calibrate"];
    let output = Command::new("merge-ctl").args(arguments).arg(subject).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    serde_json::from_value(plan["runs"].clone()).unwrap()
}
