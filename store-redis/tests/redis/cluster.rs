//! A cluster whose slots move and whose masters die while appends run.

use std::time::Duration;

use mcp_event_store_core::{EventStore, EventStoreExt, StreamRef};
use mcp_event_store_redis::{RedisOptions, slot_of_session};
use mcp_event_store_test_servers::RedisCluster;

use crate::common::{Appenders, event, eventually, open, options, stream};

fn streams() -> Vec<StreamRef> {
    (0..12).map(|n| stream(&format!("session-{n}"), "a")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_moves_with_its_streams_while_they_are_appended_to() {
    let cluster = RedisCluster::own(3, 0).await.unwrap();
    let store = open(&cluster.url(), &options()).await;
    let moving = stream("session-0", "a");
    let slot = slot_of_session(moving.session.as_ref().unwrap());
    let first = store.store_event(&moving, event("before")).await.unwrap();
    let others = streams().into_iter().map(|s| stream(s.session.unwrap().as_str(), "b"));
    let appenders = Appenders::start(&store, others.collect());
    for _ in 0..2 {
        let from = cluster.owner_of(slot).await.unwrap();
        let to = (from + 1) % 3;
        appenders.go_on(10).await;
        cluster.begin_move(slot, from, to).await.unwrap();
        // Half of a bucket here and half there, for a while.
        while cluster.move_keys(slot, from, to, 1).await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        cluster.finish_move(slot, from, to).await.unwrap();
        assert_eq!(cluster.owner_of(slot).await.unwrap(), to);
        store.store_event(&moving, event("after a move")).await.unwrap();
    }
    let (stored, refused) = appenders.check(&store).await;
    assert!(stored > 12 && refused == 0, "{stored} stored, {refused} refused");
    let replayed = store.replay_to_vec(moving.scope(), &first).await.unwrap();
    assert_eq!(replayed.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_dies_and_its_replica_takes_over() {
    let cluster = RedisCluster::own(3, 1).await.unwrap();
    let waiting = RedisOptions { wait_replicas: Some(1), ..options() };
    let store = open(&cluster.url(), &waiting).await;
    let dying = stream("session-0", "a");
    let slot = slot_of_session(dying.session.as_ref().unwrap());
    let appenders = Appenders::start(&store, streams());
    appenders.go_on(10).await;
    let master = cluster.owner_of(slot).await.unwrap();
    cluster.nodes()[master].kill().await.unwrap();
    // A store that does not wait: the new master has no replica.
    let key_prefix = waiting.key_prefix.clone();
    let patient =
        RedisOptions { key_prefix, retry_for: Duration::from_secs(30), ..RedisOptions::default() };
    eventually("a new master", || async {
        let owner = cluster.owner_of(slot).await;
        owner.is_ok_and(|owner| owner != master)
    })
    .await;
    let other = open(&cluster.url(), &patient).await;
    eventually("an append after the failover", || async {
        other.store_event(&stream("session-0", "b"), event("after")).await.is_ok()
    })
    .await;
    let (stored, _) = appenders.check(&other).await;
    assert!(stored > 12, "{stored}");
    assert!(!other.read_to_vec(&dying).await.unwrap().is_empty());
}
