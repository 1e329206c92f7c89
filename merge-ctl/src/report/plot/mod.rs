//! The pictures of a report, as SVG.
//!
//! What always holds: a picture is whole by itself, names nothing outside of itself, has a title and a
//! description, and no text that somebody else chose. Each is drawn for a wide page and for a narrow one.

mod axis;
mod hue;

use std::io;

use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::prelude::*;

pub(super) use axis::Measure;
use axis::{Axis, Tick};
pub(super) use hue::Hue;

/// A picture.
#[derive(Clone, Debug)]
pub(super) enum Plot {
    /// Figures over time.
    Lines(Lines),
    /// Parts of a whole over time.
    Shares(Shares),
    /// Parts of a whole side by side.
    Bars(Bars),
    /// Cells in rows, from the left to the right and from the top to the bottom.
    Map(Vec<Hue>),
}

/// Figures over time.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    /// How long the time is, in seconds.
    pub(super) seconds: f64,
    /// When something stood still, in seconds.
    pub(super) stalls: Vec<(f64, f64)>,
    /// What is measured.
    pub(super) measure: Measure,
    /// The lines.
    pub(super) lines: Vec<Line>,
}

/// One of the lines: each stretch of it is one without a gap.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// What it is called.
    pub(super) name: &'static str,
    /// Its colour.
    pub(super) hue: Hue,
    /// Its points by time.
    pub(super) stretches: Vec<Vec<Point>>,
}

/// A point of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// When, in seconds.
    pub(super) at: f64,
    /// How much.
    pub(super) value: f64,
    /// The smallest in its time.
    pub(super) least: f64,
    /// The largest.
    pub(super) most: f64,
}

/// Parts of a whole over time.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    /// How long the time is, in seconds.
    pub(super) seconds: f64,
    /// How long a bin is, in seconds.
    pub(super) width: f64,
    /// What the parts are called, from the bottom to the top.
    pub(super) names: Vec<(&'static str, Hue)>,
    /// When a bin begins, in seconds, and the parts from 0 to 1.
    pub(super) bins: Vec<(f64, Vec<f64>)>,
}

/// Parts of wholes side by side: some for each label.
#[derive(Clone, Debug)]
pub(super) struct Bars {
    /// What the bars of a label are called.
    pub(super) names: Vec<(&'static str, Hue)>,
    /// Each label and its bars, from 0 to 1.
    pub(super) groups: Vec<(String, Vec<f64>)>,
}

/// For which page a picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// For a desk, and for paper.
    Wide,
    /// For a phone.
    Narrow,
}

impl Shape {
    const fn size(self, plot: &Plot) -> (u32, u32) {
        match (self, plot) {
            (Self::Wide, Plot::Map(_)) => (920, 104),
            (Self::Narrow, Plot::Map(_)) => (360, 150),
            (Self::Wide, _) => (920, 280),
            (Self::Narrow, _) => (360, 240),
        }
    }

    const fn time_labels(self) -> usize {
        match self {
            Self::Wide => 8,
            Self::Narrow => 4,
        }
    }

    /// In the measure of the library, which is a fifth more than that of the picture.
    const fn font_px(self) -> u32 {
        match self {
            Self::Wide => 16,
            Self::Narrow => 15,
        }
    }

    /// How many columns a map of so many cells has.
    fn columns(self, cells: usize) -> usize {
        let rows = if self == Self::Wide { 6 } else { 12 };
        cells.div_ceil(rows).max(1)
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;
type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

impl Plot {
    /// What the colours stand for.
    pub(super) fn legend(&self) -> Vec<(&'static str, Hue)> {
        match self {
            Self::Lines(lines) => lines.legend(),
            Self::Shares(shares) => shares.names.iter().rev().copied().collect(),
            Self::Bars(bars) => bars.names.clone(),
            Self::Map(_) => vec![
                ("merged", Hue::Copy),
                ("partly merged", Hue::Partly),
                ("still to merge", Hue::Flush),
                ("nothing to merge", Hue::Untouched),
            ],
        }
    }

    /// The elements of the picture, without those around them, and its size.
    ///
    /// # Errors
    /// Where it cannot be drawn, which no figure should bring about.
    pub(super) fn draw(&self, shape: Shape) -> io::Result<(String, (u32, u32))> {
        let size = shape.size(self);
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let drawn = match self {
            Self::Lines(lines) => lines.draw(&area, shape),
            Self::Shares(shares) => shares.draw(&area, shape),
            Self::Bars(bars) => bars.draw(&area, shape),
            Self::Map(cells) => map(cells, &area, shape, size),
        };
        drawn.and_then(|()| area.present()).map_err(io::Error::other)?;
        drop(area);
        Ok((inside(&svg).to_owned(), size))
    }
}

/// What stands between the first tag and the last.
fn inside(svg: &str) -> &str {
    let begins = svg.find('>').map_or(0, |at| at + 1);
    let ends = svg.rfind("</svg>").unwrap_or(svg.len());
    svg.get(begins..ends).unwrap_or_default().trim()
}

/// Draws the axes, and gives what to draw in.
fn chart<'a, 'b>(
    area: &'a Area<'b>,
    shape: Shape,
    (along, upwards): (Axis, Axis),
) -> Result<Chart<'a, 'b>, DrawingAreaErrorKind<io::Error>> {
    let mut chart = ChartBuilder::on(area)
        .margin_top(10)
        .margin_right(18)
        .x_label_area_size(24)
        .y_label_area_size(76)
        .build_cartesian_2d(along, upwards)?;
    let font = ("sans-serif", shape.font_px()).into_font().color(&Hue::Ink.on_paper());
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(Hue::Grid.on_paper())
        .axis_style(Hue::Axis.on_paper())
        .label_style(font)
        .draw()?;
    Ok(chart)
}

/// The axis of so many seconds.
fn time(seconds: f64, shape: Shape) -> Axis {
    Axis { range: 0.0..seconds, ticks: axis::of_time(seconds, shape.time_labels()) }
}

impl Lines {
    fn legend(&self) -> Vec<(&'static str, Hue)> {
        let mut legend: Vec<_> = self.lines.iter().map(|line| (line.name, line.hue)).collect();
        if !self.stalls.is_empty() {
            legend.push(("stalled", Hue::Stall));
        }
        legend
    }

    /// The smallest and the largest value.
    fn ends(&self) -> (f64, f64) {
        let points = || self.lines.iter().flat_map(|line| line.stretches.iter().flatten());
        let least = points().map(|point| point.least).fold(f64::INFINITY, f64::min);
        let most = points().map(|point| point.most).fold(0.0, f64::max);
        (least.min(most), most)
    }

    fn draw(&self, area: &Area<'_>, shape: Shape) -> Drawn {
        let (least, most) = self.ends();
        let (low, high, ticks) = self.measure.axis(least, most);
        let mut chart =
            chart(area, shape, (time(self.seconds, shape), Axis { range: low..high, ticks }))?;
        let stalls = self.stalls.iter().map(|(from, to)| {
            Rectangle::new([(*from, low), (*to, high)], Hue::Stall.on_paper().filled())
        });
        chart.draw_series(stalls)?;
        let place = |value: f64| self.measure.place(value).clamp(low, high);
        for line in &self.lines {
            let colour = line.hue.on_paper();
            for points in &line.stretches {
                if points.iter().any(|point| point.least < point.most) {
                    let above = points.iter().map(|point| (point.at, place(point.most)));
                    let below = points.iter().rev().map(|point| (point.at, place(point.least)));
                    let band: Vec<_> = above.chain(below).collect();
                    chart.draw_series([Polygon::new(band, colour.mix(0.22))])?;
                }
                let means = points.iter().map(|point| (point.at, place(point.value)));
                match points.as_slice() {
                    [one] => {
                        let at = (one.at, place(one.value));
                        chart.draw_series([Circle::new(at, 2, colour.filled())])?;
                    }
                    _ => drop(chart.draw_series(LineSeries::new(means, colour.stroke_width(2)))?),
                }
            }
        }
        Ok(())
    }
}

impl Shares {
    fn draw(&self, area: &Area<'_>, shape: Shape) -> Drawn {
        let (low, high, ticks) = Measure::Percent.axis(0.0, 100.0);
        let mut chart =
            chart(area, shape, (time(self.seconds, shape), Axis { range: low..high, ticks }))?;
        for (place, (_, hue)) in self.names.iter().enumerate() {
            for stretch in self.stretches() {
                let (mut above, mut below) = (Vec::new(), Vec::new());
                for (from, parts) in stretch {
                    let under: f64 = parts.iter().take(place).sum();
                    let over = under + parts.get(place).copied().unwrap_or(0.0);
                    for at in [*from, from + self.width] {
                        let at = at.min(self.seconds);
                        above.push((at, (over * 100.0).min(high)));
                        below.push((at, (under * 100.0).min(high)));
                    }
                }
                if above.iter().zip(&below).all(|(above, below)| above.1 <= below.1) {
                    continue;
                }
                above.extend(below.into_iter().rev());
                chart.draw_series([Polygon::new(above, hue.on_paper())])?;
            }
        }
        Ok(())
    }

    /// The bins that follow each other without a gap.
    fn stretches(&self) -> impl Iterator<Item = &[(f64, Vec<f64>)]> {
        self.bins.chunk_by(|one, next| next.0 - one.0 < self.width * 1.5)
    }
}

impl Bars {
    fn draw(&self, area: &Area<'_>, shape: Shape) -> Drawn {
        let (low, high, ticks) = Measure::Percent.axis(0.0, 100.0);
        let width = self.groups.len().max(1) as f64;
        let middles: Vec<Tick> = (0..)
            .zip(&self.groups)
            .map(|(place, (label, _)): (u32, _)| (f64::from(place) + 0.5, label.clone()))
            .collect();
        let every = if shape == Shape::Narrow { self.groups.len().div_ceil(6).max(1) } else { 1 };
        let along = Axis { range: 0.0..width, ticks: middles.into_iter().step_by(every).collect() };
        let mut chart = chart(area, shape, (along, Axis { range: low..high, ticks }))?;
        let thick = 0.8 / self.names.len().max(1) as f64;
        for (place, (_, hue)) in self.names.iter().enumerate() {
            let bars = (0_u32..).zip(&self.groups).filter_map(|(group, (_, parts))| {
                let part = parts.get(place).copied().filter(|part| *part > 0.0)?;
                let from = f64::from(group) + 0.1 + place as f64 * thick;
                let corners = [(from, 0.0), (from + thick * 0.92, (part * 100.0).min(100.0))];
                Some(Rectangle::new(corners, hue.on_paper().filled()))
            });
            chart.draw_series(bars)?;
        }
        Ok(())
    }
}

fn map(cells: &[Hue], area: &Area<'_>, shape: Shape, (width, height): (u32, u32)) -> Drawn {
    let columns = shape.columns(cells.len());
    let rows = cells.len().div_ceil(columns).max(1);
    // Pictures are small: both fit.
    let edge = |place: usize, of: usize, length: u32| (place * length as usize / of) as i32;
    for (row, cells) in cells.chunks(columns).enumerate() {
        let (top, bottom) = (edge(row, rows, height), edge(row + 1, rows, height) - 2);
        let mut place = 0;
        // Neighbours of the same kind are one.
        for same in cells.chunk_by(PartialEq::eq) {
            let (from, to) =
                (edge(place, columns, width), edge(place + same.len(), columns, width));
            place += same.len();
            let colour = same[0].on_paper().filled();
            area.draw(&Rectangle::new([(from, top), (to, bottom)], colour))?;
        }
    }
    Ok(())
}
