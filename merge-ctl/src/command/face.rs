//! What a live command shows: the dashboard, plain lines, or JSON.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use merge_ctl::model::{Model, Stall};
use merge_ctl::output::{advice, json, plain};
use merge_ctl::sample::Run;
use merge_ctl::units::nanoseconds;

use super::dashboard::Dashboard;
use super::followed::Followed;
use super::terminal;
use crate::cli::{Live, Output};

/// One of the ways to show a merge.
pub(crate) enum Face {
    /// A dashboard that fills the terminal.
    Tui(Box<Dashboard>),
    /// Lines on standard output.
    Lines(Lines),
    /// Nothing but what the user has to be told.
    Silent,
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
            terminal::tell(&format!("no dashboard can be shown here: {error}"));
            Self::Lines(Lines::new(false, live.interval))
        })
    }

    /// Whether it fills the terminal, so that nothing else may write there.
    pub(crate) const fn is_dashboard(&self) -> bool {
        matches!(self, Self::Tui(_))
    }

    /// Shows the first model of the merge with this tab, and the runs that it has.
    pub(crate) fn begin(&mut self, tab: usize, model: &Model, runs: &[Run]) -> io::Result<()> {
        match self {
            Self::Tui(_) | Self::Silent => Ok(()),
            Self::Lines(lines) => lines.begin(tab, model, runs),
        }
    }

    /// Shows its next model, and the runs that it has over the one before.
    pub(crate) fn show(&mut self, tab: usize, model: &Model, runs: &[Run]) -> io::Result<()> {
        match self {
            Self::Tui(_) | Self::Silent => Ok(()),
            Self::Lines(lines) => lines.show(tab, model, runs),
        }
    }

    /// Draws what there is of all merges, where there is a screen to draw on.
    pub(crate) fn draw(&mut self, merges: &[Followed]) -> io::Result<()> {
        match self {
            Self::Tui(dashboard) => dashboard.draw(merges),
            Self::Lines(_) | Self::Silent => Ok(()),
        }
    }

    /// Returns when the user leaves; never where nobody can.
    pub(crate) async fn left(&mut self, merges: &[Followed]) -> io::Result<()> {
        match self {
            Self::Tui(dashboard) => dashboard.left(merges).await,
            Self::Lines(_) | Self::Silent => std::future::pending().await,
        }
    }

    /// Tells the user something about all this that is no merge's state.
    pub(crate) fn tell(&mut self, words: &str) {
        match self {
            Self::Tui(dashboard) => dashboard.set_notice(words),
            // Nobody may read it any more, and what is told must not end what it tells of.
            Self::Lines(_) | Self::Silent => terminal::tell(words),
        }
    }

    /// Closes the view and leaves a summary of each merge, which says how to come back and what is
    /// left to do.
    pub(crate) fn end(self, merges: &[Followed]) -> io::Result<()> {
        let lines = match self {
            Self::Tui(dashboard) => {
                drop(dashboard);
                Lines::new(false, Duration::ZERO)
            }
            Self::Lines(lines) => lines,
            Self::Silent => return Ok(()),
        };
        for (tab, merge) in merges.iter().enumerate() {
            lines.end(tab, &merge.model)?;
        }
        Ok(())
    }
}

/// Lines on standard output: plain, or JSON.
pub(crate) struct Lines {
    json: bool,
    interval_ns: u64,
    /// What was told of each merge, by its tab.
    told: HashMap<usize, Told>,
}

/// What was told of a merge.
#[derive(Default)]
struct Told {
    next_progress_ns: u64,
    /// The stalls, by their beginning, and whether their end was told.
    stalls: HashMap<u64, bool>,
}

impl Told {
    /// The stalls that have begun or ended since the last time: each is told twice.
    fn news<'a>(&mut self, model: &'a Model) -> Vec<&'a Stall> {
        let is_new = |stall: &&Stall| {
            let ended = stall.ended_ns.is_some();
            self.stalls.insert(stall.started_ns, ended) != Some(ended)
        };
        model.stalls.iter().filter(is_new).collect()
    }

    /// Whether a line of progress is due.
    fn is_due(&mut self, now_ns: u64, interval_ns: u64) -> bool {
        let due = now_ns >= self.next_progress_ns;
        if due {
            self.next_progress_ns = (self.next_progress_ns + interval_ns).max(now_ns + 1);
        }
        due
    }
}

impl Lines {
    /// Lines, with so long between two of progress.
    pub(crate) fn new(json: bool, interval: Duration) -> Self {
        let interval_ns = nanoseconds(interval);
        Self { json, interval_ns, told: HashMap::new() }
    }

    /// Tells of a merge at its first model.
    pub(crate) fn begin(&mut self, tab: usize, model: &Model, runs: &[Run]) -> io::Result<()> {
        let next_progress_ns = model.now_ns + self.interval_ns;
        self.told.insert(tab, Told { next_progress_ns, ..Told::default() });
        let text = if self.json { json::begin(model) } else { plain::begin(model) };
        self.print_block(&text)?;
        self.show(tab, model, runs)
    }

    /// Tells of its next model.
    pub(crate) fn show(&mut self, tab: usize, model: &Model, runs: &[Run]) -> io::Result<()> {
        let mut text = String::new();
        if self.json {
            for run in runs {
                push_line(&mut text, &json::run(&model.identity, run));
            }
        }
        let told = self.told.entry(tab).or_default();
        let (stalls, due) = (told.news(model), told.is_due(model.now_ns, self.interval_ns));
        for stall in stalls {
            push_line(&mut text, &self.stall(model, stall));
        }
        if let Some(announcement) = &model.announcement {
            let line = if self.json {
                json::announcement(model, announcement)
            } else {
                plain::announcement(model, announcement)
            };
            push_line(&mut text, &line);
        }
        if due {
            let line = if self.json { json::progress(model) } else { plain::line(model) };
            push_line(&mut text, &line);
        }
        self.print_block(&text)
    }

    fn stall(&self, model: &Model, stall: &Stall) -> String {
        if self.json {
            json::stall(&model.identity, stall, model.now_ns)
        } else {
            plain::stall(&model.identity, stall, model.now_ns, model.unix_s)
        }
    }

    /// The summary; in JSON, what a person has to do next goes to standard error.
    fn end(&self, tab: usize, model: &Model) -> io::Result<()> {
        if self.json {
            let next = [advice::next(model), advice::come_back(model).unwrap_or_default()];
            for line in next.iter().filter(|line| !line.is_empty()) {
                terminal::tell(line);
            }
        }
        self.sum_up(tab, model)
    }

    /// The summary alone.
    pub(crate) fn sum_up(&self, tab: usize, model: &Model) -> io::Result<()> {
        if self.json {
            return self.print_block(&json::summary(model));
        }
        // One after the other would read as one.
        let gap = if tab > 0 { "\n" } else { "" };
        let summary = format!("{gap}{}", plain::summary(model));
        self.print_block(&terminal::for_stdout(&summary))
    }

    fn print_block(&self, text: &str) -> io::Result<()> {
        match text.trim_end() {
            "" => Ok(()),
            json if self.json => terminal::print(json),
            lines => terminal::print(&terminal::unfolded_for_stdout(lines)),
        }
    }
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}
