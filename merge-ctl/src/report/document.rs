//! What a report says, before it is written as HTML or Markdown: titles, sentences, tables and figures.
//!
//! Texts are plain. Whoever writes them makes what others chose harmless.

use super::plot::Plot;

/// A report.
#[derive(Debug)]
pub(super) struct Document {
    /// Its title.
    pub(super) title: String,
    /// What stands at the end, a sentence each.
    pub(super) colophon: Vec<String>,
    /// A chapter for each merge.
    pub(super) chapters: Vec<Chapter>,
    /// What is said of all of them.
    pub(super) sections: Vec<Section>,
}

/// What is said of one merge.
#[derive(Debug)]
pub(super) struct Chapter {
    /// Which merge.
    pub(super) title: String,
    /// Where it is, in a word.
    pub(super) state: &'static str,
    /// Why it went as it went.
    pub(super) verdict: String,
    /// The figures that matter most.
    pub(super) key_figures: Vec<(&'static str, String)>,
    /// The rest.
    pub(super) sections: Vec<Section>,
}

/// A part with a title.
#[derive(Debug)]
pub(super) struct Section {
    /// Its title.
    pub(super) title: &'static str,
    /// What is in it.
    pub(super) blocks: Vec<Block>,
}

/// A piece of a section.
#[derive(Debug)]
pub(super) enum Block {
    /// A paragraph.
    Words(String),
    /// A table by itself.
    Table(Table),
    /// A figure, with a table behind it.
    Figure(Box<Figure>),
}

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    /// What it shows.
    pub(super) caption: String,
    /// The names of the columns.
    pub(super) head: Vec<&'static str>,
    /// The rows, as long as the head.
    pub(super) rows: Vec<Vec<String>>,
    /// From which column on there are figures, which stand at the right.
    pub(super) figures_from: usize,
}

/// A picture, what it shows in words, and as a table.
#[derive(Debug)]
pub(super) struct Figure {
    /// Its title.
    pub(super) title: String,
    /// What it shows, in a sentence or two.
    pub(super) description: String,
    /// How the picture is read; empty where that is plain.
    pub(super) key: String,
    /// The picture.
    pub(super) plot: Plot,
    /// The same in figures.
    pub(super) table: Table,
}
