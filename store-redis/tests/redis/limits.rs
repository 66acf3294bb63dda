//! Limits of a session, where many streams are created at once.

use std::time::Duration;

use mcp_event_store_core::backend::{Backend, Group, PendingEvent, StreamKey, Tag};
use mcp_event_store_core::{Clock, Durability, Error, Limits, Settings};
use mcp_event_store_redis::RedisBackend;
use mcp_event_store_test_servers::Redis;

use crate::common::{options, stream};

/// Groups that create streams of session `s`, each with one event.
fn groups(backend: &RedisBackend, names: impl Iterator<Item = String>) -> Vec<Group> {
    let group = |name: String| {
        let stream = stream("s", &name);
        let mut key = [0; 16];
        getrandom::fill(&mut key).unwrap();
        let candidate_key = backend.place_key(&stream, StreamKey(key));
        let event = PendingEvent {
            tag: Tag::default(),
            message: None,
            retry_ms: None,
            lease: None,
            completes_stream: name.starts_with("done"),
        };
        Group { stream, candidate_key, events: vec![event] }
    };
    names.map(group).collect()
}

/// The limit holds within one batch, whether or not expired streams wait for the sweep.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_fills_a_session_up_to_its_limit() {
    let (server, clock) = (Redis::shared().await.unwrap(), Clock::manual());
    let durability = Durability::Relaxed;
    let backend =
        RedisBackend::open(server.url(), &options(), durability, clock.clone()).await.unwrap();
    let limits = Limits { max_streams_per_session: Some(5), ..Limits::default() };
    let settings = Settings { limits, ..Settings::default() };
    let names = |what: &'static str, n: usize| (0..n).map(move |n| format!("{what}-{n}"));
    let stored = async |names: Vec<String>| {
        let groups = groups(&backend, names.into_iter());
        let answers = backend.append(&groups, &settings).await.unwrap();
        let refused = |e: &Error| matches!(e, Error::LimitReached { .. });
        assert!(answers.iter().all(|answer| answer.as_ref().map_or_else(refused, |_| true)));
        answers.iter().filter(|answer| answer.is_ok()).count()
    };
    assert_eq!(stored(names("expired", 4).collect()).await, 4);
    clock.advance(Duration::from_hours(24));
    assert_eq!(stored(names("old", 2).collect()).await, 2);
    // An expired one is revived, and counts again.
    let mixed = names("expired", 1).chain(names("new", 10)).chain(names("old", 2));
    assert_eq!(stored(mixed.collect()).await, 5 - 2 + 2);
    assert_eq!(stored(names("none", 3).chain(names("done", 2)).collect()).await, 0);
    backend.close().await.unwrap();
}

/// What a full session's count is believed for ends with its streams.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_session_has_room_again_when_its_streams_expire() {
    let (server, clock) = (Redis::shared().await.unwrap(), Clock::manual());
    let durability = Durability::Relaxed;
    let backend =
        RedisBackend::open(server.url(), &options(), durability, clock.clone()).await.unwrap();
    let limits = Limits { max_streams_per_session: Some(3), ..Limits::default() };
    let settings = Settings { limits, ..Settings::default() };
    let has_room = async |name: String| {
        let groups = groups(&backend, std::iter::once(name));
        backend.append(&groups, &settings).await.unwrap()[0].is_ok()
    };
    for round in 0..2 {
        for n in 0..3 {
            assert!(has_room(format!("{round}-{n}")).await, "{round}-{n}");
            clock.advance(Duration::from_hours(1));
        }
        assert!(!has_room("one too many".into()).await);
        assert!(!has_room("one too many".into()).await);
        // The first expires; the others have an hour or two left.
        clock.advance(Duration::from_hours(21));
        assert!(has_room("in its place".into()).await);
        assert!(!has_room("one too many".into()).await);
        clock.advance(Duration::from_hours(48));
    }
    backend.close().await.unwrap();
}
