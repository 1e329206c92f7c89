//! The dashboard in a real terminal: draws the merge whose tab is on top, and does what keys ask for.

use std::io;

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use merge_ctl::model::Model;
use merge_ctl::view::keys::{self, Action, ReplayAction};
use merge_ctl::view::replay::Replay;
use merge_ctl::view::tabs::Tab;
use merge_ctl::view::terminal::TerminalGuard;
use merge_ctl::view::theme::Theme;
use merge_ctl::view::{self, ViewState};

use super::followed::Followed;

/// What a key asked for in a replay.
pub(crate) enum ReplayKey {
    /// Another place or speed.
    Replay(ReplayAction),
    /// The same, on a screen that has changed.
    Screen,
}

/// The dashboard and what it remembers between two drawings.
pub(crate) struct Dashboard {
    terminal: TerminalGuard,
    events: EventStream,
    state: ViewState,
}

impl Dashboard {
    /// Takes the terminal.
    ///
    /// # Errors
    /// Where standard output is no terminal, or one that cannot be controlled.
    pub(crate) fn open() -> io::Result<Self> {
        let state = ViewState { theme: theme(), ..ViewState::default() };
        Ok(Self { terminal: TerminalGuard::enter()?, events: EventStream::new(), state })
    }

    /// Shows a line of news until the next.
    pub(crate) fn set_notice(&mut self, notice: &str) {
        self.state.notice = Some(notice.to_owned());
    }

    /// Draws one of the merges, and a tab for each where there are several.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub(crate) fn draw(&mut self, merges: &[Followed]) -> io::Result<()> {
        let models: Vec<&Model> = merges.iter().map(|merge| &merge.model).collect();
        self.draw_models(&models)
    }

    fn draw_models(&mut self, models: &[&Model]) -> io::Result<()> {
        self.state.tabs.tabs = models.iter().copied().map(Tab::of).collect();
        match models.get(self.state.tabs.shown) {
            Some(model) => self.terminal.draw(|frame| view::draw(frame, model, &self.state)),
            None => Ok(()),
        }
    }

    /// Draws one of the merges of a recording, as it stood.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub(crate) fn draw_replay(&mut self, models: &[&Model], replay: Replay) -> io::Result<()> {
        self.state.replay = Some(replay);
        // Further back there may have been fewer.
        self.state.tabs.shown = self.state.tabs.shown.min(models.len().saturating_sub(1));
        self.draw_models(models)
    }

    /// The next key that means something, once what changes only the screen is done; none where nobody
    /// sits in front of the terminal any more.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub(crate) async fn replay_key(&mut self) -> io::Result<Option<ReplayKey>> {
        loop {
            let Some(event) = self.events.next().await else { return Ok(None) };
            match event? {
                Event::Key(key) => {
                    if let Some(action) = keys::replay_action(key) {
                        return Ok(Some(ReplayKey::Replay(action)));
                    }
                    match keys::action(key) {
                        Some(Action::Leave) => return Ok(None),
                        Some(Action::Redraw) => self.terminal.clear()?,
                        Some(action) => self.state.apply(action),
                        None => continue,
                    }
                }
                Event::Resize(..) => self.terminal.clear()?,
                _ => continue,
            }
            return Ok(Some(ReplayKey::Screen));
        }
    }

    /// Returns when the user leaves; keys that only change the screen are done at once.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub(crate) async fn left(&mut self, merges: &[Followed]) -> io::Result<()> {
        loop {
            // A terminal that ends has nobody in front of it.
            let Some(event) = self.events.next().await else { return Ok(()) };
            let action = match event? {
                Event::Key(key) => keys::action(key),
                Event::Resize(..) => Some(Action::Redraw),
                _ => None,
            };
            match action {
                Some(Action::Leave) => return Ok(()),
                Some(Action::Redraw) => self.terminal.clear()?,
                Some(action) => self.state.apply(action),
                None => continue,
            }
            self.draw(merges)?;
        }
    }
}

/// Colours, unless the user wants none (no-color.org).
fn theme() -> Theme {
    match std::env::var_os("NO_COLOR") {
        Some(value) if !value.is_empty() => Theme::plain(),
        _ => Theme::coloured(),
    }
}
