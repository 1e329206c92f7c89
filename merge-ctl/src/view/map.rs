//! The origin from its first chunk to its last, row by row: what is merged, being merged, to do.
//!
//! Only what is known is shown as known: where the exception store was not read, what was not seen
//! to be merged is a dot.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::text::{cut, width};
use super::theme::Theme;
use crate::human;
use crate::model::{MapCell, Model};

/// Columns of a frame's corners.
const CORNERS: usize = 2;

/// What one character of the map tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Now,
    Merged,
    Partly,
    ToDo,
    Nothing,
    Unknown,
}

pub(super) fn draw(frame: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let room = super::region(frame, area, title(model, area.width, theme), theme);
    let (columns, rows) = (usize::from(room.width), usize::from(room.height));
    let cells = fold(&model.map.cells, columns * rows);
    let lines = cells.chunks(columns.max(1)).map(|row| Line::from(spans(row, theme))).collect();
    super::lines(frame, room, lines);
}

/// The legend: only what the map can show here, and where it cannot, why.
fn title(model: &Model, columns: u16, theme: Theme) -> Line<'static> {
    let store_read = model.map.cells.iter().any(|cell| cell.to_do.is_some());
    let mut spans = vec![Span::styled(" origin ", theme.title())];
    let mut entries = vec![(Known::Merged, "merged"), (Known::Now, "now")];
    if store_read {
        entries.insert(1, (Known::Partly, "partly"));
        entries.push((Known::ToDo, "to do"));
    } else {
        entries.push((Known::Unknown, "not known"));
    }
    for (known, word) in entries {
        let (glyph, style) = theme.map(known);
        spans.push(Span::styled(glyph.to_string(), style));
        spans.push(Span::styled(format!(" {word} "), theme.faint()));
    }
    let mut line = Line::from(spans);
    let room = usize::from(columns).saturating_sub(line.width() + CORNERS);
    line.spans.extend(remark(model, room).map(|text| Span::styled(text, theme.faint())));
    line
}

/// Why it is not known what is to do; or, of what is, the largest run.
fn remark(model: &Model, room: usize) -> Option<String> {
    let text = match (&model.store_unread, &model.ahead) {
        (Some(why), _) => format!("({}) ", cut(&human::printable(why), room.saturating_sub(3))),
        (None, Some(ahead)) if ahead.runs > 0 => {
            format!("(largest run {}) ", human::counted(ahead.largest_run_chunks, "chunk"))
        }
        (None, _) => return None,
    };
    (width(&text) <= room).then_some(text)
}

/// Neighbours of one kind in one span.
fn spans(row: &[Known], theme: Theme) -> Vec<Span<'static>> {
    row.chunk_by(|a, b| a == b)
        .map(|same| {
            let (glyph, style) = theme.map(same[0]);
            Span::styled(glyph.to_string().repeat(same.len()), style)
        })
        .collect()
}

/// The cells put together, or drawn out, to so many characters.
fn fold(cells: &[MapCell], characters: usize) -> Vec<Known> {
    if cells.is_empty() {
        return vec![Known::Unknown; characters];
    }
    (0..characters)
        .map(|i| {
            let first = i * cells.len() / characters;
            let last = ((i + 1) * cells.len() / characters).max(first + 1);
            known(&cells[first..last])
        })
        .collect()
}

/// What several cells tell together. The run in progress is never folded away.
fn known(cells: &[MapCell]) -> Known {
    let merged = cells.iter().any(|cell| cell.merged > 0);
    let to_do = cells.iter().any(|cell| cell.to_do.is_some_and(|chunks| chunks > 0));
    if cells.iter().any(|cell| cell.merging > 0) {
        Known::Now
    } else if merged && to_do {
        Known::Partly
    } else if merged {
        Known::Merged
    } else if to_do {
        Known::ToDo
    } else if cells.iter().all(|cell| cell.to_do.is_none()) {
        Known::Unknown
    } else {
        Known::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(merged: u32, merging: u32, to_do: Option<u32>) -> MapCell {
        MapCell { merged, merging, to_do }
    }

    #[test]
    fn folding_keeps_the_run_in_progress() {
        let mut cells = vec![cell(1, 0, Some(0)); 100];
        cells[50] = cell(0, 1, Some(9));
        let folded = fold(&cells, 10);
        assert_eq!(folded.iter().filter(|known| **known == Known::Now).count(), 1);
        assert_eq!(folded[5], Known::Now);
    }

    #[test]
    fn what_was_not_read_is_not_known() {
        assert_eq!(fold(&[], 2), [Known::Unknown; 2]);
        assert_eq!(fold(&[cell(0, 0, None), cell(3, 0, None)], 2), [Known::Unknown, Known::Merged]);
        let all = [cell(0, 0, Some(0)), cell(0, 0, Some(2)), cell(1, 0, Some(2))];
        assert_eq!(fold(&all, 3), [Known::Nothing, Known::ToDo, Known::Partly]);
    }

    #[test]
    fn few_cells_are_drawn_out() {
        let cells = [cell(1, 0, Some(0)), cell(0, 0, Some(1))];
        assert_eq!(fold(&cells, 4), [Known::Merged, Known::Merged, Known::ToDo, Known::ToDo]);
    }
}
