//! What an append asks the server, as `MONITOR` shows it.

use std::time::Duration;

use futures_util::StreamExt as _;
use mcp_event_store_core::{
    Durability, EventStore, Lease, Maintenance, Message, NewEvent, StreamId, StreamRef,
};
use mcp_event_store_test_servers::Redis;

use crate::common::{open_with, options};

/// The commands of the next script that appends.
async fn next_append(
    lines: &mut (impl futures_util::Stream<Item = String> + Unpin),
) -> Vec<String> {
    let mut commands = Vec::new();
    loop {
        let line = tokio::time::timeout(Duration::from_secs(10), lines.next()).await;
        let line = line.expect("the server shows what it does").unwrap();
        // 1700000000.000000 [0 lua] "GET" "key"
        let Some((_, rest)) = line.split_once(" lua] \"") else { continue };
        let command = rest.split('"').next().unwrap_or_default().to_uppercase();
        let is_last = command == "PUBLISH";
        commands.push(command);
        if is_last {
            return commands;
        }
    }
}

#[tokio::test]
async fn only_a_stream_that_is_not_as_it_was_left_takes_the_long_way() {
    let server = Redis::own(&[]).await.unwrap();
    let options = options();
    let open = || async { open_with(server.url(), &options, Durability::Relaxed).await.unwrap() };
    let engines = [open().await, open().await];
    let client = redis::Client::open(server.url()).unwrap();
    let monitor = client.get_async_monitor().await.unwrap();
    let mut lines = Box::pin(monitor.into_on_message::<String>());

    let stream = StreamRef::sessionless(StreamId::new("stream").unwrap());
    let append = |by: usize, completes_stream| {
        let (engine, stream) = (engines[by].clone(), stream.clone());
        async move {
            let message = Message::parse("{}").unwrap();
            let event = NewEvent { completes_stream, ..NewEvent::message(message) };
            let lease = Lease::new("owner", Duration::from_secs(20));
            engine.store_event(&stream, event.with_lease(lease)).await.unwrap();
        }
    };
    let short = ["TIME", "GET", "HGET", "XADD", "SETRANGE", "PUBLISH"];

    append(0, false).await;
    let created = next_append(&mut lines).await;
    assert!(created.contains(&"ZADD".to_owned()), "{created:?}");
    for _ in 0..3 {
        append(0, false).await;
        assert_eq!(next_append(&mut lines).await, short);
    }
    // This instance has not seen it before; the next time it has.
    append(1, false).await;
    assert_eq!(next_append(&mut lines).await[..3], ["TIME", "HGET", "GET"]);
    append(1, false).await;
    assert_eq!(next_append(&mut lines).await, short);
    // What the first one knows is old by now, and it finds out in the same call.
    append(0, false).await;
    let corrected = next_append(&mut lines).await;
    assert_eq!(corrected, ["TIME", "GET", "HGET", "GET", "XADD", "SETRANGE", "PUBLISH"]);
    append(0, true).await;
    let completed = next_append(&mut lines).await;
    assert_eq!(completed, ["TIME", "GET", "HGET", "XADD", "SET", "ZREM", "ZADD", "PUBLISH"]);
    for engine in engines {
        engine.close().await.unwrap();
    }
}
