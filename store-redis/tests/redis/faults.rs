//! Servers that forget scripts, are killed, or run out of memory.

use std::time::Duration;

use mcp_event_store_core::{Error, EventStore, EventStoreExt, Maintenance, StreamRef};
use mcp_event_store_redis::RedisOptions;
use mcp_event_store_test_servers::Redis;

use crate::common::{Appenders, command, connect, event, open, options, stream};

fn streams(count: usize) -> Vec<StreamRef> {
    (0..count).map(|n| stream(&format!("session-{n}"), "a")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_survive_being_flushed() {
    let server = Redis::own(&[]).await.unwrap();
    let store = open(server.url(), &options()).await;
    let appenders = Appenders::start(&store, streams(8));
    for _ in 0..20 {
        command(server.url(), &["SCRIPT", "FLUSH"]).await;
        appenders.go_on(1).await;
    }
    let (stored, refused) = appenders.check(&store).await;
    assert!(stored > 8 && refused == 0, "{stored} stored, {refused} refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_and_doubles_nothing() {
    let server = Redis::own(&[]).await.unwrap();
    let store = open(server.url(), &options()).await;
    let appenders = Appenders::start(&store, streams(8));
    for _ in 0..5 {
        appenders.go_on(10).await;
        server.kill().await.unwrap();
        server.start().await.unwrap();
    }
    let one = stream("session-0", "a");
    crate::common::eventually("an append after the last start", || async {
        store.store_event(&stream("other", "a"), event("x")).await.is_ok()
    })
    .await;
    let (stored, _) = appenders.check(&store).await;
    assert!(stored > 8, "{stored}");
    assert!(!store.read_to_vec(&one).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_and_die_unnoticed_at_rest() {
    let server = Redis::own(&[]).await.unwrap();
    let store = open(server.url(), &options()).await;
    let mut connection = connect(server.url()).await;
    let mut made = async || {
        let info: String =
            redis::cmd("INFO").arg("stats").query_async(&mut connection).await.unwrap();
        let made = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        made.unwrap().trim().parse::<u64>().unwrap()
    };
    let append = async |stream: StreamRef| {
        store.store_event(&stream, event("x")).await.unwrap();
    };
    // At once, so that every writer has something to do.
    futures_util::future::join_all(streams(64).into_iter().map(append)).await;
    let before = made().await;
    for stream in streams(64) {
        append(stream).await;
    }
    assert_eq!(made().await, before);
    for _ in 0..10 {
        command(server.url(), &["CLIENT", "KILL", "TYPE", "normal"]).await;
        // This side has heard of it once it has heard of what came later.
        command(server.url(), &["PING"]).await;
        for stream in streams(4) {
            append(stream).await;
        }
    }
    assert_eq!(store.read_to_vec(&stream("session-0", "a")).await.unwrap().len(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_share_what_connections_a_server_allows() {
    let server = Redis::own(&[]).await.unwrap();
    let store = open(server.url(), &options()).await;
    let mut connection = connect(server.url()).await;
    store.store_event(&stream("s", "a"), event("x")).await.unwrap();
    let clients: String =
        redis::cmd("CLIENT").arg("LIST").query_async(&mut connection).await.unwrap();
    let full = clients.lines().count().to_string();
    let set = redis::cmd("CONFIG").arg("SET").arg("maxclients").arg(full).to_owned();
    set.exec_async(&mut connection).await.unwrap();
    let append = async |stream: StreamRef| store.store_event(&stream, event("x")).await;
    for _ in 0..5 {
        let appends = streams(64).into_iter().map(append);
        for appended in futures_util::future::join_all(appends).await {
            appended.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_is_no_others() {
    let server = Redis::own(&[]).await.unwrap();
    let options = RedisOptions { response_timeout: Duration::from_millis(300), ..options() };
    let store = open(server.url(), &options).await;
    let streams = streams(4);
    for round in 1..=3 {
        for stream in &streams {
            crate::common::eventually("an append", || async {
                store.store_event(stream, event("x")).await.is_ok()
            })
            .await;
        }
        command(server.url(), &["CLIENT", "PAUSE", "1000", "WRITE"]).await;
        let late = store.store_event(&streams[round], event("late")).await;
        assert!(matches!(late, Err(Error::OutcomeUnknown { .. })), "{late:?}");
    }
    for stream in &streams {
        crate::common::eventually("an append", || async {
            let before = store.read_to_vec(stream).await.map(|events| events.len());
            let appended = store.store_event(stream, event("last")).await;
            let after = store.read_to_vec(stream).await;
            let (Ok(before), Ok(id), Ok(after)) = (before, appended, after) else { return false };
            assert_eq!(after.last().map(|event| &event.id), Some(&id));
            assert!(after.len() > before);
            assert!(after.iter().zip(1..).all(|(event, seq)| event.seq == seq));
            true
        })
        .await;
    }
}

#[tokio::test]
async fn a_full_server_refuses_and_deletions_make_room() {
    let server = Redis::own(&["--maxmemory-policy", "noeviction"]).await.unwrap();
    let store = open(server.url(), &options()).await;
    let (one, kept) = (stream("s", "a"), stream("s", "kept"));
    store.store_event(&kept, event("kept")).await.unwrap();
    for _ in 0..64 {
        store.store_event(&one, event(&"x".repeat(64 * 1024))).await.unwrap();
    }
    command(server.url(), &["CONFIG", "SET", "maxmemory", "3mb"]).await;
    let refused = store.store_event(&kept, event("refused")).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
    assert!(refused.to_string().contains("maxmemory"), "{refused}");
    let events = store.read_to_vec(&kept).await.unwrap();
    assert_eq!(events.len(), 1, "a refused append changes nothing");
    store.delete_stream(&one).await.unwrap();
    crate::common::eventually("room", || async {
        store.store_event(&kept, event("again")).await.is_ok()
    })
    .await;
    let usage = store.usage().await.unwrap();
    assert_eq!((usage.streams, usage.events), (1, 2));
}

#[tokio::test]
async fn replicas_that_do_not_answer_make_the_outcome_unknown() {
    let server = Redis::own(&[]).await.unwrap();
    let options = RedisOptions {
        wait_replicas: Some(1),
        wait_timeout: Duration::from_millis(100),
        retry_for: Duration::from_millis(100),
        ..options()
    };
    let store = open(server.url(), &options).await;
    let answer = store.store_event(&stream("s", "a"), event("lonely")).await;
    assert!(matches!(answer, Err(Error::OutcomeUnknown { .. })), "{answer:?}");
    let of = format!("127.0.0.1 {}", server.address().port());
    let _replica =
        Redis::own(&["--replicaof", &of, "--repl-diskless-sync-delay", "0"]).await.unwrap();
    crate::common::eventually("a replica that has it", || async {
        store.store_event(&stream("s", "b"), event("shared")).await.is_ok()
    })
    .await;
    assert_eq!(store.read_to_vec(&stream("s", "a")).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_does_not_queue_for_a_server_that_hangs() {
    let server = Redis::own(&[]).await.unwrap();
    let options = RedisOptions {
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(1),
        retry_for: Duration::from_secs(1),
        ..options()
    };
    let store = open(server.url(), &options).await;
    store.store_event(&stream("s", "a"), event("first")).await.unwrap();
    command(server.url(), &["CLIENT", "PAUSE", "120000", "ALL"]).await;
    // Whoever was under way loses the connection: the crowd has to connect.
    store.read_to_vec(&stream("s", "a")).await.unwrap_err();
    let began = std::time::Instant::now();
    let reads = (0..30).map(|_| {
        let store = store.clone();
        async move { store.read_to_vec(&stream("s", "a")).await }
    });
    for read in futures_util::future::join_all(reads).await {
        assert!(matches!(read, Err(Error::Unavailable { .. })), "{read:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
