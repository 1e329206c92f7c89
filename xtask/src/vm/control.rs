//! What the host and the guest's init say to each other, and the signals that end a VM.
//!
//! Lines: init says `status N`; we say `ROWS COLS` when the terminal changes its size.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Sender;
use std::thread;

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator;

use super::Event;
use super::terminal::Size;

/// Our end of the control port.
pub(super) struct Control {
    port: UnixStream,
}

impl Control {
    pub(super) fn new(port: &UnixStream) -> Result<Self> {
        Ok(Self { port: port.try_clone().context("cannot use the control port")? })
    }

    /// A second handle, to read from.
    pub(super) fn reader(&self) -> Result<UnixStream> {
        self.port.try_clone().context("cannot use the control port")
    }

    /// Tells init the terminal's size. A VM that is going away does not need it.
    pub(super) fn send_size(&self, size: Size) {
        drop(writeln!(&self.port, "{size}"));
    }
}

/// Reads what init says until QEMU is gone.
pub(super) fn read(port: UnixStream, events: &Sender<Event>) {
    for line in BufReader::new(port).lines().map_while(Result::ok) {
        if let Some(Ok(status)) = line.strip_prefix("status ").map(str::parse) {
            drop(events.send(Event::Status(status)));
        }
    }
    drop(events.send(Event::Gone));
}

/// Signals become events for as long as this lives.
pub(super) struct Signals {
    handle: iterator::Handle,
}

impl Signals {
    pub(super) fn catch(events: Sender<Event>) -> Result<Self> {
        let mut signals = iterator::Signals::new([SIGINT, SIGTERM, SIGHUP, SIGWINCH])
            .context("cannot catch signals")?;
        let handle = signals.handle();
        thread::spawn(move || {
            for signal in signals.forever() {
                let event = match signal {
                    SIGWINCH => Event::Resized,
                    signal => Event::Signal(signal),
                };
                drop(events.send(event));
            }
        });
        Ok(Self { handle })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
    }
}
