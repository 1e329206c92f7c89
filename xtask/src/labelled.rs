//! Lines from several sources on one output, each behind the name of its source.

use std::io::{self, Write};

/// Passes whole lines on, each with a label before it; without a label, all as it comes.
pub(crate) struct Labelled<W> {
    to: W,
    label: Option<String>,
    line: Vec<u8>,
}

impl<W: Write> Labelled<W> {
    pub(crate) fn new(to: W, label: Option<String>) -> Self {
        Self { to, label, line: Vec::new() }
    }
}

impl<W: Write> Write for Labelled<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(label) = &self.label else { return self.to.write(bytes) };
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let rest = self.line.split_off(end + 1);
            let line = std::mem::replace(&mut self.line, rest);
            // In one piece: other sources write too.
            self.to.write_all(&[format!("{label}: ").as_bytes(), &line].concat())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_come_in_pieces_are_labelled_once() {
        let mut out = Vec::new();
        let mut labelled = Labelled::new(&mut out, Some("6.1".to_owned()));
        for piece in ["one\nt", "w", "o\n\nthree\n"] {
            labelled.write_all(piece.as_bytes()).unwrap();
        }
        drop(labelled);
        assert_eq!(String::from_utf8(out).unwrap(), "6.1: one\n6.1: two\n6.1: \n6.1: three\n");
    }
}
