//! Stalls, the newest first: when, what waited, how long, and for whom.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::text::{fit, part, wrap};
use super::theme::Theme;
use crate::human;
use crate::model::{Model, Stall};

pub(super) fn draw(frame: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let room = super::region(frame, area, " stalls (UTC) ".into(), theme);
    let mut lines = Vec::new();
    for stall in model.stalls.iter().rev() {
        let rows = usize::from(room.height).saturating_sub(lines.len());
        if rows == 0 {
            break;
        }
        lines.push(head(stall, model.now_ns, room.width, theme));
        let rows = (rows - 1).min(3);
        let indented = room.width.saturating_sub(2);
        let detail = wrap(&human::printable(&stall.detail), indented, rows);
        lines.extend(
            detail.into_iter().map(|text| Line::styled(format!("  {text}"), theme.faint())),
        );
    }
    if lines.is_empty() {
        lines.push(Line::styled("none so far", theme.faint()));
    }
    super::lines(frame, room, lines);
}

/// `▲ 10:42:07 drain 3.1 s`; the mark only while it lasts.
pub(super) fn head(stall: &Stall, now_ns: u64, width: u16, theme: Theme) -> Line<'static> {
    let lasts = stall.ended_ns.is_none();
    let (mark, style) = if lasts { ("▲", theme.warn()) } else { (" ", theme.faint()) };
    let parts = vec![
        part(0, mark, style),
        part(2, human::clock_utc(stall.started_unix_s), theme.faint()),
        part(1, stall.cause.name(), style),
        part(0, human::duration(stall.duration_ns(now_ns)), style),
    ];
    fit(parts, width, 1)
}
