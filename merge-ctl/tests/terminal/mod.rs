//! A program in a pseudo-terminal, driven as by hand.

mod pty;

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{Winsize, tcsetwinsize};

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Reads what a program writes, in the background.
fn reading(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        // The end of a terminal is an error.
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if sender.send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A program in a terminal of 100 columns and 30 rows.
pub(crate) struct Terminal {
    pub(crate) keyboard: File,
    pub(crate) screen: Receiver<Vec<u8>>,
    pub(crate) seen: String,
    pub(crate) child: Child,
}

impl Terminal {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Self {
        let (ours, theirs) = pty::pair();
        tcsetwinsize(&ours, Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 })
            .unwrap();
        let child = command
            .env("TERM", "xterm")
            .stdin(theirs.try_clone().unwrap())
            .stdout(theirs.try_clone().unwrap())
            .stderr(theirs)
            .spawn()
            .unwrap();
        let screen = reading(ours.try_clone().unwrap());
        Self { keyboard: ours, screen, seen: String::new(), child }
    }

    /// Becomes larger or smaller, as a window does.
    #[expect(clippy::allow_attributes, reason = "some tests use it")]
    #[allow(dead_code, reason = "some tests keep the size")]
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.keyboard, size).unwrap();
        // The terminal is not the one that the program is controlled by: no signal comes by itself.
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, Signal::WINCH).unwrap();
    }

    /// Types.
    pub(crate) fn press(&self, keys: &[u8]) {
        (&self.keyboard).write_all(keys).unwrap();
    }

    /// Waits until this stands somewhere in what was written.
    pub(crate) fn wait_for(&mut self, words: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.seen.contains(words) {
            let left = until.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("{words:?} did not come ({error}): {}", self.seen),
            }
        }
    }

    /// Waits for its end.
    pub(crate) fn exit_status(&mut self) -> i32 {
        let status = self.child.wait().unwrap();
        while let Ok(bytes) = self.screen.recv_timeout(Duration::from_millis(500)) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        status.code().unwrap_or_else(|| panic!("{status}: {}", self.seen))
    }
}
