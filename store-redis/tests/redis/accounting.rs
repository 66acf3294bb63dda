//! Sums and indexes equal a count of what is there, whatever happened before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mcp_event_store_core::{
    Clock, Durability, Engine, EventStore, Lease, Maintenance, Message, NewEvent, Retention,
    SessionId, SessionStore, Settings, StreamId, StreamRef,
};
use mcp_event_store_redis::{RedisBackend, RedisOptions};
use mcp_event_store_test_servers::Redis;
use proptest::prelude::*;
use redis::aio::MultiplexedConnection;

use crate::common::{connect, options};

#[derive(Clone, Debug)]
enum Step {
    Append {
        by: usize,
        stream: (u8, u8),
        bytes: u32,
        owner: u8,
        completes: bool,
    },
    Renew {
        session: u8,
        stream: u8,
    },
    Store {
        session: u8,
    },
    DeleteStream {
        session: u8,
        stream: u8,
    },
    DeleteSession {
        session: u8,
    },
    Wait {
        seconds: u8,
    },
    Sweep,
    /// Books all sums, and compares them.
    Usage,
}

fn step() -> impl Strategy<Value = Step> {
    let (session, stream) = (0..4_u8, 0..3_u8);
    prop_oneof![
        // Mostly by one instance: it then knows what it left.
        12 => (
            prop_oneof![4 => Just(0_usize), 1 => Just(1)],
            (session.clone(), stream.clone()),
            prop_oneof![9 => 0..900_u32, 1 => 65_000..66_000_u32],
            0..3_u8,
            prop::bool::weighted(0.2),
        )
            .prop_map(|(by, stream, bytes, owner, completes)| Step::Append {
                by,
                stream,
                bytes,
                owner,
                completes,
            }),
        1 => (session.clone(), stream.clone())
            .prop_map(|(session, stream)| Step::Renew { session, stream }),
        1 => session.clone().prop_map(|session| Step::Store { session }),
        1 => (session.clone(), stream)
            .prop_map(|(session, stream)| Step::DeleteStream { session, stream }),
        1 => session.prop_map(|session| Step::DeleteSession { session }),
        2 => (1..40_u8).prop_map(|seconds| Step::Wait { seconds }),
        2 => Just(Step::Sweep),
        2 => Just(Step::Usage),
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

async fn run(url: &str, steps: &[Step]) {
    let (clock, options) = (Clock::manual(), options());
    let mut engines = Vec::new();
    for _ in 0..2 {
        let backend = RedisBackend::open(url, &options, Durability::Relaxed, clock.clone()).await;
        engines.push(Engine::open(backend.unwrap(), settings()).unwrap());
    }
    let engine = &engines[0];
    let mut connection = connect(url).await;
    for step in steps {
        apply(&engines, &clock, step).await;
        let counted = compare(&mut connection, &options).await;
        if matches!(step, Step::Usage) {
            compare_usage(engine, counted).await;
        }
    }
    for _ in 0..3 {
        clock.advance(Duration::from_secs(1000));
        engine.sweep().await.unwrap();
    }
    let counted = compare(&mut connection, &options).await;
    compare_usage(engine, counted).await;
    let left: Vec<String> = keys(&mut connection, &options).await.into_keys().collect();
    let stays = |key: &String| key.ends_with(":t") || key.ends_with("{0}:v");
    assert!(left.iter().all(stays), "left when all is forgotten: {left:?}");
    for engine in engines {
        engine.close().await.unwrap();
    }
}

/// Applies `step`; a refusal (complete, deleted) is as good as a success here.
async fn apply(engines: &[Arc<Engine<RedisBackend>>], clock: &Clock, step: &Step) {
    let engine = &engines[0];
    match *step {
        Step::Append { by, stream: (session, name), bytes, owner, completes } => {
            let message = Message::from_value(&"x".repeat(bytes as usize)).unwrap();
            let mut event = NewEvent { completes_stream: completes, ..NewEvent::message(message) };
            if owner > 0 {
                let owner = format!("owner-{owner}");
                event = event.with_lease(Lease::new(&*owner, Duration::from_secs(20)));
            }
            let _ = engines[by].store_event(&stream(session, name), event).await;
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
        Step::Usage => {}
    }
}

/// What a bucket holds: sums as they are kept, and as they are counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Books {
    totals: [i64; 2],
    /// By session: bytes and open streams.
    sessions: BTreeMap<Vec<u8>, [i64; 2]>,
    /// By name of the index: stream keys.
    indexes: BTreeMap<char, BTreeSet<Vec<u8>>>,
    events: BTreeMap<Vec<u8>, i64>,
}

/// The store's keys: what follows their bucket, by gate and rest.
async fn keys(
    connection: &mut MultiplexedConnection,
    options: &RedisOptions,
) -> BTreeMap<String, Vec<u8>> {
    let pattern = format!("{}*", options.key_prefix);
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg(pattern).query_async(connection).await.unwrap();
    keys.into_iter().map(|key| (String::from_utf8_lossy(&key).into_owned(), key)).collect()
}

fn double(bytes: &[u8], at: usize) -> i64 {
    #[allow(clippy::cast_possible_truncation)]
    let number = f64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()) as i64;
    number
}

const NONE: i64 = -(1 << 60);

/// Compares sums and indexes with a count, and answers the totals that were counted.
async fn compare(connection: &mut MultiplexedConnection, options: &RedisOptions) -> [i64; 2] {
    let keys = keys(connection, options).await;
    let (mut kept, mut counted) = (Books::default(), Books::default());
    for key in keys.values() {
        let close = key.iter().position(|byte| *byte == b'}').unwrap();
        let (gate, rest) = key.split_at(close + 1);
        match &rest[1..2] {
            b"t" => {
                let sums: Vec<Option<i64>> = redis::cmd("HMGET")
                    .arg(key)
                    .arg(&["e", "b"])
                    .query_async(connection)
                    .await
                    .unwrap();
                kept.totals[0] += sums[0].unwrap_or(0);
                kept.totals[1] += sums[1].unwrap_or(0);
            }
            b"x" => {
                let sums: Vec<Option<i64>> = redis::cmd("HMGET")
                    .arg(key)
                    .arg(&["b", "o"])
                    .query_async(connection)
                    .await
                    .unwrap();
                let sums = [sums[0].unwrap_or(0), sums[1].unwrap_or(0)];
                if sums != [0, 0] {
                    let session = kept.sessions.entry(rest[3..].to_vec()).or_default();
                    *session = [session[0] + sums[0], session[1] + sums[1]];
                }
            }
            index @ (b"i" | b"c" | b"d" | b"a" | b"l") => {
                let members: Vec<Vec<u8>> = redis::cmd("ZRANGE")
                    .arg(key)
                    .arg(0)
                    .arg(-1)
                    .query_async(connection)
                    .await
                    .unwrap();
                kept.indexes.entry(index[0] as char).or_default().extend(members);
            }
            b"u" => {
                let members: Vec<Vec<u8>> =
                    redis::cmd("SMEMBERS").arg(key).query_async(connection).await.unwrap();
                kept.indexes.entry('u').or_default().extend(members);
            }
            b"m" => count(connection, key, gate, &rest[3..], &mut kept, &mut counted).await,
            _ => {}
        }
    }
    assert_eq!(kept, counted);
    counted.totals
}

/// A sum that is asked for has everything booked, and books nothing twice.
async fn compare_usage(engine: &Engine<RedisBackend>, counted: [i64; 2]) {
    for _ in 0..2 {
        let usage = engine.usage().await.unwrap();
        assert_eq!([usage.events.cast_signed(), usage.bytes.cast_signed()], counted);
    }
}

/// Counts one stream.
async fn count(
    connection: &mut MultiplexedConnection,
    key: &[u8],
    gate: &[u8],
    stream: &[u8],
    kept: &mut Books,
    counted: &mut Books,
) {
    let meta: Vec<u8> = redis::cmd("GET").arg(key).query_async(connection).await.unwrap();
    let [last, total, first, removed, oldest, expired] =
        [16, 24, 47, 55, 63, 71].map(|at| double(&meta, at));
    let complete = meta[32] == 1;
    let lengths = [117, 119].map(|at| usize::from(u16::from_be_bytes([meta[at], meta[at + 1]])));
    let session = &meta[121..121 + lengths[0]];
    let bytes = total - removed + i64::try_from(lengths[0] + lengths[1]).unwrap() + 256;
    counted.totals[0] += last + 1 - first;
    counted.totals[1] += bytes;
    // What waits to be booked is known of each stream.
    let waiting = [last + 1 - first - double(&meta, 95), bytes - double(&meta, 103)];
    if waiting != [0, 0] {
        counted.indexes.entry('u').or_default().insert(stream.to_vec());
    }
    kept.totals[0] += waiting[0];
    kept.totals[1] += waiting[1];
    let state = if expired != NONE {
        'd'
    } else if complete {
        'c'
    } else {
        'i'
    };
    if !session.is_empty() {
        let sums = counted.sessions.entry(session.to_vec()).or_default();
        sums[0] += bytes;
        sums[1] += i64::from(state == 'i');
        kept.sessions.entry(session.to_vec()).or_default()[0] += waiting[1];
    }
    counted.indexes.entry(state).or_default().insert(stream.to_vec());
    if oldest != NONE {
        counted.indexes.entry('a').or_default().insert(stream.to_vec());
    }
    if total - removed >= 65_536 {
        counted.indexes.entry('l').or_default().insert(stream.to_vec());
    }
    kept.events.insert(stream.to_vec(), last + 1 - first);
    let events = [gate, b":e:", stream].concat();
    let from = format!("{first}-0");
    let found: redis::Value =
        redis::cmd("XRANGE").arg(events).arg(from).arg("+").query_async(connection).await.unwrap();
    let redis::Value::Array(found) = found else { panic!("no array: {found:?}") };
    counted.events.insert(stream.to_vec(), i64::try_from(found.len()).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sums_equal_a_count(steps in prop::collection::vec(step(), 1..30)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async { run(server().await, &steps).await });
    }
}

fn appends(count: usize) -> impl Iterator<Item = Step> {
    let append = Step::Append { by: 0, stream: (1, 1), bytes: 10, owner: 0, completes: false };
    std::iter::repeat_n(append, count)
}

#[tokio::test]
async fn a_stream_whose_events_were_freed_before_it_leaves_nothing() {
    let wait = |seconds| Step::Wait { seconds };
    // Its only event is too old, and then it expires without any.
    let trimmed = appends(1).chain([wait(39), wait(10), Step::Sweep]);
    run(server().await, &trimmed.collect::<Vec<_>>()).await;
    // It expires with more events than are freed at once.
    let long = appends(65).chain([wait(39), wait(39), Step::Sweep]);
    run(server().await, &long.collect::<Vec<_>>()).await;
    // It comes to life again, before it was swept and after.
    let revived = appends(2).chain([wait(39), wait(39)]).chain(appends(2));
    let revived = revived.chain([wait(39), wait(39), Step::Sweep]).chain(appends(2));
    run(server().await, &revived.collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn a_stream_that_comes_to_life_again_keeps_the_expiry_of_its_keys() {
    let (clock, options, url) = (Clock::manual(), options(), server().await);
    let backend = RedisBackend::open(url, &options, Durability::Relaxed, clock.clone()).await;
    let engines = [Engine::open(backend.unwrap(), settings()).unwrap()];
    let mut connection = connect(url).await;
    for swept in [false, true] {
        for append in appends(1) {
            apply(&engines, &clock, &append).await;
        }
        clock.advance(Duration::from_secs(70));
        if swept {
            assert_eq!(engines[0].sweep().await.unwrap().expired_streams, 1);
        }
        for append in appends(1) {
            apply(&engines, &clock, &append).await;
        }
        let keys = keys(&mut connection, &options).await;
        let parts = keys.iter().filter(|(name, _)| name.contains(":e:") || name.contains(":m:"));
        let parts: Vec<_> = parts.collect();
        assert_eq!(parts.len(), 2, "{parts:?}");
        for (name, key) in parts {
            let left: i64 = redis::cmd("PTTL").arg(key).query_async(&mut connection).await.unwrap();
            assert!(left > 0, "{name} never expires");
        }
    }
    let [engine] = engines;
    engine.delete_session(&id(1)).await.unwrap();
    engine.close().await.unwrap();
}

/// One server for all cases.
async fn server() -> &'static str {
    static SERVER: tokio::sync::OnceCell<Redis> = tokio::sync::OnceCell::const_new();
    SERVER.get_or_init(|| async { Redis::own(&[]).await.unwrap() }).await.url()
}
