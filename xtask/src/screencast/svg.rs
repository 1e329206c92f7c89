//! Screens as one SVG: each row that ever stands somewhere is drawn once, a frame is a column of references
//! to rows, and a style moves the frames past a window.
//!
//! What always holds: no script, no font of its own, nothing from elsewhere. It has a ground of its own, so it
//! reads on light and dark pages; who has asked for less motion sees one frame stand.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use vt100::Color;

use super::frames::{Cell, Frame, Look};
use super::glyph::{self, HEIGHT, WIDTH};

/// Room around the screen.
const MARGIN: u32 = 10;
/// From the top of a row to the line that letters stand on.
const BASE: u32 = 13;

const GROUND: &str = "#15181e";
const INK: &str = "#d3d7de";
/// The sixteen colours of a terminal.
const PALETTE: [&str; 16] = [
    "#15181e", "#e5646e", "#6fbf73", "#d8b04c", "#5a93dd", "#b77fdb", "#45b3b8", "#a9b1bd",
    "#6c7686", "#f08a7e", "#9bdc94", "#f2d388", "#8cb8f5", "#d7a8f2", "#80dde0", "#ffffff",
];

const DESCRIPTION: &str = "merge-ctl's dashboard follows a merge: progress and time left, where the time \
    goes, runs by size, writes in flight, a map of the origin, and why it is as fast as it is.";

/// The frames, each for `step`, the last for `last`, over and over.
pub(super) fn film(frames: &[Frame], step: Duration, last: Duration) -> String {
    let (width, height) = size(&frames[0]);
    let mut rows = Rows::default();
    let columns: Vec<String> =
        (0..).zip(frames).map(|(place, frame)| rows.column(frame, place * width)).collect();
    let style = motion(frames.len(), width, step, last);
    let strip = format!("<g class=\"m\">{}</g>", columns.concat());
    document(width, height, &style, &rows.drawn, &strip)
}

/// One frame.
pub(super) fn still(frame: &Frame) -> String {
    let (width, height) = size(frame);
    let mut rows = Rows::default();
    let column = rows.column(frame, 0);
    document(width, height, "", &rows.drawn, &column)
}

fn size(frame: &Frame) -> (u32, u32) {
    let columns = frame.0.first().map_or(0, Vec::len) as u32;
    (columns * WIDTH, frame.0.len() as u32 * HEIGHT)
}

/// Moves the strip by whole frames. The middle one is where it stands for those who want no motion.
fn motion(frames: usize, width: u32, step: Duration, last: Duration) -> String {
    let whole = step * (frames as u32 - 1) + last;
    let mut steps = String::new();
    for frame in 0..frames as u32 {
        let share = (step * frame).as_secs_f64() / whole.as_secs_f64() * 100.0;
        // Writing into a String cannot fail.
        let _ = write!(steps, "{share:.3}%{{transform:translateX(-{}px)}}", frame * width);
    }
    let end = (frames as u32 - 1) * width;
    let stand = frames as u32 / 2 * width;
    format!(
        "@keyframes f{{{steps}100%{{transform:translateX(-{end}px)}}}}\
         .m{{animation:f {:.1}s step-end infinite}}\
         @media (prefers-reduced-motion:reduce){{.m{{animation:none;transform:translateX(-{stand}px)}}}}",
        whole.as_secs_f64()
    )
}

fn document(width: u32, height: u32, style: &str, rows: &str, picture: &str) -> String {
    let paints = paints();
    let (outer_width, outer_height) = (width + 2 * MARGIN, height + 2 * MARGIN);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {outer_width} {outer_height}\" \
         role=\"img\" aria-labelledby=\"t d\">\n\
         <title id=\"t\">merge-ctl, following a merge</title>\n<desc id=\"d\">{DESCRIPTION}</desc>\n\
         <style>text{{font:15px ui-monospace,\"DejaVu Sans Mono\",Menlo,Consolas,monospace;white-space:pre}}\
         {paints}{style}</style>\n\
         <defs>\n{rows}</defs>\n\
         <rect width=\"{outer_width}\" height=\"{outer_height}\" rx=\"8\" fill=\"{GROUND}\"/>\n\
         <svg x=\"{MARGIN}\" y=\"{MARGIN}\" width=\"{width}\" height=\"{height}\">{picture}</svg>\n</svg>\n"
    )
}

/// The rows drawn so far, with their numbers.
#[derive(Default)]
struct Rows {
    known: HashMap<String, usize>,
    drawn: String,
}

impl Rows {
    /// A frame at this place of the strip.
    fn column(&mut self, frame: &Frame, x: u32) -> String {
        let mut column = format!("<g transform=\"translate({x})\">");
        for (place, row) in (0..).zip(&frame.0) {
            let number = self.number(row);
            let y = place * HEIGHT;
            let _ = write!(column, "<use href=\"#r{number}\" y=\"{y}\"/>");
        }
        column + "</g>"
    }

    fn number(&mut self, row: &[Cell]) -> usize {
        let drawn = draw(row);
        let next = self.known.len();
        *self.known.entry(drawn).or_insert_with_key(|drawn| {
            let _ = writeln!(self.drawn, "<g id=\"r{next}\">{drawn}</g>");
            next
        })
    }
}

/// Neighbours that are drawn in one go.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Nothing,
    /// Letters, one look.
    Text(Look),
    /// The same block over and over.
    Block(char, Look),
    /// Lines of boxes, one colour.
    Line(Look),
}

fn kind(cell: &Cell) -> Kind {
    let c = cell.text.chars().next().unwrap_or(' ');
    if c == ' ' {
        Kind::Nothing
    } else if glyph::area(c).is_some() {
        Kind::Block(c, cell.look)
    } else if glyph::strokes(c, 0).is_some() {
        Kind::Line(cell.look)
    } else {
        Kind::Text(cell.look)
    }
}

/// A row, at 0, 0: grounds, then shapes, all of one paint in one path, then letters.
fn draw(row: &[Cell]) -> String {
    let mut shapes: Vec<(String, String)> = Vec::new();
    let mut letters = String::new();
    let mut at = 0;
    while at < row.len() {
        let kind = kind(&row[at]);
        let cells = &row[at..at + length(&row[at..], kind)];
        let x = at as u32 * WIDTH;
        match kind {
            Kind::Nothing => {}
            Kind::Text(look) => letters += &text(cells, look, x),
            Kind::Block(c, look) => {
                let (density, path) = block(c, x, cells.len() as u32);
                add(&mut shapes, paint("f", look) + &density, &path);
            }
            Kind::Line(look) => add(&mut shapes, paint("s", look), &lines(cells, x)),
        }
        at += cells.len();
    }
    let shapes = shapes.iter().map(|(paint, path)| format!("<path{paint} d=\"{path}\"/>"));
    grounds(row) + &shapes.collect::<String>() + &letters
}

fn add(shapes: &mut Vec<(String, String)>, paint: String, path: &str) {
    match shapes.iter_mut().find(|(known, _)| *known == paint) {
        Some((_, known)) => known.push_str(path),
        None => shapes.push((paint, path.to_owned())),
    }
}

/// How many places from the first on are drawn with it: of letters, single spaces between words too.
fn length(row: &[Cell], first: Kind) -> usize {
    let same = |place: usize| row.get(place).is_some_and(|cell| kind(cell) == first);
    let is_gap = |place: usize| {
        matches!(first, Kind::Text(_))
            && row.get(place).is_some_and(|cell| kind(cell) == Kind::Nothing)
            && same(place + 1)
    };
    (1..).find(|place| !same(*place) && !is_gap(*place)).unwrap_or(1)
}

/// The grounds behind the letters, where they are not the screen's.
fn grounds(row: &[Cell]) -> String {
    let mut drawn = String::new();
    let mut at = 0;
    for same in row.chunk_by(|one, other| one.look.ground == other.look.ground) {
        if same[0].look.ground != Color::Default {
            let (x, width) = (at * WIDTH, same.len() as u32 * WIDTH);
            let fill = colour(same[0].look.ground, GROUND);
            let _ = write!(drawn, "<path fill=\"{fill}\" d=\"M{x} 0h{width}v{HEIGHT}h-{width}\"/>");
        }
        at += same.len() as u32;
    }
    drawn
}

/// Letters in one look, as wide as their places whatever the font is.
fn text(cells: &[Cell], look: Look, x: u32) -> String {
    let width = cells.len() as u32 * WIDTH;
    let words: String = cells.iter().map(|cell| escaped(&cell.text)).collect();
    let paint = paint("f", look);
    format!("<text x=\"{x}\" y=\"{BASE}\" textLength=\"{width}\"{paint}>{words}</text>")
}

/// The strokes of neighbours; a long line is one of them.
fn lines(cells: &[Cell], x: u32) -> String {
    let mut path = String::new();
    let mut at = x;
    for same in cells.chunk_by(|one, other| one.text == "─" && other.text == "─") {
        let width = same.len() as u32 * WIDTH;
        match same[0].text.chars().next().and_then(|c| glyph::strokes(c, at)) {
            Some(_) if same.len() > 1 => {
                // Writing into a String cannot fail.
                let _ = write!(path, "M{at} {}h{width}", HEIGHT / 2);
            }
            Some(strokes) => path += &strokes,
            None => {}
        }
        at += width;
    }
    path
}

/// The same block so many times, how dense and where: in one piece where it is as wide as its place.
fn block(c: char, x: u32, count: u32) -> (String, String) {
    let Some(area) = glyph::area(c) else { return (String::new(), String::new()) };
    let density = match area.density {
        1.0 => String::new(),
        density => format!(" fill-opacity=\"{density}\""),
    };
    let (pieces, width) = match area.width >= WIDTH as f32 {
        true => (1, (count * WIDTH) as f32),
        false => (count, area.width),
    };
    let mut path = String::new();
    for piece in 0..pieces {
        let left = (x + piece * WIDTH) as f32 + area.x;
        // Writing into a String cannot fail.
        let _ = write!(path, "M{left} {}h{width}v{}h-{width}", area.y, area.height);
    }
    (density, path)
}

/// How it is painted, `f` filled or `s` in strokes: by a class where the colour is one of the sixteen, or the
/// default, which is what nothing else is said for.
fn paint(how: &str, look: Look) -> String {
    let (mut classes, mut attribute) = (Vec::new(), String::new());
    match look.ink {
        Color::Default if how == "f" => {}
        Color::Default => classes.push(how.to_owned()),
        Color::Idx(index @ 0..16) => classes.push(format!("{how}{index}")),
        other => {
            let name = if how == "f" { "fill" } else { "stroke" };
            attribute = format!(" {name}=\"{}\"", colour(other, INK));
        }
    }
    match (look.bold, look.dim) {
        (true, _) => classes.push("b".to_owned()),
        (false, true) => classes.push("d".to_owned()),
        (false, false) => {}
    }
    if classes.is_empty() {
        attribute
    } else {
        format!(" class=\"{}\"{attribute}", classes.join(" "))
    }
}

/// The classes of [`paint`].
fn paints() -> String {
    let mut style = format!(
        "g{{fill:{INK}}}.b{{font-weight:bold}}.d{{opacity:.62}}.s{{fill:none;stroke:{INK}}}"
    );
    for (index, colour) in PALETTE.iter().enumerate() {
        // Writing into a String cannot fail.
        let _ = write!(style, ".f{index}{{fill:{colour}}}.s{index}{{fill:none;stroke:{colour}}}");
    }
    style
}

/// A colour of the terminal; `default` where it has none of its own.
fn colour(colour: Color, default: &str) -> String {
    match colour {
        Color::Default => default.to_owned(),
        Color::Idx(index) => match PALETTE.get(usize::from(index)) {
            Some(colour) => (*colour).to_owned(),
            None => cube(index),
        },
        Color::Rgb(red, green, blue) => format!("#{red:02x}{green:02x}{blue:02x}"),
    }
}

/// The 240 colours behind the first sixteen, as xterm has them.
fn cube(index: u8) -> String {
    let level = |step: u8| if step == 0 { 0 } else { 55 + 40 * step };
    let (red, green, blue) = match index {
        232.. => {
            let grey = 8 + 10 * (index - 232);
            (grey, grey, grey)
        }
        _ => {
            let place = index.saturating_sub(16);
            (level(place / 36), level(place / 6 % 6), level(place % 6))
        }
    };
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Vec<Cell> {
        let look = Look { ink: Color::Idx(2), ground: Color::Default, bold: false, dim: false };
        text.chars().map(|c| Cell { text: c.to_string(), look }).collect()
    }

    fn two_frames() -> String {
        let frames = [Frame(vec![row("┌──┐"), row("a <b")]), Frame(vec![row("┌──┐"), row("██▌ ")])];
        film(&frames, Duration::from_secs(1), Duration::from_secs(3))
    }

    #[test]
    fn a_row_is_drawn_once_and_referred_to() {
        let svg = two_frames();
        let count = |what: &str| svg.matches(what).count();
        assert_eq!((count("<g id=\"r"), count("<use"), count("href=\"#r0\"")), (3, 4, 2), "{svg}");
        assert!(svg.contains(">a &lt;b</text>"), "{svg}");
        assert!(svg.contains("d=\"M0 0h18v18h-18M18 0h4.5v18h-4.5\""), "{svg}");
        assert!(svg.contains("M9 9h18"), "{svg}");
    }

    #[test]
    fn frames_pass_in_their_time_and_one_stands_for_who_wants_no_motion() {
        let svg = two_frames();
        for part in [
            "0.000%{transform:translateX(-0px)}25.000%{transform:translateX(-36px)}",
            "animation:f 4.0s step-end infinite",
            "prefers-reduced-motion:reduce){.m{animation:none;transform:translateX(-36px)}}",
        ] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
        assert!(!svg.contains("http") || svg.matches("http").count() == 1, "only its namespace");
    }
}
