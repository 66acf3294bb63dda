//! What a torn log and damaged files cost: the torn record, and the streams in the block.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::path::{Path, PathBuf};

use mcp_event_store_core::{Error, EventStoreExt, Message, NewEvent, Store, StoredEvent};
use support::{close, event, files, find, flip, open, stream, words};

/// A message that stands for itself in a file.
fn text(n: usize) -> String {
    format!("message-{n:04}-")
}

fn long(n: usize) -> NewEvent {
    NewEvent::message(Message::from_value(&text(n).repeat(500)).unwrap())
}

/// A block of events holds 16 KiB, and a larger event has one of its own.
fn longer_than_a_block(n: usize) -> NewEvent {
    NewEvent::message(Message::from_value(&text(n).repeat(2000)).unwrap())
}

fn texts(events: &[StoredEvent]) -> Vec<String> {
    let text = |event: &StoredEvent| event.message.as_ref().unwrap().get().to_owned();
    events.iter().map(text).collect()
}

/// A closed database whose log holds the events `0..count` of one stream.
async fn logged(path: &Path, count: usize) -> Vec<String> {
    let store = open(path, "").await.unwrap();
    for n in 0..count {
        store.events().store_event(&stream("a"), long(n)).await.unwrap();
    }
    let stored = texts(&store.events().read_to_vec(&stream("a")).await.unwrap());
    close(store).await;
    stored
}

#[tokio::test]
async fn a_torn_last_record_costs_that_record_only() {
    for cut in [1, 10, 1000, 5000] {
        let folder = tempfile::tempdir().unwrap();
        let stored = logged(folder.path(), 20).await;
        let log = files(folder.path(), "log").pop().unwrap();
        let bytes = std::fs::read(&log).unwrap();
        std::fs::write(&log, &bytes[..bytes.len() - cut]).unwrap();
        let store = open(folder.path(), "").await.unwrap();
        let left = store.events().read_to_vec(&stream("a")).await.unwrap();
        assert_eq!(texts(&left), stored[..19], "{cut} bytes are missing");
        store.events().store_event(&stream("a"), long(99)).await.unwrap();
        close(store).await;
        let store = open(folder.path(), "").await.unwrap();
        assert_eq!(store.events().read_to_vec(&stream("a")).await.unwrap().len(), 20);
        close(store).await;
    }
}

/// A loss of power leaves a large record with a hole in it: pages are written in any order.
#[tokio::test]
async fn a_last_record_with_a_hole_costs_that_record_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut stored = logged(folder.path(), 20).await;
    let store = open(folder.path(), "").await.unwrap();
    store.events().store_event(&stream("b"), event(100_000)).await.unwrap();
    close(store).await;
    let log = files(folder.path(), "log").pop().unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    let end = bytes.len();
    bytes[end - 60_000..end - 56_000].fill(0);
    std::fs::write(&log, bytes).unwrap();
    let store = open(folder.path(), "").await.unwrap();
    assert_eq!(store.events().read_to_vec(&stream("b")).await.unwrap().len(), 0);
    store.events().store_event(&stream("a"), long(20)).await.unwrap();
    stored.push(texts(&store.events().read_to_vec(&stream("a")).await.unwrap()).pop().unwrap());
    close(store).await;
    let store = open(folder.path(), "").await.unwrap();
    assert_eq!(texts(&store.events().read_to_vec(&stream("a")).await.unwrap()), stored);
    close(store).await;
}

#[tokio::test]
async fn damage_to_an_acknowledged_record_is_not_cut_away() {
    let folder = tempfile::tempdir().unwrap();
    logged(folder.path(), 20).await;
    let log = files(folder.path(), "log").pop().unwrap();
    flip(&log, find(&log, &text(5)).unwrap());
    let error = open(folder.path(), "").await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert!(words(&error).contains("damaged"), "{error}");
    // Whoever prefers what precedes the damage to a backup can have it.
    let store = open(folder.path(), "durability=relaxed").await.unwrap();
    assert_eq!(store.events().read_to_vec(&stream("a")).await.unwrap().len(), 5);
    close(store).await;
}

/// Three streams, each alone in its blocks.
async fn three_streams(path: &Path) -> Store {
    let store = open(path, "compression=none").await.unwrap();
    for n in 0..3 {
        let name = n.to_string();
        store.events().store_event(&stream(&name), longer_than_a_block(n)).await.unwrap();
    }
    close(store).await;
    // Opening writes what is in the log into files.
    close(open(path, "compression=none").await.unwrap()).await;
    let is_there = |file: &PathBuf| find(file, &text(1)).is_some();
    let file = files(path, "sst").into_iter().find(is_there).unwrap();
    flip(&file, find(&file, &text(1)).unwrap());
    open(path, "compression=none").await.unwrap()
}

#[tokio::test]
async fn a_damaged_block_is_corrupt_and_other_streams_stay_readable() {
    let folder = tempfile::tempdir().unwrap();
    let store = three_streams(folder.path()).await;
    let error = store.events().read_to_vec(&stream("1")).await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    for n in [0, 2] {
        let name = stream(&n.to_string());
        assert_eq!(store.events().read_to_vec(&name).await.unwrap().len(), 1);
        store.events().store_event(&name, event(1)).await.unwrap();
        assert_eq!(store.events().read_to_vec(&name).await.unwrap().len(), 2);
    }
    // It can be deleted: that reads none of its events.
    assert_eq!(store.events().delete_stream(&stream("1")).await.unwrap().events, 1);
    store.events().store_event(&stream("1"), event(1)).await.unwrap();
    assert_eq!(store.maintenance().usage().await.unwrap().events, 5);
    close(store).await;
}

#[tokio::test]
async fn a_damaged_stream_fails_no_append_to_another() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "").await.unwrap();
    store.events().store_event(&stream("a"), event(1)).await.unwrap();
    close(store).await;
    let db = support::raw(folder.path());
    let streams = db.cf_handle("streams").unwrap();
    let mut rows = db.raw_iterator_cf(streams);
    rows.seek_to_first();
    db.put_cf(streams, rows.key().unwrap(), "damaged").unwrap();
    drop(rows);
    drop(db);
    let store = open(folder.path(), "").await.unwrap();
    let events = store.events();
    let names = ["a", "b", "c", "a"].map(stream);
    let stores = names.iter().map(|name| events.store_event(name, event(1)));
    let results = futures_util::future::join_all(stores).await;
    assert!(matches!(results[0], Err(Error::Corrupt { .. })), "{:?}", results[0]);
    assert!(results[1].is_ok() && results[2].is_ok(), "{results:?}");
    assert_eq!(events.read_to_vec(&stream("b")).await.unwrap().len(), 1);
    drop(events);
    close(store).await;
}
