//! The last finished runs, newest first, each with a small stacked bar of its phases.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::stacked;
use super::text::right;
use super::theme::Theme;
use crate::human;
use crate::model::{Model, PhaseTime};
use crate::sample::Run;

pub(super) fn draw(frame: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let room = super::region(frame, area, " recent runs ".into(), theme);
    let head = format!("{:>7} {:>12} {:>8}  phases", "chunks", "at chunk", "took");
    let mut lines = vec![Line::styled(head, theme.faint())];
    let rows = usize::from(room.height).saturating_sub(1);
    lines.extend(model.recent_runs.iter().rev().take(rows).map(|run| line(run, room.width, theme)));
    super::lines(frame, room, lines);
}

fn line(run: &Run, width: u16, theme: Theme) -> Line<'static> {
    let took = human::duration(run.finished_ns.saturating_sub(run.started_ns));
    let text = format!(
        "{} {} {}  ",
        right(&human::count_short(run.chunks.into()), 7),
        right(&human::count(run.old_chunk), 12),
        right(&took, 8)
    );
    let columns = usize::from(width).saturating_sub(super::text::width(&text));
    let mut spans = vec![Span::raw(text)];
    let time = PhaseTime { ns: run.phase_ns, between_ns: 0 };
    spans.extend(stacked::bar(&time, columns, theme, false));
    Line::from(spans)
}
