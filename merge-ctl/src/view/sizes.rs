//! Runs by size: a bar of the time that the runs of a size took, and how many they were.
//!
//! Many small runs are what makes a merge slow: here one sees it.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::text::{left, right};
use super::theme::Theme;
use crate::human;
use crate::model::{Model, RunSizeBucket};
use crate::output::plain;

const LABEL: usize = 9;
const SHARE: usize = 5;
const COUNT: usize = 8;

pub(super) fn draw(frame: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let room = super::region(frame, area, " runs by size ".into(), theme);
    let buckets = &model.sizes.buckets;
    if buckets.is_empty() {
        super::lines(frame, room, vec![Line::styled("no run was seen", theme.faint())]);
        return;
    }
    let columns = usize::from(room.width).saturating_sub(LABEL + SHARE + COUNT);
    let head = format!(
        "{}{}{}",
        left("chunks", LABEL),
        left("time", columns + SHARE),
        right("runs", COUNT)
    );
    let mut lines = vec![Line::styled(head, theme.faint())];
    let rows = folded(buckets, usize::from(room.height).saturating_sub(1));
    let total: f64 = rows.iter().map(|row| row.2.ns as f64).sum();
    for (first, last, bucket) in rows {
        let share = if total > 0.0 { bucket.ns as f64 / total } else { 0.0 };
        let filled = ((share * columns as f64).ceil() as usize).min(columns);
        lines.push(Line::from(vec![
            Span::raw(left(&plain::bucket_label(first, last), LABEL)),
            Span::styled(left(&"█".repeat(filled), columns), theme.spark()),
            Span::styled(right(&human::share(share), SHARE), theme.faint()),
            Span::raw(right(&human::count_short(bucket.runs), COUNT)),
        ]));
    }
    super::lines(frame, room, lines);
}

/// The buckets in at most so many rows, neighbours put together where there are more: the first
/// and the last power of two of each row, and their sum.
fn folded(buckets: &[RunSizeBucket], rows: usize) -> Vec<(usize, usize, RunSizeBucket)> {
    let together = buckets.len().div_ceil(rows.max(1)).max(1);
    buckets
        .chunks(together)
        .enumerate()
        .map(|(row, chunk)| {
            let mut sum = RunSizeBucket::default();
            for bucket in chunk {
                sum.runs = sum.runs.saturating_add(bucket.runs);
                sum.chunks = sum.chunks.saturating_add(bucket.chunks);
                sum.ns = sum.ns.saturating_add(bucket.ns);
            }
            (row * together, row * together + chunk.len() - 1, sum)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture;

    #[test]
    fn folding_loses_no_run() {
        let buckets = fixture::merging().sizes.buckets;
        let runs: u64 = buckets.iter().map(|bucket| bucket.runs).sum();
        for rows in 1..12 {
            let folded = folded(&buckets, rows);
            assert!(folded.len() <= rows);
            assert_eq!(folded.iter().map(|row| row.2.runs).sum::<u64>(), runs);
        }
    }
}
