//! The dashboard in a real terminal: draws the merge whose tab is on top, and does what keys ask for.

use std::io;

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use merge_ctl::view::keys::{self, Action};
use merge_ctl::view::tabs::Tab;
use merge_ctl::view::terminal::TerminalGuard;
use merge_ctl::view::theme::Theme;
use merge_ctl::view::{self, ViewState};

use super::followed::Followed;

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
        self.state.tabs.tabs = merges.iter().map(|merge| Tab::of(&merge.model)).collect();
        match merges.get(self.state.tabs.shown) {
            Some(merge) => self.terminal.draw(|frame| view::draw(frame, &merge.model, &self.state)),
            None => Ok(()),
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
