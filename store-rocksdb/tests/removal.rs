//! Making room: in bounded steps, and with space given back to the disk.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use mcp_event_store_core::backend::{
    Backend, Group, PendingEvent, Removal, Remove, StreamKey, Tag,
};
use mcp_event_store_core::{Clock, Durability, Message, SessionId, Settings, StreamId, StreamRef};
use mcp_event_store_rocksdb::{Compression, RocksBackend, RocksOptions};

async fn backend(path: &Path, options: RocksOptions) -> RocksBackend {
    RocksBackend::open(path, &options, Durability::Relaxed, Clock::manual()).await.unwrap()
}

fn group(n: u8, events: usize, bytes: usize) -> Group {
    let session = SessionId::new(format!("session-{n}")).unwrap();
    let event = || PendingEvent {
        tag: Tag([n; 6]),
        message: Some(Message::from_value(&"x".repeat(bytes)).unwrap()),
        retry_ms: None,
        lease: None,
        completes_stream: false,
    };
    Group {
        stream: StreamRef::in_session(session, StreamId::new("a").unwrap()),
        candidate_key: StreamKey([n; 16]),
        events: (0..events).map(|_| event()).collect(),
    }
}

async fn append(backend: &RocksBackend, group: Group) {
    let appended = backend.append(&[group], &Settings::default()).await.unwrap();
    assert!(appended.iter().all(Result::is_ok), "{appended:?}");
}

#[tokio::test]
async fn streams_share_the_step_that_frees_them() {
    let folder = tempfile::tempdir().unwrap();
    let backend = backend(folder.path(), RocksOptions::default()).await;
    for n in 0..20 {
        append(&backend, group(n, usize::from(n) + 1, 1)).await;
    }
    for n in 0..20 {
        backend.delete_stream(&group(n, 0, 0).stream).await.unwrap();
    }
    assert_eq!(backend.reclaim(100).await.unwrap(), 100);
    assert_eq!(backend.reclaim(1000).await.unwrap(), 110);
    assert_eq!(backend.reclaim(1000).await.unwrap(), 0);
    backend.close().await.unwrap();
}

#[tokio::test]
async fn a_long_stream_is_freed_in_bounded_steps_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let one = backend(folder.path(), RocksOptions::default()).await;
    append(&one, group(1, 3000, 10)).await;
    append(&one, group(2, 10, 10)).await;
    one.delete_stream(&group(1, 0, 0).stream).await.unwrap();
    assert_eq!(one.reclaim(1000).await.unwrap(), 1000);
    one.close().await.unwrap();
    let two = backend(folder.path(), RocksOptions::default()).await;
    assert_eq!(two.reclaim(1000).await.unwrap(), 1000);
    // Its name and a part of its keys are used again before the rest is freed.
    append(&two, group(3, 1, 10)).await;
    assert_eq!(two.reclaim(1500).await.unwrap(), 1000);
    assert_eq!(two.reclaim(1000).await.unwrap(), 0);
    let page = mcp_event_store_core::backend::PageLimit::PAGE;
    let left = two.read(&StreamKey([2; 16]), 0, page).await.unwrap().unwrap();
    assert_eq!(left.events.len(), 10);
    two.close().await.unwrap();
}

/// A listing of all streams reads two lists, and may name a stream twice that was completed between.
#[tokio::test]
async fn a_stream_that_is_listed_twice_is_removed_and_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let backend = backend(folder.path(), RocksOptions::default()).await;
    append(&backend, group(1, 5, 10)).await;
    append(&backend, group(2, 3, 10)).await;
    let other = backend.usage().await.unwrap();
    let found = backend.find(&group(1, 0, 0).stream).await.unwrap().unwrap();
    let what = Remove::Whole { at: found.now, unchanged: found.meta.version() };
    let removal = Removal { key: found.meta.key, what };
    assert_eq!(backend.remove(&[removal, removal]).await.unwrap(), [Some(5), None]);
    let usage = backend.usage().await.unwrap();
    assert_eq!((usage.streams, usage.tombstones, usage.events), (1, 1, 3));
    assert_eq!(usage.bytes, other.bytes - found.meta.kept_bytes());
    assert_eq!(backend.reclaim(1000).await.unwrap(), 5);
    backend.close().await.unwrap();
}

fn size(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).unwrap().filter_map(Result::ok);
    let tables = files.filter(|file| file.path().extension().is_some_and(|found| found == "sst"));
    tables.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[tokio::test]
async fn what_is_freed_is_given_back_to_the_disk() {
    const MIB: u64 = 1024 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let small = RocksOptions {
        write_buffer: 4 * MIB,
        compression: Compression::None,
        ..RocksOptions::default()
    };
    let backend = backend(folder.path(), small).await;
    for n in 0..60 {
        // Long streams and streams of few events, which are freed in two ways.
        let (events, bytes) = if n % 2 == 0 { (1000, 1000) } else { (10, 100_000) };
        append(&backend, group(n, events, bytes)).await;
    }
    for n in 0..59 {
        backend.delete_stream(&group(n, 0, 0).stream).await.unwrap();
    }
    let before = size(folder.path());
    assert!(before > 40 * MIB, "{before}");
    while backend.reclaim(1000).await.unwrap() > 0 {}
    let deadline = Instant::now() + Duration::from_mins(1);
    while size(folder.path()) > 20 * MIB {
        assert!(Instant::now() < deadline, "{} of {before} bytes are left", size(folder.path()));
        tokio::time::sleep(Duration::from_millis(50)).await;
        // As each sweep does.
        assert_eq!(backend.reclaim(1000).await.unwrap(), 0);
    }
    assert_eq!(backend.usage().await.unwrap().events, 10);
    backend.close().await.unwrap();
}
