//! A program in a pseudo-terminal, and what stands on it now and then.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use vt100::{Color, Parser};

/// A replay that shows nothing new for so long is at its end.
const STILL: Duration = Duration::from_secs(5);
/// No picture is longer.
const LONGEST: Duration = Duration::from_secs(90);

/// How a character looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Its colour.
    pub(super) ink: Color,
    /// That of its ground.
    pub(super) ground: Color,
    /// Whether it is bold.
    pub(super) bold: bool,
    /// Whether it is faint.
    pub(super) dim: bool,
}

/// A place on the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// What stands there; a space where nothing does.
    pub(super) text: String,
    /// How.
    pub(super) look: Look,
}

/// A screen, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame(pub(super) Vec<Vec<Cell>>);

/// A program in a terminal of its own.
pub(super) struct Terminal {
    keyboard: File,
    written: Receiver<Vec<u8>>,
    screen: Parser,
    child: Child,
}

impl Terminal {
    /// Starts it.
    pub(super) fn start(
        command: &mut Command,
        (columns, rows): (NonZero<u16>, NonZero<u16>),
    ) -> Result<Self> {
        let size =
            Winsize { ws_row: rows.get(), ws_col: columns.get(), ws_xpixel: 0, ws_ypixel: 0 };
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        tcsetwinsize(&ours, size)?;
        let path = ptsname(&ours, Vec::new())?;
        let theirs = File::options()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open(path.to_str()?)?;
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let child = command
            .stdin(theirs.try_clone()?)
            .stdout(theirs.try_clone()?)
            .stderr(theirs)
            .spawn()
            .context("cannot start the replay")?;
        let keyboard = File::from(ours);
        let written = reading(keyboard.try_clone()?);
        Ok(Self { keyboard, written, screen: Parser::new(rows, columns, 0), child })
    }

    /// What stands on it each `step` until nothing changes any more; then it is told to leave.
    pub(super) fn film(mut self, step: Duration) -> Result<Vec<Frame>> {
        let begin = Instant::now();
        let mut frames: Vec<Frame> = Vec::new();
        let mut changed = begin;
        for count in 1.. {
            self.listen_until(begin + step * count)?;
            let frame = self.frame();
            if frames.last() != Some(&frame) {
                changed = Instant::now();
            }
            frames.push(frame);
            if changed.elapsed() > STILL {
                break;
            }
            if begin.elapsed() > LONGEST {
                bail!("the merge is too long for a picture: give it a higher --speed");
            }
        }
        self.keyboard.write_all(b"q")?;
        // It may have more to say than a terminal holds.
        while self.written.recv_timeout(STILL).is_ok() {}
        self.child.wait().context("the replay does not end")?;
        Ok(without_ends(frames))
    }

    fn listen_until(&mut self, until: Instant) -> Result<()> {
        loop {
            match self.written.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.screen.process(&bytes),
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => bail!("the replay ended by itself"),
            }
        }
    }

    fn frame(&self) -> Frame {
        let screen = self.screen.screen();
        let (rows, columns) = screen.size();
        let (rows, columns) = (rows.get(), columns.get());
        let row = |y| (0..columns).map(|x| cell(screen.cell(y, x))).collect();
        Frame((0..rows).map(row).collect())
    }
}

fn cell(cell: Option<&vt100::Cell>) -> Cell {
    let nothing = Look { ink: Color::Default, ground: Color::Default, bold: false, dim: false };
    let Some(cell) = cell else { return Cell { text: " ".to_owned(), look: nothing } };
    let (mut ink, mut ground) = (cell.fgcolor(), cell.bgcolor());
    if cell.inverse() {
        (ink, ground) = (ground, ink);
        // The default colours are two; turned round they have to be named.
        ink = if ink == Color::Default { Color::Idx(0) } else { ink };
        ground = if ground == Color::Default { Color::Idx(7) } else { ground };
    }
    let text = if cell.has_contents() { cell.contents().to_owned() } else { " ".to_owned() };
    Cell { text, look: Look { ink, ground, bold: cell.bold(), dim: cell.dim() } }
}

/// Without the empty screen at the beginning, and with the last one once.
fn without_ends(mut frames: Vec<Frame>) -> Vec<Frame> {
    let is_empty = |frame: &Frame| frame.0.iter().flatten().all(|cell| cell.text == " ");
    frames.retain(|frame| !is_empty(frame));
    while frames.len() > 1 && frames[frames.len() - 1] == frames[frames.len() - 2] {
        frames.pop();
    }
    frames
}

/// Reads what a program writes, in the background.
fn reading(mut from: File) -> Receiver<Vec<u8>> {
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
