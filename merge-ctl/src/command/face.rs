//! What a live command shows: the dashboard, plain lines, or JSON.

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

use merge_ctl::model::{Model, Stall};
use merge_ctl::output::{advice, json, plain};
use merge_ctl::sample::Run;

use super::dashboard::Dashboard;
use super::wish::Wish;
use crate::cli::{Live, Output};

/// One of the ways to show a merge.
pub(crate) enum Face {
    /// A dashboard that fills the terminal.
    Tui(Box<Dashboard>),
    /// Lines on standard output.
    Lines(Lines),
}

impl Face {
    /// The face that was asked for; the dashboard needs a terminal.
    pub(crate) fn new(output: Output, live: &Live) -> io::Result<Self> {
        Ok(match output {
            Output::Tui => Self::Tui(Box::new(Dashboard::open()?)),
            Output::Plain | Output::Json => {
                Self::Lines(Lines::new(output == Output::Json, live.interval))
            }
        })
    }

    /// The same for a merge that has begun: where there is no dashboard to be had, lines must do.
    pub(crate) fn new_or_lines(output: Output, live: &Live) -> Self {
        Self::new(output, live).unwrap_or_else(|error| {
            eprintln!("merge-ctl: no dashboard can be shown here: {error}");
            Self::Lines(Lines::new(false, live.interval))
        })
    }

    /// Shows the first model of a merge.
    pub(crate) fn begin(&mut self, model: &Model, place: (usize, usize)) -> io::Result<()> {
        match self {
            Self::Tui(dashboard) => {
                dashboard.set_place(place);
                dashboard.draw(model)
            }
            Self::Lines(lines) => lines.begin(model),
        }
    }

    /// Shows the next model, and the runs that it has over the one before.
    pub(crate) fn show(&mut self, model: &Model, runs: &[Run]) -> io::Result<()> {
        match self {
            Self::Tui(dashboard) => dashboard.draw(model),
            Self::Lines(lines) => lines.show(model, runs),
        }
    }

    /// Waits for a wish of the user; forever where nobody can have one.
    pub(crate) async fn wish(&mut self, model: &Model) -> io::Result<Wish> {
        match self {
            Self::Tui(dashboard) => dashboard.wish(model).await,
            Self::Lines(_) => std::future::pending().await,
        }
    }

    /// Shows a line beside the merge: the eBPF programs' own diagnostics, or what a throttle does.
    pub(crate) fn log(&mut self, line: &str) {
        match self {
            Self::Tui(dashboard) => dashboard.set_notice(line),
            Self::Lines(_) => eprintln!("merge-ctl: {line}"),
        }
    }

    /// Closes the view and leaves a summary, which says how to come back and what is left to do.
    pub(crate) fn end(self, model: &Model) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self {
            Self::Tui(dashboard) => {
                drop(dashboard);
                writeln!(out, "{}", plain::summary(model).trim_end())
            }
            Self::Lines(mut lines) => lines.end(model),
        }
    }
}

/// Lines on standard output: plain, or JSON.
pub(crate) struct Lines {
    json: bool,
    interval_ns: u64,
    next_progress_ns: u64,
    /// The stalls that were told, by their beginning, and whether their end was.
    told: HashMap<u64, bool>,
}

impl Lines {
    fn new(json: bool, interval: Duration) -> Self {
        let interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        Self { json, interval_ns, next_progress_ns: 0, told: HashMap::new() }
    }

    fn begin(&mut self, model: &Model) -> io::Result<()> {
        self.next_progress_ns = model.now_ns + self.interval_ns;
        let text = if self.json { json::begin(model) } else { plain::begin(model) };
        print_block(&text)
    }

    fn show(&mut self, model: &Model, runs: &[Run]) -> io::Result<()> {
        let mut text = String::new();
        if self.json {
            for run in runs {
                push_line(&mut text, &json::run(&model.identity, run));
            }
        }
        self.push_stalls(&mut text, model);
        if model.now_ns >= self.next_progress_ns {
            self.next_progress_ns =
                (self.next_progress_ns + self.interval_ns).max(model.now_ns + 1);
            push_line(
                &mut text,
                &if self.json { json::progress(model) } else { plain::line(model) },
            );
        }
        print_block(&text)
    }

    /// Tells every stall twice: when it is noticed and when it has ended.
    fn push_stalls(&mut self, text: &mut String, model: &Model) {
        for stall in &model.stalls {
            let ended = stall.ended_ns.is_some();
            match self.told.insert(stall.started_ns, ended) {
                Some(told_end) if told_end == ended => {}
                _ => push_line(text, &self.stall(model, stall)),
            }
        }
    }

    fn stall(&self, model: &Model, stall: &Stall) -> String {
        if self.json {
            json::stall(&model.identity, stall, model.now_ns)
        } else {
            plain::stall(&model.identity, stall, model.now_ns, model.unix_s)
        }
    }

    /// The summary; in JSON, what a person has to do next goes to standard error.
    pub(crate) fn end(&mut self, model: &Model) -> io::Result<()> {
        if !self.json {
            return print_block(&plain::summary(model));
        }
        let next = [advice::next(model), advice::come_back(model).unwrap_or_default()];
        for line in next.iter().filter(|line| !line.is_empty()) {
            eprintln!("merge-ctl: {line}");
        }
        print_block(&json::summary(model))
    }
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

/// Writes whole lines at once, so that a reader of the stream never waits for half of one.
fn print_block(text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end())?;
    out.flush()
}
