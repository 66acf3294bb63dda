//! `bench`, on every backend: it measures everything, and leaves nothing behind. How fast anything
//! was is not looked at.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use mcp_event_store_bench::{Machine, Report, Spread, StoreReport};
use support::{command, fails};
use tempfile::TempDir;

fn report(backend: &str, engine: &str) -> Report {
    let machine = Machine {
        cpu: "a processor".into(),
        cores: 2,
        memory_bytes: 1 << 30,
        os: "a system".into(),
        sync_us: Spread::of([1.0]),
    };
    let (backend, engine) = (backend.into(), engine.into());
    let stores = vec![StoreReport { backend, engine, ..StoreReport::default() }];
    Report { version: "0.1.0".into(), quick: false, machine, stores }
}

fn save(folder: &Path, name: &str, report: &Report) -> String {
    let file = folder.join(name);
    std::fs::write(&file, serde_json::to_vec(report).unwrap()).unwrap();
    file.display().to_string()
}

fn joined(args: &[&str]) -> (Report, String) {
    let output = command(&["bench", "--json", "-"]).args(args).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    (serde_json::from_slice(&output.stdout).unwrap(), stderr)
}

#[test]
fn reports_are_joined_and_the_later_one_counts() {
    let folder = tempfile::tempdir().unwrap();
    let first = save(folder.path(), "1.json", &report("sqlite", "old"));
    let second = save(folder.path(), "2.json", &report("redis", "other"));
    let again = Report { quick: true, ..report("sqlite", "new") };
    let third = save(folder.path(), "3.json", &again);
    let (joined, said) = joined(&["--from", &first, &second, "--from", &third]);
    let stores: Vec<_> = joined.stores.iter().map(|store| &store.engine[..]).collect();
    assert_eq!(stores, ["new", "other"]);
    assert!(joined.quick, "one of them was");
    assert_eq!(said, "");
}

#[test]
fn reports_of_several_machines_are_joined_with_a_note() {
    let folder = tempfile::tempdir().unwrap();
    let here = save(folder.path(), "here.json", &report("sqlite", ""));
    let mut elsewhere = report("redis", "");
    elsewhere.machine.cpu = "another processor".into();
    let elsewhere = save(folder.path(), "elsewhere.json", &elsewhere);
    let (joined, said) = joined(&["--from", &here, &elsewhere]);
    assert_eq!(joined.machine.cpu, "a processor");
    assert!(said.starts_with("note: ") && said.contains("elsewhere.json"), "{said}");
}

#[test]
fn what_cannot_be_done_is_said_before_measuring() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("foreign.json");
    std::fs::write(&foreign, "{\"a\": 1}").unwrap();
    let foreign = foreign.to_str().unwrap();
    let inside_a_file = format!("{foreign}/results");
    let nowhere = format!("{}/no/such/report.json", folder.path().display());
    let db = format!("sqlite://{}/bench.db", folder.path().display());
    for (args, words) in [
        (&[][..], &["--store", "is missing"][..]),
        (&["--store", &db, "--from", foreign], &["cannot be used with"]),
        (&["--from", foreign, "--quick"], &["cannot be used with", "--quick"]),
        (&["--from", foreign], &["foreign.json", "is no report", "--json"]),
        (&["--from", &nowhere], &["report.json", "cannot be read", "--json"]),
        (&["--store", &db, "--only", "append,speed"], &["speed", "append, requests", "end-to-end"]),
        (&["--store", &db, "--store", "nope://x"], &["nope", "sqlite://"]),
        (&["--store", &db, "--store", "sqlite://x?stream_ttl=soon"], &["stream_ttl", "duration"]),
        (&["--store", &db, "--json", &nowhere], &["--json", "report.json", "another place"]),
        (&["--store", &db, "--json", foreign, "--plots", foreign], &["--plots", "foreign.json"]),
        (&["--store", &db, "--plots", &inside_a_file], &["--plots", "foreign.json/results"]),
    ] {
        let output = command(&["bench"]).args(args).output().unwrap();
        fails(&output, 2, words);
    }
    assert_eq!(std::fs::read_to_string(foreign).unwrap(), "{\"a\": 1}");
    assert_eq!(files(folder.path()), ["foreign.json"]);
}

fn files(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().into_string().unwrap()
    };
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(name).collect();
    files.sort_unstable();
    files
}

/// What a run needs beside a store.
struct Run {
    results: TempDir,
    temporary: TempDir,
}

impl Run {
    /// Measures everything of the store at `url`, and looks at what came out.
    fn measure(url: &str) -> Report {
        let run =
            Self { results: tempfile::tempdir().unwrap(), temporary: tempfile::tempdir().unwrap() };
        let json = run.results.path().join("report.json");
        let plots = run.results.path().join("plots");
        let output = command(&["bench", "--quick", "--store", url])
            .args([Path::new("--json"), &json, Path::new("--plots"), &plots])
            .env("TMPDIR", run.temporary.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(files(run.temporary.path()), [""; 0], "temporary files are left");
        let report: Report = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
        assert!(report.quick);
        let table = String::from_utf8(output.stdout).unwrap();
        assert!(table.contains("| "), "there is no table: {table}");
        shown(&plots);
        assert_eq!(joined(&["--from", json.to_str().unwrap()]).0, report);
        report
    }
}

/// There are plots, and `results.md` shows each.
fn shown(folder: &Path) {
    let results = std::fs::read_to_string(folder.join("results.md")).unwrap();
    let plots: Vec<_> = files(folder).into_iter().filter(|name| name != "results.md").collect();
    assert!(!plots.is_empty());
    for plot in plots {
        assert!(results.contains(&plot), "{plot} is not shown");
        let drawn = std::fs::read_to_string(folder.join(&plot)).unwrap();
        assert!(drawn.starts_with("<svg") && drawn.trim_end().ends_with("</svg>"), "{plot}");
    }
}

mod complete {
    use mcp_event_store_bench::{
        Append, Contender, EndToEnd, Follow, Growth, Memory, Replay, Report, Size, Spread, Sweep,
    };

    /// Everything was measured of the one store, which is of `backend`.
    pub(super) fn check(report: &Report, backend: &str) {
        let [store] = &report.stores[..] else { panic!("not one store: {report:?}") };
        assert_eq!(store.backend, backend);
        assert!(!store.engine.is_empty());
        let ours_and_raw = [Contender::Store, Contender::Raw];
        let with_group_commit = [Contender::Store, Contender::Raw, Contender::GroupCommit];
        // What a lone append has to write and to decide is measured of the one store whose schema the
        // driver can write.
        let writers = [Contender::Writer, Contender::Decider];
        let writers = writers.into_iter().filter(|_| backend == "postgres");
        let of_appends = with_group_commit.into_iter().chain([Contender::Keeper]).chain(writers);
        contenders(&of_appends.collect::<Vec<_>>(), store.appends.iter().map(append));
        contenders(&with_group_commit, store.requests.iter().map(append));
        contenders(&ours_and_raw, store.replays.iter().map(replay));
        let with_memory = [Contender::Store, Contender::Memory, Contender::Raw];
        contenders(&with_memory, store.end_to_end.iter().map(end_to_end));
        all(&store.follows, |follow: &Follow| positive(follow.p50_us));
        all(&store.sizes, |size: &Size| size.bytes_per_event > 0.0);
        all(&store.growth, |growth: &Growth| {
            [growth.append_us, growth.lone_us, growth.replay_us].into_iter().all(positive)
        });
        // Redis grows as it should, and is not set against itself.
        let has_raw = backend != "redis";
        all(&store.growth, |growth: &Growth| positive(growth.raw_read_us) == has_raw);
        let sweep: &Sweep = store.sweep.as_ref().unwrap();
        assert!([sweep.rate, sweep.quiet_rate, sweep.sweeping_rate].into_iter().all(positive));
        let memory: &Memory = store.memory.as_ref().unwrap();
        assert!(memory.followers > 0 && memory.replayed > 0, "{memory:?}");
    }

    fn append(append: &Append) -> (Contender, Spread) {
        (append.contender, append.rate)
    }

    fn replay(replay: &Replay) -> (Contender, Spread) {
        (replay.contender, replay.rate)
    }

    fn end_to_end(calls: &EndToEnd) -> (Contender, Spread) {
        (calls.contender, calls.rate)
    }

    /// All that are `needed` were measured, and each at some rate.
    fn contenders(needed: &[Contender], measured: impl Iterator<Item = (Contender, Spread)>) {
        let measured: Vec<_> = measured.collect();
        for needed in needed {
            assert!(measured.iter().any(|(who, _)| who == needed), "no {needed:?}: {measured:?}");
        }
        assert!(measured.iter().all(|(_, rate)| positive(*rate)), "{measured:?}");
    }

    fn all<T: std::fmt::Debug>(measured: &[T], good: impl Fn(&T) -> bool) {
        assert!(!measured.is_empty() && measured.iter().all(good), "{measured:?}");
    }

    fn positive(spread: Spread) -> bool {
        spread.low > 0.0 && spread.low <= spread.median && spread.median <= spread.high
    }
}

/// Measures a store of files in a folder of its own.
#[cfg(any(feature = "sqlite", feature = "rocksdb"))]
fn measure_files(backend: &str) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("{backend}://{}", folder.path().join("events").display());
    complete::check(&Run::measure(&url), backend);
    assert_eq!(files(folder.path()), [""; 0], "something is left");
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_is_measured() {
    measure_files("sqlite");
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_is_measured() {
    measure_files("rocksdb");
}

#[cfg(feature = "postgres")]
mod postgres {
    use mcp_event_store_test_servers::Postgres;
    use sqlx::{Connection as _, PgConnection};

    use super::{Run, complete};

    /// Schemas and tables.
    const EVERYTHING: &str = "SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_' \
        UNION ALL SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' ORDER BY 1";

    async fn stored(url: &str) -> Vec<String> {
        let mut connection = PgConnection::connect(url).await.unwrap();
        let stored = sqlx::query_scalar(EVERYTHING).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        stored
    }

    #[tokio::test]
    async fn postgres_is_measured() {
        let url = Postgres::shared().await.unwrap().url();
        let before = stored(url).await;
        complete::check(&Run::measure(url), "postgres");
        assert_eq!(stored(url).await, before, "something is left");
    }
}

#[cfg(feature = "redis")]
mod redis {
    use mcp_event_store_test_servers::Redis;
    use redis::AsyncCommands as _;

    use super::{Run, complete};

    async fn stored(url: &str) -> Vec<Vec<u8>> {
        let client = redis::Client::open(url).unwrap();
        let mut server = client.get_multiplexed_async_connection().await.unwrap();
        let mut keys: Vec<Vec<u8>> = server.keys("*").await.unwrap();
        keys.sort_unstable();
        keys
    }

    #[tokio::test]
    async fn redis_is_measured() {
        let url = Redis::shared().await.unwrap().url();
        let before = stored(url).await;
        complete::check(&Run::measure(url), "redis");
        assert_eq!(stored(url).await, before, "something is left");
    }
}
