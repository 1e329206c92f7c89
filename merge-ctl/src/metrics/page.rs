//! The points of all families at one instant.

use super::family::{Family, Kind};
use super::list;

/// All that is told at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// When, in seconds since 1970, UTC.
    pub unix_s: f64,
    /// The families that have points.
    families: Vec<Filled>,
}

/// A family with its points.
#[derive(Clone, Debug, PartialEq)]
pub struct Filled {
    /// The family.
    pub family: &'static Family,
    /// Its points, in the order in which they came.
    pub points: Vec<Point>,
}

/// One point of a family.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The values of the family's labels, in their order.
    pub labels: Vec<String>,
    /// What is told.
    pub value: Value,
    /// Since when a counter or a histogram counts, in seconds since 1970, UTC.
    pub since_unix_s: f64,
}

/// What a point tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One number.
    Number(f64),
    /// A histogram.
    Histogram(Histogram),
}

/// How many fell into which range.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// The highest value of each range but the last, which has no end.
    pub bounds: Vec<f64>,
    /// How many are in each range, not summed up: one more than there are bounds.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: f64,
}

impl Histogram {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().copied().fold(0, u64::saturating_add)
    }
}

impl Page {
    /// Nothing yet.
    pub const fn new(unix_s: f64) -> Self {
        Self { unix_s, families: Vec::new() }
    }

    /// The families that have points, in the order of the list.
    pub fn families(&self) -> Vec<&Filled> {
        let place =
            |filled: &&Filled| list::ALL.iter().position(|it| it.name == filled.family.name);
        let mut families: Vec<&Filled> = self.families.iter().collect();
        families.sort_by_key(place);
        families
    }

    /// Tells a figure. One that is no number is left out.
    pub(super) fn put(&mut self, family: &'static Family, labels: &[&str], value: f64) {
        if value.is_finite() {
            self.push(family, labels, Value::Number(value), self.unix_s);
        }
    }

    /// Tells a figure, where it is known.
    pub(super) fn put_known(
        &mut self,
        family: &'static Family,
        labels: &[&str],
        value: Option<f64>,
    ) {
        if let Some(value) = value {
            self.put(family, labels, value);
        }
    }

    /// Tells what has been counted since a time.
    pub(super) fn count(
        &mut self,
        family: &'static Family,
        labels: &[&str],
        value: f64,
        since_unix_s: f64,
    ) {
        debug_assert_eq!(family.kind, Kind::Counter);
        if value.is_finite() {
            self.push(family, labels, Value::Number(value), since_unix_s);
        }
    }

    /// Tells a histogram of what was counted since a time.
    pub(super) fn histogram(
        &mut self,
        family: &'static Family,
        labels: &[&str],
        histogram: Histogram,
        since_unix_s: f64,
    ) {
        debug_assert_eq!(histogram.counts.len(), histogram.bounds.len() + 1);
        self.push(family, labels, Value::Histogram(histogram), since_unix_s);
    }

    fn push(&mut self, family: &'static Family, labels: &[&str], value: Value, since_unix_s: f64) {
        debug_assert_eq!(family.labels.len(), labels.len(), "{}", family.name);
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let point = Point { labels, value, since_unix_s };
        match self.families.iter_mut().find(|filled| filled.family.name == family.name) {
            Some(filled) => filled.points.push(point),
            None => self.families.push(Filled { family, points: vec![point] }),
        }
    }
}
