//! The few words of roff that the pages are made of.

/// The longest line of the source, unless a word is longer.
const LINE: usize = 76;

/// Text as roff takes it: nothing in it is a request, and what is to be copied stays ASCII.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '`' => out.push_str("\\(ga"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            '…' => out.push_str("..."),
            '◀' => out.push_str("<\\-"),
            other => out.push(other),
        }
    }
    out
}

/// A page while it is written.
#[derive(Default)]
pub(crate) struct Roff(String);

impl Roff {
    /// Begins a page.
    pub(crate) fn title(&mut self, title: &str, date: &str, source: &str) {
        let title = title.to_uppercase();
        self.line(&format!(".TH {title} 8 {date} \"{source}\" \"System Administration\""));
        // Words are neither divided nor spread over the line: these are commands and paths.
        self.line(".nh");
        self.line(".ad l");
    }

    pub(crate) fn section(&mut self, name: &str) {
        self.line(&format!(".SH {name}"));
    }

    /// Paragraphs, with empty lines between them.
    pub(crate) fn paragraphs(&mut self, text: &str) {
        for (number, paragraph) in text.split("\n\n").enumerate() {
            if number > 0 {
                self.line(".PP");
            }
            self.words(paragraph);
        }
    }

    /// A term and what it means; further paragraphs are indented as the first.
    pub(crate) fn term(&mut self, term: &str, indent: u8, text: &str) {
        self.line(&format!(".TP {indent}"));
        self.line(term);
        for (number, paragraph) in text.split("\n\n").enumerate() {
            if number > 0 {
                self.line(&format!(".IP \"\" {indent}"));
            }
            self.words(paragraph);
        }
    }

    /// Lines as they are.
    pub(crate) fn literal(&mut self, lines: &str) {
        self.line(".RS 4");
        self.line(".nf");
        for line in lines.lines() {
            self.line(&guarded(&format!("\\fB{}\\fR", escaped(line))));
        }
        self.line(".fi");
        self.line(".RE");
    }

    /// A line of roff.
    pub(crate) fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    pub(crate) fn done(self) -> String {
        self.0
    }

    /// A paragraph, in lines as short as those who read the source like them.
    fn words(&mut self, paragraph: &str) {
        let mut line = String::new();
        for word in paragraph.split_whitespace().map(escaped) {
            if !line.is_empty() && line.len() + 1 + word.len() > LINE {
                self.line(&guarded(&line));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
        self.line(&guarded(&line));
    }
}

/// In bold.
pub(crate) fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escaped(text))
}

/// In italics, or underlined.
pub(crate) fn italic(text: &str) -> String {
    format!("\\fI{}\\fR", escaped(text))
}

/// A line that begins with a dot is a request.
fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_a_request() {
        let mut roff = Roff::default();
        roff.paragraphs(".so /etc/passwd\n'x \\n --yes");
        assert_eq!(roff.done(), "\\&.so /etc/passwd \\(aqx \\en \\-\\-yes\n");
    }
}
