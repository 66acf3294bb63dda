//! Making room: in a full file, in few commits, after the clock was set back, and beside damage.

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mcp_event_store_core::backend::Backend;
use mcp_event_store_core::{
    Clock, Durability, Engine, Error, EventStore, EventStoreExt, Maintenance, Message, NewEvent,
    Retention, SessionId, Settings, StreamId, StreamRef,
};
use mcp_event_store_sqlite::{SqliteBackend, SqliteOptions};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

async fn backend(path: &Path, options: SqliteOptions, clock: &Clock) -> SqliteBackend {
    SqliteBackend::open(path, &options, Durability::Relaxed, clock.clone()).await.unwrap()
}

fn expiring() -> Settings {
    let stream_ttl = Some(Duration::from_mins(1));
    let retention = Retention { stream_ttl, ..Retention::keep_everything() };
    Settings { retention, durability: Durability::Relaxed, ..Settings::default() }
}

fn stream(n: usize) -> StreamRef {
    let session = SessionId::new(format!("session-{n}")).unwrap();
    StreamRef::in_session(session, StreamId::new("a").unwrap())
}

fn event(bytes: usize) -> NewEvent {
    NewEvent::message(Message::from_value(&"x".repeat(bytes)).unwrap())
}

/// Fills the file with streams of one event of `bytes`; answers how many it took.
async fn fill(engine: &Arc<Engine<SqliteBackend>>, bytes: usize) -> usize {
    for n in 0.. {
        if let Err(error) = engine.store_event(&stream(n), event(bytes)).await {
            assert!(error.is_retryable(), "{error:?}");
            return n;
        }
    }
    unreachable!("a limited file holds a limited number of streams")
}

#[tokio::test]
async fn a_sweep_makes_room_in_a_file_full_of_streams() {
    for bytes in [1, 100, 1000, 5000] {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual();
        let options = SqliteOptions { max_file_size: Some(400_000), ..SqliteOptions::default() };
        let path = folder.path().join("full.db");
        let backend = backend(&path, options, &clock).await;
        let engine = Engine::open(backend, expiring()).unwrap();
        for _ in 0..3 {
            let streams = fill(&engine, bytes).await as u64;
            clock.advance(Duration::from_mins(2));
            let report = engine.sweep().await.unwrap();
            assert_eq!((report.expired_streams, report.freed_events), (streams, streams));
            clock.advance(Duration::from_hours(1));
            assert_eq!(engine.sweep().await.unwrap().forgotten_tombstones, streams);
        }
        let size = path.metadata().unwrap().len();
        assert!(size < 450_000, "{size}: appends have to keep to the limit, sweeps almost");
    }
}

#[tokio::test]
async fn a_deletion_makes_room_in_a_full_file() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions { max_file_size: Some(400_000), ..SqliteOptions::default() };
    let backend = backend(&folder.path().join("full.db"), options, &Clock::manual()).await;
    let engine = Engine::open(backend, expiring()).unwrap();
    for n in 0..fill(&engine, 1).await {
        let session = stream(n).session.unwrap();
        assert_eq!(engine.delete_session(&session).await.unwrap().events, 1);
    }
}

#[tokio::test]
async fn streams_share_the_step_that_frees_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.db");
    let one = backend(&path, SqliteOptions::default(), &Clock::manual()).await;
    let engine = Engine::open(one, expiring()).unwrap();
    for n in 0..20 {
        for _ in 0..=n {
            engine.store_event(&stream(n), event(1)).await.unwrap();
        }
    }
    let two = backend(&path, SqliteOptions::default(), &Clock::manual()).await;
    for n in 0..20 {
        two.delete_stream(&stream(n)).await.unwrap();
    }
    assert_eq!(two.reclaim(100).await.unwrap(), 100);
    assert_eq!(two.reclaim(1000).await.unwrap(), 110);
    assert_eq!(two.reclaim(1000).await.unwrap(), 0);
}

#[tokio::test]
async fn a_claim_from_before_the_clock_was_set_back_does_not_last() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual();
    let backend = backend(&folder.path().join("a.db"), SqliteOptions::default(), &clock).await;
    let minute = Duration::from_mins(1);
    assert!(backend.claim_sweep("one", minute).await.unwrap());
    assert!(!backend.claim_sweep("two", minute).await.unwrap());
    clock.turn_back(Duration::from_hours(24));
    assert!(backend.claim_sweep("two", minute).await.unwrap());
}

#[tokio::test]
async fn a_damaged_stream_fails_no_append_to_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.db");
    let backend = backend(&path, SqliteOptions::default(), &Clock::manual()).await;
    let options = SqliteConnectOptions::new().filename(&path).disable_statement_logging();
    let engine = Engine::open(backend, expiring()).unwrap();
    engine.store_event(&stream(0), event(1)).await.unwrap();
    let mut raw = options.connect().await.unwrap();
    let damage = "UPDATE streams SET last_tag = -1, version = version + 1";
    sqlx::raw_sql(damage).execute(&mut raw).await.unwrap();
    let names = [0, 1, 2, 0].map(stream);
    let stores = names.iter().map(|name| engine.store_event(name, event(1)));
    let results = futures_util::future::join_all(stores).await;
    assert!(matches!(results[0], Err(Error::Corrupt { .. })), "{:?}", results[0]);
    assert!(results[1].is_ok() && results[2].is_ok(), "{results:?}");
    assert_eq!(engine.read_to_vec(&stream(1)).await.unwrap().len(), 1);
}
