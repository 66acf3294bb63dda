//! Sums kept beside the rows equal a count of the rows, whatever happened before.

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::time::Duration;

use mcp_event_store_core::{
    Clock, Durability, Engine, EventStore, Lease, Maintenance, Message, NewEvent, Retention,
    SessionId, SessionStore, Settings, StreamId, StreamRef,
};
use mcp_event_store_sqlite::{SqliteBackend, SqliteOptions};
use proptest::prelude::*;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row};

#[derive(Clone, Debug)]
enum Step {
    Append { session: u8, stream: u8, bytes: u32, completes: bool },
    Renew { session: u8, stream: u8 },
    Store { session: u8 },
    DeleteStream { session: u8, stream: u8 },
    DeleteSession { session: u8 },
    Wait { seconds: u8 },
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let (session, stream) = (0..4_u8, 0..3_u8);
    // Also around the sizes from which streams and sessions are listed as large.
    let bytes = prop_oneof![
        8 => 0..900_u32, 1 => 65_000..66_000_u32, 1 => 1_048_000..1_049_000_u32
    ];
    prop_oneof![
        8 => (session.clone(), stream.clone(), bytes, prop::bool::weighted(0.2)).prop_map(
            |(session, stream, bytes, completes)| Step::Append { session, stream, bytes, completes }
        ),
        1 => (session.clone(), stream.clone())
            .prop_map(|(session, stream)| Step::Renew { session, stream }),
        1 => session.clone().prop_map(|session| Step::Store { session }),
        1 => (session.clone(), stream)
            .prop_map(|(session, stream)| Step::DeleteStream { session, stream }),
        1 => session.prop_map(|session| Step::DeleteSession { session }),
        2 => (1..40_u8).prop_map(|seconds| Step::Wait { seconds }),
        2 => Just(Step::Sweep),
    ]
}

/// Session 0 stands for none.
fn stream(session: u8, stream: u8) -> StreamRef {
    let stream = StreamId::new(format!("stream-{stream}")).unwrap();
    match session {
        0 => StreamRef::sessionless(stream),
        session => StreamRef::in_session(id(session), stream),
    }
}

fn id(session: u8) -> SessionId {
    SessionId::new(format!("session-{session}")).unwrap()
}

fn settings() -> Settings {
    let seconds = |n| Some(Duration::from_secs(n));
    let retention = Retention {
        stream_ttl: seconds(60),
        completed_stream_ttl: seconds(30),
        event_ttl: seconds(45),
        max_events_per_stream: Some(5),
        max_bytes_per_stream: Some(2000),
        max_total_bytes: Some(9000),
        max_bytes_per_session: Some(3000),
        tombstone_ttl: Duration::from_secs(40),
        session_ttl: seconds(50),
        sweep_every: None,
    };
    Settings { retention, durability: Durability::Relaxed, ..Settings::default() }
}

async fn run(path: &Path, steps: &[Step]) {
    let clock = Clock::manual();
    let options = SqliteOptions::default();
    let backend = SqliteBackend::open(path, &options, Durability::Relaxed, clock.clone()).await;
    let engine = Engine::open(backend.unwrap(), settings()).unwrap();
    for step in steps.iter().chain([&Step::Sweep]) {
        apply(&engine, &clock, step).await;
        compare(path).await;
    }
    let freed = rows(path, "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM garbage)");
    let freed = freed.await;
    assert_eq!(freed[0], [engine.usage().await.unwrap().events.cast_signed(), 0]);
    engine.close().await.unwrap();
}

/// Applies `step`; a refusal (complete, deleted) is as good as a success here.
async fn apply(engine: &Engine<SqliteBackend>, clock: &Clock, step: &Step) {
    match *step {
        Step::Append { session, stream: name, bytes, completes } => {
            let message = Message::from_value(&"x".repeat(bytes as usize)).unwrap();
            let event = NewEvent { completes_stream: completes, ..NewEvent::message(message) };
            let _ = engine.store_event(&stream(session, name), event).await;
        }
        Step::Renew { session, stream: name } => {
            let lease = Lease::new("owner", Duration::from_secs(20));
            engine.renew(&stream(session, name), &lease).await.unwrap();
        }
        Step::Store { session } => {
            let _ = engine.store(&id(session), Message::parse("{}").unwrap()).await;
        }
        Step::DeleteStream { session, stream: name } => {
            engine.delete_stream(&stream(session, name)).await.unwrap();
        }
        Step::DeleteSession { session } => {
            engine.delete_session(&id(session)).await.unwrap();
        }
        Step::Wait { seconds } => clock.advance(Duration::from_secs(u64::from(seconds))),
        Step::Sweep => {
            engine.sweep().await.unwrap();
        }
    }
}

/// Compares every sum with a count, and the metadata of streams with their events.
async fn compare(path: &Path) {
    let kept = "SELECT *, last_seq + 1 - first_seq AS kept, total_bytes - removed_bytes AS held,
        total_bytes - removed_bytes + length(CAST(session AS BLOB))
        + length(CAST(name AS BLOB)) + 256 AS counted FROM streams";
    let totals = format!(
        "WITH s AS ({kept}) SELECT
             (SELECT count(*) FROM s WHERE state < 2), (SELECT count(*) FROM s WHERE state = 2),
             (SELECT coalesce(sum(kept), 0) FROM s), (SELECT coalesce(sum(counted), 0) FROM s),
             (SELECT count(*) FROM sessions WHERE record IS NOT NULL)"
    );
    let sums = "SELECT streams, tombstones, events, bytes, sessions FROM totals";
    assert_eq!(rows(path, &totals).await, rows(path, sums).await, "totals");
    let sessions = format!(
        "WITH s AS ({kept}) SELECT x.rowid, coalesce(sum(s.counted), 0), count(s.id),
             coalesce(sum(s.state = 0), 0)
         FROM sessions x LEFT JOIN s ON s.session = x.id GROUP BY x.rowid"
    );
    let sums = "SELECT rowid, bytes, streams, open_streams FROM sessions ORDER BY rowid";
    assert_eq!(rows(path, &sessions).await, rows(path, sums).await, "sessions");
    let events =
        format!("WITH s AS ({kept}) SELECT s.id, s.kept, s.held, s.oldest_at FROM s ORDER BY s.id");
    let counted = "SELECT s.id, count(e.seq), sum(iif(e.seq IS NULL, 0,
            64 + length(CAST(coalesce(e.message, '') AS BLOB)))), min(e.stored_at)
        FROM streams s LEFT JOIN events e ON e.stream = s.id AND e.seq >= s.first_seq
        GROUP BY s.id ORDER BY s.id";
    assert_eq!(rows(path, &events).await, rows(path, counted).await, "events");
    let misplaced = "SELECT
        (SELECT count(*) FROM streams WHERE large <> (total_bytes - removed_bytes >= 65536)),
        (SELECT count(*) FROM sessions WHERE large <> (bytes >= 1048576))";
    assert_eq!(rows(path, misplaced).await, [[0, 0]], "large streams and sessions");
    let orphans = "SELECT count(*) FROM streams s WHERE s.session <> ''
        AND NOT EXISTS (SELECT 1 FROM sessions x WHERE x.id = s.session)";
    assert_eq!(rows(path, orphans).await, [[0]], "streams without their session");
    let empty = "SELECT count(*) FROM sessions
        WHERE record IS NULL AND deleted_at IS NULL AND streams = 0";
    assert_eq!(rows(path, empty).await, [[0]], "sessions that hold nothing");
}

/// The integers of a query; NULL reads as -1.
async fn rows(path: &Path, sql: &str) -> Vec<Vec<i64>> {
    let options = SqliteConnectOptions::new().filename(path).disable_statement_logging();
    let mut connection = options.connect().await.unwrap();
    let query = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()));
    let rows = query.fetch_all(&mut connection).await.unwrap();
    let integers = |row: &sqlx::sqlite::SqliteRow| {
        (0..row.len()).map(|at| row.get::<Option<i64>, _>(at).unwrap_or(-1)).collect()
    };
    rows.iter().map(integers).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sums_equal_a_count(steps in prop::collection::vec(step(), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(run(&folder.path().join("sums.db"), &steps));
    }
}
