//! Why it goes as it goes, what to do next where something is to be done, and the keys.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::symbols::merge::MergeStrategy;
use ratatui::text::Line;
use ratatui::widgets::Block;

use super::ViewState;
use super::keys::{KEYS, REPLAY_KEYS};
use super::text::{cut, figure, fit, part, wrap};
use super::theme::Theme;
use crate::human;
use crate::model::Model;
use crate::output::{advice, plain};
use crate::sample::ProbeTier;

pub(super) fn draw(frame: &mut Frame, area: Rect, model: &Model, state: &ViewState) {
    let theme = state.theme;
    let advice = advice::next(model);
    let title = if advice.is_empty() { " why " } else { " why, and what to do now " };
    let mut block = Block::bordered()
        .merge_borders(MergeStrategy::Exact)
        .border_style(theme.border())
        .title(Line::styled(title, theme.title()))
        .title_bottom(bottom(model, state, area.width.saturating_sub(4)));
    if let Some(lost) = plain::lost(model) {
        let text = cut(&format!(" not seen: {lost} "), usize::from(area.width * 2 / 3));
        block = block.title(Line::styled(text, theme.warn()).right_aligned());
    }
    frame.render_widget(block, area);
    let room = super::inside(area);
    super::lines(frame, room, words(model, &advice, room, theme));
}

/// The verdict, and what to do, which gives no row away; then what the probes cannot see, where no
/// other region says it.
fn words(model: &Model, advice: &str, room: Rect, theme: Theme) -> Vec<Line<'static>> {
    let rows = usize::from(room.height);
    let do_now = wrap(advice, room.width, rows.saturating_sub(1).max(1));
    let left = rows.saturating_sub(do_now.len());
    let mut why = human::printable(&model.verdict());
    if model.identity.probes.tier == ProbeTier::NoModuleBtf {
        why.push_str(" Not seen here: ");
        why.push_str(&human::printable(&model.identity.probes.missing.join(" ")));
    }
    let styled =
        |lines: Vec<String>, style| lines.into_iter().map(move |text| Line::styled(text, style));
    let why = wrap(&why, room.width, left);
    let first = first_advice(model, room.width, left.saturating_sub(why.len()));
    let why = styled(why, Style::new());
    why.chain(styled(do_now, theme.strong())).chain(styled(first, theme.faint())).collect()
}

/// What is most worth doing about a merge that goes on, where there is room for all of it.
fn first_advice(model: &Model, width: u16, rows: usize) -> Vec<String> {
    let lines = wrap(&advice::first(model), width, usize::from(u16::MAX));
    if lines.len() <= rows { lines } else { Vec::new() }
}

/// The keys, or a notice in their place.
pub(super) fn bottom(model: &Model, state: &ViewState, width: u16) -> Line<'static> {
    let theme = state.theme;
    if let Some(notice) = &state.notice {
        let text = cut(&human::printable(notice), usize::from(width).saturating_sub(2));
        return Line::styled(format!(" {text} "), theme.warn());
    }
    if state.replay.is_some() {
        let keys = (1_u8..).zip(REPLAY_KEYS).map(|(rank, (name, meaning))| {
            figure(rank, name, meaning.to_owned(), theme.key(), theme.faint())
        });
        let ends = || part(0, "", theme.faint());
        return fit([ends()].into_iter().chain(keys).chain([ends()]).collect(), width, 1);
    }
    let mut parts = vec![part(0, "", theme.faint())];
    let stopping = model.offline.as_ref().is_some_and(|offline| offline.stopping);
    for (rank, key) in (1_u8..).zip(KEYS) {
        if stopping && key.name == "q" {
            continue;
        }
        if !key.several_only || state.tabs.are_several() {
            let meaning = if model.offline.is_some() { key.offline } else { key.meaning };
            parts.push(figure(rank, key.name, meaning.to_owned(), theme.key(), theme.faint()));
        }
    }
    parts.push(part(0, "", theme.faint()));
    fit(parts, width, 1)
}
