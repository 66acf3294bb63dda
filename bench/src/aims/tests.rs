use super::*;
use crate::made_up;

/// What the only aim of that backend and name says of `store`.
fn verdict(store: &StoreReport, name: &str) -> String {
    let is_meant = |aim: &&Aim| aim.name.contains(name) && aim.is_for(&store.backend);
    let aims: Vec<_> = AIMS.iter().filter(is_meant).collect();
    assert_eq!(aims.len(), 1, "aims named {name}");
    aims[0].verdict(store)
}

#[test]
fn a_figure_at_its_bound_is_met_and_one_beyond_it_is_not() {
    let mut store = made_up::store("sqlite");
    assert_eq!(verdict(&store, "64 appenders"), "0.800 ✓");
    assert_eq!(verdict(&store, "lone appender"), "1.250 ✓");
    assert_eq!(verdict(&store, "longest replay"), "0.500 ✓");
    assert_eq!(verdict(&store, "during a sweep"), "2.00 ✓");
    assert_eq!(verdict(&store, "One follower"), "1.000 ms ✓");
    for row in &mut store.appends {
        let factor = if row.contender == Contender::Store { 0.99 } else { 1.0 };
        row.rate.median *= factor;
        row.p50_us.median /= factor;
    }
    store.replays[0].rate.median -= 1000.0;
    store.follows[0].after_commit_p99_us.median += 10.0;
    assert_eq!(verdict(&store, "64 appenders"), "0.792 ✗ (0.850)");
    assert_eq!(verdict(&store, "lone appender"), "1.263 ✗ (1.125)");
    assert_eq!(verdict(&store, "longest replay"), "0.497 ✗");
    assert_eq!(verdict(&store, "One follower"), "1.010 ms ✗");
}

#[test]
fn a_strict_bound_is_not_met_by_reaching_it() {
    let mut store = made_up::store("rocksdb");
    assert_eq!(verdict(&store, "More memory"), "31.0 MiB ✓");
    store.memory.as_mut().unwrap().replay_bytes = 32 << 20;
    assert_eq!(verdict(&store, "More memory"), "32.0 MiB ✗");
}

#[test]
fn each_backend_has_its_own_bounds() {
    let bounds = |backend: &str, name: &str| {
        let meant = |aim: &&Aim| aim.is_for(backend) && aim.name.contains(name);
        AIMS.iter().filter(meant).map(Aim::bound).collect::<Vec<_>>()
    };
    assert_eq!(bounds("sqlite", "another instance"), ["< 100 ms"]);
    assert_eq!(bounds("redis", "another instance"), ["< 20 ms"]);
    assert!(bounds("rocksdb", "another instance").is_empty());
    assert_eq!(bounds("postgres", "64 appenders"), ["≥ 4", "≥ 0.5"]);
    assert_eq!(bounds("redis", "64 appenders"), ["≥ 0.6"]);
    assert_eq!(bounds("rocksdb", "1,024 appenders"), ["≥ 0.8"]);
    assert_eq!(bounds("postgres", "Tool calls"), ["≥ 0.7"]);
}

#[test]
fn postgres_is_set_against_its_best_rows_of_one_and_of_many() {
    let mut store = made_up::store("postgres");
    assert_eq!(verdict(&store, "64 appenders: × the best rate of one"), "5.33 ✓");
    assert_eq!(verdict(&store, "64 appenders: of the best raw rate of many"), "0.640 ✓");
    assert_eq!(verdict(&store, "1,024 appenders: of the best raw rate of many"), "0.960 ✓");
    let busy = |row: &&mut Append| (row.contender, row.lanes) == (Contender::Store, 1024);
    store.appends.iter_mut().filter(busy).for_each(|row| row.rate = made_up::around(20_000.0));
    assert_eq!(verdict(&store, "1,024 appenders: of the best raw rate of many"), "0.400 ✗");
    // Of as many callers, and not of a lone one.
    for (lanes, rate) in [(1, 1000.0), (1024, 30_000.0)] {
        let rate = made_up::around(rate);
        let mut row = store.appends[0].clone();
        (row.contender, row.lanes, row.rate) = (Contender::Decider, lanes, rate);
        store.appends.push(row);
    }
    assert_eq!(verdict(&store, "1,024 appenders: of the best raw rate of many"), "0.400 ✗ (0.600)");
}

#[test]
fn a_lone_append_is_set_against_the_least_that_decides_by_the_same_rows() {
    let mut store = made_up::store("postgres");
    let lone = |row: &&mut Append| (row.contender, row.lanes) == (Contender::Store, 1);
    store.appends.iter_mut().filter(lone).for_each(|row| row.p50_us = made_up::around(280.0));
    assert_eq!(verdict(&store, "lone appender"), "1.400 ✗ (1.125)");
    let keeper = store.appends.iter().find(|row| row.contender == Contender::Keeper);
    let mut decider = keeper.unwrap().clone();
    (decider.contender, decider.p50_us) = (Contender::Decider, made_up::around(260.0));
    store.appends.push(decider);
    assert_eq!(verdict(&store, "lone appender"), "1.400 ✗ (1.300)");
}

#[test]
fn a_missed_aim_shows_what_something_barer_reached() {
    let mut store = made_up::store("sqlite");
    for calls in &mut store.end_to_end {
        let is_ours = calls.contender == Contender::Store;
        calls.rate.median *= if is_ours { 0.5 } else { 1.0 };
    }
    assert_eq!(verdict(&store, "Tool calls"), "0.400 ✗ (0.900)");
    for size in &mut store.growth {
        let is_largest = size.stored == 1_000_000;
        size.replay_us.median *= if is_largest { 2.0 } else { 1.0 };
    }
    assert_eq!(verdict(&store, "events stored: a replay"), "2.50 ✗ (1.250)");
    store.growth.iter_mut().for_each(|size| size.raw_read_us = Spread::default());
    assert_eq!(verdict(&store, "events stored: a replay"), "2.50 ✗");
}

#[test]
fn what_was_not_measured_has_no_verdict() {
    for backend in ALL {
        let empty = StoreReport { backend: (*backend).into(), ..StoreReport::default() };
        for aim in AIMS {
            assert_eq!(aim.verdict(&empty), "–", "{}", aim.name);
        }
    }
}

#[test]
fn a_short_replay_says_nothing_of_memory_and_one_size_nothing_of_growth() {
    let mut store = made_up::store("sqlite");
    store.memory.as_mut().unwrap().replayed = 1000;
    store.growth.retain(|growth| growth.stored == 10_000);
    assert_eq!(verdict(&store, "More memory"), "–");
    assert_eq!(verdict(&store, "events stored: an append"), "–");
}

#[test]
fn a_delivery_before_the_commit_returned_is_in_time_and_one_never_seen_is_not() {
    let mut store = made_up::store("sqlite");
    store.follows[0].after_commit_p99_us = Spread::default();
    assert_eq!(verdict(&store, "One follower"), "0 ms ✓");
    store.follows[0].p99_us = Spread::default();
    assert_eq!(verdict(&store, "One follower"), "–");
}
