//! A report of merges: what became of them, as a page (HTML), for a ticket (Markdown), or for a trace
//! viewer (JSON). See `docs/report.md`.
//!
//! The models of a recording are made again, one after the other ([`Player`]); what is kept of them is
//! bounded (`gather`); out of that comes a `document`, which is written as HTML or Markdown, or a
//! `trace`. Pure but for reading the recording: no clock, so the same recording gives the same bytes.
//! All that is said is the model's: nothing is worked out a second time.

mod chapter;
mod document;
mod extent;
mod figures;
mod gather;
mod html;
mod markdown;
mod plot;
mod timeline;
mod trace;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

use crate::human;
use crate::model::Model;
use crate::output::plain;
use crate::recording::{Bytes, Facts, Outcome, Player, Step, Survey};
use document::{Block, Document, Section, Table};
use figures::Of;
use gather::{MergeLog, Room};
use trace::Slices;

/// How many merges have a chapter each; the others stand in a table.
const CHAPTERS: usize = 16;
/// How many merges may have large figures.
const LARGE: usize = 4;
/// How many damaged parts are named one by one.
const NAMED: usize = 10;
/// How long a text of somebody else's may be, in characters.
const LONGEST_TEXT: usize = 2_000;

/// What a report is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A page that is whole by itself.
    Html,
    /// Text for a ticket.
    Markdown,
    /// Events for a trace viewer, as Chrome and Perfetto read them.
    Trace,
}

impl Format {
    /// The endings that there are, for people.
    pub const ENDINGS: &str = ".html for a page, .md for a ticket, .json for a trace viewer";

    /// What the name of a file asks for; none for an ending that is none of these.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "html" => Some(Self::Html),
            "md" => Some(Self::Markdown),
            "json" => Some(Self::Trace),
            _ => None,
        }
    }

    /// How much is kept of each merge for it.
    const fn room(self) -> Room {
        match self {
            Self::Html | Self::Markdown => Room { bins: 480, stalls: 1_000 },
            Self::Trace => Room { bins: 4_096, stalls: 1_000 },
        }
    }
}

/// What was gathered of a recording.
pub struct Report {
    format: Format,
    facts: Facts,
    survey: Survey,
    merges: Vec<Merge>,
}

/// A merge in it.
struct Merge {
    log: MergeLog,
    slices: Option<Slices>,
    /// The last that was seen of it.
    model: Model,
}

impl Report {
    /// Plays a recording from where the player is to its end.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn gather<S: Bytes>(mut player: Player<S>, format: Format) -> io::Result<Self> {
        let mut survey = Survey::default();
        let mut logs: Vec<(MergeLog, Option<Slices>)> = Vec::new();
        while let Some(step) = player.step()? {
            match &step {
                Step::Began { tab, runs } => {
                    let log = MergeLog::new(&player.merges()[*tab].model, runs, format.room());
                    let mut slices = (format == Format::Trace).then(Slices::default);
                    if let Some(slices) = &mut slices {
                        slices.take(runs);
                    }
                    logs.push((log, slices));
                }
                Step::Advanced { tab, runs, .. } => {
                    if let Some((log, slices)) = logs.get_mut(*tab) {
                        log.take(&player.merges()[*tab].model, runs);
                        if let Some(slices) = slices {
                            slices.take(runs);
                        }
                    }
                }
                _ => {}
            }
            survey.take(step, player.at_ns());
        }
        let facts = player.facts().cloned().unwrap_or_default();
        let merges = logs.into_iter().zip(player.merges()).map(|((log, slices), replayed)| Merge {
            log,
            slices,
            model: replayed.model.clone(),
        });
        Ok(Self { format, facts, survey, merges: merges.collect() })
    }

    /// What was found in the recording.
    pub const fn survey(&self) -> &Survey {
        &self.survey
    }

    /// The report itself.
    ///
    /// # Errors
    /// Where a picture cannot be drawn.
    pub fn write(mut self) -> io::Result<String> {
        if self.format == Format::Trace {
            return trace::write(&self.merges, &self.facts);
        }
        self.fit();
        let document = self.document();
        match self.format {
            Format::Html => html::write(&document),
            Format::Markdown | Format::Trace => Ok(markdown::write(&document)),
        }
    }

    /// Keeps less of each merge where there are many.
    fn fit(&mut self) {
        let room = match self.merges.len() {
            ..=1 => return,
            2..=LARGE => Room { bins: 300, stalls: 200 },
            _ => Room { bins: 100, stalls: 50 },
        };
        for merge in &mut self.merges {
            merge.log.shrink(room);
        }
    }

    fn document(&self) -> Document {
        let title = match self.merges.as_slice() {
            [] => "Report of a recording without a merge".to_owned(),
            [one] => format!("Merge of {}", plain::title(&one.model.identity)),
            several => format!("Report of {} merges", several.len()),
        };
        let (with_chapter, others) = self.merges.split_at(self.merges.len().min(CHAPTERS));
        let of = |merge| chapter::of(Of::from(merge));
        let mut sections: Vec<Section> = others_table(others).into_iter().collect();
        sections.push(self.host());
        sections.extend(self.missing());
        Document {
            title,
            chapters: with_chapter.iter().map(of).collect(),
            sections,
            colophon: vec![
                format!("Made by merge-ctl {}. All times are UTC.", env!("CARGO_PKG_VERSION")),
                "This file names devices and processes, and holds no data of any volume."
                    .to_owned(),
            ],
        }
    }

    fn host(&self) -> Section {
        let (facts, survey) = (&self.facts, &self.survey);
        let unknown = || human::UNKNOWN.to_owned();
        let known = |text: &String| if text.is_empty() { unknown() } else { text.clone() };
        let number = |number: u64, text: String| if number == 0 { unknown() } else { text };
        let outcome = match survey.outcome {
            Some(Outcome::Over) => "its merges were over",
            Some(Outcome::Left) => "whoever watched has left; merges may have gone on",
            Some(Outcome::Failed) => "the command that recorded failed",
            None => "none: whoever recorded was stopped by force, or still records",
        };
        let spans = human::duration(survey.last_ns.saturating_sub(survey.first_ns));
        let recorded = format!("merge-ctl {} {}", known(&facts.merge_ctl), facts.command);
        let rows = vec![
            ("kernel", known(&facts.kernel)),
            ("architecture", known(&facts.machine)),
            ("CPUs", number(facts.cpus, human::count(facts.cpus))),
            ("memory", number(facts.memory_bytes, human::bytes(facts.memory_bytes))),
            ("recorded by", recorded.trim_end().to_owned()),
            ("recorded from (UTC)", number(facts.unix_s, human::date_utc(facts.unix_s))),
            ("samples", format!("{} over {spans}", human::count(survey.samples))),
            ("end of the recording", outcome.to_owned()),
        ];
        let blocks = vec![chapter::pairs("Where it was recorded, and by what", rows)];
        Section { title: "Host and recording", blocks }
    }

    /// What the recording does not tell.
    fn missing(&self) -> Option<Section> {
        let (faults, count) = &self.survey.faults;
        let lost = self.survey.lost;
        let mut blocks = Vec::new();
        let counts = [
            (lost.samples, "sample", "could not be written fast enough"),
            (lost.runs, "run", "of these had no room"),
            (lost.shortened, "sample", "list the oldest writes in flight only"),
            (lost.notes, "notice", "left out"),
        ];
        for (number, noun, what) in counts.into_iter().filter(|(number, ..)| *number > 0) {
            blocks.push(Block::Words(format!("{}: {what}.", human::counted(number, noun))));
        }
        for fault in faults.iter().take(NAMED) {
            blocks.push(Block::Words(format!("Not shown: {fault}.")));
        }
        let more = count.saturating_sub(NAMED as u64);
        if more > 0 {
            blocks.push(Block::Words(format!("Not shown: {}.", human::counted(more, "more part"))));
        }
        (!blocks.is_empty()).then_some(Section { title: "What is missing", blocks })
    }
}

impl<'a> From<&'a Merge> for Of<'a> {
    fn from(merge: &'a Merge) -> Self {
        Self { log: &merge.log, model: &merge.model }
    }
}

/// The merges that have no chapter.
fn others_table(others: &[Merge]) -> Option<Section> {
    let row = |merge: &Merge| {
        let model = &merge.model;
        vec![
            plain::title(&model.identity),
            model.state.name().to_owned(),
            plain::merged(model),
            human::duration(model.elapsed_ns),
        ]
    };
    let table = Table {
        caption: format!("The merges behind the first {CHAPTERS}"),
        head: vec!["merge", "state", "merged", "time"],
        rows: others.iter().map(row).collect(),
        figures_from: usize::MAX,
    };
    (!others.is_empty())
        .then(|| Section { title: "Other merges", blocks: vec![Block::Table(table)] })
}

/// A text on one line that cannot do anything but be read, and is not endless.
fn shown(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", human::printable(&text[..end])),
        None => human::printable(text),
    }
}
