//! Carries a guest's stream to one of ours, byte for byte, up to the mark that ends it.
//!
//! The mark comes through the stream itself, so all that the command wrote lies before it. What
//! could be the beginning of a mark is held back until more comes; nothing else is.

use std::io::{Read as _, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Sender;

use super::Event;

/// Copies until the mark, or until QEMU is gone, and says which.
pub(super) fn copy(
    port: &UnixStream,
    to: &mut (dyn Write + Send),
    mark: &[u8],
    events: &Sender<Event>,
) {
    let mut port = port;
    let mut held = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let event = loop {
        // An error here is QEMU's end, which the control port reports.
        let Ok(read @ 1..) = port.read(&mut buffer) else {
            break if to.write_all(&held).and_then(|()| to.flush()).is_ok() {
                Event::Gone
            } else {
                Event::OutputClosed
            };
        };
        held.extend_from_slice(&buffer[..read]);
        let (ready, ended) = ready(&held, mark);
        if to.write_all(&held[..ready]).and_then(|()| to.flush()).is_err() {
            break Event::OutputClosed;
        }
        if ended {
            break Event::StreamEnded;
        }
        held.drain(..ready);
    };
    drop(events.send(event));
}

/// How many bytes come before a mark, or before what may become one; and whether the mark is
/// whole.
fn ready(bytes: &[u8], mark: &[u8]) -> (usize, bool) {
    if let Some(at) = find(bytes, mark) {
        return (at, true);
    }
    let most = bytes.len().min(mark.len().saturating_sub(1));
    let held = (0..=most).rev().find(|&held| bytes.ends_with(&mark[..held])).unwrap_or(0);
    (bytes.len() - held, false)
}

/// Where `mark` begins. Its first byte is looked for first: output is long, marks are rare.
fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| Some(byte) == mark.first()) {
        if bytes[from + at..].starts_with(mark) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// What comes out when `chunks` come in one by one, and the last event.
    fn copied(chunks: &[&[u8]]) -> (Vec<u8>, bool) {
        let (guest, host) = UnixStream::pair().unwrap();
        let (sender, events) = mpsc::channel();
        let mut out = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| copy(&host, &mut out, b"[end]", &sender));
            for chunk in chunks {
                (&guest).write_all(chunk).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            drop(guest);
        });
        (out, matches!(events.recv().unwrap(), Event::StreamEnded))
    }

    #[test]
    fn the_mark_may_come_in_pieces() {
        assert_eq!(copied(&[b"abc[e", b"n", b"d]more"]), (b"abc".to_vec(), true));
    }

    #[test]
    fn what_only_looks_like_a_mark_is_passed_on() {
        assert_eq!(copied(&[b"[en", b"[[end]"]), (b"[en[".to_vec(), true));
    }

    #[test]
    fn without_a_mark_the_guest_died() {
        assert_eq!(copied(&[b"abc[en"]), (b"abc[en".to_vec(), false));
    }
}
