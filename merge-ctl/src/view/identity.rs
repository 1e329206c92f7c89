//! The frame of the head: what is merged into what, the state, the throttle, what probes see.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::symbols::merge::MergeStrategy;
use ratatui::text::{Line, Span};
use ratatui::widgets::Block;

use super::text::{cut, fit, part, width};
use super::theme::Theme;
use super::{ViewState, offline};
use crate::human;
use crate::model::{Model, State};
use crate::output::plain;
use crate::throttle::{Goal, Throttling};

/// Columns of the title beside the name: the tool's name, corners, air.
const FIXED: u16 = 18;

pub(super) fn draw(frame: &mut Frame, area: Rect, model: &Model, state: &ViewState) {
    let theme = state.theme;
    let name = plain::title(&model.identity);
    let wanted = u16::try_from(width(&name)).unwrap_or(u16::MAX).saturating_add(FIXED);
    let facts = facts(model, state, area.width.saturating_sub(wanted).max(area.width / 2));
    let room = area.width.saturating_sub(FIXED).into();
    let name = cut(&name, usize::saturating_sub(room, facts.width()));
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
    let identity = &model.identity;
    let mut parts = vec![part(
        5,
        format!(
            " {} in chunks of {} ",
            human::bytes(identity.size.bytes()),
            human::io_size(identity.chunk_size.bytes())
        ),
        theme.faint(),
    )];
    if !identity.siblings.is_empty() {
        let siblings = human::counted(identity.siblings.len() as u64, "other snapshot");
        parts.push(part(4, format!(" {siblings} "), theme.faint()));
    }
    if let Some(throttle) = throttle(model) {
        parts.push(part(2, format!(" {throttle} "), theme.warn()));
    }
    // No probe watches an offline merge.
    if model.offline.is_none() {
        let probes = &identity.probes;
        let style = if probes.missing.is_empty() { theme.faint() } else { theme.warn() };
        parts.push(part(3, format!(" probes: {} ", plain::tier(probes)), style));
    }
    parts.push(part(0, format!(" {} ", offline::word(model)), theme.state(model.state)));
    fit(parts, room, 1)
}

/// The setting, and what a loop does with it: `throttle 12 % (99 % below 10 ms: slowing)`.
fn throttle(model: &Model) -> Option<String> {
    let percent = model.throttle_percent?;
    match model.throttling {
        Some(Throttling { goal: Goal::WriteLatency(target), doing, .. }) => Some(format!(
            "throttle {percent} % ({} below {}: {})",
            target.percentile,
            human::duration(target.latency_ns),
            doing.code()
        )),
        _ => (percent != 100).then(|| format!("throttle {percent} %")),
    }
}
