//! Keys that are gone: evicted, flushed, or deleted by somebody.

use std::time::Duration;

use futures_util::StreamExt;
use mcp_event_store_core::{
    Clock, Durability, Engine, Error, EventStore, EventStoreExt, Maintenance, ReplayMode,
    Retention, Settings, Usage,
};
use mcp_event_store_redis::RedisBackend;
use mcp_event_store_test_servers::Redis;

use crate::common::{command, connect, event, open, open_with, options, stream};

async fn keys(url: &str, pattern: &str) -> Vec<Vec<u8>> {
    let mut connection = connect(url).await;
    redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await.unwrap()
}

async fn delete(url: &str, key: &[u8]) {
    let mut connection = connect(url).await;
    redis::cmd("DEL").arg(key).exec_async(&mut connection).await.unwrap();
}

/// Whatever single key of a store is lost: what is left is whole or unknown, streams can be
/// appended to, and once a sweep has been there the books are right.
#[tokio::test]
async fn any_key_may_be_lost() {
    let server = Redis::own(&[]).await.unwrap();
    for kind in ["m:", "e:", "n:", "x:", "t", "i", "a", "z", "c", "r", "u"] {
        let (options, clock) = (options(), Clock::manual());
        let durability = Durability::Committed;
        let backend = RedisBackend::open(server.url(), &options, durability, clock.clone()).await;
        let retention = Retention { sweep_every: None, ..Retention::default() };
        let settings = Settings { retention, ..Settings::default() };
        let store = Engine::open(backend.unwrap(), settings).unwrap();
        let (one, other) = (stream("s", "a"), stream("s", "b"));
        let mut ids = Vec::new();
        for n in 0..5 {
            ids.push(store.store_event(&one, event(&n.to_string())).await.unwrap());
            store.store_event(&other, event("other").completing()).await.ok();
            if n == 2 {
                // Whoever asks for a sum has what is stored until then booked: some is, some waits.
                store.usage().await.unwrap();
            }
        }
        let pattern = format!("{}*:{kind}*", options.key_prefix);
        let lost = keys(server.url(), &pattern).await;
        assert!(kind == "r" || !lost.is_empty(), "no key of kind {kind}");
        for key in &lost {
            delete(server.url(), key).await;
        }
        match store.replay_to_vec(one.scope(), &ids[0]).await {
            Ok(events) => assert_eq!(events.len(), 4, "lost {kind}"),
            Err(Error::UnknownEvent | Error::EventsExpired { .. }) => {}
            Err(other) => panic!("lost {kind}: {other:?}"),
        }
        let id = store.store_event(&one, event("after")).await.unwrap();
        let events = store.read_to_vec(&one).await.unwrap();
        assert!([1, 6].contains(&events.len()), "lost {kind}: {} events", events.len());
        assert_eq!(events.last().unwrap().id, id);
        for _ in 0..3 {
            clock.advance(Duration::from_hours(48));
            store.sweep().await.unwrap();
        }
        let usage = store.usage().await.unwrap();
        // Of what no index names nothing is left but an expiry of the server's own.
        if ["i", "c"].contains(&kind) {
            assert!(usage.streams < 2 && usage.bytes < 10_000, "lost {kind}: {usage:?}");
        } else {
            assert_eq!(usage, Usage::default(), "lost {kind}");
        }
    }
}

#[tokio::test]
async fn an_evicting_server_leaves_no_holes() {
    let args = ["--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru"];
    let server = Redis::own(&args).await.unwrap();
    let store = open_with(server.url(), &options(), Durability::Relaxed).await.unwrap();
    let mut ids = Vec::new();
    for n in 0..600 {
        let one = stream(&format!("session-{}", n % 60), "a");
        if let Ok(id) = store.store_event(&one, event(&"x".repeat(16 * 1024))).await {
            ids.push((one, id));
        }
    }
    let info = command(server.url(), &["INFO", "stats"]).await;
    assert!(!format!("{info:?}").contains("evicted_keys:0\\r"), "nothing was evicted");
    let mut unknown = 0;
    for (one, id) in &ids {
        match store.replay_to_vec(one.scope(), id).await {
            Ok(events) => assert!(events.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq)),
            Err(Error::UnknownEvent | Error::EventsExpired { .. }) => unknown += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(unknown > 0, "nothing was lost");
    store.sweep().await.unwrap();
}

#[tokio::test]
async fn a_flushed_server_ends_follows_and_forgets_ids() {
    let server = Redis::own(&[]).await.unwrap();
    let options = options();
    let (writer, reader) = (open(server.url(), &options).await, open(server.url(), &options).await);
    let one = stream("s", "a");
    let id = writer.store_event(&one, event("first")).await.unwrap();
    let replay = reader.replay_events_after(one.scope(), &id, ReplayMode::follow()).await.unwrap();
    let mut events = replay.events;
    command(server.url(), &["FLUSHALL"]).await;
    let end = tokio::time::timeout(Duration::from_secs(20), events.next()).await.unwrap();
    assert!(matches!(end, Some(Err(Error::UnknownEvent))), "{end:?}");
    let unknown = writer.replay_to_vec(one.scope(), &id).await;
    assert!(matches!(unknown, Err(Error::UnknownEvent)), "{unknown:?}");
    let again = writer.store_event(&one, event("again")).await.unwrap();
    assert_ne!(again, id);
    assert_eq!(writer.usage().await.unwrap().events, 1);
}
