//! Lines that fit: parts left out by rank, prose cut at a word, never a figure in its middle.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::human;

/// A piece of a line. What has the highest rank goes first when the room is short.
pub(super) struct Part {
    rank: u8,
    spans: Vec<Span<'static>>,
}

/// A piece of one style.
pub(super) fn part(rank: u8, text: impl Into<String>, style: Style) -> Part {
    Part { rank, spans: vec![Span::styled(text.into(), style)] }
}

/// A figure and the word that explains it.
pub(super) fn figure(rank: u8, word: &str, figure: String, faint: Style, style: Style) -> Part {
    let spans = vec![Span::styled(format!("{word} "), faint), Span::styled(figure, style)];
    Part { rank, spans }
}

impl Part {
    fn width(&self) -> usize {
        self.spans.iter().map(Span::width).sum()
    }
}

/// The parts in one line with `gap` columns between them, as many as there is room for.
pub(super) fn fit(mut parts: Vec<Part>, width: u16, gap: usize) -> Line<'static> {
    while total_width(&parts, gap) > usize::from(width) {
        let Some(worst) = (0..parts.len()).max_by_key(|&i| (parts[i].rank, i)) else { break };
        parts.remove(worst);
    }
    let mut spans = Vec::new();
    for part in parts {
        if !spans.is_empty() {
            spans.push(Span::raw(" ".repeat(gap)));
        }
        spans.extend(part.spans);
    }
    Line::from(spans)
}

fn total_width(parts: &[Part], gap: usize) -> usize {
    let text: usize = parts.iter().map(Part::width).sum();
    text + gap * parts.len().saturating_sub(1)
}

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// A name cut to a width, with an ellipsis where it was cut.
pub(super) fn cut(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if width(&kept) >= room {
            // The ellipsis takes a column of its own; a wide character may free two.
            kept.pop();
            break;
        }
    }
    if room > 0 {
        kept.push('…');
    }
    kept
}

/// A text padded to a width on its left; longer ones are left as they are.
pub(super) fn right(text: &str, room: usize) -> String {
    format!("{}{text}", " ".repeat(room.saturating_sub(width(text))))
}

/// A text padded to a width on its right, cut where it is longer.
pub(super) fn left(text: &str, room: usize) -> String {
    let text = cut(text, room);
    let pad = room.saturating_sub(width(&text));
    text + &" ".repeat(pad)
}

/// Prose in at most so many rows, broken between words; an ellipsis where words are left out.
pub(super) fn wrap(text: &str, room: u16, rows: usize) -> Vec<String> {
    let room = usize::from(room);
    let mut lines: Vec<String> = Vec::new();
    for word in human::words(text) {
        let word = word.as_str();
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(cut(word, room)),
        }
    }
    if lines.len() > rows {
        lines.truncate(rows);
        if let Some(last) = lines.last_mut() {
            while width(last) + 2 > room {
                let Some(space) = last.rfind(' ') else { break };
                last.truncate(space);
            }
            *last = cut(&format!("{last} …"), room);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_go_by_rank_and_whole() {
        let parts = || {
            ["38.2 MiB/s", "41 runs/s", "elapsed 3m12s"]
                .into_iter()
                .zip([0, 2, 1])
                .map(|(text, rank)| part(rank, text, Style::new()))
                .collect::<Vec<_>>()
        };
        assert_eq!(fit(parts(), 40, 2).to_string(), "38.2 MiB/s  41 runs/s  elapsed 3m12s");
        assert_eq!(fit(parts(), 30, 2).to_string(), "38.2 MiB/s  elapsed 3m12s");
        assert_eq!(fit(parts(), 9, 2).to_string(), "");
    }

    #[test]
    fn a_cut_text_is_never_wider_than_its_room() {
        for room in 0..12 {
            for text in ["", "postgres[812]", "漢字漢字", "a漢b"] {
                assert!(width(&cut(text, room)) <= room, "{text} in {room}");
                assert_eq!(width(&left(text, room)), room, "{text} in {room}");
            }
        }
        assert_eq!(cut("postgres", 5), "post…");
    }

    #[test]
    fn prose_is_broken_between_words() {
        assert_eq!(wrap("one two three", 7, 3), ["one two", "three"]);
        assert_eq!(wrap("one two three", 7, 1), ["one …"]);
        assert_eq!(wrap("it took 24 ms, 31 % of it", 10, 9), ["it took", "24 ms,", "31 % of it"]);
        assert_eq!(wrap("unbreakable", 5, 1), ["unbr…"]);
        assert!(wrap("one", 0, 1).iter().all(String::is_empty));
    }
}
