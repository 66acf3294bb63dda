//! Tables of what was stored, and how fast.

use super::grid::Grid;
use crate::compare::{
    best_naive, full_batch, joined, message_sizes, of, one_commit, rate_ratio, raw_limit,
    time_ratio,
};
use crate::numbers::{count, rate, ratio, time};
use crate::report::{Append, Contender, StoreReport};

pub(super) fn appends(store: &StoreReport) -> String {
    let rows = &store.appends;
    let sizes = message_sizes(rows);
    let tables = sizes.into_iter().map(|bytes| {
        let title = format!("### Appends of {} bytes", count(bytes));
        table(rows, bytes, ["events/s", "event"]).titled(&title, &lone(rows, bytes))
    });
    tables.collect()
}

/// Requests: a stream each, of a priming event, a progress notification and a response.
pub(super) fn requests(store: &StoreReport) -> String {
    let rows = &store.requests;
    let tables = message_sizes(rows).into_iter().map(|bytes| {
        let title = format!("### Requests with messages of {} bytes", count(bytes));
        let note = "Each request is a stream of its own: a priming event, a progress notification \
                    and a response. Times are those of a whole request, and the raw limit's of a commit.";
        table(rows, bytes, ["requests/s", "request"]).titled(&title, note)
    });
    tables.collect()
}

/// `unit`: what is counted, a second and by itself.
fn table(rows: &[Append], bytes: usize, unit: [&str; 2]) -> Grid {
    let [rate_name, one] = unit;
    let mut grid = Grid::new([
        String::new(),
        format!(">{rate_name}"),
        ">of the raw limit".into(),
        ">of a bare group commit".into(),
        ">of one with streams' rows".into(),
        ">× naive".into(),
        ">p50".into(),
        ">p99".into(),
        ">p99.9".into(),
        format!(">CPU for one {one}"),
    ]);
    let naive = best_naive(rows, bytes);
    for contender in [
        Contender::Store,
        Contender::Raw,
        Contender::GroupCommit,
        Contender::Keeper,
        Contender::Naive,
        Contender::Writer,
        Contender::Decider,
    ] {
        for row in of(rows, contender, bytes) {
            let limit = limit_of(rows, row);
            let share = |other: Option<&Append>| {
                ratio(other.and_then(|other| rate_ratio(&row.rate, &other.rate)))
            };
            grid.row([
                label(row, limit),
                rate(&row.rate),
                share(limit),
                share(joined_of(rows, Contender::GroupCommit, row)),
                share(joined_of(rows, Contender::Keeper, row)),
                share(naive),
                time(&row.p50_us),
                time(&row.p99_us),
                time(&row.p999_us),
                time(&row.cpu_us),
            ]);
        }
    }
    grid
}

/// The raw row that `row` is measured against: for a raw row, itself.
fn limit_of<'a>(rows: &'a [Append], row: &'a Append) -> Option<&'a Append> {
    match row.contender {
        Contender::Store | Contender::GroupCommit | Contender::Keeper | Contender::Decider => {
            raw_limit(rows, row.lanes, row.message_bytes)
        }
        Contender::Raw => Some(row),
        Contender::Naive | Contender::Writer | Contender::Memory => {
            raw_limit(rows, 1, row.message_bytes)
        }
    }
}

/// The row of `who`, which joins callers, that `row` is measured against: for its own row, itself.
fn joined_of<'a>(rows: &'a [Append], who: Contender, row: &Append) -> Option<&'a Append> {
    let is_below = match row.contender {
        Contender::Store | Contender::Keeper => true,
        Contender::GroupCommit => who == Contender::GroupCommit,
        // A lone one has no queue in front of it.
        Contender::Decider => row.lanes > 1,
        Contender::Raw | Contender::Naive | Contender::Writer | Contender::Memory => false,
    };
    joined(rows, who, row.lanes, row.message_bytes).filter(|_| is_below)
}

fn label(row: &Append, limit: Option<&Append>) -> String {
    let lanes = |one: &str, many: &str| match row.lanes {
        1 => format!("1 {one}"),
        lanes => format!("{} {many}", count(lanes)),
    };
    let connections = || lanes("connection", "connections");
    let callers = || lanes("caller", "callers");
    match row.contender {
        Contender::Store => {
            let label = format!("**this store, {}**", lanes("appender", "appenders"));
            // Otherwise it is the one that its number of appenders lets one expect.
            match limit.filter(|limit| limit.rows != full_batch(row.lanes)) {
                Some(limit) => format!("{label} (limit: {} rows)", count(limit.rows)),
                None => label,
            }
        }
        Contender::Raw => {
            format!("raw limit, {}, {} rows a commit", connections(), count(row.rows))
        }
        Contender::GroupCommit => format!("bare group commit, {}", callers()),
        Contender::Keeper => format!("bare group commit with streams' rows, {}", callers()),
        Contender::Naive => format!("naive store, {}", connections()),
        Contender::Writer => {
            format!("the store's own rows by the driver alone, {}", connections())
        }
        Contender::Decider => {
            let by = if row.lanes == 1 { connections() } else { callers() };
            format!("the store's own rows by a statement that decides, {by}")
        }
        Contender::Memory => "store in memory".to_owned(),
    }
}

/// How long a lone appender waits, against one raw commit.
fn lone(rows: &[Append], bytes: usize) -> String {
    let Some(ours) = joined(rows, Contender::Store, 1, bytes) else { return String::new() };
    let commit = one_commit(rows, bytes);
    match commit.and_then(|commit| Some((commit, time_ratio(&ours.p50_us, &commit.p50_us)?))) {
        Some((commit, times)) => format!(
            "A lone appender's p50 is {}, and that of one raw commit {}: {} times as long. Up to 256 \
             appenders are set against the raw limit of 64 rows a commit, more against that of 512.",
            time(&ours.p50_us),
            time(&commit.p50_us),
            ratio(Some(times)),
        ),
        None => format!("A lone appender's p50 is {}.", time(&ours.p50_us)),
    }
}
