//! The dashboard in a real terminal: draws the model, turns keys into wishes.

use std::io::{self, Stdout};

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use merge_ctl::model::Model;
use merge_ctl::view::keys::{self, Action};
use merge_ctl::view::terminal::TerminalGuard;
use merge_ctl::view::{self, ViewState};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use super::face::Wish;

/// The dashboard and what it remembers between two drawings.
pub(crate) struct Dashboard {
    // Before the guard, so that nothing is drawn any more when the guard restores the terminal.
    terminal: Terminal<CrosstermBackend<Stdout>>,
    events: EventStream,
    state: ViewState,
    _guard: TerminalGuard,
}

impl Dashboard {
    /// Takes the terminal.
    ///
    /// # Errors
    /// Where standard output is no terminal, or one that cannot be controlled.
    pub(crate) fn open() -> io::Result<Self> {
        let guard = TerminalGuard::enter()?;
        Ok(Self {
            terminal: Terminal::new(CrosstermBackend::new(io::stdout()))?,
            events: EventStream::new(),
            state: ViewState::default(),
            _guard: guard,
        })
    }

    /// Which of how many merges is shown.
    pub(crate) fn set_place(&mut self, (index, count): (usize, usize)) {
        self.state.merges = (index, count);
    }

    /// Draws the model.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub(crate) fn draw(&mut self, model: &Model) -> io::Result<()> {
        self.terminal.draw(|frame| view::draw(frame, model, &self.state))?;
        Ok(())
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
                Some(Action::NextMerge) => return Ok(Wish::Next),
                Some(Action::PreviousMerge) => return Ok(Wish::Previous),
                Some(Action::Help) => self.state.help = !self.state.help,
                Some(Action::CloseHelp) => self.state.help = false,
                Some(Action::Redraw) => self.terminal.clear()?,
                None => continue,
            }
            self.draw(model)?;
        }
    }
}
