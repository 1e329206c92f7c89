//! The frame of the head: what is merged into what, the state, the throttle, what probes see.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::symbols::merge::MergeStrategy;
use ratatui::text::{Line, Span};
use ratatui::widgets::Block;

use super::ViewState;
use super::text::{cut, fit, part};
use super::theme::{Theme, state_word};
use crate::model::{Model, State};
use crate::output::plain;

pub(super) fn draw(frame: &mut Frame, area: Rect, model: &Model, state: &ViewState) {
    let theme = state.theme;
    let facts = facts(model, state, area.width * 2 / 3);
    let room = usize::from(area.width).saturating_sub(facts.width() + 18);
    let name = cut(&plain::title(&model.identity), room);
    let title = Line::from(vec![
        Span::styled(" merge-ctl ", theme.title()),
        Span::styled("─ ", theme.border()),
        Span::styled(name, theme.strong()),
        Span::raw(" "),
    ]);
    let block = Block::bordered()
        .merge_borders(MergeStrategy::Exact)
        .border_style(border(model, theme))
        .title(title)
        .title(facts.right_aligned());
    frame.render_widget(block, area);
}

/// The frame of a merge that is over, or waits, has the colour of its state.
fn border(model: &Model, theme: Theme) -> Style {
    match model.state {
        State::Merging => theme.border(),
        state => theme.state(state).remove_modifier(Modifier::REVERSED),
    }
}

fn facts(model: &Model, state: &ViewState, room: u16) -> Line<'static> {
    let theme = state.theme;
    let mut parts = Vec::new();
    if state.merges.count > 1 {
        let place = format!(" {} of {} ", state.merges.index + 1, state.merges.count);
        parts.push(part(1, place, theme.strong()));
    }
    if let Some(percent) = model.throttle_percent.filter(|percent| *percent != 100) {
        parts.push(part(2, format!(" throttle {percent} % "), theme.warn()));
    }
    let probes = &model.identity.probes;
    let style = if probes.missing.is_empty() { theme.faint() } else { theme.warn() };
    parts.push(part(3, format!(" probes: {} ", plain::tier(probes)), style));
    parts.push(part(0, format!(" {} ", state_word(model.state)), theme.state(model.state)));
    fit(parts, room, 1)
}
