use super::*;
use crate::made_up::{self, around};
use crate::report::{Contender, StoreReport};
use crate::stats::Spread;

/// Every text of a well-formed SVG, and how many elements it has. Enough of XML for what the
/// plots are made of: tags, attributes in quotes, texts.
fn parse(svg: &str) -> (Vec<String>, usize) {
    let (mut open, mut texts, mut elements) = (Vec::new(), Vec::new(), 0);
    for part in svg.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("a tag that ends");
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes of <{tag}>");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name.to_owned()), "the end of another element");
        } else {
            elements += 1;
            let name = tag.split([' ', '\n', '/']).next().unwrap().to_owned();
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(!text.contains('&') || text.contains(';'), "{text}");
        if !text.trim().is_empty() {
            texts.push(text.trim().to_owned());
        }
    }
    assert!(open.is_empty(), "elements that do not end: {open:?}");
    (texts, elements)
}

fn svg(report: &Report, file: &str) -> String {
    let plots = report.plots();
    let plot = plots.iter().find(|plot| plot.file == file).expect("a plot of that name");
    plot.svg().unwrap()
}

fn assert_shows(svg: &str, texts: &[&str]) {
    let (found, elements) = parse(svg);
    assert!(elements > 20, "{svg}");
    for text in texts {
        assert!(found.iter().any(|found| found == text), "no {text:?} among {found:?}");
    }
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

#[test]
fn appends_are_drawn_with_what_they_are_measured_against() {
    let report = made_up::report(vec![made_up::store("sqlite")]);
    assert_shows(
        &svg(&report, "sqlite-appends.svg"),
        &[
            "sqlite: appends of 500 bytes",
            "appenders",
            "events a second",
            "this store",
            "bare group commit",
            "the same with a row for each stream",
            "raw limit, 64 rows a commit",
            "raw limit, 512 rows a commit",
            "naive store at its best",
            "1",
            "64",
            "1,024",
        ],
    );
}

#[test]
fn growth_is_drawn_with_a_line_for_each_store() {
    let report = made_up::report(vec![made_up::store("sqlite"), made_up::store("postgres")]);
    for (file, title, axis) in [
        ("growth-events.svg", "Cost by events stored", "events stored"),
        ("growth-streams.svg", "Cost by streams stored", "streams stored"),
    ] {
        let shown = [title, axis, "sqlite", "postgres", "aim: 1.3 at most", "10,000", "1 M"];
        assert_shows(&svg(&report, file), &shown);
    }
}

#[test]
fn calls_are_drawn_with_and_without_each_store() {
    let report = made_up::report(vec![made_up::store("redis"), made_up::store("a<b&c")]);
    assert_shows(
        &svg(&report, "end-to-end.svg"),
        &[
            "Tool calls to a whole server",
            "no store",
            "with the store in memory",
            "with this store, and its share",
            "redis (64)",
        ],
    );
}

#[test]
fn plots_of_nothing_are_not_written_and_others_are_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let empty = StoreReport { backend: "sqlite".into(), ..StoreReport::default() };
    assert!(made_up::report(vec![empty]).plot(folder.path()).unwrap().is_empty());

    let plots = folder.path().join("plots");
    let mut report = made_up::report(vec![made_up::store("sqlite")]);
    let paths = report.plot(&plots).unwrap();
    assert_eq!(paths.len(), 4);
    let read = || paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect::<Vec<_>>();
    let before = read();
    report.stores[0].appends[2].rate = around(77_000.0);
    assert_eq!(report.plot(&plots).unwrap(), paths);
    let changed = before.iter().zip(read()).filter(|(before, after)| *before != after).count();
    assert_eq!(changed, 1, "only the appends have changed");
}

#[test]
fn figures_of_zero_are_left_out() {
    let mut store = made_up::store("redis");
    store.appends.iter_mut().for_each(|row| row.rate = Spread::default());
    store.end_to_end.retain(|calls| calls.contender == Contender::Raw);
    store.growth.iter_mut().for_each(|size| size.append_us = Spread::default());
    store.growth.retain(|size| size.axis == Axis::Events);
    let report = made_up::report(vec![store]);
    let files: Vec<_> = report.plots().into_iter().map(|plot| plot.file).collect();
    assert_eq!(files, ["growth-events.svg"]);
    assert_shows(&svg(&report, "growth-events.svg"), &["An event of a replay"]);
}

#[test]
fn a_single_point_can_be_drawn() {
    let mut store = made_up::store("redis");
    store.appends.retain(|row| row.contender == Contender::Store && row.lanes == 16);
    store.appends[0].rate = Spread::of([1.0]);
    assert_shows(&svg(&made_up::report(vec![store]), "redis-appends.svg"), &["this store", "16"]);
}
