use crate::made_up::{self, around};
use crate::report::{Append, Contender, StoreReport};
use crate::stats::Spread;

/// The lines of `text` that hold all `words`.
fn lines<'a>(text: &'a str, words: &[&str]) -> Vec<&'a str> {
    text.lines().filter(|line| words.iter().all(|word| line.contains(word))).collect()
}

#[test]
fn the_document_says_where_and_what_was_measured() {
    let mut report = made_up::report(vec![made_up::store("sqlite"), made_up::store("redis")]);
    let text = report.markdown(None);
    let machine = "mcp-event-store 1.2.3 on Abacus, 2 cores, 8.00 GiB of memory, Linux.";
    assert!(text.contains(machine), "{text}");
    assert!(text.contains("takes 110 (99.0–121) µs."), "{text}");
    assert!(!text.contains("Warning") && !text.contains("!["), "{text}");
    assert_eq!(lines(&text, &["## "]).iter().filter(|line| line.starts_with("## ")).count(), 3);
    report.quick = true;
    assert!(report.markdown(None).contains("**Warning: a quick run.**"));
}

#[test]
fn aims_have_a_column_for_each_store_and_a_blank_where_they_are_not_its_own() {
    let report = made_up::report(vec![made_up::store("sqlite"), made_up::store("redis")]);
    let text = report.markdown(None);
    assert_eq!(lines(&text, &["| aim |"]), ["| aim | bound | sqlite | redis |"]);
    let raw = lines(&text, &["64 appenders: of the raw limit"]);
    assert_eq!(raw, ["| 64 appenders: of the raw limit, 64 rows a commit | ≥ 0.8 | 0.800 ✓ |  |"]);
    assert_eq!(lines(&text, &["Most streams", "append"]).len(), 1);
    assert!(lines(&text, &["one insert"]).is_empty(), "an aim of no store here");
}

#[test]
fn each_measurement_has_its_table() {
    let text = made_up::report(vec![made_up::store("sqlite")]).markdown(None);
    let row = |words: &[&str]| {
        let rows = lines(&text, words);
        assert_eq!(rows.len(), 1, "{words:?} in {text}");
        rows[0].to_owned()
    };
    let lone = row(&["A lone appender's p50 is"]);
    assert!(lone.contains("250 µs, and that of one raw commit 200 µs: 1.250 times"), "{lone}");
    let appends = row(&["this store, 64 appenders", "32,000"]);
    assert!(appends.contains(
        "32,000 (28,800–35,200) | 0.800 | 0.889 | 0.941 | 5.33 | 1.50 ms | 6.00 ms | 30.0 ms | 25.0 µs"
    ));
    assert!(row(&["this store, 1,024 appenders", "48,000"]).contains("| 0.960 | 1.000 | – |"));
    assert!(row(&["bare group commit, 64 callers", "36,000"]).contains("| 0.900 | 1.000 | – |"));
    let keeper = row(&["with streams' rows, 64 callers", "34,000"]);
    assert!(keeper.contains("| 0.850 | 0.944 | 1.000 |"), "{keeper}");
    assert!(row(&["raw limit, 1 connection, 64 rows", "40,000"]).contains("| 1.000 | – |"));
    assert!(row(&["this store** | 100,000"]).contains("150,000 (135,000–165,000) | 75.0 | 0.500"));
    assert!(row(&["across instances | 1 "]).contains("1.50 (1.35–1.65) ms"));
    assert!(row(&["this store** | 1,000 | 500"]).contains("| 690 | 1.150 |"));
    assert!(row(&["append p99"]).contains("| 2.00 |"));
    assert!(row(&["idle followers"]).contains("1.50 KiB"));
    assert!(row(&["during a replay of 100,000 events, at most"]).contains("31.0 MiB"));
    let grown = lines(&text, &["| 1,000,000 |", "| 1.250 |"]);
    assert_eq!(grown.len(), 2);
    assert!(grown[0].contains("µs | 1.250 | 3.75 ("), "{}", grown[0]);
    assert!(grown[0].ends_with("µs | 1.250 | 25.0 (22.5–27.5) µs | 1.250 |"), "{}", grown[0]);
    assert!(row(&["this store** | 64"]).contains("800 (720–880) | 0.800 | 6.00 ms | 12.0 ms"));
}

#[test]
fn without_a_large_batch_the_row_names_the_limit_it_is_set_against() {
    let mut store = made_up::store("rocksdb");
    store.appends.retain(|row| row.rows != 512);
    let text = made_up::report(vec![store]).markdown(None);
    let rows = lines(&text, &["this store, 1,024 appenders** (limit: 64 rows)", "| 1.200 |"]);
    assert_eq!(rows.len(), 1, "{text}");
}

#[test]
fn who_decides_for_several_callers_is_set_against_what_has_as_many() {
    let mut store = made_up::store("postgres");
    for lanes in [1, 1024] {
        let row = store.appends.iter().find(|row| row.lanes == lanes);
        let decider = Append { contender: Contender::Decider, ..row.unwrap().clone() };
        store.appends.push(decider);
    }
    let text = made_up::report(vec![store]).markdown(None);
    let shares = |who: &str| {
        let rows = lines(&text, &["by a statement that decides", who]);
        assert_eq!(rows.len(), 1, "{who} in {text}");
        rows[0].split(" | ").skip(2).take(3).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(shares(", 1 connection "), ["0.080", "–", "–"]);
    assert_eq!(shares(", 1,024 callers "), ["0.960", "1.000", "–"]);
}

#[test]
fn all_rows_of_a_table_have_as_many_cells() {
    let stores = ["sqlite", "postgres", "redis", "rocksdb"].map(made_up::store).to_vec();
    let text = made_up::report(stores).markdown(Some("plots"));
    let tables = text.split("\n\n").filter(|part| part.starts_with('|'));
    let mut seen = 0;
    for table in tables {
        let cells = |line: &str| line.matches('|').count();
        let first = cells(table.lines().next().unwrap());
        assert!(table.lines().all(|line| cells(line) == first), "{table}");
        seen += 1;
    }
    assert!(seen > 4 * 9, "{seen} tables");
}

#[test]
fn what_was_not_measured_is_a_dash_and_never_a_figure() {
    let empty = StoreReport { backend: "sqlite".into(), ..StoreReport::default() };
    let text = made_up::report(vec![empty]).markdown(Some("plots"));
    let aims = lines(&text, &["| ≥ "]);
    assert!(!aims.is_empty() && aims.iter().all(|line| line.ends_with("| – |")), "{text}");
    assert!(!text.contains("### ") && !text.contains("!["), "{text}");
    assert!(!made_up::report(vec![]).markdown(None).contains("## Aims"));
}

#[test]
fn figures_of_zero_give_no_nonsense() {
    let mut store = made_up::store("sqlite");
    for row in store.appends.iter_mut().chain(&mut store.requests) {
        (row.rate, row.p50_us, row.cpu_us) = Default::default();
    }
    store.replays.iter_mut().for_each(|replay| replay.rate = Spread::default());
    store.end_to_end.iter_mut().for_each(|calls| calls.rate = Spread::default());
    store.sizes.iter_mut().for_each(|size| size.bytes_per_event = 0.0);
    store.memory.as_mut().unwrap().bytes_per_follower = f64::NAN;
    for size in &mut store.growth {
        (size.append_us, size.lone_us, size.replay_us) = Default::default();
    }
    let text = made_up::report(vec![store]).markdown(Some("plots"));
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    assert_eq!(lines(&text, &["this store, 64 appenders", "| 0 | – | – | – | – |"]).len(), 2);
}

#[test]
fn plots_are_shown_where_they_belong() {
    let mut store = made_up::store("redis");
    store.end_to_end.retain(|calls| calls.contender == Contender::Store);
    store.growth[0].append_us = around(20.0);
    let text = made_up::report(vec![store]).markdown(Some("plots/"));
    let images = lines(&text, &["!["]);
    let files: Vec<_> = images.iter().map(|image| image.rsplit('(').next().unwrap()).collect();
    assert_eq!(
        files,
        ["plots/growth-events.svg)", "plots/growth-streams.svg)", "plots/redis-appends.svg)"]
    );
}
