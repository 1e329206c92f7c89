//! A plan for people: figures, a picture of the runs and of the origin, and what else is worth
//! knowing before a merge begins.

use super::plan_picture::{Paper, histogram, map};
use super::plan_tables as tables;
use crate::human;
use crate::plan::costs::{CostSource, DeviceCost, LARGE_BYTES, MergeCosts};
use crate::plan::{Plan, Work};

/// Columns of what stands before each figure.
const LABEL: usize = 15;

/// The whole plan, line by line.
pub fn text(plan: &Plan, paper: &Paper) -> String {
    let mut page = Page { paper, text: String::new() };
    page.head(plan);
    if plan.work.chunks == 0 {
        let left = if plan.subject.merging { " left" } else { "" };
        page.line("to copy", &format!("nothing: there is nothing{left} to merge"));
        return page.text;
    }
    page.work(&plan.work);
    page.times(plan);
    page.section("runs by size", &histogram(plan, paper));
    page.section(&origin_title(plan), &map(plan, paper));
    if !plan.siblings.is_empty() {
        page.prose_section("other snapshots of the origin", &tables::siblings(plan));
    }
    page.section("the same writes at other chunk sizes", &tables::chunk_sizes(plan));
    page.prose(&tables::chunk_sizes_note(plan));
    page.prose_section("offline", &[tables::offline(plan)]);
    page.text
}

/// The head of the list of runs that may follow the plan.
pub fn runs_head() -> String {
    format!("\nruns, in merge order\n{:>14} {:>14} {:>10}\n", "old chunk", "new chunk", "chunks")
}

/// One run of that list.
pub fn run_line(run: &crate::store::Run) -> String {
    format!("{:>14} {:>14} {:>10}\n", run.old_chunk, run.new_chunk, run.chunks)
}

struct Page<'a> {
    paper: &'a Paper,
    text: String,
}

impl Page<'_> {
    fn line(&mut self, label: &str, figure: &str) {
        let mut label = format!("{label:<LABEL$}");
        for row in wrap(figure, self.paper.width.saturating_sub(LABEL)) {
            self.text.push_str(&self.paper.faint(&label));
            self.text.push_str(&row);
            self.text.push('\n');
            label = " ".repeat(LABEL);
        }
    }

    fn section(&mut self, title: &str, rows: &[String]) {
        self.text.push('\n');
        self.text.push_str(&self.paper.title(title));
        self.text.push('\n');
        for row in rows {
            self.text.push_str(row.trim_end());
            self.text.push('\n');
        }
    }

    fn prose_section(&mut self, title: &str, paragraphs: &[String]) {
        self.section(title, &[]);
        for paragraph in paragraphs {
            self.prose(paragraph);
        }
    }

    fn prose(&mut self, paragraph: &str) {
        for row in wrap(paragraph, self.paper.width) {
            self.text.push_str(&row);
            self.text.push('\n');
        }
    }

    fn head(&mut self, plan: &Plan) {
        let subject = &plan.subject;
        let label = human::printable(&subject.label);
        let origin = subject.origin.as_deref().map(human::printable);
        let figure = match (&origin, subject.merging) {
            (Some(origin), false) => format!("{label}, to be merged into {origin}"),
            (None, false) => label,
            (Some(origin), true) if *origin == label => format!("{label}: a merge goes on"),
            (Some(origin), true) => format!("{label}, being merged into {origin}"),
            (None, true) => format!("{label}, being merged"),
        };
        self.line("plan for", &figure);
        if subject.merging {
            self.line("", "all figures are of what was left to merge when the store was read");
        }
        let mut sizes = Vec::new();
        sizes.extend(subject.origin_bytes.map(|bytes| format!("origin {}", human::bytes(bytes))));
        sizes.push(format!("COW device {}", human::bytes(subject.cow_bytes)));
        sizes.extend(subject.chunk_bytes.map(|bytes| format!("chunks {}", human::io_size(bytes))));
        self.line("sizes", &sizes.join(", "));
        if plan.not_searched > 0 {
            let not_searched = human::counted(plan.not_searched, "exception");
            self.line(
                "",
                &format!("{not_searched} not searched for duplicates, for want of memory"),
            );
        }
    }

    fn work(&mut self, work: &Work) {
        let copy =
            format!("{}, {}", human::counted(work.chunks, "chunk"), human::bytes(work.bytes));
        self.line("to copy", &copy);
        let average = work.chunks as f64 / work.runs as f64;
        let runs = format!(
            "{}, {average:.1} chunks on average: each is copied, flushed and committed",
            human::counted(work.runs, "run")
        );
        self.line("in", &runs);
        let metadata = format!(
            "{} of {}, {} together; {} read",
            human::counted(work.commits(), "commit"),
            human::io_size(work.chunk_bytes),
            human::bytes(work.commit_bytes()),
            human::counted(work.areas, "area")
        );
        self.line("metadata", &metadata);
        let flushes = format!(
            "{}: of the origin before each commit, of the COW device with it",
            human::count(work.flushes())
        );
        self.line("flushes", &flushes);
    }

    fn times(&mut self, plan: &Plan) {
        match &plan.costs {
            Ok(costs) => {
                self.line("time", &human::span_or_unknown(plan.time));
                self.line("", &made(costs, plan));
            }
            Err(reason) => self.line("time", &format!("not known: {reason}")),
        }
        if let Some(largest) = &plan.largest {
            let run = largest.run;
            let mut figure = format!(
                "{} from {} on",
                human::counted(u64::from(run.chunks), "chunk"),
                human::count(run.old_chunk)
            );
            if let Some(time) = largest.time {
                let wait = human::span(&time);
                figure.push_str(&format!(": a write into it may wait {wait}"));
            }
            self.line("largest run", &figure);
        }
        let single = human::counted(plan.work.chunks, "run");
        let single = match plan.single_time {
            Some(time) => {
                format!("{single} if chunks were merged one at a time: {}", human::span(&time))
            }
            None => format!("{single} if chunks were merged one at a time"),
        };
        self.line("without runs", &single);
    }
}

fn origin_title(plan: &Plan) -> String {
    let per_cell = plan.density.chunks_per_cell() * plan.work.chunk_bytes;
    let size = plan.subject.origin_bytes.unwrap_or(per_cell * plan.density.cells().len() as u64);
    let known = if plan.subject.origin_bytes.is_some() { "" } else { " as far as it is known" };
    format!("the origin, {}{known}   · nothing ░▒▓ part █ all to copy", human::bytes(size))
}

/// How the time was made, in a sentence or two.
fn made(costs: &MergeCosts, plan: &Plan) -> String {
    let chunk_bytes = plan.work.chunk_bytes;
    let run = human::span(&costs.time_of_run(chunk_bytes, chunk_bytes));
    let CostSource::Measured { cow, real, reads, .. } = &costs.source else {
        return format!("made of the costs that were given: {run} for a run of one chunk");
    };
    let device = |cost: &DeviceCost| {
        let (small, large) = (cost.read_high_ns, cost.byte_ns * LARGE_BYTES as f64);
        format!("{}, 1 MiB {}", human::duration(small as u64), human::duration(large as u64))
    };
    let caches = match (cow.write_cache, real.write_cache) {
        (Some(false), Some(false)) => "neither has a write cache, so flushes cost nothing",
        (Some(true), Some(true)) => "both have write caches: a flush may cost more than any read",
        (None, _) | (_, None) => "whether they have write caches is not known",
        _ => "one has a write cache: its flushes may cost more than any read",
    };
    format!(
        "made of {} timed reads (COW device: {}; origin's: {}). A run of one chunk: {run}; a write \
         counts as 1/2 to 4/3 of a read; {caches}",
        human::count(*reads),
        device(cow),
        device(real)
    )
}

/// Prose in rows, broken between words, never between a figure and its unit.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for word in human::words(text) {
        match rows.last_mut() {
            Some(row) if row.chars().count() + 1 + word.chars().count() <= room => {
                row.push(' ');
                row.push_str(&word);
            }
            _ => rows.push(word),
        }
    }
    rows
}

#[cfg(test)]
mod tests;
