//! Application writes in flight on the origin, the oldest first, how long writes take now, and which
//! of them the merge will hold before it does.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::text::{cut, figure, fit, left, part, right, width, wrap};
use super::theme::Theme;
use crate::human;
use crate::model::{Latency, Model, Relation, Upcoming, UpcomingRun, Write, Writes};
use crate::output::plain;

const AGE: usize = 7;
const MARK: usize = 7;
const SIZE: usize = 8;

pub(super) fn draw(frame: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let title = title(model, area.width.saturating_sub(2), theme);
    let room = super::region(frame, area, title, theme);
    let Some(writes) = &model.writes else {
        super::lines(frame, room, not_seen(model, room, theme));
        return;
    };
    let mut lines = Vec::new();
    if let Some(latencies) = &model.latency {
        lines.push(latency(&latencies.writes_now, room.width, theme));
    }
    if let Some((runs, coming)) = model.upcoming.as_ref().and_then(Upcoming::first_met) {
        lines.push(soon(runs, coming, room.width, theme));
    }
    let rows = usize::from(room.height).saturating_sub(lines.len());
    lines.extend(list(writes, rows, room.width, theme));
    super::lines(frame, room, lines);
}

fn title(model: &Model, width: u16, theme: Theme) -> Line<'static> {
    let Some(writes) = &model.writes else { return " writes in flight ".into() };
    let mut line = counts(writes, width.saturating_sub(2), theme);
    line.spans.insert(0, Span::raw(" "));
    line.push_span(Span::raw(" "));
    line
}

/// The writes that will be held first: `soon held: 4 of fio[4411], in about 2.4 s, for about 1.1 s`.
fn soon(runs: usize, coming: &UpcomingRun, width: u16, theme: Theme) -> Line<'static> {
    let style = theme.relation(Relation::Soon { runs: 0, about_ns: None });
    let writer = coming.writers.first().map_or_else(String::new, |writer| {
        format!(" of {}", human::printable(&writer.to_string()))
    });
    let text = format!("soon held: {}{writer}", human::count_short(coming.writes));
    let mut parts = vec![part(0, cut(&text, usize::from(width)), style)];
    let when = match coming.begins_in_ns {
        Some(ns) => format!(", in about {}", human::duration(ns)),
        None => format!(", {}", plain::runs_from_now(runs as u64)),
    };
    parts.push(part(1, when, style));
    if let Some(ns) = coming.lasts_ns {
        parts.push(part(2, format!(", for about {}", human::duration(ns)), style));
    }
    fit(parts, width, 0)
}

/// How many there are, how many wait for the merge or it for them, and the kernel's own count
/// where it keeps being another one: `writes in flight: 13, 3 held`.
pub(super) fn counts(writes: &Writes, width: u16, theme: Theme) -> Line<'static> {
    let mut parts = vec![
        part(1, "writes in flight: ", theme.title()),
        part(0, human::count_short(writes.in_flight), theme.strong()),
    ];
    let soon = Relation::Soon { runs: 0, about_ns: None };
    let held = [(writes.held, Relation::Held), (writes.awaited, Relation::Awaited)];
    for (count, relation) in held.into_iter().chain([(writes.soon, soon)]) {
        if count > 0 {
            let text = format!(", {} {}", human::count_short(count), plain::relation(relation));
            parts.push(part(2, text, theme.relation(relation)));
        }
    }
    if let Some(kernel) = writes.kernel.filter(|_| writes.counts_differ) {
        let text = format!(", the kernel counts {}", human::count_short(kernel.writes));
        parts.push(part(3, text, theme.faint()));
    }
    fit(parts, width, 0)
}

fn not_seen(model: &Model, room: Rect, theme: Theme) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled("Writes in flight are not seen here.", theme.warn())];
    let rows = usize::from(room.height).saturating_sub(1);
    let missing = human::printable(&model.identity.probes.missing.join(" "));
    lines.extend(wrap(&missing, room.width, rows).into_iter().map(Line::from));
    lines
}

/// Latency of the writes of the last few seconds.
pub(super) fn latency(now: &Latency, width: u16, theme: Theme) -> Line<'static> {
    let faint = theme.faint();
    if now.count == 0 {
        return Line::styled("no write completed in the last seconds", faint);
    }
    let slow = if now.p99_ns >= 1_000_000_000 { theme.warn() } else { theme.strong() };
    let parts = vec![
        part(4, "latency", faint),
        figure(1, "p50", human::duration(now.p50_ns), faint, theme.strong()),
        figure(0, "p99", human::duration(now.p99_ns), faint, slow),
        figure(2, "max", human::duration(now.max_ns), faint, slow),
        part(3, format!("{}/s", human::per_second(now.per_s)), faint),
    ];
    fit(parts, width, 2)
}

/// The oldest writes; the last row tells how many are not shown.
fn list(writes: &Writes, rows: usize, columns: u16, theme: Theme) -> Vec<Line<'static>> {
    let all = usize::try_from(writes.in_flight).unwrap_or(usize::MAX).max(writes.listed.len());
    let shown = if all > rows { rows.saturating_sub(1) } else { rows };
    let listed = &writes.listed[..writes.listed.len().min(shown)];
    if all == 0 {
        return vec![Line::styled("none", theme.faint())];
    }
    let sector = |write: &Write| human::count(write.sector);
    let sector_columns = listed.iter().map(|write| width(&sector(write))).max().unwrap_or(0).max(7);
    let mut lines: Vec<_> = listed
        .iter()
        .map(|write| row(write, sector_columns, usize::from(columns), theme))
        .collect();
    let more = all - listed.len();
    if more > 0 {
        let word = if listed.is_empty() { "" } else { " more" };
        let text = format!("{}{word}", human::count_short(more as u64));
        lines.push(Line::styled(format!("{} …", right(&text, AGE)), theme.faint()));
    }
    lines
}

fn row(write: &Write, sector_columns: usize, columns: usize, theme: Theme) -> Line<'static> {
    let style = theme.relation(write.relation);
    let place = right(&human::count(write.sector), sector_columns);
    let fixed = AGE + MARK + SIZE + width(&place) + 6;
    let process = process(write, columns.saturating_sub(fixed));
    Line::from(vec![
        Span::styled(right(&human::duration(write.age_ns), AGE), style),
        Span::raw("  "),
        Span::styled(left(plain::relation(write.relation), MARK), style),
        Span::raw(right(&human::io_size(write.bytes.into()), SIZE)),
        Span::styled(format!(" @{place}  "), theme.faint()),
        Span::raw(process),
    ])
}

/// Who submitted a write: the name gives way where the room is short, the number stays whole.
fn process(write: &Write, room: usize) -> String {
    let pid = format!("[{}]", write.pid);
    let comm = human::printable(&write.comm);
    match room.checked_sub(width(&pid)) {
        Some(room) if room > 0 => cut(&comm, room) + &pid,
        _ => cut(&comm, room),
    }
}
