//! What a family of metrics is.

/// A family: points of one meaning, told apart by labels.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, without the suffixes that the formats add (`_total`, `_info`, `_bucket`).
    pub name: &'static str,
    /// What its points are.
    pub kind: Kind,
    /// What they are counted in; the name ends in it.
    pub unit: Unit,
    /// The labels that every point has, in this order.
    pub labels: &'static [&'static str],
    /// What it means, in a sentence.
    pub help: &'static str,
}

/// What a family's points are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A figure that goes up and down.
    Gauge,
    /// A figure that only grows.
    Counter,
    /// How many fell into which range.
    Histogram,
    /// Always 1: the labels are what is told.
    Info,
}

/// What points are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain number.
    None,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

impl Family {
    /// The name of its samples, but for a histogram's, which have more than one.
    pub fn sample_name(&self) -> String {
        format!("{}{}", self.name, self.kind.suffix())
    }
}

impl Kind {
    /// The type's word, as in OpenMetrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }

    /// What the name of a sample has behind that of the family.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Gauge | Self::Histogram => "",
            Self::Counter => "_total",
            Self::Info => "_info",
        }
    }
}

impl Unit {
    /// The unit's word at the end of a name; none of a plain number.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Bytes => Some("bytes"),
            Self::Seconds => Some("seconds"),
        }
    }

    /// The unit as UCUM has it, which OpenTelemetry takes.
    pub const fn ucum(self) -> &'static str {
        match self {
            Self::None => "1",
            Self::Bytes => "By",
            Self::Seconds => "s",
        }
    }
}
