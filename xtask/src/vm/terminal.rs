//! This terminal, lent to the command in the VM.
//!
//! While it is lent it passes every key on, Ctrl-C too; three times Ctrl-] in a row stops the VM.
//! It gets back its settings when [`Terminal`] is dropped, also by a panic.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Sender;
use std::thread;

use anyhow::{Context as _, Result};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::Event;

/// Ctrl-], as telnet has it.
const ESCAPE: u8 = 0x1d;
const ESCAPES: usize = 3;

/// Leaves the alternate screen, shows the cursor, stops mouse reports and bracketed paste, resets
/// colours: for a command that had no chance to do it itself.
const RESET: &[u8] =
    b"\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[0m";

/// Rows and columns, shown as init reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    rows: u16,
    columns: u16,
}

impl Size {
    /// The size of the terminal on our stdout; 24 × 80 where there is none.
    pub(super) fn of_terminal() -> Self {
        let size = tcgetwinsize(std::io::stdout()).ok();
        let size = size.filter(|size| size.ws_row > 0 && size.ws_col > 0);
        size.map_or(Self { rows: 24, columns: 80 }, |size| Self {
            rows: size.ws_row,
            columns: size.ws_col,
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.rows, self.columns)
    }
}

/// The terminal while it is lent.
pub(super) struct Terminal {
    settings: Termios,
}

impl Terminal {
    /// Lends the terminal: its keys go to `port`.
    pub(super) fn take(port: &UnixStream, events: Sender<Event>) -> Result<Self> {
        let port = port.try_clone().context("cannot use the VM's terminal")?;
        let settings = tcgetattr(std::io::stdin()).context("stdin is no terminal")?;
        let mut raw = settings.clone();
        raw.make_raw();
        let terminal = Self { settings };
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)
            .context("cannot switch the terminal to raw mode")?;
        // Not joined: it may sit in a read until the next key, and ends with the process.
        thread::spawn(move || forward_keys(port, &events));
        Ok(terminal)
    }

    /// Undoes what a full-screen program left, when it could not end by itself.
    pub(super) fn reset_after_trouble() {
        let mut out = std::io::stdout();
        // A terminal that is gone needs no reset.
        drop(out.write_all(RESET).and_then(|()| out.flush()));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.settings) {
            eprintln!("cannot restore the terminal ({error}): type `stty sane`");
        }
    }
}

fn forward_keys(mut port: UnixStream, events: &Sender<Event>) {
    let mut keys = [0; 1024];
    let mut escapes = 0;
    while let Ok(read @ 1..) = std::io::stdin().lock().read(&mut keys) {
        for &key in &keys[..read] {
            escapes = if key == ESCAPE { escapes + 1 } else { 0 };
            if escapes == ESCAPES {
                drop(events.send(Event::Escape));
                return;
            }
        }
        if port.write_all(&keys[..read]).is_err() {
            return;
        }
    }
}
