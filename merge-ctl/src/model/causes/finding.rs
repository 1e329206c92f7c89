//! A cause that was found, with what it was found by.

use serde::Serialize;

use super::Cause;

/// A cause that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Which.
    pub cause: Cause,
    /// The part of the time that would go away with it, from 0 to 1; none where time is not what it
    /// is about, or was not measured.
    pub share: Option<f64>,
    /// One sentence with the evidence.
    pub sentence: String,
    /// The figures behind the sentence.
    pub figures: Vec<Figure>,
    /// What can be done, most useful first.
    pub advice: Vec<String>,
}

impl Finding {
    /// A finding that time does not measure.
    pub(super) fn new(cause: Cause, sentence: impl Into<String>) -> Self {
        Self {
            cause,
            share: None,
            sentence: sentence.into(),
            figures: Vec::new(),
            advice: Vec::new(),
        }
    }

    pub(super) fn of_share(cause: Cause, share: f64, sentence: impl Into<String>) -> Self {
        Self { share: Some(share), ..Self::new(cause, sentence) }
    }

    /// With one more figure.
    pub(super) fn with(mut self, name: &'static str, value: Value) -> Self {
        self.figures.push(Figure { name, value });
        self
    }

    /// With what can be done.
    pub(super) fn advise(mut self, advice: Vec<String>) -> Self {
        self.advice = advice;
        self
    }
}

/// A figure: its name, as JSON has it, tells its unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub value: Value,
}

/// A figure's value and what it counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// From 0 to 1.
    Share(f64),
    /// Things.
    Count(u64),
    /// A mean number of things.
    Mean(f64),
    /// Nanoseconds.
    Ns(u64),
    /// Bytes.
    Bytes(u64),
    /// Bytes a second.
    BytesPerS(f64),
    /// Percent, as the kernel's knobs have it.
    Percent(u32),
    /// Words.
    Text(String),
    /// Names.
    Names(Vec<String>),
}
