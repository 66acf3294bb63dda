//! Numbers as people read them.

use crate::compare::positive;
use crate::stats::{Spread, float};

/// What was not measured.
pub(crate) const NOTHING: &str = "–";

/// What `write` says of a number, and a dash if there is none.
pub(crate) fn or_nothing(number: Option<f64>, write: impl Fn(f64) -> String) -> String {
    number.map_or_else(|| NOTHING.to_owned(), write)
}

/// Three significant digits, with thousands separators.
pub(crate) fn short(number: f64) -> String {
    if !number.is_finite() {
        return NOTHING.to_owned();
    }
    match number.abs() {
        0.0 => "0".to_owned(),
        small if small < 0.01 => format!("{number:.1e}"),
        small if small < 9.995 => format!("{number:.2}"),
        tens if tens < 99.95 => format!("{number:.1}"),
        large => {
            let mut step = 1.0;
            while large / step >= 1000.0 {
                step *= 10.0;
            }
            thousands((number / step).round() * step)
        }
    }
}

/// All digits before the point, and as many behind it as a small number needs.
pub(crate) fn whole(number: f64) -> String {
    if number.is_finite() && number.abs() >= 99.95 { thousands(number) } else { short(number) }
}

/// A count with thousands separators.
pub(crate) fn count(number: impl TryInto<u64>) -> String {
    thousands(float(number))
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        let left = digits.len() - place;
        if place > 0 && left % 3 == 0 && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A ratio.
pub(crate) fn ratio(ratio: Option<f64>) -> String {
    // Two digits could hide on which side of 1 or of an aim a ratio lies.
    or_nothing(ratio, |ratio| {
        if (0.01..1.995).contains(&ratio) { format!("{ratio:.3}") } else { short(ratio) }
    })
}

/// A rate, and how far its rounds lie apart: `40,745 (38,100–42,000)`.
pub(crate) fn rate(spread: &Spread) -> String {
    format!("{}{}", whole(spread.median), ends(spread, 1.0))
}

/// A time in microseconds or, for a long one, in milliseconds. None takes no time at all.
pub(crate) fn time(spread: &Spread) -> String {
    or_nothing(positive(spread.median), |median| {
        let (scale, unit) = unit(median);
        format!("{} {unit}", short(median / scale))
    })
}

/// A time, and how far its rounds lie apart: `1.23 (1.15–1.44) ms`.
pub(crate) fn time_spread(spread: &Spread) -> String {
    or_nothing(positive(spread.median), |median| {
        let (scale, unit) = unit(median);
        format!("{}{} {unit}", short(median / scale), ends(spread, scale))
    })
}

fn unit(micros: f64) -> (f64, &'static str) {
    if micros < 999.5 { (1.0, "µs") } else { (1000.0, "ms") }
}

fn ends(spread: &Spread, scale: f64) -> String {
    let (low, high) = (short(spread.low / scale), short(spread.high / scale));
    if low == high { String::new() } else { format!(" ({low}–{high})") }
}

/// Bytes, in the unit that suits.
pub(crate) fn bytes(number: f64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let (mut scaled, mut unit) = (number, 0);
    while scaled.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{} {}", short(scaled), UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_separators_and_sensible_digits() {
        let shown = [0.0, 0.004, 0.5, 9.996, 99.96, 999.7, 38_123.0, 1_234_567.0].map(short);
        assert_eq!(shown, ["0", "4.0e-3", "0.50", "10.0", "100", "1,000", "38,100", "1,230,000"]);
        assert_eq!([40_745.4, 1234.0, 12.34].map(whole), ["40,745", "1,234", "12.3"]);
        assert_eq!(thousands(-123_456.0), "-123,456");
        assert_eq!(count(10_000_000_u64), "10,000,000");
        assert_eq!(
            [600.0, 1024.0, 33.5 * 1024.0 * 1024.0].map(bytes),
            ["600 B", "1.00 KiB", "33.5 MiB"]
        );
    }

    #[test]
    fn a_spread_shows_its_ends_in_its_unit() {
        let spread = Spread { low: 38_123.0, median: 40_745.0, high: 42_011.0 };
        assert_eq!(rate(&spread), "40,745 (38,100–42,000)");
        assert_eq!(time_spread(&spread), "40.7 (38.1–42.0) ms");
        assert_eq!(time(&Spread::of([270.0])), "270 µs");
        assert_eq!(time_spread(&Spread::of([270.0])), "270 µs");
    }

    #[test]
    fn what_is_no_number_is_a_dash() {
        assert_eq!(ratio(None), "–");
        assert_eq!(time(&Spread::default()), "–");
        assert_eq!(rate(&Spread::default()), "0");
        assert_eq!(short(f64::NAN), "–");
        assert_eq!(rate(&Spread::of([f64::INFINITY])), "–");
    }
}
