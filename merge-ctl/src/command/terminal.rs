//! What is printed for people, folded to the terminal that shows it, and in its characters; a
//! file gets long lines, and UTF-8.
//!
//! What always holds: a reader that has gone away ends nothing half-way. The macros of the standard library
//! panic then, between two steps of a merge too; so they are not used here (`clippy::print_stderr`).

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use merge_ctl::charset;
use merge_ctl::fold::fold;

/// Narrower than this, folding helps nobody.
const LEAST_COLUMNS: u16 = 20;

/// Writes whole lines to standard output at once, so that a reader of the stream never waits for half of one.
///
/// # Errors
/// What the kernel answers, of the same kind.
pub(crate) fn print(lines: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{lines}").and_then(|()| out.flush());
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot write to standard output: {error}"))
    };
    written.map_err(named)
}

/// The text for standard output.
pub(crate) fn for_stdout(text: &str) -> Cow<'_, str> {
    fitted(text, io::stdout().is_terminal())
}

/// Tells on standard error, under the program's name.
pub(crate) fn tell(words: &str) {
    remark(&format!("merge-ctl: {words}"));
}

/// The same without the name, for what is no complaint.
pub(crate) fn remark(words: &str) {
    // Whoever read it may be gone; then nobody is to be told that either.
    let _ = writeln!(io::stderr(), "{}", for_stderr(words));
}

/// The text for standard error.
pub(crate) fn for_stderr(text: &str) -> Cow<'_, str> {
    fitted(text, io::stderr().is_terminal())
}

/// Lines that keep their length, for standard output: a table, a picture, a line of a stream.
pub(crate) fn unfolded_for_stdout(text: &str) -> Cow<'_, str> {
    in_charset(text.into(), io::stdout().is_terminal())
}

fn fitted(text: &str, terminal: bool) -> Cow<'_, str> {
    let columns = terminal.then(|| crossterm::terminal::size().ok()).flatten();
    let folded = match columns {
        Some((columns, _)) if columns >= LEAST_COLUMNS => fold(text, columns.into()).into(),
        _ => text.into(),
    };
    in_charset(folded, terminal)
}

fn in_charset(text: Cow<'_, str>, terminal: bool) -> Cow<'_, str> {
    match terminal && !charset::locale_shows_utf8() {
        true => charset::ascii_text(&text).into(),
        false => text,
    }
}
