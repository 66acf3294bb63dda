//! What `open` takes and what it refuses.

#![allow(clippy::unwrap_used, missing_docs)]

use mcp_event_store::{
    Config, Durability, EventStoreExt, Message, NewEvent, Store, StreamId, StreamRef,
};

async fn store_and_read(store: &Store) -> usize {
    let stream = StreamRef::sessionless(StreamId::new("a").unwrap());
    let event = NewEvent::message(Message::parse("{}").unwrap());
    store.events().store_event(&stream, event).await.unwrap();
    store.events().read_to_vec(&stream).await.unwrap().len()
}

#[tokio::test]
async fn memory_and_sqlite_open_by_url() {
    let memory = mcp_event_store::open("memory://").await.unwrap();
    assert_eq!(store_and_read(&memory).await, 1);

    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?durability=relaxed", folder.path().join("a.db").display());
    for events in 1..=2 {
        let store = mcp_event_store::open(&url).await.unwrap();
        assert_eq!(store_and_read(&store).await, events);
        store.maintenance().close().await.unwrap();
    }
}

#[tokio::test]
async fn the_urls_query_overrides_the_configuration() {
    let config = Config::builder().toml("a.toml", "durability = \"relaxed\"").load().unwrap();
    assert_eq!(config.settings().durability, Durability::Relaxed);
    let error = mcp_event_store::open_with("memory://?stream_ttl=0s", &config).await.unwrap_err();
    assert!(error.to_string().contains("stream_ttl"), "{error}");
}

#[tokio::test]
async fn a_configuration_that_knows_no_backend_still_opens_a_url_that_sets_its_fields() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?readers=2", folder.path().join("a.db").display());
    let store = mcp_event_store::open_with(&url, &Config::default()).await.unwrap();
    store.maintenance().close().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let cases = [
        ("events.db", "no scheme; write one of memory://…, sqlite://…"),
        ("mysql://u:secret@h/db", "unknown scheme `mysql`; write one of memory://…"),
        ("u:secret@h", "unknown scheme `u`"),
        ("sqlite://", "names no file"),
        ("sqlite:///nowhere/at/all.db", "/nowhere/at, which is no directory: create it"),
        ("memory://?strem_ttl=1h", "stream_ttl"),
    ];
    for (url, words) in cases {
        let error = mcp_event_store::open(url).await.unwrap_err().to_string();
        assert!(error.contains(words), "{url}: {error}");
        assert!(!error.contains("secret"), "{url}: {error}");
    }
}
