//! Tables of everything but appends.

use super::grid::Grid;
use crate::compare::{positive, rate_ratio, time_ratio};
use crate::numbers::{NOTHING, bytes, count, or_nothing, rate, ratio, short, time, time_spread};
use crate::report::{Axis, Contender, Growth, StoreReport};
use crate::stats::{Spread, float};

pub(super) fn replays(store: &StoreReport) -> String {
    let mut grid = Grid::new(["", ">events", ">events/s", ">MB/s", ">of the raw scan"]);
    for replay in &store.replays {
        let scan = match replay.contender {
            Contender::Raw => Some(replay),
            _ => store.raw_scan(replay),
        };
        grid.row([
            who(replay.contender, "raw scan"),
            count(replay.events),
            rate(&replay.rate),
            short(replay.rate.median * float(replay.message_bytes) / 1e6),
            ratio(scan.and_then(|scan| rate_ratio(&replay.rate, &scan.rate))),
        ]);
    }
    grid.titled("### Replays", "")
}

pub(super) fn follows(store: &StoreReport) -> String {
    let mut grid = Grid::new(["", ">followers", ">p50", ">p99", ">p99 after the commit"]);
    for follow in &store.follows {
        let seen = positive(follow.p99_us.median);
        let after = match positive(follow.after_commit_p99_us.median) {
            None if seen.is_some() => "0 µs".to_owned(),
            _ => time_spread(&follow.after_commit_p99_us),
        };
        grid.row([
            if follow.across { "across instances" } else { "in the process" }.to_owned(),
            count(follow.followers),
            time_spread(&follow.p50_us),
            time_spread(&follow.p99_us),
            after,
        ]);
    }
    let note = "From the call of an append to delivery; the last column counts from its return, \
                and is 0 where the delivery came first.";
    grid.titled("### Follow latency", note)
}

pub(super) fn sizes(store: &StoreReport) -> String {
    let mut grid = Grid::new([
        "",
        ">events of a stream",
        ">bytes of a message",
        ">stored bytes for an event",
        ">× raw",
    ]);
    for size in &store.sizes {
        let of_raw = |exact: bool| {
            let mut raw = store.sizes.iter().filter(|raw| raw.contender == Contender::Raw);
            raw.find(|raw| {
                raw.message_bytes == size.message_bytes
                    && (!exact || raw.events_per_stream == size.events_per_stream)
            })
        };
        // Raw rows know no streams: any of them will do.
        let raw = of_raw(true).or_else(|| of_raw(false));
        let raw = raw.and_then(|raw| positive(raw.bytes_per_event));
        grid.row([
            who(size.contender, "raw rows"),
            count(size.events_per_stream),
            count(size.message_bytes),
            or_nothing(positive(size.bytes_per_event), short),
            ratio(raw.and_then(|raw| positive(size.bytes_per_event / raw))),
        ]);
    }
    grid.titled("### Stored bytes", "")
}

pub(super) fn sweep(store: &StoreReport) -> String {
    let Some(sweep) = &store.sweep else { return String::new() };
    let lanes = count(sweep.lanes);
    let mut grid = Grid::new(["", ">without a sweep", ">during a sweep", ">ratio"]);
    grid.row([
        "appends/s".to_owned(),
        rate(&sweep.quiet_rate),
        rate(&sweep.sweeping_rate),
        ratio(rate_ratio(&sweep.sweeping_rate, &sweep.quiet_rate)),
    ]);
    grid.row([
        "append p99".to_owned(),
        time_spread(&sweep.quiet_p99_us),
        time_spread(&sweep.sweeping_p99_us),
        ratio(time_ratio(&sweep.sweeping_p99_us, &sweep.quiet_p99_us)),
    ]);
    let swept = rate(&sweep.rate);
    let note = format!("{swept} events were swept away a second, beside {lanes} appenders.");
    grid.titled("### Sweeping", &note)
}

pub(super) fn memory(store: &StoreReport) -> String {
    let Some(memory) = &store.memory else { return String::new() };
    let mut grid = Grid::new(["", ">memory"]);
    grid.row([
        format!("for each of {} idle followers", count(memory.followers)),
        if memory.bytes_per_follower.is_finite() {
            bytes(memory.bytes_per_follower)
        } else {
            NOTHING.to_owned()
        },
    ]);
    grid.row([
        format!("more during a replay of {} events, at most", count(memory.replayed)),
        bytes(float(memory.replay_bytes)),
    ]);
    grid.titled("### Memory", "")
}

pub(super) fn growth(store: &StoreReport) -> String {
    [(Axis::Events, "events"), (Axis::Streams, "streams")]
        .into_iter()
        .map(|(axis, name)| growth_of(store, axis, name))
        .collect()
}

fn growth_of(store: &StoreReport, axis: Axis, name: &str) -> String {
    let mut sizes: Vec<&Growth> = store.growth.iter().filter(|size| size.axis == axis).collect();
    sizes.sort_unstable_by_key(|size| size.stored);
    let mut grid = Grid::new([
        &format!(">{name} stored"),
        ">64 appenders, for an event",
        ">× the smallest",
        ">a lone append",
        ">× the smallest",
        ">replay, for an event",
        ">× the smallest",
        ">raw read, for an event",
        ">× the smallest",
        ">raw append, for an event",
        ">× the smallest",
    ]);
    for size in &sizes {
        let least = sizes[0];
        let cost = |of: fn(&Growth) -> &Spread| {
            [time_spread(of(size)), ratio(time_ratio(of(size), of(least)))]
        };
        let costs = [
            cost(|at| &at.append_us),
            cost(|at| &at.lone_us),
            cost(|at| &at.replay_us),
            cost(|at| &at.raw_read_us),
            cost(|at| &at.raw_append_us),
        ];
        grid.row([count(size.stored)].into_iter().chain(costs.into_iter().flatten()));
    }
    grid.titled(&format!("### Costs by {name} stored"), "")
}

const IN_MEMORY: &str = "The store in memory has no database behind it: the time that it takes is \
                         that of the protocol's side and the engine.";

pub(super) fn end_to_end(store: &StoreReport) -> String {
    let mut grid = Grid::new([
        "",
        ">clients",
        ">calls/s",
        ">of no store",
        ">p50",
        ">p99",
        ">server CPU for a call",
    ]);
    for calls in &store.end_to_end {
        let without = match calls.contender {
            Contender::Raw => Some(calls),
            _ => store.without_store(calls),
        };
        grid.row([
            who(calls.contender, "no store"),
            count(calls.clients),
            rate(&calls.rate),
            ratio(without.and_then(|without| rate_ratio(&calls.rate, &without.rate))),
            time(&calls.p50_us),
            time(&calls.p99_us),
            time_spread(&calls.server_cpu_us),
        ]);
    }
    let has_memory = store.end_to_end.iter().any(|calls| calls.contender == Contender::Memory);
    let note = if has_memory { IN_MEMORY } else { "" };
    grid.titled("### Tool calls to a whole server", note)
}

fn who(contender: Contender, raw: &str) -> String {
    match contender {
        Contender::Store => "**this store**".to_owned(),
        Contender::Raw => raw.to_owned(),
        Contender::GroupCommit => "bare group commit".to_owned(),
        Contender::Keeper => "bare group commit with streams' rows".to_owned(),
        Contender::Naive => "naive store".to_owned(),
        Contender::Writer => "the store's own rows by the driver alone".to_owned(),
        Contender::Decider => "the store's own rows by a statement that decides".to_owned(),
        Contender::Memory => "store in memory".to_owned(),
    }
}
