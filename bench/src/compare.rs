//! Which figures of a report are set against which.

use crate::report::{Append, Contender, EndToEnd, Replay, Report, StoreReport};
use crate::stats::Spread;

/// `above / below`, if that is a number: a rate of zero was measured, one to divide by was not.
pub(crate) fn rate_ratio(above: &Spread, below: &Spread) -> Option<f64> {
    let ratio = above.median / positive(below.median)?;
    (ratio.is_finite() && ratio >= 0.0).then_some(ratio)
}

/// `above / below`, if both took any time: nothing that was measured takes none.
pub(crate) fn time_ratio(above: &Spread, below: &Spread) -> Option<f64> {
    positive(positive(above.median)? / positive(below.median)?)
}

/// `number`, if it is above zero and not infinite.
pub(crate) fn positive(number: f64) -> Option<f64> {
    (number.is_finite() && number > 0.0).then_some(number)
}

/// The fastest of `rows`.
pub(crate) fn fastest<'a>(rows: impl IntoIterator<Item = &'a Append>) -> Option<&'a Append> {
    rows.into_iter().max_by(|a, b| a.rate.median.total_cmp(&b.rate.median))
}

/// The row of this store, or of who joins callers as it does, with that many of them.
pub(crate) fn joined(
    rows: &[Append],
    who: Contender,
    lanes: usize,
    bytes: usize,
) -> Option<&Append> {
    of(rows, who, bytes).find(|row| row.lanes == lanes)
}

/// The rows of a contender that stored messages of that size.
pub(crate) fn of(
    rows: &[Append],
    contender: Contender,
    bytes: usize,
) -> impl Iterator<Item = &Append> {
    rows.iter().filter(move |row| row.contender == contender && row.message_bytes == bytes)
}

/// What `lanes` appenders are measured against: a raw commit that holds about as many rows as
/// they can fill, and the fastest raw row if there is none such.
pub(crate) fn raw_limit(rows: &[Append], lanes: usize, bytes: usize) -> Option<&Append> {
    let full = full_batch(lanes);
    fastest(of(rows, Contender::Raw, bytes).filter(|row| row.rows == full))
        .or_else(|| best_raw(rows, bytes))
}

/// Rows of the raw commits that `lanes` appenders are measured against.
pub(crate) fn full_batch(lanes: usize) -> usize {
    if lanes <= 256 { 64 } else { 512 }
}

/// The fastest raw row of several events a commit.
pub(crate) fn best_raw(rows: &[Append], bytes: usize) -> Option<&Append> {
    fastest(of(rows, Contender::Raw, bytes).filter(|row| row.rows > 1))
}

/// The fastest row of one event a commit, on however many connections.
pub(crate) fn best_naive(rows: &[Append], bytes: usize) -> Option<&Append> {
    let raw = of(rows, Contender::Raw, bytes).filter(|row| row.rows == 1);
    fastest(of(rows, Contender::Naive, bytes).chain(raw))
}

/// One raw commit of one event, with nothing beside it.
pub(crate) fn one_commit(rows: &[Append], bytes: usize) -> Option<&Append> {
    of(rows, Contender::Naive, bytes)
        .chain(of(rows, Contender::Raw, bytes).filter(|row| row.rows == 1))
        .find(|row| row.lanes == 1)
}

/// Sizes of messages, from the smallest.
pub(crate) fn message_sizes(rows: &[Append]) -> Vec<usize> {
    let mut sizes: Vec<usize> = rows.iter().map(|row| row.message_bytes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

impl Report {
    /// The stores, each with a name of its own: the backend, and a number where it comes again.
    pub(crate) fn named_stores(&self) -> Vec<(String, &StoreReport)> {
        let mut named: Vec<(String, &StoreReport)> = Vec::new();
        for store in &self.stores {
            let before = named.iter().filter(|(_, other)| other.backend == store.backend).count();
            let name = match before {
                0 => store.backend.clone(),
                _ => format!("{}-{}", store.backend, before + 1),
            };
            named.push((name, store));
        }
        named
    }
}

impl StoreReport {
    /// The raw scan of as many events as `replay` read.
    pub(crate) fn raw_scan(&self, replay: &Replay) -> Option<&Replay> {
        let what = (replay.events, replay.message_bytes);
        let mut scans = self.replays.iter().filter(|scan| scan.contender == Contender::Raw);
        scans.find(|scan| (scan.events, scan.message_bytes) == what)
    }

    /// The server of `who`, with as many clients as were tried.
    pub(crate) fn busiest(&self, who: Contender) -> Option<&EndToEnd> {
        self.served_by(who).max_by_key(|calls| calls.clients)
    }

    /// The server with the store in memory, with as many clients as `calls`.
    pub(crate) fn in_memory(&self, calls: &EndToEnd) -> Option<&EndToEnd> {
        self.served_by(Contender::Memory).find(|row| row.clients == calls.clients)
    }

    /// The server without a store, with as many clients as `calls`.
    pub(crate) fn without_store(&self, calls: &EndToEnd) -> Option<&EndToEnd> {
        self.served_by(Contender::Raw).find(|row| row.clients == calls.clients)
    }

    fn served_by(&self, contender: Contender) -> impl Iterator<Item = &EndToEnd> {
        self.end_to_end.iter().filter(move |row| row.contender == contender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up;

    #[test]
    fn more_appenders_than_a_small_batch_holds_are_set_against_a_large_one() {
        let rows = made_up::appends(500, 40_000.0);
        assert_eq!(raw_limit(&rows, 256, 500).unwrap().rows, 64);
        assert_eq!(raw_limit(&rows, 1024, 500).unwrap().rows, 512);
        let small: Vec<_> = rows.into_iter().filter(|row| row.rows != 512).collect();
        assert_eq!(raw_limit(&small, 1024, 500).unwrap().rows, 64);
        assert!(raw_limit(&small, 64, 8192).is_none());
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        let (zero, two) = (Spread::default(), Spread::of([2.0]));
        assert_eq!(rate_ratio(&two, &zero), None);
        assert_eq!(rate_ratio(&zero, &two), Some(0.0));
        assert_eq!(rate_ratio(&Spread::of([f64::INFINITY]), &two), None);
        assert_eq!(time_ratio(&zero, &two), None);
        assert_eq!(time_ratio(&two, &two), Some(1.0));
    }

    #[test]
    fn a_backend_that_comes_twice_is_told_apart() {
        let store = made_up::store("postgres");
        let report = made_up::report(vec![store.clone(), store]);
        let names: Vec<_> = report.named_stores().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["postgres", "postgres-2"]);
    }
}
