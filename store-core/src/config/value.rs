//! Values as text: how they are read from a variable or a query, and written as TOML.
//!
//! A refusal is a predicate such as "is zero; …": whoever reads a source puts in front of it what
//! may be shown.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytesize::ByteSize;

use super::field::{Field, Kind, Off, Value};
use super::suggest::quoted_list;

/// The longest duration, five hundred years: sums of a few stay within any clock, and humantime
/// reads no more of them in milliseconds.
const MAX_DURATION: Duration = Duration::from_hours(500 * 8_766);

/// The largest size or count: what a database's signed integer holds.
const MAX_INTEGER: u64 = i64::MAX as u64;

/// Reads `text` as a value of `field`.
pub(super) fn parse_text(field: &Field, text: &str) -> Result<Value, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("is empty; {}", remedy(field)));
    }
    if text == "off" {
        return match field.off {
            Off::Allowed => Ok(Value::Off),
            Off::Refused(reason) => Err(format!("is refused: {reason}")),
        };
    }
    if text.starts_with('-') && !matches!(field.kind, Kind::Choice(_) | Kind::Text(_)) {
        return Err(format!("is negative; {}", remedy(field)));
    }
    let value = match field.kind {
        Kind::Duration => parse_duration(text).map(Value::Duration),
        Kind::Size => parse_size(text).map(Value::Integer),
        Kind::Count => parse_digits(text).map(Value::Integer),
        Kind::Choice(words) => {
            words.iter().find(|word| **word == text).map(|word| Value::Choice(word))
        }
        Kind::Text(_) => {
            (!text.contains(char::is_control)).then(|| Value::Text(kept_for_good(text)))
        }
    };
    match value {
        Some(value) => check(field, value),
        None => Err(match field.kind {
            Kind::Choice(_) => format!("is unknown; {}", remedy(field)),
            kind => format!("is not a {}; {}", kind.name(), remedy(field)),
        }),
    }
}

/// `text`, which is kept as long as the process runs: so a [`Value`] can be copied, whatever it
/// is. Each text is kept once, and a process reads few configurations.
fn kept_for_good(text: &str) -> &'static str {
    /// Nothing awaits or panics under it.
    static TEXTS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.get(text) {
        return known;
    }
    let kept: &'static str = Box::leak(text.into());
    texts.insert(kept);
    kept
}

/// Checks that a well-formed value is one that a field can have.
pub(super) fn check(field: &Field, value: Value) -> Result<Value, String> {
    match value {
        Value::Duration(Duration::ZERO) | Value::Integer(0) => {
            Err(format!("is zero; {}", remedy(field)))
        }
        Value::Duration(duration) if duration > MAX_DURATION => {
            Err(format!("is longer than 500 years; {}", remedy(field)))
        }
        Value::Duration(duration) if duration.subsec_nanos() % 1_000_000 != 0 => {
            Err("has a part shorter than a millisecond; give whole milliseconds".to_owned())
        }
        Value::Integer(integer) if integer > MAX_INTEGER => {
            Err(format!("is larger than {MAX_INTEGER}; {}", remedy(field)))
        }
        value => Ok(value),
    }
}

/// What to write instead.
pub(super) fn remedy(field: &Field) -> String {
    let example = match field.kind {
        Kind::Duration => r#"write a positive number with a unit, such as "24h", "90m" or "500ms""#,
        Kind::Size => r#"write a positive number of bytes, such as "16MiB" or 16_777_216"#,
        Kind::Count => "write a positive whole number, such as 10_000",
        Kind::Choice(words) => return format!("write {}", quoted_list(words)),
        Kind::Text(example) => {
            let or_off = if field.off == Off::Allowed { r#", or "off" for none"# } else { "" };
            return format!(r#"write a text, such as "{example}"{or_off}"#);
        }
    };
    match field.off {
        Off::Allowed => format!(r#"{example}, or "off" for no limit"#),
        Off::Refused(_) => example.to_owned(),
    }
}

/// `None` if `text` is no duration; [`Duration::MAX`] may stand for one that is longer.
fn parse_duration(text: &str) -> Option<Duration> {
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    if compact.bytes().all(|byte| byte == b'0') {
        return Some(Duration::ZERO);
    }
    // Term by term: humantime panics where the sum of several passes the end of `Duration`.
    terms(&compact).try_fold(Duration::ZERO, |sum, term| {
        let term = match humantime::parse_duration(term) {
            Ok(duration) => duration,
            Err(humantime::DurationError::NumberOverflow) if !term.contains('.') => Duration::MAX,
            Err(_) => return None,
        };
        Some(sum.saturating_add(term))
    })
}

/// Splits `1h30m` into `1h` and `30m`: before each digit that follows a letter.
fn terms(text: &str) -> impl Iterator<Item = &str> {
    let starts_term = |pair: &[u8]| pair[0].is_ascii_alphabetic() && pair[1].is_ascii_digit();
    let inner = text.as_bytes().windows(2).enumerate();
    let inner = inner.filter(move |(_, pair)| starts_term(pair)).map(|(index, _)| index + 1);
    let mut rest = text;
    let mut start = 0;
    inner.chain([text.len()]).map(move |end| {
        let (term, after) = rest.split_at(end - start);
        (rest, start) = (after, end);
        term
    })
}

fn parse_size(text: &str) -> Option<u64> {
    parse_digits(text).or_else(|| text.parse::<ByteSize>().ok().map(|size| size.as_u64()))
}

/// A whole number with `_` between its digits where wanted; [`u64::MAX`] if it is larger.
pub(super) fn parse_digits(text: &str) -> Option<u64> {
    let groups_of_digits = text
        .split('_')
        .all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()));
    groups_of_digits.then(|| text.replace('_', "").parse().unwrap_or(u64::MAX))
}

impl Value {
    /// This value of a field of `kind`, as TOML writes it: the shortest exact text.
    #[must_use]
    pub fn to_toml(self, kind: Kind) -> String {
        match self {
            Self::Off => "\"off\"".to_owned(),
            Self::Duration(duration) => format!("\"{}\"", format_duration(duration)),
            Self::Integer(bytes) if kind == Kind::Size => format_size(bytes),
            Self::Integer(count) => group_digits(count),
            Self::Choice(word) => format!("\"{word}\""),
            Self::Text(text) => format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#)),
        }
    }
}

/// The largest unit that divides it, but hours below two days: a retention of `24h` reads better
/// than one of `1d`.
fn format_duration(duration: Duration) -> String {
    const SECOND: u128 = 1_000;
    const HOUR: u128 = 60 * 60 * SECOND;
    let millis = duration.as_millis();
    let units = [(24 * HOUR, "d"), (HOUR, "h"), (60 * SECOND, "m"), (SECOND, "s")];
    units
        .into_iter()
        .filter(|(unit, _)| *unit <= HOUR || millis >= 2 * unit)
        .find(|(unit, _)| millis.is_multiple_of(*unit))
        .map_or_else(|| format!("{millis}ms"), |(unit, name)| format!("{}{name}", millis / unit))
}

/// The largest binary unit that divides it, or plain bytes.
fn format_size(bytes: u64) -> String {
    const UNITS: [(u32, &str); 6] =
        [(60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    UNITS.into_iter().find(|(power, _)| bytes.trailing_zeros() >= *power).map_or_else(
        || group_digits(bytes),
        |(power, name)| format!("\"{}{name}\"", bytes >> power),
    )
}

fn group_digits(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    groups.join("_")
}
