//! The dashboard. One file a region of the screen:
//!
//! ```text
//!  tabs: one a merge, where there are several
//! ┌ identity: origin ◀ snapshot ───────────── state, throttle, probes ┐
//! │ progress: bar, percent, bytes                                     │
//! │ rate, runs/s, elapsed, time left, sparkline (more rows when tall) │
//! ├ phases: where the time goes ────────┬ sizes: runs by size ────────┤   ┬ recent: the last runs,
//! │ last minute, since start, legend,   │ a bar of time and a count   │   │ when wide
//! │ the run in progress, the last one   │ for each size               │   │
//! ├ writes: in flight, latency ─────────┴──┬ stalls ──────────────────┤
//! │ what will be held, then oldest first   │ the newest first         │
//! ├ map: the origin, cell by cell ─────────┴──────────────────────────┤
//! ├ verdict: why, or what to do now ──────────────────────────────────┤
//! └ keys, or a notice ────────────────────────────────────────────────┘
//!  replay: place and speed, where this is a recording
//! ```
//!
//! In an offline merge there are no runs, and nobody writes: the stages, the work and what an end would
//! leave stand where phases, sizes and writes do (`offline`).
//!
//! `layout` gives each region its place; where the screen is too small for regions,
//! `essentials` shows lines in the order of their importance. `help` lies over all of it.
//!
//! What always holds: a screen is a pure function of the model and the [`ViewState`]; nothing here
//! reads a clock, a file or the environment ([`terminal`] alone touches the terminal). No figure is
//! cut in the middle: one that has no room is left out (`text::fit`). Colours only repeat what
//! glyphs, words and attributes say. No size of the terminal panics.

mod essentials;
mod help;
mod identity;
pub mod keys;
mod layout;
mod map;
mod offline;
mod phases;
mod progress;
mod recent;
pub mod replay;
mod sizes;
mod stacked;
mod stalls;
pub mod tabs;
pub mod terminal;
#[cfg(test)]
mod tests;
mod text;
pub mod theme;
mod verdict;
mod writes;

use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::symbols::merge::MergeStrategy;
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph};

use crate::model::Model;
use keys::Action;
use layout::Regions;
use replay::Replay;
use tabs::Tabs;
use theme::Theme;

/// Whether a terminal of this size shows all regions; a smaller one shows lines in the order of their
/// importance.
pub const fn has_room(columns: u16, rows: u16) -> bool {
    layout::has_room(columns, rows)
}

/// What is shown beside the model: the operator's doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ViewState {
    /// Whether the help lies over the screen.
    pub help: bool,
    /// Something to tell the operator, in place of the keys.
    pub notice: Option<String>,
    /// All merges that can be shown, and which of them this is.
    pub tabs: Tabs,
    /// Where a replay is; none of what goes on now.
    pub replay: Option<Replay>,
    /// Colours or not.
    pub theme: Theme,
}

impl ViewState {
    /// Does what an action means for the view alone. `Leave` and `Redraw` are for the caller.
    pub fn apply(&mut self, action: Action) {
        match action {
            Action::Help => self.help = !self.help,
            Action::CloseHelp => self.help = false,
            Action::NextMerge => self.tabs.step(1),
            Action::PreviousMerge => self.tabs.step(-1),
            Action::ShowMerge(place) => self.tabs.show(place),
            Action::Leave | Action::Redraw => {}
        }
    }
}

/// Draws one merge on the whole frame.
pub fn draw(frame: &mut Frame, model: &Model, state: &ViewState) {
    let (replay, screen) = replay::split(frame.area(), state.replay.as_ref());
    if let (Some(row), Some(replay)) = (replay, &state.replay) {
        replay::draw(frame, row, replay, model.unix_s, state.theme);
    }
    let (row, area) = tabs::split(screen, &state.tabs);
    if let Some(row) = row {
        tabs::draw(frame, row, &state.tabs, state.theme);
    }
    match layout::regions(area, model) {
        Some(regions) => draw_regions(frame, &regions, model, state),
        None => essentials::draw(frame, area, model, state, row.is_some()),
    }
    if state.help {
        help::draw(frame, frame.area(), help::Of::shown(model, state), state.theme);
    }
}

fn draw_regions(frame: &mut Frame, regions: &Regions, model: &Model, state: &ViewState) {
    let theme = state.theme;
    identity::draw(frame, regions.head, model, state);
    progress::draw(frame, inside(regions.head), model, theme);
    match &model.offline {
        Some(offline) => {
            let sizes = regions.recent.map_or(regions.sizes, |area| regions.sizes.union(area));
            offline::stages(frame, regions.phases, model, offline, theme);
            offline::work(frame, sizes, model, offline, theme);
            offline::if_it_ends(frame, regions.writes, model, offline, theme);
        }
        None => draw_runs(frame, regions, model, theme),
    }
    stalls::draw(frame, regions.stalls, model, theme);
    map::draw(frame, regions.map, model, theme);
    verdict::draw(frame, regions.verdict, model, state);
}

/// What the kernel does, and who writes meanwhile.
fn draw_runs(frame: &mut Frame, regions: &Regions, model: &Model, theme: Theme) {
    phases::draw(frame, regions.phases, model, theme);
    sizes::draw(frame, regions.sizes, model, theme);
    if let Some(area) = regions.recent {
        recent::draw(frame, area, model, theme);
    }
    writes::draw(frame, regions.writes, model, theme);
}

/// A region's frame, joined to its neighbours', and the room inside it.
fn region(frame: &mut Frame, area: Rect, title: Line<'_>, theme: Theme) -> Rect {
    let block = Block::bordered()
        .merge_borders(MergeStrategy::Exact)
        .border_style(theme.border())
        .title_style(theme.title())
        .title(title);
    frame.render_widget(block, area);
    inside(area)
}

/// Without the border and one column of air on each side.
fn inside(area: Rect) -> Rect {
    area.inner(Margin { horizontal: 2, vertical: 1 })
}

/// Lines from the top of an area; what does not fit is not shown.
fn lines(frame: &mut Frame, area: Rect, lines: Vec<Line<'_>>) {
    frame.render_widget(Paragraph::new(lines), area);
}
