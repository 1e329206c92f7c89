//! Lines that fit a terminal: broken between words, never between a figure and its unit, and going
//! on under their own words where a label or a dash leads.

use crate::human;

/// A label in front of a line is no wider than this.
const WIDEST_LABEL: usize = 24;

/// The text with no line longer than `columns`, as far as its words are not.
pub fn fold(text: &str, columns: usize) -> String {
    let mut folded = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        fold_line(&mut folded, line, columns);
        folded.push_str(end);
    }
    folded
}

fn fold_line(text: &mut String, line: &str, columns: usize) {
    let hang = hang_of(line);
    if line.chars().count() <= columns || hang >= columns {
        text.push_str(line);
        return;
    }
    let lead = line.char_indices().nth(hang).map_or(line.len(), |(at, _)| at);
    let (lead, words) = line.split_at(lead);
    text.push_str(lead);
    let mut at = hang;
    for word in human::words(words) {
        let length = word.chars().count();
        if at > hang && at + 1 + length > columns {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', hang));
            at = hang;
        }
        if at > hang {
            text.push(' ');
            at += 1;
        }
        text.push_str(&word);
        at += length;
    }
    // A question keeps the blank before its answer.
    text.extend(words.ends_with(' ').then_some(' '));
}

/// Where the words of a line begin: behind its blanks, a dash, or a label and a gap.
fn hang_of(line: &str) -> usize {
    let blanks = line.chars().take_while(|it| *it == ' ').count();
    let rest = &line[blanks..];
    if rest.starts_with("* ") {
        return blanks + 2;
    }
    let Some(gap) = rest.find("  ").filter(|gap| *gap <= WIDEST_LABEL) else { return blanks };
    let gap_blanks = rest[gap..].chars().take_while(|it| *it == ' ').count();
    blanks + rest[..gap].chars().count() + gap_blanks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_keep_their_figures_whole() {
        assert_eq!(fold("it took 24 ms, all of it\n", 10), "it took\n24 ms, all\nof it\n");
        assert_eq!(fold("short", 10), "short");
        assert_eq!(fold("unbreakable one", 5), "unbreakable\none");
        assert_eq!(fold("Merge them all? [y/N] ", 12), "Merge them\nall? [y/N] ");
    }

    #[test]
    fn they_go_on_under_their_words() {
        assert_eq!(fold("  why    one two three", 16), "  why    one two\n         three");
        assert_eq!(fold("* one two three", 9), "* one two\n  three");
        assert_eq!(fold("    one two", 8), "    one\n    two");
    }

    #[test]
    fn what_is_narrower_than_its_label_stays_as_it_is() {
        assert_eq!(fold("label    one two", 8), "label    one two");
        assert_eq!(fold("", 0), "");
    }
}
