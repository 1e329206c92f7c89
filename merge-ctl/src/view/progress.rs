//! Work done and how fast: the bar, the rates, time and runs left, and a sparkline of the rate.
//!
//! Progress is work done, in bytes of exceptions, never the fill of the COW device.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::text::{Part, figure, fit, part};
use super::theme::Theme;
use crate::human;
use crate::model::{Ahead, Model, State};
use crate::output::plain;

/// From this width on the runs left have a place of their own, and the largest of them is told.
const ROOMY: u16 = 100;
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const PARTS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

pub(super) fn draw(frame: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let width = area.width;
    let mut lines = vec![bar_line(model, width, theme)];
    let tall = area.height > 2;
    let figures = figures(model, width, theme);
    let room = usize::from(width).saturating_sub(figures.width() + 2);
    if tall {
        lines.push(figures);
        lines.extend(tall_spark(model, width, usize::from(area.height) - 2, theme));
    } else {
        lines.push(with_spark(figures, model, room, theme));
    }
    super::lines(frame, area, lines);
}

/// The bar with its figures behind it.
pub(super) fn bar_line(model: &Model, width: u16, theme: Theme) -> Line<'static> {
    let percent = format!("{:>7}", human::percent(plain::fraction(model)));
    let mut bytes = plain::merged(model);
    if !plain::was_merged_before(model) {
        bytes.push_str(" merged");
    }
    let figures = fit(
        vec![part(0, percent, theme.strong()), part(1, bytes, theme.faint())],
        width.saturating_sub(10),
        2,
    );
    let room = usize::from(width).saturating_sub(figures.width() + 1);
    let mut line = bar(plain::fraction(model), room, model.state, theme);
    line.push_span(Span::raw(" "));
    line.spans.extend(figures.spans);
    line
}

/// A bar of so many columns, filled to an eighth of a column.
pub(super) fn bar(fraction: f64, columns: usize, state: State, theme: Theme) -> Line<'static> {
    let fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
    let eighths = (fraction * columns as f64 * 8.0) as usize;
    let mut filled = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        filled.push(PARTS[eighths % 8]);
    }
    let rest = columns.saturating_sub(eighths.div_ceil(8));
    let style = match state {
        State::Failed | State::Invalid => theme.bad(),
        State::Stalled | State::Suspended => theme.warn(),
        _ => theme.good(),
    };
    Line::from(vec![Span::styled(filled, style), Span::styled("░".repeat(rest), theme.faint())])
}

/// Rates and times; where it is over, only what it took.
pub(super) fn figures(model: &Model, width: u16, theme: Theme) -> Line<'static> {
    let (faint, strong) = (theme.faint(), theme.strong());
    let mut parts: Vec<Part> = Vec::new();
    let elapsed = human::duration(model.elapsed_ns);
    if model.state.is_over() {
        parts.push(figure(0, "took", elapsed, faint, strong));
        if model.totals.runs > 0 {
            parts.push(part(1, human::counted(model.totals.runs, "run"), strong));
            parts.push(part(2, human::counted(model.totals.chunks, "chunk"), faint));
        }
        if model.progress.left_bytes > 0 {
            parts.push(figure(
                0,
                "not merged",
                human::bytes(model.progress.left_bytes),
                faint,
                theme.bad(),
            ));
        }
        return fit(parts, width, 3);
    }
    parts.push(part(0, format!("{:>11}", human::rate(model.rate.bytes_per_s)), strong));
    if let Some(runs) = model.rate.runs_per_s {
        // Where both do not fit, how many runs are left says more than how many go by.
        let rank = if model.ahead.is_some() { 5 } else { 2 };
        parts.push(part(rank, format!("{} runs/s", human::per_second(runs)), faint));
    }
    parts.push(figure(3, "elapsed", elapsed, faint, faint));
    if let Some(left) = &model.left {
        parts.push(figure(1, "left", human::left(left), faint, strong));
    }
    if let Some(ahead) = &model.ahead {
        parts.push(part(4, runs_left(ahead, width), faint));
    }
    fit(parts, width, 3)
}

/// How many runs are left, and where there is room how large the largest is: what a write of an
/// application may have to wait for.
fn runs_left(ahead: &Ahead, width: u16) -> String {
    let runs = match ahead.runs {
        1 => "one run left".to_owned(),
        runs => format!("{} runs left", human::count(runs)),
    };
    match width {
        ..ROOMY => runs,
        _ => format!("{runs}, largest {}", human::counted(ahead.largest_run_chunks, "chunk")),
    }
}

/// The sparkline in the room behind the figures.
fn with_spark(mut line: Line<'static>, model: &Model, room: usize, theme: Theme) -> Line<'static> {
    if room < 8 {
        return line;
    }
    let spark = spark_rows(model, room, 1).into_iter().next().unwrap_or_default();
    line.push_span(Span::raw("  "));
    line.push_span(Span::styled(spark, theme.spark()));
    line
}

/// The sparkline in rows of its own, with its scale before it.
fn tall_spark(model: &Model, width: u16, rows: usize, theme: Theme) -> Vec<Line<'static>> {
    const SCALE: usize = 13;
    let room = usize::from(width).saturating_sub(SCALE + 2);
    let scale = |row: usize| match row {
        0 => human::rate(highest(model, room)),
        row if row + 1 == rows => "0".to_owned(),
        _ => String::new(),
    };
    spark_rows(model, room, rows)
        .into_iter()
        .enumerate()
        .map(|(row, spark)| {
            let scale = format!("{:>SCALE$} ┤", scale(row));
            Line::from(vec![Span::styled(scale, theme.faint()), Span::styled(spark, theme.spark())])
        })
        .collect()
}

/// The seconds on screen, oldest first.
fn shown(model: &Model, columns: usize) -> impl Iterator<Item = f64> {
    let history = &model.rate.history;
    let skip = history.len().saturating_sub(columns);
    history.iter().skip(skip).map(|rate| if rate.is_finite() { rate.max(0.0) } else { 0.0 })
}

fn highest(model: &Model, columns: usize) -> f64 {
    shown(model, columns).fold(0.0, f64::max)
}

/// The rate of each second as a column of eighths, the newest at the right.
fn spark_rows(model: &Model, columns: usize, rows: usize) -> Vec<String> {
    let top = highest(model, columns);
    let pad = columns.saturating_sub(model.rate.history.len());
    let mut lines = vec![" ".repeat(pad); rows];
    for rate in shown(model, columns) {
        let height = if top > 0.0 { rate / top * (rows * 8) as f64 } else { 0.0 };
        // A second in which little moved is not one in which nothing did.
        let height = (height.round() as usize).max(usize::from(rate > 0.0));
        for (row, line) in lines.iter_mut().enumerate() {
            let below = (rows - 1 - row) * 8;
            line.push(EIGHTHS[height.saturating_sub(below).min(8)]);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture;

    #[test]
    fn the_newest_second_is_at_the_right() {
        let mut model = fixture::merging();
        model.rate.history = [1.0, 8.0, 0.0, 4.0].into();
        assert_eq!(spark_rows(&model, 6, 1), ["  ▁█ ▄"]);
        assert_eq!(spark_rows(&model, 3, 2), ["█  ", "█ █"]);
    }

    #[test]
    fn a_bar_is_as_long_as_its_room() {
        for fraction in [f64::NAN, -1.0, 0.0, 0.501, 0.999, 1.0, 7.0] {
            let line = bar(fraction, 20, State::Merging, Theme::plain());
            assert_eq!(line.width(), 20, "{fraction}");
        }
    }
}
