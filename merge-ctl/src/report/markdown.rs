//! A report as Markdown, for tickets: sentences and tables, the figures as tables.
//!
//! What always holds: every text goes through [`escape`], so that no name makes a link, an element or a
//! row of its own.

use std::fmt::Write as _;

use super::document::{Block, Document, Section, Table};
use super::shown;

/// A text on one line of Markdown, in a paragraph or in a cell.
pub(super) fn escape(text: &str) -> String {
    let text = shown(text);
    let mut markdown = String::with_capacity(text.len());
    let mut before = ' ';
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let within = |c: char| c.is_alphanumeric();
        let follows = chars.peek().copied().is_some_and(within);
        match c {
            '<' => markdown.push_str("&lt;"),
            '>' => markdown.push_str("&gt;"),
            '&' => markdown.push_str("&amp;"),
            // Mentions people, or makes an address of what stands around it.
            '@' => markdown.push_str("&#64;"),
            ':' if chars.peek() == Some(&'/') => markdown.push_str("&#58;"),
            // Within a word it stands for itself.
            '_' if within(before) && follows => markdown.push(c),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '$' => {
                markdown.push('\\');
                markdown.push(c);
            }
            c => markdown.push(c),
        }
        before = c;
    }
    markdown
}

/// The file.
pub(super) fn write(document: &Document) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = writeln!(text, "# {}\n", escape(&document.title));
    let several = document.chapters.len() > 1;
    for chapter in &document.chapters {
        if several {
            let _ = writeln!(text, "## {}\n", escape(&chapter.title));
        }
        let _ = writeln!(text, "**{}**: {}\n", chapter.state, escape(&chapter.verdict));
        for (name, value) in &chapter.key_figures {
            let _ = writeln!(text, "* {}: {}", escape(name), escape(value));
        }
        text.push('\n');
        let level = if several { "###" } else { "##" };
        for part in &chapter.sections {
            section(&mut text, part, level);
        }
    }
    for part in &document.sections {
        section(&mut text, part, "##");
    }
    for sentence in &document.colophon {
        let _ = writeln!(text, "{}\n", escape(sentence));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn section(text: &mut String, section: &Section, level: &str) {
    let _ = writeln!(text, "{level} {}\n", escape(section.title));
    for block in &section.blocks {
        match block {
            Block::Words(words) => {
                let _ = writeln!(text, "{}\n", escape(words));
            }
            Block::Table(block) => table(text, block),
            Block::Figure(figure) => {
                let _ = writeln!(text, "{level}# {}\n", escape(&figure.title));
                let _ = writeln!(text, "{}\n", escape(&figure.description));
                rows(text, &figure.table);
            }
        }
    }
}

fn table(text: &mut String, table: &Table) {
    let _ = writeln!(text, "{}:\n", escape(table.caption.trim_end_matches('.')));
    rows(text, table);
}

fn rows(text: &mut String, table: &Table) {
    let line = |cells: &mut dyn Iterator<Item = String>| {
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    text.push_str(&line(&mut table.head.iter().map(|name| escape(name))));
    let rule = |place| if place >= table.figures_from { "---:" } else { "---" };
    text.push_str(&line(&mut (0..table.head.len()).map(|place| rule(place).to_owned())));
    for row in &table.rows {
        let cell = |cell: &String| cell.split('\n').map(escape).collect::<Vec<_>>().join("<br>");
        text.push_str(&line(&mut row.iter().map(cell)));
    }
    text.push('\n');
}
