//! A page as text: OpenMetrics 1.0, or the older format of Prometheus that node_exporter's text files
//! have to be in.
//!
//! The two differ in what the head of a family says and in the last line. Nothing that a label says can
//! end it: a backslash, a quotation mark and a newline are escaped, and everything else may stand there.

use std::fmt::Write as _;

use super::family::{Family, Kind};
use super::page::{Histogram, Page, Point, Value};

/// Which text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format of Prometheus, 0.0.4.
    Prometheus,
}

impl Format {
    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The whole text.
pub fn write(page: &Page, format: Format) -> String {
    let mut text = String::new();
    for filled in page.families() {
        head(&mut text, filled.family, format);
        for point in &filled.points {
            write_point(&mut text, filled.family, point);
        }
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn head(text: &mut String, family: &Family, format: Format) {
    let (name, kind) = match (format, family.kind) {
        (Format::OpenMetrics, kind) => (family.name.to_owned(), kind.name()),
        // There is no such type there.
        (Format::Prometheus, Kind::Info) => (family.sample_name(), Kind::Gauge.name()),
        (Format::Prometheus, kind) => (family.sample_name(), kind.name()),
    };
    push(text, format_args!("# TYPE {name} {kind}\n"));
    if let Some(unit) = family.unit.name().filter(|_| format == Format::OpenMetrics) {
        push(text, format_args!("# UNIT {name} {unit}\n"));
    }
    push(text, format_args!("# HELP {name} {}\n", escaped(family.help)));
}

fn write_point(text: &mut String, family: &Family, point: &Point) {
    match &point.value {
        Value::Number(number) => line(text, family, point, family.kind.suffix(), None, *number),
        Value::Histogram(histogram) => write_histogram(text, family, point, histogram),
    }
}

fn write_histogram(text: &mut String, family: &Family, point: &Point, histogram: &Histogram) {
    let mut so_far = 0_u64;
    let bounds = histogram.bounds.iter().map(|bound| Some(*bound)).chain([None]);
    for (bound, count) in bounds.zip(&histogram.counts) {
        so_far = so_far.saturating_add(*count);
        let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| format!("{bound:?}"));
        line(text, family, point, "_bucket", Some(&bound), so_far as f64);
    }
    line(text, family, point, "_sum", None, histogram.sum);
    line(text, family, point, "_count", None, so_far as f64);
}

fn line(
    text: &mut String,
    family: &Family,
    point: &Point,
    suffix: &str,
    le: Option<&str>,
    value: f64,
) {
    push(text, format_args!("{}{suffix}", family.name));
    let labels = family.labels.iter().copied().zip(point.labels.iter().map(String::as_str));
    let mut before = "{";
    for (label, value) in labels.chain(le.map(|le| ("le", le))) {
        push(text, format_args!("{before}{label}=\"{}\"", escaped(value)));
        before = ",";
    }
    if before == "," {
        text.push('}');
    }
    push(text, format_args!(" {value}\n"));
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    // A String takes everything.
    let _ = text.write_fmt(what);
}

/// Text that cannot end where it stands.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            c => escaped.push(c),
        }
    }
    escaped
}
