//! A report as one HTML file, which needs nothing outside of itself and no script.
//!
//! What always holds: every text goes through [`escape`]; the page forbids itself every request; each
//! picture has a title, a description and a table.

use std::fmt::Write as _;
use std::io;

use super::document::{Block, Chapter, Document, Figure, Section, Table};
use super::plot::{Hue, Shape};
use super::shown;

const STYLE: &str = include_str!("style.css");

/// A text as HTML, in an element or an attribute.
pub(super) fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in shown(text).chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

/// The file.
///
/// # Errors
/// Where a picture cannot be drawn.
pub(super) fn write(document: &Document) -> io::Result<String> {
    let mut page = Page { html: String::new(), pictures: 0 };
    page.head(&document.title);
    page.add("<body>\n<main>\n");
    let several = document.chapters.len() != 1;
    if several {
        page.element("h1", "", &document.title);
    }
    for chapter in &document.chapters {
        page.chapter(chapter, if several { 2 } else { 1 })?;
    }
    for section in &document.sections {
        page.section(section, 2)?;
    }
    page.add("</main>\n<footer>\n");
    for sentence in &document.colophon {
        page.element("p", "", sentence);
    }
    page.add("</footer>\n</body>\n</html>\n");
    Ok(page.html)
}

struct Page {
    html: String,
    /// How many pictures there are, to tell them apart.
    pictures: usize,
}

impl Page {
    fn add(&mut self, html: &str) {
        self.html.push_str(html);
    }

    fn element(&mut self, tag: &str, attributes: &str, text: &str) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.html, "<{tag}{attributes}>{}</{tag}>", escape(text));
    }

    fn head(&mut self, title: &str) {
        self.add("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        self.add("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        self.add("<meta name=\"color-scheme\" content=\"light dark\">\n");
        self.add(
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
             'unsafe-inline'; img-src data:\">\n<link rel=\"icon\" href=\"data:,\">\n",
        );
        self.element("title", "", title);
        self.add("<style>\n:root{");
        self.add(&Hue::variables(false));
        self.add("}\n@media screen and (prefers-color-scheme:dark){:root{");
        self.add(&Hue::variables(true));
        self.add("}}\n");
        self.add(&Hue::rules());
        self.add(STYLE);
        self.add("</style>\n</head>\n");
    }

    fn chapter(&mut self, chapter: &Chapter, level: usize) -> io::Result<()> {
        self.add("<article>\n<header>\n<p class=\"kind\">Report of a merge</p>\n");
        self.element(&format!("h{level}"), "", &chapter.title);
        self.element("p", " class=\"verdict\"", &chapter.verdict);
        self.add("<dl class=\"key\">\n");
        for (name, value) in &chapter.key_figures {
            self.add("<div>");
            self.element("dt", "", name);
            self.element("dd", "", value);
            self.add("</div>\n");
        }
        self.add("</dl>\n</header>\n");
        for section in &chapter.sections {
            self.section(section, level + 1)?;
        }
        self.add("</article>\n");
        Ok(())
    }

    fn section(&mut self, section: &Section, level: usize) -> io::Result<()> {
        self.add("<section>\n");
        self.element(&format!("h{level}"), "", section.title);
        for block in &section.blocks {
            match block {
                Block::Words(words) => self.element("p", "", words),
                Block::Table(table) => self.table(table),
                Block::Figure(figure) => self.figure(figure)?,
            }
        }
        self.add("</section>\n");
        Ok(())
    }

    fn figure(&mut self, figure: &Figure) -> io::Result<()> {
        self.add("<figure>\n");
        let description = format!("{} {}", figure.description, figure.key);
        let description = escape(description.trim_end());
        let _ = writeln!(
            self.html,
            "<figcaption><strong>{}</strong> {}</figcaption>",
            escape(&figure.title),
            description
        );
        self.add("<ul class=\"legend\" aria-hidden=\"true\">");
        for (name, hue) in figure.plot.legend() {
            let _ =
                write!(self.html, "<li><i class=\"key-{}\"></i>{}</li>", hue.name(), escape(name));
        }
        self.add("</ul>\n");
        for (shape, class) in [(Shape::Wide, "wide"), (Shape::Narrow, "narrow")] {
            let (elements, (width, height)) = figure.plot.draw(shape)?;
            self.pictures += 1;
            let number = self.pictures;
            let _ = writeln!(
                self.html,
                "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
                 aria-labelledby=\"t{number} d{number}\">\n<title id=\"t{number}\">{}</title>\n<desc \
                 id=\"d{number}\">{}</desc>\n{elements}\n</svg>",
                escape(&figure.title),
                description
            );
        }
        self.add("<details>\n<summary>The same as a table</summary>\n");
        self.table(&figure.table);
        self.add("</details>\n</figure>\n");
        Ok(())
    }

    fn table(&mut self, table: &Table) {
        // A table of words is a list on a phone; one of figures can be pushed aside.
        let of_words = table.figures_from >= table.head.len() && table.head.len() > 2;
        let class = if of_words { " class=\"stack\"" } else { "" };
        self.add("<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Table\">\n");
        // Writing into a String cannot fail.
        let _ = writeln!(self.html, "<table{class}>");
        self.element("caption", "", &table.caption);
        self.add("<thead><tr>");
        for (place, name) in table.head.iter().enumerate() {
            let class = if place >= table.figures_from { " class=\"n\"" } else { "" };
            self.element("th", &format!(" scope=\"col\"{class}"), name);
        }
        self.add("</tr></thead>\n<tbody>\n");
        for row in &table.rows {
            self.add("<tr>");
            for (place, cell) in row.iter().enumerate() {
                let class = if place >= table.figures_from { " class=\"n\"" } else { "" };
                let label = table.head.get(place).filter(|_| of_words);
                self.cell(place == 0, class, label.copied(), cell);
            }
            self.add("</tr>\n");
        }
        self.add("</tbody>\n</table>\n</div>\n");
    }

    fn cell(&mut self, heads_row: bool, class: &str, label: Option<&str>, text: &str) {
        if label.is_some() && text.is_empty() {
            return self.add("<td></td>");
        }
        let label =
            label.map_or_else(String::new, |name| format!(" data-label=\"{}\"", escape(name)));
        let (tag, scope) = if heads_row { ("th", " scope=\"row\"") } else { ("td", "") };
        let lines: Vec<_> = text.split('\n').map(escape).collect();
        let html = match lines.as_slice() {
            [line] => line.clone(),
            lines => format!("<ol><li>{}</li></ol>", lines.join("</li><li>")),
        };
        let _ = write!(self.html, "<{tag}{scope}{class}{label}>{html}</{tag}>");
    }
}
