//! Durations, costs and numbers of bytes, as they are written on the command line.

use std::num::NonZeroU64;
use std::path::{self, PathBuf};
use std::time::Duration;

/// A duration with its unit: `250ms`, `5s`, `2m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let number_ends = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(number_ends);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        _ => return Err("give a number with a unit: 250ms, 5s or 2m".to_owned()),
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms)) {
        Some(0) => Err("must be longer than nothing".to_owned()),
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => Err("give a whole number with a unit: 250ms, 5s or 2m".to_owned()),
    }
}

/// A time between two looks: more often would be in the merge's way.
pub(super) fn pace(text: &str) -> Result<Duration, String> {
    let pace = duration(text)?;
    if pace < Duration::from_millis(200) {
        return Err("must be 200ms or longer".to_owned());
    }
    Ok(pace)
}

/// A file's name that means the same from another directory.
pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    path::absolute(text).map_err(|error| error.to_string())
}

/// A whole number of percent, with its sign or without: `30%`, `30`.
pub(super) fn percent(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    match number.parse() {
        Ok(percent) if percent <= 100 => Ok(percent),
        _ => Err("give a whole number of percent: 30%".to_owned()),
    }
}

/// A short time with its unit, in nanoseconds: `25ms`, `1.5ms`, `800us`.
pub(super) fn cost_ns(text: &str) -> Result<f64, String> {
    const UNITS: [(&str, f64); 4] = [("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];
    with_unit(text, &UNITS, "give a number with a unit: 800us, 25ms or 0.1s")
}

/// A number of bytes with its unit, a second or not: `100MiB`, `1.5GB`, `100MiB/s`.
pub(super) fn bytes(text: &str) -> Result<f64, String> {
    const KIB: f64 = 1024.0;
    const UNITS: [(&str, f64); 7] = [
        ("KiB", KIB),
        ("MiB", KIB * KIB),
        ("GiB", KIB * KIB * KIB),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("B", 1.0),
    ];
    let text = text.strip_suffix("/s").unwrap_or(text);
    with_unit(text, &UNITS, "give bytes a second with a unit: 100MiB, 1.5GB or 800KiB")
}

/// A number of bytes with its unit, whole and not 0.
pub(super) fn byte_count(text: &str) -> Result<NonZeroU64, String> {
    NonZeroU64::new(bytes(text)? as u64).ok_or_else(|| "give a byte at least".to_owned())
}

fn with_unit(text: &str, units: &[(&str, f64)], help: &str) -> Result<f64, String> {
    let number_ends = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(number_ends);
    let scale = units.iter().find(|(name, _)| *name == unit).map(|(_, scale)| scale);
    match (number.parse::<f64>(), scale) {
        (Ok(number), Some(scale)) if number > 0.0 && number < 1e9 => Ok(number * scale),
        (Ok(0.0), Some(_)) => Err("must be more than nothing".to_owned()),
        _ => Err(help.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_needs_a_unit_and_a_length() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for nonsense in ["", "5", "s", "0s", "-1s", "1.5s", "5 s", "99999999999999999999s"] {
            assert!(duration(nonsense).is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn costs_need_a_unit_and_may_have_a_fraction() {
        assert_eq!(cost_ns("25ms"), Ok(25e6));
        assert_eq!(cost_ns("1.5ms"), Ok(1.5e6));
        assert_eq!((cost_ns("800us"), cost_ns("800µs")), (Ok(8e5), Ok(8e5)));
        assert_eq!(bytes("100MiB"), Ok(104_857_600.0));
        assert_eq!((bytes("1.5GB/s"), bytes("7B")), (Ok(1.5e9), Ok(7.0)));
        for nonsense in ["", "5", "ms", "0ms", "-1ms", "1..5ms", "5 ms", "5m", "inf", "9e9ms"] {
            assert!(cost_ns(nonsense).is_err(), "{nonsense:?}");
        }
        for nonsense in ["100", "MiB", "0MiB", "100mib", "100MiB/m", "99999999999GiB"] {
            assert!(bytes(nonsense).is_err(), "{nonsense:?}");
        }
    }
}
