//! A master that fails over under Sentinel.

use mcp_event_store_core::{EventStore, EventStoreExt};
use mcp_event_store_redis::RedisOptions;
use mcp_event_store_test_servers::RedisSentinel;

use crate::common::{Appenders, event, eventually, open, options, stream};

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_loses_nothing_that_replicas_have() {
    let servers = RedisSentinel::own().await.unwrap();
    let waiting = RedisOptions { wait_replicas: Some(1), ..options() };
    let store = open(&servers.url(), &waiting).await;
    let streams = (0..6).map(|n| stream(&format!("session-{n}"), "a")).collect();
    let appenders = Appenders::start(&store, streams);
    appenders.go_on(10).await;
    servers.servers()[0].kill().await.unwrap();
    servers.wait_for_master(1).await.unwrap();
    // The new master has no replica, so that nothing can be acknowledged by the one store; another
    // that does not wait appends.
    let key_prefix = waiting.key_prefix.clone();
    let other = RedisOptions { key_prefix, ..RedisOptions::default() };
    let other = open(&servers.url(), &other).await;
    let one = stream("other", "a");
    eventually("an append after the failover", || async {
        other.store_event(&one, event("after")).await.is_ok()
    })
    .await;
    let (stored, _) = appenders.check(&other).await;
    assert!(stored > 6, "{stored}");
    assert!(!other.read_to_vec(&one).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_master_that_no_sentinel_knows() {
    let servers = RedisSentinel::own().await.unwrap();
    let url = servers.url().replace("/mymaster", "/other");
    let durability = mcp_event_store_core::Durability::Committed;
    let error = crate::common::open_with(&url, &options(), durability).await;
    let error = error.map(drop).unwrap_err();
    assert!(error.to_string().contains("no Sentinel knows a master named `other`"), "{error}");
}
