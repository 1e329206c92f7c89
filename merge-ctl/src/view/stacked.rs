//! A stacked bar: shares side by side, each phase in its own colour or glyph, named where it has room.

use ratatui::text::{Line, Span};

use super::text::width;
use super::theme::Theme;
use crate::model::PhaseTime;
use crate::sample::Phase;

/// The phases, and the time between runs as `None`, in the order of a run.
pub(super) fn pieces() -> impl Iterator<Item = Option<Phase>> {
    Phase::ALL.into_iter().map(Some).chain([None])
}

/// What a piece is called.
pub(super) const fn name(piece: Option<Phase>) -> &'static str {
    match piece {
        Some(phase) => phase.name(),
        None => "between",
    }
}

/// What happens in it, in a few words.
pub(super) const fn meaning(piece: Option<Phase>) -> &'static str {
    match piece {
        Some(Phase::Metadata) => "find the next run",
        Some(Phase::Siblings) => "old data to other snapshots",
        Some(Phase::Drain) => "wait for application writes",
        Some(Phase::Copy) => "from the COW to the origin",
        Some(Phase::Flush) => "the origin's write cache",
        Some(Phase::Commit) => "strike the run off the store",
        None => "between two runs",
    }
}

/// The time of a piece.
pub(super) const fn ns(time: &PhaseTime, piece: Option<Phase>) -> u64 {
    match piece {
        Some(phase) => time.ns[phase as usize],
        None => time.between_ns,
    }
}

/// The share of a piece, from 0 to 1.
pub(super) fn share(time: &PhaseTime, piece: Option<Phase>) -> f64 {
    let total: f64 = pieces().map(|piece| ns(time, piece) as f64).sum();
    if total > 0.0 { ns(time, piece) as f64 / total } else { 0.0 }
}

/// The bar in so many columns; dots where nothing was measured.
pub(super) fn bar(
    time: &PhaseTime,
    columns: usize,
    theme: Theme,
    named: bool,
) -> Vec<Span<'static>> {
    let mut spans = Vec::new();
    let (mut sum, mut drawn) = (0.0, 0);
    for piece in pieces() {
        sum += share(time, piece);
        // Rounding the ends, not the lengths, makes the pieces add up to the bar.
        let end = ((sum * columns as f64).round() as usize).min(columns);
        let length = end.saturating_sub(drawn);
        drawn = drawn.max(end);
        if length > 0 {
            let (glyph, style) = theme.fill(piece);
            let label = if named {
                label(name(piece), length, glyph)
            } else {
                glyph.to_string().repeat(length)
            };
            spans.push(Span::styled(label, style));
        }
    }
    if drawn < columns {
        spans.push(Span::styled("·".repeat(columns - drawn), theme.faint()));
    }
    spans
}

fn label(name: &str, length: usize, glyph: char) -> String {
    let fill = |count: usize| glyph.to_string().repeat(count);
    let name = format!(" {name} ");
    match length.checked_sub(width(&name)) {
        Some(room) => format!("{}{name}{}", fill(room / 2), fill(room - room / 2)),
        None => fill(length),
    }
}

/// A phase's mark and name, as they stand in a legend.
pub(super) fn legend(piece: Option<Phase>, theme: Theme) -> Vec<Span<'static>> {
    let (mark, style) = theme.mark(piece);
    vec![Span::styled(mark.to_string(), style), Span::raw(format!(" {:<8}", name(piece)))]
}

/// The bar as a line behind a word.
pub(super) fn line(word: &str, time: &PhaseTime, columns: u16, theme: Theme) -> Line<'static> {
    let room = usize::from(columns).saturating_sub(width(word) + 1);
    let mut spans = vec![Span::styled(format!("{word} "), theme.faint())];
    spans.extend(bar(time, room, theme, true));
    Line::from(spans)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture;

    #[test]
    fn a_bar_is_as_long_as_its_room_whatever_the_shares() {
        let huge = PhaseTime { ns: [u64::MAX; 6], between_ns: u64::MAX };
        for time in [fixture::merging().phases.last_minute, PhaseTime::default(), huge] {
            for columns in 0..60 {
                let spans = bar(&time, columns, Theme::plain(), true);
                assert_eq!(Line::from(spans).width(), columns);
            }
        }
    }
}
