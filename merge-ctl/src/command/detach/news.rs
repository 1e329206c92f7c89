//! What a detached merge-ctl tells the one in the foreground, until the merge has begun or cannot.
//!
//! Over a socket in the directory of this boot: a unit of systemd inherits no descriptor from
//! whoever asks for it. One line of JSON a message. Whoever goes away earlier is missed by nobody.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use merge_ctl::state_dir;
use serde::{Deserialize, Serialize};

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "news", rename_all = "kebab-case")]
pub(crate) enum News {
    /// It waits for a quiet moment.
    Waits,
    /// The kernel merges, all that was asked for or some of it.
    Begun {
        /// The exit status for what could not begin; 0 where all has.
        status: u8,
        /// What could not begin, and why.
        words: String,
    },
    /// LVM has put it off; with its words.
    Scheduled {
        /// lvm2's words.
        words: String,
    },
    /// It ended before a merge had begun.
    Ended {
        /// Its exit status.
        status: u8,
        /// Why, in its words; empty where there is nothing to say.
        words: String,
    },
}

/// A message and its sender.
#[derive(Debug, Serialize, Deserialize)]
struct Message {
    pid: u32,
    #[serde(flatten)]
    news: News,
}

/// The foreground's end.
pub(super) struct Inbox {
    path: PathBuf,
    listener: UnixListener,
}

impl Inbox {
    /// Opens a socket that is root's alone, as its directory is.
    ///
    /// # Errors
    /// Where there can be none.
    pub(super) fn open() -> io::Result<Self> {
        let directory = state_dir::of_this_boot();
        state_dir::make(&directory)?;
        let path = directory.join(format!("detach-{}.socket", std::process::id()));
        // Left behind by a process of the same number that was killed.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { path, listener })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The sender, if it has called.
    ///
    /// # Errors
    /// From the socket.
    pub(super) fn caller(&self) -> io::Result<Option<Caller>> {
        match self.listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                Ok(Some(Caller(BufReader::new(stream))))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        // Nothing can be done about a socket that stays; the boot's directory goes with the boot.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A detached merge-ctl that tells.
pub(super) struct Caller(BufReader<UnixStream>);

impl Caller {
    /// Waits for what it tells next, with its process number; nothing where it has died.
    ///
    /// # Errors
    /// From the socket, or where it speaks another language.
    pub(super) fn next(&mut self) -> io::Result<Option<(u32, News)>> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Message { pid, news } = serde_json::from_str(&line)?;
        Ok(Some((pid, news)))
    }
}

/// The detached one's end. Of a merge-ctl that is not detached it tells nobody.
#[derive(Debug, Default)]
pub(crate) struct Teller(Option<UnixStream>);

impl Teller {
    /// Calls the foreground.
    ///
    /// # Errors
    /// Where nobody is there any more.
    pub(super) fn call(path: &Path) -> io::Result<Self> {
        Ok(Self(Some(UnixStream::connect(path)?)))
    }

    /// Tells it.
    pub(crate) fn tell(&mut self, news: News) {
        let Some(stream) = &mut self.0 else { return };
        let message = Message { pid: std::process::id(), news };
        let line = serde_json::to_string(&message).unwrap_or_default();
        if writeln!(stream, "{line}").is_err() {
            // Nobody wants to know any more.
            self.0 = None;
        }
    }

    /// Tells it, and nothing more.
    pub(crate) fn tell_last(&mut self, news: News) {
        self.tell(news);
        self.0 = None;
    }
}
