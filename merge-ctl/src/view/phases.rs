//! Where the time goes, by phase, and what the kernel does right now.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::stacked;
use super::text::{cut, figure, fit, part, right, wrap};
use super::theme::Theme;
use crate::human;
use crate::model::Model;
use crate::sample::{Phase, ProbeTier};

/// Columns of one entry of the short legend, its gap included.
const LEGEND: usize = 16;
/// Columns of the figures of the long one.
const TABLE: usize = 43;

pub(super) fn draw(frame: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let room = super::region(frame, area, " where the time goes ".into(), theme);
    if model.identity.probes.tier >= ProbeTier::BlockOnly {
        super::lines(frame, room, not_seen(model, room, theme));
        return;
    }
    let mut lines = vec![
        stacked::line("1 min", &model.phases.last_minute, room.width, theme),
        stacked::line("total", &model.phases.since_start, room.width, theme),
    ];
    let runs = [now(model, room.width, theme), last(model, room.width, theme)];
    if room.height >= 13 {
        lines.push(Line::default());
        lines.extend(table(model, room.width, theme));
        lines.extend(runs);
    } else {
        let legend_rows = usize::from(room.height).saturating_sub(4).clamp(1, 3);
        lines.extend(legend(model, room.width, legend_rows, theme));
        lines.extend(runs);
    }
    super::lines(frame, room, lines);
}

/// Why there is nothing to see here.
fn not_seen(model: &Model, room: Rect, theme: Theme) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled("Runs and phases are not seen here.", theme.warn())];
    for missing in &model.identity.probes.missing {
        let rows = usize::from(room.height).saturating_sub(lines.len());
        let words = wrap(&human::printable(missing), room.width, rows);
        lines.extend(words.into_iter().map(Line::from));
    }
    lines
}

/// The phases of the last minute that took time, the largest kept where the room is short.
fn legend(model: &Model, width: u16, rows: usize, theme: Theme) -> Vec<Line<'static>> {
    let time = &model.phases.last_minute;
    let per_row = (usize::from(width) / LEGEND).max(1);
    let mut pieces: Vec<_> =
        stacked::pieces().filter(|piece| stacked::ns(time, *piece) > 0).collect();
    pieces.sort_by_key(|piece| std::cmp::Reverse(stacked::ns(time, *piece)));
    pieces.truncate(per_row * rows);
    let order = |piece: &Option<Phase>| stacked::pieces().position(|other| other == *piece);
    pieces.sort_by_key(order);
    let mut lines: Vec<Line> = pieces
        .chunks(per_row)
        .map(|row| {
            let entry = |piece: &Option<Phase>| {
                let mut spans = stacked::legend(*piece, theme);
                let share = human::share(stacked::share(time, *piece));
                spans.push(Span::styled(format!(" {share:>4} "), theme.strong()));
                spans
            };
            Line::from(row.iter().flat_map(entry).collect::<Vec<_>>())
        })
        .collect();
    lines.resize(rows, Line::default());
    lines
}

/// Every phase with its shares, its time, and what it costs a run.
fn table(model: &Model, width: u16, theme: Theme) -> Vec<Line<'static>> {
    let phases = &model.phases;
    let runs = model.totals.runs;
    let head = format!("{:<10} {:>6} {:>6} {:>8} {:>9}", "", "1 min", "total", "time", "a run");
    let mut lines = vec![Line::styled(cut(&head, usize::from(width)), theme.faint())];
    lines.extend(stacked::pieces().map(|piece| {
        let all = stacked::ns(&phases.since_start, piece);
        let a_run = all.checked_div(runs).map_or_else(String::new, human::duration);
        let mut spans = stacked::legend(piece, theme);
        for (text, columns) in [
            (human::share(stacked::share(&phases.last_minute, piece)), 7),
            (human::share(stacked::share(&phases.since_start, piece)), 7),
            (human::duration(all), 9),
            (a_run, 10),
        ] {
            spans.push(Span::raw(right(&text, columns)));
        }
        let left = usize::from(width).saturating_sub(TABLE + 2);
        spans
            .push(Span::styled(format!("  {}", cut(stacked::meaning(piece), left)), theme.faint()));
        Line::from(spans)
    }));
    lines
}

/// The run in progress: `now  COPY 84 ms  256 chunks at 88,120`.
pub(super) fn now(model: &Model, width: u16, theme: Theme) -> Line<'static> {
    let Some(run) = &model.current else {
        let text = if model.state.is_over() { "" } else { "now  between two runs" };
        return Line::styled(text, theme.faint());
    };
    let age = human::duration(model.now_ns.saturating_sub(run.phase_started_ns));
    let phase = format!("{} {age}", run.phase.name().to_uppercase());
    let mut parts = vec![figure(0, "now ", phase, theme.faint(), theme.warn())];
    if run.chunks > 0 {
        parts.push(part(1, human::counted(run.chunks.into(), "chunk"), theme.strong()));
        parts.push(figure(2, "at", human::count(run.old_chunk), theme.faint(), theme.faint()));
    }
    fit(parts, width, 2)
}

/// The last finished run, in the same form.
fn last(model: &Model, width: u16, theme: Theme) -> Line<'static> {
    let Some(run) = model.recent_runs.back() else { return Line::default() };
    let took = human::duration(run.finished_ns.saturating_sub(run.started_ns));
    let faint = theme.faint();
    let parts = vec![
        figure(0, "last", format!("{:<11}", format!("took {took}")), faint, faint),
        part(1, human::counted(run.chunks.into(), "chunk"), faint),
        figure(2, "at", human::count(run.old_chunk), faint, faint),
    ];
    fit(parts, width, 2)
}
