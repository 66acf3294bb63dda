//! Deleting what is large.

use std::time::Duration;

use futures_util::future::join_all;
use mcp_event_store_core::{Durability, EventStore, Maintenance, Usage};
use mcp_event_store_test_servers::Redis;
use tokio::time::timeout;

use crate::common::{event, open_with, options, stream};

/// More than a few steps take apart, so that a step which looks where earlier ones have been finds
/// nothing.
const STREAMS: usize = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_many_streams_is_deleted_whole() {
    let server = Redis::own(&[]).await.unwrap();
    let store = open_with(server.url(), &options(), Durability::Relaxed).await.unwrap();
    let of = |n: usize| stream("s", &format!("stream-{n}"));
    let stored = join_all((0..STREAMS).map(|n| {
        let (store, of) = (store.clone(), of(n));
        async move { store.store_event(&of, event("last").completing()).await }
    }));
    assert!(stored.await.iter().all(Result::is_ok));
    let session = of(0).session.unwrap();
    let deleting = store.delete_session(&session);
    let deleted = timeout(Duration::from_secs(30), deleting).await.expect("it ends").unwrap();
    assert_eq!((deleted.streams, deleted.events), (STREAMS as u64, STREAMS as u64));
    assert_eq!(store.usage().await.unwrap(), Usage::default());
    store.close().await.unwrap();
}
