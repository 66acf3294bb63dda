//! A batch is stored whole and in order, however many events it holds: statements have room for a
//! few numbers of rows, and what is larger than the largest goes another way.

#![allow(clippy::unwrap_used, missing_docs)]

use mcp_event_store_core::backend::{Backend, Group, PageLimit, PendingEvent, StreamKey, Tag};
use mcp_event_store_core::{Clock, Durability, Message, SessionId, Settings, StreamId, StreamRef};
use mcp_event_store_sqlite::{SqliteBackend, SqliteOptions};

/// Around the rows that statements have room for, and beyond the largest.
const SIZES: [usize; 10] = [2, 64, 65, 255, 256, 257, 1023, 1024, 1025, 2100];

fn stream(name: &str) -> StreamRef {
    StreamRef::in_session(SessionId::new("s").unwrap(), StreamId::new(name).unwrap())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// `count` events whose messages are numbers from `from` on.
fn group(stream: &StreamRef, from: usize, count: usize) -> Group {
    let event = |number: usize| PendingEvent {
        tag: Tag(random()),
        message: Some(Message::parse(number.to_string()).unwrap()),
        retry_ms: None,
        lease: None,
        completes_stream: false,
    };
    let events = (from..from + count).map(event).collect();
    Group { stream: stream.clone(), candidate_key: StreamKey(random()), events }
}

#[tokio::test]
async fn batches_of_every_size_are_stored_whole_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (path, options) = (folder.path().join("events.db"), SqliteOptions::default());
    let backend = SqliteBackend::open(&path, &options, Durability::Relaxed, Clock::system()).await;
    let (backend, settings) = (backend.unwrap(), Settings::default());
    let streams = [stream("a"), stream("b")];
    let mut stored = [0; 2];
    let mut key = None;
    for size in SIZES {
        // The first time the streams are new, later they are known.
        let sizes = [size / 2, size - size / 2];
        let groups: Vec<_> =
            (0..2).map(|at| group(&streams[at], stored[at] + 1, sizes[at])).collect();
        let answers = backend.append(&groups, &settings).await.unwrap();
        for (at, answer) in answers.into_iter().enumerate() {
            let appended = answer.unwrap();
            assert_eq!(appended.first_seq, stored[at] as u64 + 1, "a batch of {size}");
            stored[at] += sizes[at];
            key = Some(appended.key);
        }
    }
    let all = PageLimit { events: 1 << 20, bytes: 1 << 40 };
    let page = backend.read(&key.unwrap(), 0, all).await.unwrap().unwrap();
    let read: Vec<_> =
        page.events.iter().map(|event| event.message.as_ref().unwrap().get().to_owned()).collect();
    let expected: Vec<_> = (1..=stored[1]).map(|number| number.to_string()).collect();
    assert_eq!(read, expected);
    let usage = backend.usage().await.unwrap();
    assert_eq!(usage.events, SIZES.iter().sum::<usize>() as u64);
    backend.close().await.unwrap();
}
