//! No operation reads more of a growing table than it needs: PostgreSQL's own record of what each
//! plan did, down to the statements inside functions, is the witness.

use std::time::Duration;

use futures_util::TryStreamExt;
use mcp_event_store_core::backend::{Backend, Candidates, PageLimit, Removal, Remove, StreamMeta};
use mcp_event_store_core::{
    Clock, EventStore, Lease, Maintenance, Message, NewEvent, ReplayMode, Retention, SessionId,
    SessionStore, Settings, StreamRef, Timestamp,
};
use mcp_event_store_postgres::{PostgresBackend, PostgresOptions};
use mcp_event_store_test_servers::Postgres;
use sqlx::Row;

use crate::scope::{Scope, append, event, stream};

/// Rows that one step of a plan may touch: a sweep's step is 256 streams, and a session of this
/// test has 400.
const TOUCHED: f64 = 1200.0;

/// Sessions, with 400 streams each, and 5 events in each stream.
const SESSIONS: i64 = 50;

async fn fill(scope: &Scope) {
    let rows = scope.sql(&format!(
        "SET auto_explain.log_min_duration = -1;
         INSERT INTO @sessions (id, record, used_at, listed_at, bytes, streams, open_streams)
         SELECT 's' || i, '{{}}', 1e12, 1e12, 400 * 900, 400, 400 FROM generate_series(1, {SESSIONS}) i;
         INSERT INTO @streams (first_seq, last_seq, last_tag, total_bytes, own_bytes, oldest_at,
             newest_at, active_at, since, complete, state, large, unbooked, expired_at, key, session,
             name)
         SELECT 1, 5, 1, 500, 300, 1e12 + i, 1e12 + i, 1e12 + i, 1e12 + i, i % 3 = 1,
             ('{{0, 1, 2}}'::int[])[i % 3 + 1], false, true,
             CASE WHEN i % 3 = 2 THEN 1e12 END, decode(md5(i::text), 'hex'),
             's' || (i % {SESSIONS} + 1), 'n' || i
         FROM generate_series(1, {SESSIONS} * 400) i;
         INSERT INTO @events SELECT s.id, seq, 1, 1e12, 100 * seq, NULL, '{{}}'
         FROM @streams s CROSS JOIN generate_series(1, 5) seq WHERE s.session <> 'small';
         INSERT INTO @garbage (stream, below) SELECT -i, 5 FROM generate_series(1, 20000) i"
    ));
    scope.run(rows).await;
}

async fn analyze(scope: &Scope) {
    let tables = "ANALYZE @sessions; ANALYZE @streams; ANALYZE @events; ANALYZE @garbage";
    scope.run(scope.sql(tables)).await;
}

async fn read(scope: &Scope, stream: &StreamRef) {
    let backend = scope.backend(&Clock::system()).await.unwrap();
    let found = backend.find(stream).await.unwrap().unwrap();
    let page = backend.read(&found.meta.key, 0, PageLimit::PAGE).await.unwrap().unwrap();
    assert!(!page.events.is_empty());
    backend.close().await.unwrap();
}

/// A plan for a table of one page scans it, if it may. The connection that is left has such plans of
/// what a sweep does, too.
async fn small(scope: &Scope) -> PostgresBackend {
    let engine = scope.engine().await;
    let only = stream("small", "only");
    append(&engine, &only, "one").await;
    append(&engine, &only, "two").await;
    engine.close().await.unwrap();
    analyze(scope).await;
    read(scope, &only).await;
    let backend = scope.backend(&Clock::system()).await.unwrap();
    remove_and_free(&backend, 1).await;
    backend
}

/// Removes streams in each way, so many in each of two steps, and frees what they held.
async fn remove_and_free(backend: &PostgresBackend, streams: usize) {
    let (streams, _) = backend.candidates(&Candidates::LeastRecent, None, streams).await.unwrap();
    let removal = |(place, meta): (usize, &StreamMeta)| {
        let what = match place % 2 {
            0 => Remove::Prefix { through: meta.first_seq },
            _ => Remove::Whole { at: Timestamp(1), unchanged: meta.version() },
        };
        Removal { key: meta.key, what }
    };
    let removals: Vec<_> = streams.iter().enumerate().map(removal).collect();
    let taken = backend.remove(&removals).await.unwrap();
    assert!(taken.iter().all(Option::is_some) && !taken.is_empty(), "{taken:?}");
    let ever = Candidates::Tombstones(Timestamp(i64::MAX));
    let (streams, _) = backend.candidates(&ever, None, streams.len()).await.unwrap();
    let removal = |meta: &StreamMeta| Removal {
        key: meta.key,
        what: Remove::Tombstone { unchanged: meta.version() },
    };
    let removals: Vec<_> = streams.iter().map(removal).collect();
    let taken = backend.remove(&removals).await.unwrap();
    assert!(taken.iter().all(Option::is_some), "{taken:?}");
    while backend.reclaim(1000).await.unwrap() > 0 {}
}

async fn every_operation(scope: &Scope) {
    let retention = Retention { sweep_every: None, ..Retention::default() };
    let settings = Settings { retention, ..Settings::default() };
    let clock = Clock::manual();
    let backend = scope.backend(&clock).await.unwrap();
    let (s7, at) = (SessionId::new("s7").unwrap(), Timestamp(1_000_000_000_100));
    for which in [
        Candidates::Idle(at),
        Candidates::Complete(at),
        Candidates::Tombstones(at),
        Candidates::Aged(at),
        Candidates::Large(100_000),
        Candidates::LeastRecent,
        Candidates::OfSession(s7.clone()),
        Candidates::TombstonesOf(s7.clone()),
    ] {
        let (_, next) = backend.candidates(&which, None, 100).await.unwrap();
        if next.is_some() {
            backend.candidates(&which, next, 100).await.unwrap();
        }
    }
    backend.large_sessions(2_000_000, None, 100).await.unwrap();
    backend.forget_sessions(&settings, 10).await.unwrap();
    backend.claim_sweep("me", Duration::from_secs(1)).await.unwrap();
    remove_and_free(&backend, 250).await;
    assert_eq!(backend.reclaim(1).await.unwrap(), 0);
    backend.usage().await.unwrap();
    let one = stream("s8", "n10057");
    let found = backend.find(&one).await.unwrap().unwrap();
    backend.read(&found.meta.key, 2, PageLimit::PAGE).await.unwrap().unwrap();
    backend.take_over(&found.meta.key).await.unwrap().unwrap();
    backend.close().await.unwrap();

    let engine = scope.engine_with(settings, &clock).await;
    let (fresh, own) = (stream("fresh", "a"), SessionId::new("fresh").unwrap());
    for n in 0..20 {
        append(&engine, &fresh, &n.to_string()).await;
    }
    // A stream begins and ends, without a look-up.
    let primed = stream("s9", "primed");
    engine.store_event(&primed, NewEvent::priming(None)).await.unwrap();
    let end = NewEvent { completes_stream: true, ..event("the end") };
    engine.store_event(&primed, end).await.unwrap();
    // What has expired comes to life again, or is replaced.
    append(&engine, &stream("s8", "n10107"), "revived or replaced").await;
    engine.renew(&fresh, &Lease::new("me", Duration::from_secs(9))).await.unwrap();
    let replay = engine.read_stream(&fresh, ReplayMode::Stored).await.unwrap();
    assert_eq!(replay.events.try_collect::<Vec<_>>().await.unwrap().len(), 20);
    engine.store(&own, Message::parse("{}").unwrap()).await.unwrap();
    engine.touch(&own).await.unwrap();
    engine.delete_stream(&fresh).await.unwrap();
    engine.delete_session(&s7).await.unwrap();
    clock.advance(Duration::from_hours(1));
    engine.close().await.unwrap();
}

/// What a step of a plan did, and what it was.
fn touched(line: &str) -> Option<f64> {
    let number = |after: &str| -> Option<f64> {
        let rest = line.rsplit_once(after)?.1;
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        rest[..end].parse().ok()
    };
    if line.contains("Rows Removed by") {
        return number(": ");
    }
    let is_scan = line.contains("Scan") && line.contains("(actual");
    is_scan.then(|| number("rows=").zip(number("loops=")).map(|(rows, loops)| rows * loops))?
}

#[tokio::test(flavor = "multi_thread")]
async fn no_operation_scans_a_growing_table() {
    let server = Postgres::own(&[
        ("session_preload_libraries", "auto_explain"),
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_analyze", "on"),
        ("auto_explain.log_timing", "off"),
        ("auto_explain.log_nested_statements", "on"),
        ("logging_collector", "on"),
        // One file, of which nothing is missed.
        ("log_rotation_size", "0"),
        ("autovacuum", "off"),
    ]);
    let server = server.await.unwrap();
    let scope = Scope::on(server.url());
    scope.backend(&Clock::system()).await.unwrap().close().await.unwrap();
    let log = async || -> String {
        let log = "SELECT pg_read_file(pg_current_logfile())";
        scope.rows(log).await[0].get(0)
    };
    let before = log().await.len();
    let with_old_plans = small(&scope).await;
    fill(&scope).await;
    remove_and_free(&with_old_plans, 250).await;
    with_old_plans.close().await.unwrap();
    analyze(&scope).await;
    every_operation(&scope).await;
    // A pooler's connections have other settings.
    let options = PostgresOptions { notify: false, ..scope.options.clone() };
    read(&Scope { url: scope.url.clone(), options }, &stream("s9", "n10058")).await;
    let log = log().await;
    let log = &log[before..];
    let (mut scans, mut wrong) = (0, Vec::new());
    for (at, line) in log.lines().enumerate() {
        let growing = ["streams", "events", "sessions", "garbage"];
        let is_scan = growing.iter().any(|table| line.contains(&format!("Seq Scan on {table}")));
        let is_whole = line.contains("Function Scan on page");
        let rows = touched(line);
        scans += i32::from(rows.is_some());
        let what = match rows {
            _ if is_scan => "a growing table is scanned".to_owned(),
            _ if is_whole => "a page is put together before it is sent".to_owned(),
            Some(rows) if rows > TOUCHED => format!("{rows} rows are touched"),
            _ => continue,
        };
        let context: Vec<_> = log.lines().skip(at.saturating_sub(30)).take(40).collect();
        wrong.push(format!("{what}:\n{}", context.join("\n")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(scans > 100, "only {scans} scans were recorded");
}
