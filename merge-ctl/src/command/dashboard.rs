//! The dashboard in a real terminal: draws the model, turns keys into wishes.

use std::io;

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use merge_ctl::model::Model;
use merge_ctl::view::keys::{self, Action};
use merge_ctl::view::terminal::TerminalGuard;
use merge_ctl::view::theme::Theme;
use merge_ctl::view::{self, Merges, ViewState};

use super::wish::Wish;

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

    /// Which of how many merges is shown.
    pub(crate) fn set_place(&mut self, (index, count): (usize, usize)) {
        self.state.merges = Merges { index, count };
    }

    /// Shows a line of news until the next.
    pub(crate) fn set_notice(&mut self, notice: &str) {
        self.state.notice = Some(notice.to_owned());
    }

    /// Draws the model.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub(crate) fn draw(&mut self, model: &Model) -> io::Result<()> {
        self.terminal.draw(|frame| view::draw(frame, model, &self.state))
    }

    /// Waits for a key that is a wish; keys that only change the screen are done at once.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub(crate) async fn wish(&mut self, model: &Model) -> io::Result<Wish> {
        loop {
            // A terminal that ends has nobody in front of it.
            let Some(event) = self.events.next().await else { return Ok(Wish::Leave) };
            let action = match event? {
                Event::Key(key) => keys::action(key),
                Event::Resize(..) => Some(Action::Redraw),
                _ => None,
            };
            match action {
                Some(Action::Leave) => return Ok(Wish::Leave),
                // With one merge there is no other to show, and what was seen of it is kept.
                Some(Action::NextMerge | Action::PreviousMerge) if self.state.merges.count < 2 => {
                    continue;
                }
                Some(Action::NextMerge) => return Ok(Wish::Next),
                Some(Action::PreviousMerge) => return Ok(Wish::Previous),
                Some(Action::Redraw) => self.terminal.clear()?,
                Some(action) => self.state.apply(action),
                None => continue,
            }
            self.draw(model)?;
        }
    }
}

/// Colours, unless the user wants none (no-color.org).
pub(crate) fn theme() -> Theme {
    match std::env::var_os("NO_COLOR") {
        Some(value) if !value.is_empty() => Theme::plain(),
        _ => Theme::coloured(),
    }
}
