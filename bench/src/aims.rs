//! What each store should reach.

use crate::compare::{
    best_naive, best_raw, joined, message_sizes, one_commit, positive, rate_ratio, raw_limit,
    time_ratio,
};
use crate::numbers;
use crate::report::{Append, Axis, Contender, Follow, Growth, StoreReport};
use crate::stats::{Spread, float};

/// A figure, and the bound it should keep.
pub(crate) struct Aim {
    pub(crate) name: &'static str,
    /// The backends that it is meant for.
    of: &'static [&'static str],
    bound: Bound,
    unit: Unit,
    /// The figure in that unit, if it was measured.
    measured: Figure,
    /// The same of something that does less than a store has to.
    bare: Figure,
}

type Figure = fn(&StoreReport) -> Option<f64>;

enum Bound {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

enum Unit {
    Ratio,
    Millis,
    Mebibytes,
}

use Bound::{AtLeast, AtMost, Below};
use Contender::{Decider, Keeper, Memory, Store};
use Unit::{Mebibytes, Millis, Ratio};

const ALL: &[&str] = &["sqlite", "postgres", "redis", "rocksdb"];
const EMBEDDED: &[&str] = &["sqlite", "rocksdb"];
const SERVERS: &[&str] = &["postgres", "redis"];

#[rustfmt::skip]
pub(crate) const AIMS: &[Aim] = &[
    Aim { name: "64 appenders: of the raw limit, 64 rows a commit", of: EMBEDDED,
          bound: AtLeast(0.8), unit: Ratio,
          measured: |store| of_limit(store, Store, 64),
          bare: |store| of_limit(store, Keeper, 64) },
    Aim { name: "1,024 appenders: of the raw limit, 512 rows a commit", of: EMBEDDED,
          bound: AtLeast(0.8), unit: Ratio,
          measured: |store| of_limit(store, Store, 1024),
          bare: |store| of_limit(store, Keeper, 1024) },
    Aim { name: "64 appenders: × the best rate of one insert a commit", of: &["postgres"],
          bound: AtLeast(4.0), unit: Ratio,
          measured: |store| of_row(store, Store, 64, best_naive),
          bare: |store| of_row(store, Decider, 64, best_naive) },
    Aim { name: "256 appenders: × the best rate of one insert a commit", of: &["postgres"],
          bound: AtLeast(4.0), unit: Ratio,
          measured: |store| of_row(store, Store, 256, best_naive),
          bare: |store| of_row(store, Decider, 256, best_naive) },
    Aim { name: "1,024 appenders: × the best rate of one insert a commit", of: &["postgres"],
          bound: AtLeast(4.0), unit: Ratio,
          measured: |store| of_row(store, Store, 1024, best_naive),
          bare: |store| of_row(store, Decider, 1024, best_naive) },
    Aim { name: "64 appenders: of the best raw rate of many rows a commit", of: &["postgres"],
          bound: AtLeast(0.5), unit: Ratio,
          measured: |store| of_row(store, Store, 64, best_raw),
          bare: |store| of_row(store, Decider, 64, best_raw) },
    Aim { name: "256 appenders: of the best raw rate of many rows a commit", of: &["postgres"],
          bound: AtLeast(0.5), unit: Ratio,
          measured: |store| of_row(store, Store, 256, best_raw),
          bare: |store| of_row(store, Decider, 256, best_raw) },
    Aim { name: "1,024 appenders: of the best raw rate of many rows a commit", of: &["postgres"],
          bound: AtLeast(0.5), unit: Ratio,
          measured: |store| of_row(store, Store, 1024, best_raw),
          bare: |store| of_row(store, Decider, 1024, best_raw) },
    Aim { name: "64 appenders: of the best rate of pipelined `XADD`", of: &["redis"],
          bound: AtLeast(0.6), unit: Ratio,
          measured: |store| of_row(store, Store, 64, best_raw),
          bare: |store| of_row(store, Keeper, 64, best_raw) },
    Aim { name: "256 appenders: of the best rate of pipelined `XADD`", of: &["redis"],
          bound: AtLeast(0.6), unit: Ratio,
          measured: |store| of_row(store, Store, 256, best_raw),
          bare: |store| of_row(store, Keeper, 256, best_raw) },
    Aim { name: "1,024 appenders: of the best rate of pipelined `XADD`", of: &["redis"],
          bound: AtLeast(0.6), unit: Ratio,
          measured: |store| of_row(store, Store, 1024, best_raw),
          bare: |store| of_row(store, Keeper, 1024, best_raw) },
    Aim { name: "A lone appender's p50: × one raw commit", of: ALL,
          bound: AtMost(1.25), unit: Ratio,
          measured: |store| lone(store, Store),
          bare: |store| lone(store, Decider).or_else(|| lone(store, Keeper)) },
    Aim { name: "The longest replay: of a raw scan", of: ALL,
          bound: AtLeast(0.5), unit: Ratio, measured: replay, bare: nothing },
    Aim { name: "More memory during a replay of 100,000 events", of: ALL,
          bound: Below(32.0), unit: Mebibytes, measured: replay_memory, bare: nothing },
    Aim { name: "One follower in the process: p99 after the commit", of: ALL,
          bound: AtMost(1.0), unit: Millis,
          measured: |store| followed(store, |n| n == 1), bare: nothing },
    Aim { name: "More followers in the process: p99 after the commit, the worst", of: ALL,
          bound: AtMost(1.0), unit: Millis,
          measured: |store| followed(store, |n| n > 1), bare: nothing },
    Aim { name: "Followers on another instance: p99, the worst", of: SERVERS,
          bound: Below(20.0), unit: Millis, measured: across, bare: nothing },
    Aim { name: "Followers on another instance: p99, the worst", of: &["sqlite"],
          bound: Below(100.0), unit: Millis, measured: across, bare: nothing },
    Aim { name: "Most events stored: an append × with the fewest", of: ALL,
          bound: AtMost(1.3), unit: Ratio,
          measured: |store| grown(store, Axis::Events, |at| at.append_us),
          bare: |store| grown(store, Axis::Events, |at| at.raw_append_us) },
    Aim { name: "Most events stored: a replay × with the fewest", of: ALL,
          bound: AtMost(1.3), unit: Ratio,
          measured: |store| grown(store, Axis::Events, |at| at.replay_us),
          bare: |store| grown(store, Axis::Events, |at| at.raw_read_us) },
    Aim { name: "Most streams stored: an append × with the fewest", of: ALL,
          bound: AtMost(1.3), unit: Ratio,
          measured: |store| grown(store, Axis::Streams, |at| at.append_us),
          bare: |store| grown(store, Axis::Streams, |at| at.raw_append_us) },
    Aim { name: "Most streams stored: a replay × with the fewest", of: ALL,
          bound: AtMost(1.3), unit: Ratio,
          measured: |store| grown(store, Axis::Streams, |at| at.replay_us),
          bare: |store| grown(store, Axis::Streams, |at| at.raw_read_us) },
    Aim { name: "Appends during a sweep: p99 × without one", of: ALL,
          bound: AtMost(2.0), unit: Ratio, measured: sweeping, bare: nothing },
    Aim { name: "Tool calls to a whole server: of one without a store", of: EMBEDDED,
          bound: AtLeast(0.8), unit: Ratio,
          measured: |store| end_to_end(store, Store), bare: |store| end_to_end(store, Memory) },
    Aim { name: "Tool calls to a whole server: of one without a store", of: SERVERS,
          bound: AtLeast(0.7), unit: Ratio,
          measured: |store| end_to_end(store, Store), bare: |store| end_to_end(store, Memory) },
];

impl Aim {
    /// Whether it is meant for that backend.
    pub(crate) fn is_for(&self, backend: &str) -> bool {
        self.of.contains(&backend)
    }

    /// The bound, such as `≥ 0.8`.
    pub(crate) fn bound(&self) -> String {
        let (sign, bound) = match self.bound {
            AtLeast(bound) => ("≥", bound),
            AtMost(bound) => ("≤", bound),
            Below(bound) => ("<", bound),
        };
        format!("{sign} {bound}{}", self.unit())
    }

    fn unit(&self) -> &'static str {
        match self.unit {
            Ratio => "",
            Millis => " ms",
            Mebibytes => " MiB",
        }
    }

    /// What was measured, and whether that is ✓ or ✗; behind a ✗ what something barer reached.
    pub(crate) fn verdict(&self, store: &StoreReport) -> String {
        let measured = (self.measured)(store);
        numbers::or_nothing(measured, |figure| {
            let shown = format!("{}{}", numbers::ratio(measured), self.unit());
            match (self.is_met(figure), (self.bare)(store)) {
                (true, _) => format!("{shown} ✓"),
                (false, None) => format!("{shown} ✗"),
                (false, bare) => format!("{shown} ✗ ({}{})", numbers::ratio(bare), self.unit()),
            }
        })
    }

    fn is_met(&self, figure: f64) -> bool {
        match self.bound {
            AtLeast(bound) => figure >= bound,
            AtMost(bound) => figure <= bound,
            Below(bound) => figure < bound,
        }
    }
}

/// Where there is nothing barer.
fn nothing(_: &StoreReport) -> Option<f64> {
    None
}

/// Appends of the smallest messages, which cost a store the most beside their bytes.
fn of_limit(store: &StoreReport, who: Contender, lanes: usize) -> Option<f64> {
    of_row(store, who, lanes, |rows, bytes| raw_limit(rows, lanes, bytes))
}

fn of_row(
    store: &StoreReport,
    who: Contender,
    lanes: usize,
    other: impl Fn(&[Append], usize) -> Option<&Append>,
) -> Option<f64> {
    let bytes = *message_sizes(&store.appends).first()?;
    let row = joined(&store.appends, who, lanes, bytes)?;
    rate_ratio(&row.rate, &other(&store.appends, bytes)?.rate)
}

fn lone(store: &StoreReport, who: Contender) -> Option<f64> {
    let bytes = *message_sizes(&store.appends).first()?;
    let row = joined(&store.appends, who, 1, bytes)?;
    time_ratio(&row.p50_us, &one_commit(&store.appends, bytes)?.p50_us)
}

fn replay(store: &StoreReport) -> Option<f64> {
    let ours = store.replays.iter().filter(|replay| replay.contender == Contender::Store);
    let longest = ours.max_by_key(|replay| replay.events)?;
    rate_ratio(&longest.rate, &store.raw_scan(longest)?.rate)
}

fn replay_memory(store: &StoreReport) -> Option<f64> {
    const LONG: u64 = 100_000;
    let memory = store.memory.as_ref().filter(|memory| memory.replayed >= LONG)?;
    Some(float(memory.replay_bytes) / 1024.0 / 1024.0)
}

fn followed(store: &StoreReport, wanted: fn(usize) -> bool) -> Option<f64> {
    let of = |follow: &&Follow| !follow.across && wanted(follow.followers);
    worst(store.follows.iter().filter(of), |follow| follow.after_commit_p99_us)
}

fn across(store: &StoreReport) -> Option<f64> {
    worst(store.follows.iter().filter(|follow| follow.across), |follow| follow.p99_us)
}

/// The longest time in milliseconds. Zero counts where a delivery was seen: it came first.
fn worst<'a>(
    follows: impl Iterator<Item = &'a Follow>,
    time: fn(&Follow) -> Spread,
) -> Option<f64> {
    let seen = follows.filter(|follow| positive(follow.p99_us.median).is_some());
    let times = seen.map(|follow| time(follow).median / 1000.0).filter(|time| time.is_finite());
    times.max_by(f64::total_cmp)
}

fn grown(store: &StoreReport, axis: Axis, cost: fn(&Growth) -> Spread) -> Option<f64> {
    let on_axis = || store.growth.iter().filter(move |growth| growth.axis == axis);
    let least = on_axis().min_by_key(|growth| growth.stored)?;
    let most = on_axis().max_by_key(|growth| growth.stored)?;
    // One size says nothing of growth.
    (most.stored > least.stored).then_some(())?;
    time_ratio(&cost(most), &cost(least))
}

fn sweeping(store: &StoreReport) -> Option<f64> {
    let sweep = store.sweep.as_ref()?;
    time_ratio(&sweep.sweeping_p99_us, &sweep.quiet_p99_us)
}

/// With as many clients as were tried.
fn end_to_end(store: &StoreReport, who: Contender) -> Option<f64> {
    let busiest = store.busiest(who)?;
    rate_ratio(&busiest.rate, &store.without_store(busiest)?.rate)
}

#[cfg(test)]
mod tests;
