//! What the guest says while it runs, and the cut that it leads to.
//!
//! What it says of durable writes is true when it is heard: it waits for the flush first.

use std::io::Write;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::offline::Seen;
use super::round::{Aim, Round};
use crate::vm::disks::{Disks, Switch};

/// How long a request takes while there is something to be cut: a merge then lasts seconds.
const LATENCY: Duration = Duration::from_millis(1);

/// What was heard in one boot.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The guest's judgement of the round before.
    pub(super) verdict: Option<Verdict>,
    /// So many writes on the merging origin are durable.
    pub(super) durable: u64,
    /// What an application met that it must not.
    pub(super) trouble: Option<String>,
    state: String,
    held: Option<String>,
    ended: Option<String>,
}

/// What the guest found.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) ok: bool,
    pub(super) words: String,
    pub(super) seconds: f64,
}

impl Heard {
    /// In words, when the power went.
    pub(super) fn moment(&self) -> String {
        let state = if self.state.is_empty() { "setting up" } else { &self.state };
        match &self.held {
            Some(step) => format!("{state} (held after {step})"),
            None => state.to_owned(),
        }
    }

    /// Whether the merge is known to have begun.
    pub(super) fn begun(&self) -> bool {
        ["merging", "done", "finishing", "finished"].contains(&self.state.as_str())
    }
}

/// Listens to one boot.
pub(super) struct Guest<'a> {
    disks: &'a Disks,
    switch: Switch,
    aim: Option<Aim>,
    again: Option<u64>,
    /// Where an offline merge is.
    offline: Option<Seen>,
    line: Vec<u8>,
    heard: Heard,
}

impl<'a> Guest<'a> {
    pub(super) fn new(disks: &'a Disks, recover: Option<&Round>, next: Option<&Round>) -> Self {
        Self {
            disks,
            switch: disks.switch(),
            aim: next.map(|round| round.aim),
            again: recover.and_then(|round| round.again),
            offline: None,
            line: Vec::new(),
            heard: Heard::default(),
        }
    }

    pub(super) fn heard(mut self) -> Heard {
        if let Some(seen) = &self.offline {
            self.heard.state = match self.heard.ended {
                None => seen.stage().to_string(),
                Some(_) => "ended".to_owned(),
            };
        }
        self.heard
    }

    fn hear(&mut self, line: &str) {
        let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
        match what {
            "recovering" => {
                if let Some(requests) = self.again {
                    self.disks.slow_down(LATENCY);
                    self.disks.cut_after(requests);
                }
            }
            "verdict" => {
                self.disks.do_not_cut();
                self.disks.slow_down(Duration::ZERO);
                self.heard.verdict = verdict(rest);
            }
            "ready" => {
                self.disks.slow_down(LATENCY);
                self.reached("ready");
            }
            "state" => {
                rest.clone_into(&mut self.heard.state);
                self.reached(rest);
            }
            "durable" => self.heard.durable = rest.parse().unwrap_or(0),
            "held" => {
                self.heard.held = Some(rest.to_owned());
                self.switch.cut();
            }
            "ended" => {
                self.heard.ended = Some(rest.to_owned());
                // What was aimed at did not come, or was missed.
                self.switch.cut();
            }
            "trouble" => self.heard.trouble = Some(rest.to_owned()),
            _ => println!("guest: {line}"),
        }
    }

    /// Arms what waits for this state.
    fn reached(&mut self, state: &str) {
        match self.aim {
            Some(Aim::Requests(at, requests)) if at == state => self.disks.cut_after(requests),
            Some(Aim::Milliseconds(at, ms)) if at == state => {
                let switch = self.switch.clone();
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(ms));
                    switch.cut();
                });
            }
            Some(Aim::Stage(stage, requests)) if state == "ready" => {
                let seen = Seen::default();
                self.disks.watch(seen.watcher((stage, requests)));
                self.offline = Some(seen);
            }
            _ => {}
        }
    }
}

impl Write for Guest<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
            match line.strip_prefix('@') {
                Some(said) => self.hear(said),
                None => println!("guest: {line}"),
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn verdict(text: &str) -> Option<Verdict> {
    let value: Value = serde_json::from_str(text).ok()?;
    Some(Verdict {
        ok: value["ok"].as_bool()?,
        words: value["words"].as_str()?.to_owned(),
        seconds: value["seconds"].as_f64()?,
    })
}
