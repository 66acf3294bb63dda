//! Sums and lists kept beside the rows equal what the rows say, whatever happened before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mcp_event_store_core::backend::event_bytes;
use mcp_event_store_core::{
    Clock, Durability, Engine, EventStore, Lease, Maintenance, Message, NewEvent, Retention,
    SessionId, SessionStore, Settings, StreamId, StreamRef, Usage,
};
use proptest::prelude::*;

use crate::batch::Totals;
use crate::database::{Cache, Database};
use crate::index::{self, Garbage, List};
use crate::rows::{SessionRow, StreamRow, event_key, name_key, stream_key, unpack_event};
use crate::schema::Table;
use crate::{RocksBackend, RocksOptions};

#[derive(Clone, Debug)]
enum Step {
    Append { session: u8, stream: u8, bytes: u32, completes: bool },
    Renew { session: u8, stream: u8 },
    Store { session: u8 },
    Touch { session: u8 },
    DeleteStream { session: u8, stream: u8 },
    DeleteSession { session: u8 },
    Wait { seconds: u8 },
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let (session, stream) = (0..4_u8, 0..3_u8);
    let bytes = prop_oneof![20 => 0..900_u32, 1 => Just(70_000), 1 => Just(700_000)];
    prop_oneof![
        8 => (session.clone(), stream.clone(), bytes, prop::bool::weighted(0.2)).prop_map(
            |(session, stream, bytes, completes)| Step::Append { session, stream, bytes, completes }
        ),
        1 => (session.clone(), stream.clone())
            .prop_map(|(session, stream)| Step::Renew { session, stream }),
        1 => session.clone().prop_map(|session| Step::Store { session }),
        1 => session.clone().prop_map(|session| Step::Touch { session }),
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
        max_bytes_per_stream: Some(800_000),
        max_total_bytes: Some(3_000_000),
        max_bytes_per_session: Some(1_500_000),
        tombstone_ttl: Duration::from_secs(40),
        session_ttl: seconds(50),
        sweep_every: None,
    };
    Settings { retention, durability: Durability::Relaxed, ..Settings::default() }
}

async fn run(path: &Path, steps: &[Step]) {
    let clock = Clock::manual();
    let options = RocksOptions::default();
    let backend = RocksBackend::open(path, &options, Durability::Relaxed, clock.clone()).await;
    let backend = backend.unwrap();
    let database = backend.database();
    let engine = Engine::open(backend, settings()).unwrap();
    for step in steps.iter().chain([&Step::Sweep]) {
        apply(&engine, &clock, step).await;
        compare(&database, engine.usage().await.unwrap());
    }
    let events = rows(&database, Table::Events).len() as u64;
    assert_eq!(events, engine.usage().await.unwrap().events, "a sweep frees what was removed");
    drop(database);
    engine.close().await.unwrap();
}

/// Applies `step`; a refusal (complete, deleted) is as good as a success here.
async fn apply(engine: &Arc<Engine<RocksBackend>>, clock: &Clock, step: &Step) {
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
        Step::Touch { session } => {
            engine.touch(&id(session)).await.unwrap();
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

type Row = (Vec<u8>, Vec<u8>);

/// All rows of a table.
fn rows(database: &Database, table: Table) -> Vec<Row> {
    let mut found = Vec::new();
    // A stream's events are one prefix; rows of several are had by their streams.
    if table == Table::Events {
        for (key, _) in rows(database, Table::Streams) {
            let key = stream_key(&key).unwrap();
            let (from, below) = (event_key(&key, 0).to_vec(), event_key(&key, u64::MAX).to_vec());
            let mut rows = database.rows(table, from, below, Cache::Leave).unwrap();
            while let Some((key, value)) = rows.next().unwrap() {
                found.push((key.to_vec(), value.to_vec()));
            }
        }
        return found;
    }
    let mut rows = database.rows(table, Vec::new(), vec![0xff; 20], Cache::Leave).unwrap();
    while let Some((key, value)) = rows.next().unwrap() {
        found.push((key.to_vec(), value.to_vec()));
    }
    found
}

/// Compares every sum and list with what the rows say.
fn compare(database: &Database, usage: Usage) {
    let streams: Vec<_> = rows(database, Table::Streams)
        .iter()
        .map(|(key, row)| StreamRow::unpack(stream_key(key).unwrap(), row).unwrap())
        .collect();
    let records = rows(database, Table::Records);
    let mut counted = Usage { sessions: records.len() as u64, ..Usage::default() };
    let mut of_sessions: BTreeMap<SessionId, SessionRow> = BTreeMap::new();
    let mut lists = BTreeSet::new();
    for row in &streams {
        let tombstone = u64::from(row.meta.is_tombstone());
        let bytes = row.meta.kept_bytes() + row.meta.own_bytes();
        counted.streams += 1 - tombstone;
        counted.tombstones += tombstone;
        counted.events += row.meta.kept_events();
        counted.bytes += bytes;
        if let Some(session) = &row.meta.stream.session {
            let sums = of_sessions.entry(session.clone()).or_default();
            sums.streams += 1;
            sums.open_streams += u64::from(row.is_open());
            sums.bytes += bytes;
        }
        lists.extend(index::of_stream(row));
        assert!(row.since <= row.meta.expired_at.unwrap_or(row.meta.active_at));
        assert!(row.is_open() || row.since == row.meta.expired_at.unwrap_or(row.meta.active_at));
        compare_events(database, row);
    }
    assert_eq!(usage, counted, "totals");
    assert_eq!(Totals::load(database).unwrap().usage, counted, "stored totals");
    let names = streams.iter().map(|row| (name_key(&row.meta.stream), row.meta.key.0.to_vec()));
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(rows(database, Table::Names), names, "names");
    compare_sessions(database, &records, of_sessions, &mut lists);
    let is_garbage = |entry: &Vec<u8>| entry.starts_with(&List::Garbage.start());
    let listed = rows(database, Table::Lists);
    let garbage: Vec<_> = listed.iter().filter(|(entry, _)| is_garbage(entry)).collect();
    for (_, garbage) in garbage {
        let garbage = Garbage::unpack(garbage).unwrap();
        let row = streams.iter().find(|row| row.meta.key == garbage.key);
        assert!(row.is_none_or(|row| garbage.below <= row.meta.first_seq), "{garbage:?}");
    }
    let listed = listed.into_iter().map(|(entry, _)| entry).filter(|entry| !is_garbage(entry));
    assert_eq!(listed.collect::<BTreeSet<_>>(), lists, "lists");
}

fn compare_events(database: &Database, row: &StreamRow) {
    let meta = &row.meta;
    let (from, below) = (event_key(&meta.key, meta.first_seq), event_key(&meta.key, u64::MAX));
    let mut rows =
        database.rows(Table::Events, from.to_vec(), below.to_vec(), Cache::Leave).unwrap();
    let (mut seq, mut bytes) = (meta.first_seq, meta.removed_bytes);
    let mut oldest_at = None;
    while let Some((key, value)) = rows.next().unwrap() {
        let event = unpack_event(key, value).unwrap();
        bytes += event_bytes(event.message.as_ref().map_or(0, |m| m.len() as u64));
        assert_eq!((event.seq, event.running_bytes), (seq, bytes));
        oldest_at.get_or_insert(event.stored_at);
        seq += 1;
    }
    assert_eq!((seq, bytes), (meta.last_seq + 1, meta.total_bytes), "{meta:?}");
    assert_eq!(oldest_at, meta.oldest_at, "{meta:?}");
}

fn compare_sessions(
    database: &Database,
    records: &[Row],
    mut counted: BTreeMap<SessionId, SessionRow>,
    lists: &mut BTreeSet<Vec<u8>>,
) {
    for (id, row) in rows(database, Table::Sessions) {
        let row = SessionRow::unpack(&row).unwrap();
        assert!(!row.is_empty(), "sessions that hold nothing");
        assert_eq!(row.has_record, records.iter().any(|(session, _)| *session == id));
        let id = SessionId::new(std::str::from_utf8(&id).unwrap()).unwrap();
        let sums = counted.remove(&id).unwrap_or_default();
        assert_eq!(
            (row.bytes, row.streams, row.open_streams),
            (sums.bytes, sums.streams, sums.open_streams),
            "sums of {id}"
        );
        lists.extend(index::of_session(id.as_str(), &row));
    }
    assert_eq!(counted, BTreeMap::new(), "streams without their session");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sums_and_lists_equal_the_rows(steps in prop::collection::vec(step(), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(run(&folder.path().join("sums"), &steps));
    }
}
