//! Medians, spreads and percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What several rounds measured: their median, and how far they lie apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The lowest round.
    pub low: f64,
    /// The median round.
    pub median: f64,
    /// The highest round.
    pub high: f64,
}

impl Spread {
    /// The spread of `rounds`; zero if there are none.
    #[must_use]
    pub fn of(rounds: impl IntoIterator<Item = f64>) -> Self {
        let mut rounds: Vec<f64> = rounds.into_iter().collect();
        rounds.sort_unstable_by(f64::total_cmp);
        match &rounds[..] {
            [] => Self::default(),
            [low, .., high] => Self { low: *low, median: middle(&rounds), high: *high },
            [one] => Self { low: *one, median: *one, high: *one },
        }
    }
}

/// The middle of sorted `numbers`, or the mean of the two in the middle.
fn middle(numbers: &[f64]) -> f64 {
    let half = numbers.len() / 2;
    if numbers.len() % 2 == 1 {
        numbers[half]
    } else {
        f64::midpoint(numbers[half - 1], numbers[half])
    }
}

/// Times, kept to three significant digits.
#[derive(Clone, Debug)]
pub(crate) struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        const DIGITS: u8 = 3;
        let histogram = Histogram::new(DIGITS);
        Self(histogram.unwrap_or_else(|_| unreachable!("three digits are allowed")))
    }
}

impl Times {
    pub(crate) fn record(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // It grows to whatever fits a u64, so nothing is out of its range.
        let _ = self.0.record(nanos);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // Both grow to whatever fits a u64.
        let _ = self.0.add(&other.0);
    }

    /// The time that this share of all stayed within, in microseconds.
    pub(crate) fn micros(&self, quantile: f64) -> f64 {
        Duration::from_nanos(self.0.value_at_quantile(quantile)).as_secs_f64() * 1e6
    }
}

/// A count as a number to calculate with.
#[allow(clippy::cast_precision_loss, reason = "no benchmark counts beyond 2^53")]
pub(crate) fn float(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_a_median_between_its_ends() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { low: 1.0, median: 2.0, high: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0]), Spread { low: 1.0, median: 2.5, high: 4.0 });
        assert_eq!(Spread::of([7.0]), Spread { low: 7.0, median: 7.0, high: 7.0 });
        assert_eq!(Spread::of([]), Spread::default());
    }

    #[test]
    fn percentiles_are_of_all_times_that_were_added() {
        let (mut times, mut more) = (Times::default(), Times::default());
        (1..=99).for_each(|n| times.record(Duration::from_micros(n)));
        more.record(Duration::from_millis(10));
        times.add(&more);
        assert!((times.micros(0.5) - 50.0).abs() < 0.1, "{}", times.micros(0.5));
        assert!((times.micros(1.0) - 10_000.0).abs() < 10.0, "{}", times.micros(1.0));
    }
}
