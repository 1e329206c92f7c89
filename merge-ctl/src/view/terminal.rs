//! The terminal: taken over for the dashboard, and given back whatever happens.
//!
//! What always holds: whoever took the terminal gives it back: on drop, and in a panic before its
//! message is printed. A caller that ends the process without unwinding (`std::process::exit`)
//! drops the guard first, or calls [`restore`].

use std::io::{self, Stdout, stdout};
use std::mem::ManuallyDrop;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::Show;
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::{Frame, Terminal};

use crate::charset;

/// Whether the terminal is ours: so that it is given back once.
static TAKEN: AtomicBool = AtomicBool::new(false);
static PANIC_HOOK: Once = Once::new();

/// The terminal in raw mode on its alternate screen, until this is dropped.
pub struct TerminalGuard {
    /// Never dropped: it would show the cursor once more, and where the terminal has gone away write
    /// of that to a standard error that may have gone with it, which panics. [`restore`] does it.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<Stdout>>>,
    shows_utf8: bool,
}

impl TerminalGuard {
    /// Takes over the terminal of standard output.
    ///
    /// # Errors
    /// Where it is no terminal, or cannot be set up; it is then as it was.
    pub fn enter() -> io::Result<Self> {
        PANIC_HOOK.call_once(restore_before_panics);
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        let entered = execute!(stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())))
            .and_then(|mut terminal| terminal.hide_cursor().map(|()| terminal));
        match entered {
            Ok(terminal) => Ok(Self {
                terminal: ManuallyDrop::new(terminal),
                shows_utf8: charset::locale_shows_utf8(),
            }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Draws one screen, at the size that the terminal has now.
    ///
    /// # Errors
    /// Where the terminal cannot be written to.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame)) -> io::Result<()> {
        let shows_utf8 = self.shows_utf8;
        let drawn = self.terminal.draw(|frame| {
            draw(frame);
            if !shows_utf8 {
                to_ascii(frame.buffer_mut());
            }
        });
        drawn.map(drop)
    }

    /// Forgets what is on the screen, so that the next [`Self::draw`] paints all of it: after a
    /// resize, or where something else wrote on it.
    ///
    /// # Errors
    /// Where the terminal cannot be written to.
    pub fn clear(&mut self) -> io::Result<()> {
        // Not ratatui's `clear`, which asks the terminal where the cursor is, and fails where the answer is
        // late (a slow line) or never comes. To take its size anew clears it as well, and asks nothing.
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }
}

fn to_ascii(screen: &mut Buffer) {
    for cell in &mut screen.content {
        let ascii = cell.symbol().chars().next().map_or(' ', charset::ascii);
        cell.set_char(ascii);
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back, where it was taken.
pub fn restore() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // Both are tried whatever becomes of the other. A terminal that cannot be written to is one
    // that has gone away: there is nobody left to tell, and nothing left to restore.
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

fn restore_before_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        before(panic);
    }));
}
