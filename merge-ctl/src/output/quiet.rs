//! What is waited for before a merge begins, in words and in JSON.

use serde::Serialize;

use crate::human;
use crate::merge::quiet::{FirstRun, Waiting};
use crate::model::Writer;

/// An origin that is to be quiet, and what is seen of it.
#[derive(Clone, Debug)]
pub struct WaitingFor<'a> {
    /// The device-mapper name of the origin.
    pub origin: &'a str,
    /// The origin as its users call it.
    pub label: &'a str,
    /// When this was, in seconds since 1970, UTC.
    pub unix_s: u64,
    /// For how long the origin has to be quiet.
    pub for_ns: u64,
    /// How long that has been waited for.
    pub waited_ns: u64,
    /// What is seen.
    pub waiting: &'a Waiting,
    /// What the merge would begin with.
    pub first_run: FirstRun,
}

/// How many writers have a place in a line.
const WRITERS: usize = 3;

/// The origin, and in words how many are in flight, whose they are, and where they are in the way.
pub fn words(now: &WaitingFor<'_>) -> String {
    let Waiting { looks, busy, in_first_run, in_flight, writers, left_ns } = now.waiting;
    let mut text = format!(
        "{}  waiting for {} of quiet: {} in flight, at {busy} of {looks} looks",
        human::printable(now.label),
        human::duration(now.for_ns),
        human::counted(*in_flight, "write"),
    );
    if *in_first_run > 0 {
        let where_to = match now.first_run {
            FirstRun::Is(_) => "in the chunks that would be merged first",
            FirstRun::Unknown | FirstRun::Nothing => "where it is not known",
        };
        text.push_str(&format!(", at {in_first_run} {where_to}"));
    }
    let names: Vec<_> =
        writers.iter().take(WRITERS).map(|writer| human::printable(&writer.to_string())).collect();
    if !names.is_empty() {
        let more = if writers.len() > WRITERS { " and others" } else { "" };
        text.push_str(&format!("; by {}{more}", names.join(", ")));
    }
    if *busy * 10 <= *looks && *left_ns > 0 {
        text.push_str(&format!("; {} to go", human::duration(*left_ns)));
    }
    text
}

/// A line that stands for itself.
pub fn line(now: &WaitingFor<'_>) -> String {
    format!("{}Z {}", human::clock_utc(now.unix_s), words(now))
}

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    origin: &'a str,
    unix_s: u64,
    for_ns: u64,
    waited_ns: u64,
    left_ns: u64,
    looks: usize,
    busy_looks: usize,
    first_run_looks: usize,
    writes_in_flight: u64,
    writers: Vec<Of<'a>>,
    first_run: Option<crate::store::Run>,
}

#[derive(Serialize)]
struct Of<'a> {
    pid: u32,
    comm: &'a str,
    writes: u64,
}

impl<'a> From<&'a Writer> for Of<'a> {
    fn from(writer: &'a Writer) -> Self {
        Self { pid: writer.pid, comm: &writer.comm, writes: writer.writes }
    }
}

/// The same as an object of the JSON stream.
pub fn json(now: &WaitingFor<'_>) -> String {
    let Waiting { looks, busy, in_first_run, in_flight, writers, left_ns } = now.waiting;
    let line = Line {
        schema: super::json::SCHEMA,
        kind: "waiting",
        origin: now.origin,
        unix_s: now.unix_s,
        for_ns: now.for_ns,
        waited_ns: now.waited_ns,
        left_ns: *left_ns,
        looks: *looks,
        busy_looks: *busy,
        first_run_looks: *in_first_run,
        writes_in_flight: *in_flight,
        writers: writers.iter().map(Of::from).collect(),
        first_run: match now.first_run {
            FirstRun::Is(run) => Some(run),
            FirstRun::Unknown | FirstRun::Nothing => None,
        },
    };
    // Nothing in it can fail to be written.
    serde_json::to_string(&line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Run;

    fn waiting() -> Waiting {
        let writer = |comm: &str, pid, writes| Writer { comm: comm.to_owned(), pid, writes };
        Waiting {
            looks: 50,
            busy: 34,
            in_first_run: 3,
            in_flight: 12,
            writers: vec![writer("fio", 4411, 12), writer("a\u{1b}[2Jb", 7, 1)],
            left_ns: 5_000_000_000,
        }
    }

    fn now(waiting: &Waiting) -> WaitingFor<'_> {
        WaitingFor {
            origin: "vg-data",
            label: "vg/data",
            unix_s: 1_793_875_327,
            for_ns: 5_000_000_000,
            waited_ns: 61_000_000_000,
            waiting,
            first_run: FirstRun::Is(Run { old_chunk: 7, new_chunk: 2, chunks: 1 }),
        }
    }

    #[test]
    fn it_is_told_what_is_waited_for() {
        let busy = waiting();
        insta::assert_snapshot!(line(&now(&busy)));
        let nearly = Waiting {
            busy: 2,
            in_first_run: 0,
            in_flight: 0,
            writers: Vec::new(),
            left_ns: 800_000_000,
            ..busy
        };
        insta::assert_snapshot!(line(&now(&nearly)));
    }

    #[test]
    fn every_field_is_documented() {
        let text = include_str!("../../../docs/json.md");
        let value: serde_json::Value = serde_json::from_str(&json(&now(&waiting()))).unwrap();
        for field in value.as_object().unwrap().keys() {
            assert!(text.contains(&format!("`{field}`")), "docs/json.md lacks {field}");
        }
    }
}
