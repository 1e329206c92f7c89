//! What the test harness in a VM says: how many tests passed, which failed, and why.

use std::io::Write;

/// Of a failure's words, so many lines are kept.
const LINES_OF_A_FAILURE: usize = 6;
/// And so many letters of a line.
const LETTERS_OF_A_LINE: usize = 300;

/// How a run of the harness ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) failures: Vec<Failure>,
}

/// A test that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) test: String,
    /// Where it panicked, and with which words.
    pub(super) words: Vec<String>,
}

/// Who says one of these speaks of data: that a volume's content is not what it should be, or that
/// exceptions are not. It may be in the words of a test, or in the expression that was not true.
const OF_DATA: [&str; 6] = ["differ", "lost", "image", "content", "exception", "changed"];

impl Failure {
    /// Whether it may be a matter of time on a busy machine: nothing that concerns data is.
    pub(super) fn may_be_chance(&self) -> bool {
        let is_of_data = |line: &String| OF_DATA.iter().any(|word| line.contains(word));
        !self.words.iter().any(is_of_data)
    }
}

/// Passes output on, and reads in it.
pub(super) struct Reader<W> {
    to: W,
    line: Vec<u8>,
    is_in_failure: bool,
    failures: Vec<Failure>,
    closing: Option<(u64, u64)>,
}

impl<W: Write> Reader<W> {
    pub(super) fn new(to: W) -> Self {
        let (line, failures) = (Vec::new(), Vec::new());
        Self { to, line, is_in_failure: false, failures, closing: None }
    }

    /// What was read; nothing where the harness did not come to its end.
    pub(super) fn report(self) -> Option<Report> {
        let (passed, failed) = self.closing?;
        Some(Report { passed, failed, failures: self.failures })
    }

    fn read(&mut self, line: &str) {
        if let Some(test) = failed_test(line) {
            self.failures.push(Failure { test: test.to_owned(), words: Vec::new() });
            self.is_in_failure = true;
        } else if line == "failures:" {
            self.is_in_failure = false;
        } else if let Some(closing) = closing(line) {
            self.closing = Some(closing);
        } else if self.is_in_failure {
            self.keep(line);
        }
    }

    /// Keeps the words of a panic, from the line that says where it was.
    fn keep(&mut self, line: &str) {
        let Some(Failure { words, .. }) = self.failures.last_mut() else { return };
        let is_panic = line.starts_with("thread '") && line.contains(" panicked at ");
        let is_more = !words.is_empty() && !line.is_empty() && !line.starts_with("note: ");
        if (is_panic || is_more) && words.len() < LINES_OF_A_FAILURE {
            words.push(line.chars().take(LETTERS_OF_A_LINE).collect());
        }
    }
}

impl<W: Write> Write for Reader<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        for &byte in &bytes[..written] {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            self.read(String::from_utf8_lossy(&line).trim_end());
        }
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// `---- module::test stdout ----`
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// `test result: ok. 12 passed; 0 failed; …`: both counts.
fn closing(line: &str) -> Option<(u64, u64)> {
    let counts = line.strip_prefix("test result: ")?;
    let count = |what: &str| {
        let words: Vec<_> = counts.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
        let at = words.iter().position(|word| *word == what)?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    };
    Some((count("passed")?, count("failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(output: &str) -> Option<Report> {
        let mut reader = Reader::new(Vec::new());
        reader.write_all(output.as_bytes()).unwrap();
        assert_eq!(reader.to, output.as_bytes());
        reader.report()
    }

    #[test]
    fn counts_are_read_and_without_them_there_is_no_report() {
        let counted = report("running 2 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored\n");
        assert_eq!(counted, Some(Report { passed: 2, failed: 0, failures: Vec::new() }));
        assert_eq!(report("running 2 tests\n"), None);
    }

    #[test]
    fn a_failure_says_where_and_why() {
        let report = report(
            "failures:\n\n---- wait::soon stdout ----\n$ merge-ctl wait\n\n\
             thread 'wait::soon' (7) panicked at tests/vm/wait.rs:9:5:\ntoo late\n  left: 2\n\
             note: run with RUST_BACKTRACE=1\n\n---- lvm::whole stdout ----\n\n\
             thread 'lvm::whole' panicked at x.rs:1:1:\nthe origin differs from the snapshot\n\n\
             failures:\n    wait::soon\n    lvm::whole\n\n\
             test result: FAILED. 1 passed; 2 failed; 0 ignored\n",
        )
        .unwrap();
        let [soon, whole] = &report.failures[..] else { panic!("{report:?}") };
        assert_eq!(soon.test, "wait::soon");
        assert_eq!(
            soon.words,
            ["thread 'wait::soon' (7) panicked at tests/vm/wait.rs:9:5:", "too late", "  left: 2"]
        );
        assert!(soon.may_be_chance());
        assert_eq!(whole.test, "lvm::whole");
        assert!(!whole.may_be_chance());
    }
}
