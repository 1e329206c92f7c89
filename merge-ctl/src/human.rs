//! Figures as people read them: one place for the screen, the plain lines and `status`.
//!
//! A figure keeps its width while it changes, as far as it can: bytes and rates have one decimal,
//! percentages too, durations two parts at most. A figure is never rounded up to an end that is not
//! reached: 99.97 % stays 99.9 %. Not-a-number and infinity become a dash.

use crate::cost::TimeRange;

/// Written where a figure is not known.
pub const UNKNOWN: &str = "–";

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A number of bytes with one decimal: `512 B`, `38.2 MiB`.
pub fn bytes(bytes: u64) -> String {
    let unit = unit_of(bytes as f64);
    format!("{} {}", in_unit(bytes as f64, unit), UNITS[unit])
}

/// How much of a whole, both in the unit of the whole: `7.4 of 12.0 GiB`.
pub fn bytes_of(part: u64, whole: u64) -> String {
    let unit = unit_of(whole as f64);
    format!("{} of {} {}", in_unit(part as f64, unit), in_unit(whole as f64, unit), UNITS[unit])
}

/// The length of one I/O: without a decimal where there is no need, `4 KiB`; `flush` for none.
pub fn io_size(length_bytes: u64) -> String {
    let unit = unit_of(length_bytes as f64);
    let scale = 1_u64 << (10 * unit);
    match length_bytes {
        0 => "flush".to_owned(),
        whole if whole % scale == 0 => format!("{} {}", whole / scale, UNITS[unit]),
        _ => bytes(length_bytes),
    }
}

/// Bytes a second: `38.2 MiB/s`. A dash for what no device can do.
pub fn rate(bytes_per_s: f64) -> String {
    if !(0.0..1e18).contains(&bytes_per_s) {
        return format!("{UNKNOWN} MiB/s");
    }
    let unit = unit_of(bytes_per_s);
    format!("{} {}/s", in_unit(bytes_per_s, unit), UNITS[unit])
}

/// The name of an errno, negative or not: `EIO`. Of those that storage answers with; else its number.
pub fn errno(errno: i32) -> String {
    let name = match errno.unsigned_abs() {
        5 => "EIO",
        6 => "ENXIO",
        12 => "ENOMEM",
        19 => "ENODEV",
        22 => "EINVAL",
        28 => "ENOSPC",
        30 => "EROFS",
        52 => "EBADE",
        61 => "ENODATA",
        67 => "ENOLINK",
        84 => "EILSEQ",
        95 => "EOPNOTSUPP",
        110 => "ETIMEDOUT",
        121 => "EREMOTEIO",
        number => return format!("errno {number}"),
    };
    name.to_owned()
}

/// The unit in which a figure stays below 1024, also after rounding to one decimal.
fn unit_of(bytes: f64) -> usize {
    let mut unit = 0;
    let mut value = bytes;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    unit
}

fn in_unit(bytes: f64, unit: usize) -> String {
    let value = bytes / 1024_f64.powi(i32::try_from(unit).unwrap_or(0));
    if unit == 0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// A whole number with its thousands apart: `1,234`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A whole number in at most seven places: exact below ten million, then `12.3 M`.
pub fn count_short(number: u64) -> String {
    const SUFFIXES: [&str; 5] = ["M", "G", "T", "P", "E"];
    if number < 1_000_000 {
        return count(number);
    }
    let mut value = number as f64 / 1e6;
    let mut suffix = 0;
    while value >= 999.95 && suffix + 1 < SUFFIXES.len() {
        value /= 1e3;
        suffix += 1;
    }
    format!("{value:.1} {}", SUFFIXES[suffix])
}

/// So many a second, one decimal below ten: `0.4`, `41`, `1,204`.
pub fn per_second(number: f64) -> String {
    if !number.is_finite() || number < 0.0 {
        UNKNOWN.to_owned()
    } else if number < 9.95 {
        format!("{number:.1}")
    } else {
        // A float beyond u64 saturates, which is what a figure that large deserves.
        count_short(number.round() as u64)
    }
}

/// `one run`, `3 runs`: a count and its noun.
pub fn counted(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number))
}

/// Progress in percent with one decimal, rounded down: 100.0 % only when all is done.
pub fn percent(fraction: f64) -> String {
    if !fraction.is_finite() {
        return format!("{UNKNOWN} %");
    }
    format!("{:.1} %", (fraction.clamp(0.0, 1.0) * 1000.0).floor() / 10.0)
}

/// A share in whole percent; what is there but less than half a percent is `<1 %`.
pub fn share(fraction: f64) -> String {
    if !fraction.is_finite() {
        return format!("{UNKNOWN} %");
    }
    let fraction = fraction.clamp(0.0, 1.0);
    if fraction > 0.0 && fraction < 0.005 {
        "<1 %".to_owned()
    } else {
        format!("{:.0} %", fraction * 100.0)
    }
}

/// A duration: `84 ms`, `3.1 s`, `3m12s`, `1h05m`, `3d04h`.
pub fn duration(ns: u64) -> String {
    let ms = ns as f64 / 1e6;
    match ns {
        0 => "0 ms".to_owned(),
        1..1_000 => format!("{ns} ns"),
        1_000..999_500 => format!("{:.0} µs", ns as f64 / 1e3),
        999_500..9_950_000 => format!("{ms:.1} ms"),
        9_950_000..999_500_000 => format!("{ms:.0} ms"),
        999_500_000..59_950_000_000 => format!("{:.1} s", ms / 1e3),
        _ => long_duration(ns.saturating_add(500_000_000) / 1_000_000_000),
    }
}

/// A duration in whole seconds, from `0s` upward: for what need not be exact.
pub fn seconds(seconds: f64) -> String {
    if (0.0..1e12).contains(&seconds) {
        long_duration(seconds.round() as u64)
    } else {
        UNKNOWN.to_owned()
    }
}

fn long_duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m{:02}s", seconds % 60),
        3_600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// Time left as a range: `1m50s … 2m40s`; one figure where both ends read the same.
pub fn left(left: &TimeRange) -> String {
    let (low, high) = (seconds(left.low_s), seconds(left.high_s));
    if low == high { format!("about {low}") } else { format!("{low} … {high}") }
}

/// A range of time before anything is under way, finer than seconds where it is short.
pub fn span(range: &TimeRange) -> String {
    if range.high_s >= 10.0 {
        return left(range);
    }
    // Not negative, and short: fits.
    let [low, high] = [range.low_s, range.high_s].map(|s| duration((s * 1e9) as u64));
    if low == high { format!("about {low}") } else { format!("{low} … {high}") }
}

/// The same, or a dash.
pub fn span_or_unknown(range: Option<TimeRange>) -> String {
    range.map_or_else(|| UNKNOWN.to_owned(), |range| span(&range))
}

/// The time of day of a second since 1970, UTC: `10:42:07`.
pub fn clock_utc(unix_s: u64) -> String {
    let second = unix_s % 86_400;
    format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

/// A second since 1970 with its day, UTC: `2026-03-01 10:42:07`.
pub fn date_utc(unix_s: u64) -> String {
    // Days are counted from 1 March 0000, in eras of 400 years, so that a leap day ends its year.
    let days = unix_s / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year, if month < 10 { month + 3 } else { month - 9 });
    let year = year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {}", clock_utc(unix_s))
}

/// An error with its causes, in one line.
pub fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The words of a text, a figure and its unit being one.
pub fn words(text: &str) -> Vec<String> {
    const UNITS: [&str; 11] = ["%", "ns", "µs", "ms", "s", "B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let unit = UNITS.contains(&word.trim_end_matches([',', '.', ':', ';', ')']));
        match words.last_mut() {
            Some(figure) if unit && figure.ends_with(|c: char| c.is_ascii_digit()) => {
                figure.push(' ');
                figure.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

pub use crate::harmless::printable;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_one_decimal_and_never_reach_1024() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(bytes_of(7 << 30, 12 << 30), "7.0 of 12.0 GiB");
        assert_eq!(io_size(4096), "4 KiB");
        assert_eq!(io_size(1536), "1.5 KiB");
        assert_eq!(io_size(0), "flush");
        assert_eq!(rate(40_055_603.2), "38.2 MiB/s");
        assert_eq!(rate(f64::NAN), "– MiB/s");
        assert_eq!(rate(f64::MAX), "– MiB/s");
    }

    #[test]
    fn durations_never_overflow_their_unit() {
        for (ns, text) in [
            (0, "0 ms"),
            (812, "812 ns"),
            (999_499, "999 µs"),
            (999_500, "1.0 ms"),
            (9_949_999, "9.9 ms"),
            (84_000_000, "84 ms"),
            (999_499_999, "999 ms"),
            (999_500_000, "1.0 s"),
            (59_949_999_999, "59.9 s"),
            (59_950_000_000, "1m00s"),
            (192_000_000_000, "3m12s"),
            (3_900_000_000_000, "1h05m"),
            (273_600_000_000_000, "3d04h"),
        ] {
            assert_eq!(duration(ns), text, "{ns} ns");
        }
        assert!(duration(u64::MAX).ends_with('h'));
    }

    #[test]
    fn a_percentage_is_whole_only_at_the_end() {
        assert_eq!(percent(0.99999), "99.9 %");
        assert_eq!(percent(1.0), "100.0 %");
        assert_eq!(percent(f64::NAN), "– %");
        assert_eq!(share(0.001), "<1 %");
        assert_eq!(share(0.0), "0 %");
    }

    #[test]
    fn counts_have_their_thousands_apart() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count_short(999_999), "999,999");
        assert_eq!(count_short(12_345_678), "12.3 M");
        assert_eq!(count_short(u64::MAX), "18.4 E");
        assert_eq!(per_second(0.44), "0.4");
        assert_eq!(per_second(1203.6), "1,204");
        assert_eq!(counted(1, "run"), "1 run");
    }

    #[test]
    fn dates_know_leap_years() {
        for (unix_s, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_251_200, "2024-03-01 00:00:00"),
            (1_767_225_599, "2025-12-31 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(date_utc(unix_s), text, "{unix_s}");
        }
        assert!(date_utc(u64::MAX).contains('-'));
    }

    #[test]
    fn time_left_is_a_range_unless_its_ends_read_the_same() {
        assert_eq!(left(&TimeRange { low_s: 110.0, high_s: 160.0 }), "1m50s … 2m40s");
        assert_eq!(left(&TimeRange { low_s: 110.1, high_s: 110.2 }), "about 1m50s");
        assert_eq!(left(&TimeRange { low_s: f64::NAN, high_s: f64::INFINITY }), "about –");
    }
}
