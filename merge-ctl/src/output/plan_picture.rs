//! The pictures in a plan: runs by size, and where on the origin the chunks lie.

use super::plain;
use crate::human;
use crate::plan::Plan;

/// Rows of the map, at most.
const MAP_ROWS: usize = 2;
/// Columns of the histogram beside its bars.
const LABEL: usize = 9;
const SHARE: usize = 6;
const COUNT: usize = 12;

/// What a plan is printed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paper {
    /// Columns.
    pub width: usize,
    /// Whether escape sequences for colour are understood and wanted.
    pub colour: bool,
}

impl Paper {
    pub(super) fn title(&self, text: &str) -> String {
        self.painted("1", text)
    }

    pub(super) fn faint(&self, text: &str) -> String {
        self.painted("2", text)
    }

    fn bar(&self, text: &str) -> String {
        self.painted("36", text)
    }

    fn painted(&self, attributes: &str, text: &str) -> String {
        if !self.colour || text.trim().is_empty() {
            return text.to_owned();
        }
        format!("\u{1b}[{attributes}m{text}\u{1b}[0m")
    }
}

/// Runs by size, with a bar of the share of time that each size takes; where no time is known, of
/// its share of all runs.
pub(super) fn histogram(plan: &Plan, paper: &Paper) -> Vec<String> {
    let timed = plan.costs.is_ok();
    let columns = paper.width.saturating_sub(LABEL + SHARE + 2 * COUNT).max(1);
    let by = if timed { "time" } else { "runs" };
    let head = format!(
        "{:<LABEL$}{by:<columns$}{:>SHARE$}{:>COUNT$}{:>COUNT$}",
        "chunks", "share", "runs", "chunks"
    );
    let buckets = &plan.sizes.buckets;
    let weight = |bucket: &crate::model::RunSizeBucket| if timed { bucket.ns } else { bucket.runs };
    let total: f64 = buckets.iter().map(|bucket| weight(bucket) as f64).sum();
    let rows = buckets.iter().enumerate().map(|(power, bucket)| {
        let share = if total > 0.0 { weight(bucket) as f64 / total } else { 0.0 };
        let filled = ((share * columns as f64).ceil() as usize).min(columns);
        let bar = format!("{:<columns$}", "█".repeat(filled));
        let label = plain::bucket_label(power, power);
        let (runs, chunks) = (human::count(bucket.runs), human::count(bucket.chunks));
        format!(
            "{label:<LABEL$}{}{:>SHARE$}{runs:>COUNT$}{chunks:>COUNT$}",
            paper.bar(&bar),
            human::share(share)
        )
    });
    std::iter::once(paper.faint(&head)).chain(rows).collect()
}

/// The origin from its beginning to its end.
pub(super) fn map(plan: &Plan, paper: &Paper) -> Vec<String> {
    let shares = plan.density.shares(paper.width * MAP_ROWS);
    let glyphs: Vec<char> = shares.into_iter().map(shade).collect();
    glyphs
        .chunks(paper.width.max(1))
        .map(|row| paper.bar(&row.iter().collect::<String>()))
        .collect()
}

/// One cell of the map; what is there is never shown as nothing, and `█` is all, or nearly.
fn shade(share: f64) -> char {
    match share {
        _ if share <= 0.0 => '·',
        _ if share < 1.0 / 3.0 => '░',
        _ if share < 2.0 / 3.0 => '▒',
        _ if share < 0.95 => '▓',
        _ => '█',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_chunk_is_seen_and_a_hole_too() {
        assert_eq!([0.0, 1e-9, 0.5, 0.9, 1.0].map(shade), ['·', '░', '▒', '▓', '█']);
    }

    #[test]
    fn without_colour_there_is_no_escape_sequence() {
        let paper = Paper { width: 80, colour: false };
        assert_eq!(paper.title("runs") + &paper.faint("a") + &paper.bar("█"), "runsa█");
        assert!(Paper { colour: true, ..paper }.bar("█").starts_with("\u{1b}[36m█"));
    }
}
