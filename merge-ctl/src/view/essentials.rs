//! The screen where there is no room for regions: lines, the most important first.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::text::{cut, fit, part, wrap};
use super::theme::Theme;
use super::{ViewState, offline, phases, progress, stacked, stalls, verdict, writes};
use crate::human;
use crate::model::Model;
use crate::output::{advice, plain};

/// From this height on the last row is the keys'.
const KEYS_FROM: u16 = 6;

/// `has_tabs`: whether a row of tabs says which of several merges this is.
pub(super) fn draw(
    frame: &mut Frame,
    area: Rect,
    model: &Model,
    state: &ViewState,
    has_tabs: bool,
) {
    let width = area.width;
    let mut rows = usize::from(area.height);
    if area.height >= KEYS_FROM {
        rows -= 1;
        let last = Rect { y: area.bottom() - 1, height: 1, ..area };
        super::lines(frame, last, vec![verdict::bottom(model, state, width)]);
    }
    let place = if has_tabs { String::new() } else { state.tabs.place() };
    let mut lines = first(model, &place, width, state.theme);
    let left = rows.saturating_sub(lines.len());
    lines.extend(rest(model, width, left, state.theme));
    lines.truncate(rows);
    let above = Rect { height: u16::try_from(rows).unwrap_or(area.height), ..area };
    super::lines(frame, above, lines);
}

/// What has to be there on the smallest screen: name, state, percent.
fn first(model: &Model, place: &str, width: u16, theme: Theme) -> Vec<Line<'static>> {
    let percent = human::percent(plain::fraction(model));
    let word = offline::word(model);
    let name = cut(&format!("{place}{}", plain::title(&model.identity)), usize::from(width));
    let bytes = plain::merged(model);
    let state = vec![
        part(1, word, theme.state(model.state)),
        part(0, percent, theme.strong()),
        part(2, bytes, theme.faint()),
    ];
    let mut lines = vec![
        Line::styled(name, theme.strong()),
        fit(state, width, 2),
        progress::bar(plain::fraction(model), usize::from(width), model.state, theme),
        progress::figures(model, width, theme),
    ];
    if width < 20 {
        // Too narrow for both: the state on a line of its own.
        lines.insert(2, Line::styled(cut(word, usize::from(width)), theme.state(model.state)));
    }
    lines
}

/// What else there is, as far as the rows go.
fn rest(model: &Model, width: u16, rows: usize, theme: Theme) -> Vec<Line<'static>> {
    let mut lines: Vec<Line> = Vec::new();
    let advice = advice::next(model);
    lines.extend(
        wrap(&advice, width, rows).into_iter().map(|text| Line::styled(text, theme.strong())),
    );
    if let Some(stall) = model.stalls.back().filter(|stall| stall.ended_ns.is_none()) {
        lines.push(stalls::head(stall, model.now_ns, width, theme));
    }
    if let Some(offline) = &model.offline {
        lines.push(offline::line(offline, width, theme));
    }
    if model.current.is_some() {
        lines.push(phases::now(model, width, theme));
    }
    if model.phases.last_minute.total_ns() > 0 && width >= 30 {
        lines.push(stacked::line("1 min", &model.phases.last_minute, width, theme));
    }
    if let Some(writes) = &model.writes {
        lines.push(writes::counts(writes, width, theme));
    }
    if let Some(latencies) = &model.latency {
        lines.push(writes::latency(&latencies.writes_now, width, theme));
    }
    if let Some(lost) = plain::lost(model) {
        lines.push(Line::styled(
            cut(&format!("not seen: {lost}"), usize::from(width)),
            theme.warn(),
        ));
    }
    let left = rows.saturating_sub(lines.len());
    let mut words = model.verdict();
    for missing in &model.identity.probes.missing {
        words.push(' ');
        words.push_str(missing);
    }
    lines.extend(wrap(&human::printable(&words), width, left).into_iter().map(Line::from));
    lines
}
