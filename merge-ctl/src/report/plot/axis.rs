//! Where an axis has its lines, and what stands at them.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::human;

/// A place on an axis and its label.
pub(super) type Tick = (f64, String);

/// An axis with its lines where it was told to have them.
pub(super) struct Axis {
    /// From where to where.
    pub(super) range: Range<f64>,
    /// Its lines.
    pub(super) ticks: Vec<Tick>,
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let part = (value - self.range.start) / (self.range.end - self.range.start);
        // What is no number becomes 0, and what is too large the largest there is.
        (f64::from(from) + f64::from(to - from) * part).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.iter().map(|(at, _)| *at).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    #[expect(clippy::float_cmp, reason = "it is asked about the very values that it gave")]
    fn format_ext(&self, value: &f64) -> String {
        let tick = self.ticks.iter().find(|(at, _)| at == value);
        tick.map_or_else(String::new, |(_, label)| label.clone())
    }
}

/// What the vertical axis measures. Values of wide spread stand on it by their order of magnitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Measure {
    /// From 0 to 100.
    Percent,
    /// Bytes a second.
    BytesPerS,
    /// The same by powers of two, where some are a small part of others. Nothing stands at the bottom.
    BytesPerSWide,
    /// Chunks, by powers of two.
    Chunks,
    /// Nanoseconds, by powers of ten.
    Ns,
}

impl Measure {
    /// Where a value stands on the axis.
    pub(super) fn place(self, value: f64) -> f64 {
        match self {
            Self::Percent | Self::BytesPerS => value,
            Self::Chunks | Self::BytesPerSWide => value.max(1.0).log2(),
            Self::Ns => value.max(1.0).log10(),
        }
    }

    /// The ends of the axis and its lines, for values between these.
    pub(super) fn axis(self, least: f64, most: f64) -> (f64, f64, Vec<Tick>) {
        match self {
            Self::Percent => {
                let label = |percent: u32| (f64::from(percent), format!("{percent} %"));
                (0.0, 100.0, [0, 25, 50, 75, 100].map(label).into())
            }
            Self::BytesPerS => {
                let most = most.max(1.0);
                let (step, label) = bytes_step(most);
                let top = (most / step).ceil() * step;
                (0.0, top, every(step, top, label))
            }
            Self::BytesPerSWide => {
                let label = |power: i32| format!("{}/s", human::io_size(2_f64.powi(power) as u64));
                let high = self.place(most);
                magnitudes((high - OCTAVES).max(0.0), high, label)
            }
            Self::Chunks => {
                let label = |power: i32| human::count_short(2_f64.powi(power) as u64);
                magnitudes(self.place(least), self.place(most), label)
            }
            Self::Ns => {
                let label = |power: i32| human::duration(10_f64.powi(power) as u64);
                magnitudes(self.place(least), self.place(most), |power| short(&label(power)))
            }
        }
    }
}

/// How far down an axis of wide spread reaches, in powers of two: to less than a ten-thousandth.
const OCTAVES: f64 = 14.0;

/// `1.0 ms` is `1 ms`.
fn short(text: &str) -> String {
    text.replace(".0 ", " ")
}

/// A step that divides so many bytes a second into a few parts, and what its multiples are called.
fn bytes_step(most: f64) -> (f64, impl Fn(f64) -> String) {
    const UNITS: [&str; 7] = ["B/s", "KiB/s", "MiB/s", "GiB/s", "TiB/s", "PiB/s", "EiB/s"];
    let power = ((most.log2() / 10.0).floor() as usize).min(UNITS.len() - 1);
    let unit = 1024_f64.powi(power as i32);
    let step = round_step(most / unit / 4.0);
    (step * unit, move |value: f64| {
        let number = format!("{:.3}", value / unit);
        format!("{} {}", number.trim_end_matches('0').trim_end_matches('.'), UNITS[power])
    })
}

/// The next 1, 2 or 5 times a power of ten.
fn round_step(at_least: f64) -> f64 {
    let power = 10_f64.powf(at_least.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    steps.into_iter().find(|step| *step >= at_least * 0.999).unwrap_or(10.0 * power)
}

fn every(step: f64, top: f64, label: impl Fn(f64) -> String) -> Vec<Tick> {
    let count = (top / step).round().clamp(0.0, 50.0) as u32;
    (0..=count).map(|place| f64::from(place) * step).map(|at| (at, label(at))).collect()
}

/// Whole orders of magnitude around these, at most seven lines.
fn magnitudes(least: f64, most: f64, label: impl Fn(i32) -> String) -> (f64, f64, Vec<Tick>) {
    let low = least.floor() as i32;
    let high = (most.ceil() as i32).max(low + 1);
    let step = ((high - low + 5) / 6).max(1);
    let high = low + (high - low + step - 1) / step * step;
    let ticks = (low..=high).step_by(step as usize);
    (low.into(), high.into(), ticks.map(|power| (power.into(), label(power))).collect())
}

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3_600.0;
const DAY: f64 = 86_400.0;

/// The lines of an axis of so many seconds, no more than `most` of them behind the first.
pub(super) fn of_time(seconds: f64, most: usize) -> Vec<Tick> {
    const STEPS: [f64; 23] = [
        0.1,
        0.2,
        0.5,
        1.0,
        2.0,
        5.0,
        10.0,
        15.0,
        30.0,
        MINUTE,
        2.0 * MINUTE,
        5.0 * MINUTE,
        10.0 * MINUTE,
        15.0 * MINUTE,
        30.0 * MINUTE,
        HOUR,
        2.0 * HOUR,
        3.0 * HOUR,
        6.0 * HOUR,
        12.0 * HOUR,
        DAY,
        2.0 * DAY,
        7.0 * DAY,
    ];
    let fits = |step: &f64| seconds / step <= most as f64;
    let step = STEPS.into_iter().find(fits);
    let step = step.unwrap_or_else(|| DAY * round_step(seconds / DAY / most as f64));
    let top = (seconds / step).floor() * step;
    every(step, top, time_label)
}

/// `0`, `0.2 s`, `30 s`, `1:30` minutes, `2 h`, `1 d 12 h`.
fn time_label(seconds: f64) -> String {
    if seconds == 0.0 {
        return "0".to_owned();
    }
    if seconds < MINUTE {
        return short(&format!("{seconds:.1} s"));
    }
    let whole = seconds.round() as u64;
    let (days, hours, minutes, rest) =
        (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60, whole % 60);
    let parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")];
    let parts = parts.iter().filter(|(number, _)| *number > 0);
    parts.map(|(number, unit)| format!("{number} {unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn lines_stand_at_round_figures() {
        assert_eq!(labels(&of_time(47.0, 6)), ["0", "10 s", "20 s", "30 s", "40 s"]);
        assert_eq!(
            labels(&of_time(9_000.0, 5)),
            ["0", "30 min", "1 h", "1 h 30 min", "2 h", "2 h 30 min"]
        );
        assert_eq!(of_time(1e9, 6).len(), 6);
        let (_, top, ticks) = Measure::BytesPerS.axis(0.0, 3.3 * 1024.0 * 1024.0);
        assert_eq!(labels(&ticks), ["0 MiB/s", "1 MiB/s", "2 MiB/s", "3 MiB/s", "4 MiB/s"]);
        assert_eq!(top, 4.0 * 1024.0 * 1024.0);
        let (_, _, ticks) = Measure::BytesPerSWide.axis(0.0, 3.3 * 1024.0 * 1024.0);
        assert_eq!(labels(&ticks)[..3], ["128 B/s", "1 KiB/s", "8 KiB/s"]);
        let (low, high, ticks) = Measure::Ns.axis(800.0, 3e6);
        assert_eq!((low, high), (2.0, 7.0));
        assert_eq!(labels(&ticks), ["100 ns", "1 µs", "10 µs", "100 µs", "1 ms", "10 ms"]);
        let (_, _, ticks) = Measure::Chunks.axis(1.0, 1.0);
        assert_eq!(labels(&ticks), ["1", "2"]);
    }

    #[test]
    fn no_value_makes_too_many_lines() {
        for most in [0.0, 1e-300, 1.0, 1e18, 1e300] {
            for measure in [
                Measure::Percent,
                Measure::BytesPerS,
                Measure::BytesPerSWide,
                Measure::Chunks,
                Measure::Ns,
            ] {
                let (low, high, ticks) = measure.axis(0.0, most);
                assert!(low < high && high.is_finite() && ticks.len() < 12, "{measure:?} {most}");
            }
            assert!(of_time(most, 5).len() <= 6, "{most}");
        }
    }
}
