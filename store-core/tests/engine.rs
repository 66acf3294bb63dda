//! The engine over the in-memory backend, where the compliance suite does not look: sharing a
//! commit, refusing by itself, counting, ending.

#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use mcp_event_store_core::memory::MemoryBackend;
use mcp_event_store_core::{
    Clock, Engine, Error, EventStore, EventStoreExt, Limits, Maintenance, Message, NewEvent,
    Readers, ReplayMode, Retention, SessionId, Settings, StreamId, StreamRef, Verdict,
};

fn engine(settings: Settings) -> Arc<Engine<MemoryBackend>> {
    Engine::open(MemoryBackend::new(Clock::manual()), settings).unwrap()
}

fn quiet() -> Settings {
    Settings { retention: Retention::keep_everything(), ..Settings::default() }
}

fn stream(name: &str) -> StreamRef {
    StreamRef::sessionless(StreamId::new(name).unwrap())
}

fn event(n: usize) -> NewEvent {
    NewEvent::message(Message::from_value(&n).unwrap())
}

#[tokio::test]
async fn what_follows_a_completing_event_in_its_batch_is_refused_by_itself() {
    let engine = engine(quiet());
    let name = stream("a");
    let stores = [event(1), event(2).completing(), event(3), event(4)];
    let results =
        futures_util::future::join_all(stores.map(|event| engine.store_event(&name, event))).await;
    assert!(results[0].is_ok() && results[1].is_ok());
    assert!(results[2..].iter().all(|result| matches!(result, Err(Error::StreamComplete))));
    assert_eq!(engine.read_to_vec(&name).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_replay_of_many_pages_counts_what_it_gives() {
    let engine = engine(quiet());
    let name = stream("long");
    let first = engine.store_event(&name, event(0)).await.unwrap();
    for n in 1..=1000 {
        engine.store_event(&name, event(n)).await.unwrap();
    }
    let replay =
        engine.replay_events_after(name.scope(), &first, ReplayMode::Stored).await.unwrap();
    assert_eq!(replay.verdict, Verdict::Recovered { events: 1000 });
    let seqs: Vec<_> = replay.events.map(|event| event.unwrap().seq).collect().await;
    assert_eq!(seqs, (2..=1001).collect::<Vec<_>>());
}

#[tokio::test]
async fn dropping_the_last_handle_ends_its_followers_and_tasks() {
    let engine = engine(Settings::default());
    let mut replay = engine.read_stream(&stream("a"), ReplayMode::follow()).await.unwrap();
    engine.store_event(&stream("a"), event(1)).await.unwrap();
    assert!(replay.events.next().await.unwrap().is_ok());
    drop(engine);
    let end = tokio::time::timeout(Duration::from_secs(5), replay.events.next()).await;
    assert!(end.unwrap().is_none());
}

#[tokio::test]
async fn a_stream_that_cannot_be_followed_is_not_begun() {
    let limits = Limits { max_followers_per_session: Some(1), ..Limits::default() };
    let engine = engine(Settings { limits, ..quiet() });
    let session = SessionId::new("s").unwrap();
    let of_session = |name| StreamRef::in_session(session.clone(), StreamId::new(name).unwrap());
    let (one, other) = (of_session("one"), of_session("other"));
    let begun = engine.begin_stream(&one, event(1)).await.unwrap();
    let refused = engine.begin_stream(&other, event(1)).await;
    assert!(matches!(refused, Err(Error::LimitReached { limit: "max_followers_per_session", .. })));
    assert_eq!(engine.usage().await.unwrap().streams, 1);
    drop(begun);
    assert!(engine.begin_stream(&other, event(1)).await.unwrap().replay.is_ok());
}

#[tokio::test]
async fn a_begun_stream_that_outgrows_the_ring_is_read_back() {
    let engine = engine(quiet());
    let (name, large) = (stream("a"), "x".repeat(300 * 1024));
    let replay = engine.begin_stream(&name, event(1)).await.unwrap().replay.unwrap();
    for _ in 0..3 {
        let message = NewEvent::message(Message::from_value(&large).unwrap());
        engine.store_event(&name, message).await.unwrap();
    }
    engine.store_event(&name, event(5).completing()).await.unwrap();
    let seqs: Vec<_> = replay.events.map(|event| event.unwrap().seq).collect().await;
    assert_eq!(seqs, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_closed_engine_says_so() {
    let engine = engine(quiet());
    engine.store_event(&stream("a"), event(1)).await.unwrap();
    engine.close().await.unwrap();
    engine.close().await.unwrap();
    assert!(matches!(engine.store_event(&stream("a"), event(2)).await, Err(Error::Closed)));
    assert!(matches!(engine.ping().await, Err(Error::Closed)));
}

#[tokio::test]
async fn zero_settings_are_refused_by_name() {
    let retention = Retention { tombstone_ttl: Duration::ZERO, ..Retention::default() };
    let settings = Settings { retention, ..Settings::default() };
    let error = Engine::open(MemoryBackend::new(Clock::system()), settings).err().unwrap();
    assert!(error.to_string().contains("tombstone_ttl"), "{error}");
}

#[tokio::test]
async fn an_append_revives_a_tombstone_on_a_clock_that_was_set_back() {
    let clock = Clock::manual();
    let stream_ttl = Some(Duration::from_mins(1));
    let retention = Retention { stream_ttl, ..Retention::keep_everything() };
    let settings = Settings { retention, ..Settings::default() };
    let engine = Engine::open(MemoryBackend::new(clock.clone()), settings).unwrap();
    engine.store_event(&stream("a"), event(1)).await.unwrap();
    clock.advance(Duration::from_secs(61));
    assert_eq!(engine.sweep().await.unwrap().expired_streams, 1);
    clock.turn_back(Duration::from_secs(10));
    let second = engine.store_event(&stream("a"), event(2)).await.unwrap();
    engine.store_event(&stream("a"), event(3)).await.unwrap();
    assert_eq!(engine.usage().await.unwrap().tombstones, 0);
    clock.advance(Duration::from_secs(10));
    let after = engine.replay_to_vec(stream("a").scope(), &second).await.unwrap();
    assert_eq!(after.len(), 1);
}

#[tokio::test]
async fn a_take_over_ends_whoever_still_waits_for_the_stream() {
    let follow = |readers| ReplayMode::Follow { at_most: None, readers };
    for readers in [Readers::Join, Readers::TakeOver] {
        let engine = engine(quiet());
        let mut older = engine.read_stream(&stream("a"), follow(readers)).await.unwrap();
        engine.store_event(&stream("a"), event(1)).await.unwrap();
        let newer = engine.read_stream(&stream("a"), follow(Readers::TakeOver)).await.unwrap();
        // Not polled until now, it has not seen that the stream came.
        assert!(older.events.next().await.is_none(), "{readers:?}");
        engine.store_event(&stream("a"), event(2)).await.unwrap();
        let seqs = newer.events.take(2).map(|event| event.unwrap().seq);
        assert_eq!(seqs.collect::<Vec<_>>().await, [1, 2]);
    }
}

#[tokio::test]
async fn the_longest_retry_comes_live_as_it_is_replayed() {
    let engine = engine(quiet());
    engine.store_event(&stream("a"), event(1)).await.unwrap();
    let replay = engine.read_stream(&stream("a"), ReplayMode::follow()).await.unwrap();
    let mut live = replay.events.skip(1);
    let (name, longest) = (stream("a"), event(2).with_retry(Duration::MAX));
    let (live, stored) = tokio::join!(live.next(), engine.store_event(&name, longest));
    stored.unwrap();
    let retry = live.unwrap().unwrap().retry.unwrap();
    assert!(i64::try_from(retry.as_millis()).is_ok(), "a signed column holds it: {retry:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_reader_never_hears_that_its_stream_was_deleted_before_it_began() {
    let engine = engine(quiet());
    let (other, name) = (engine.clone(), stream("a"));
    let comes_and_goes = tokio::spawn(async move {
        for n in 0..5000 {
            other.store_event(&stream("a"), event(n)).await.unwrap();
            other.delete_stream(&stream("a")).await.unwrap();
        }
    });
    let follow = ReplayMode::Follow { at_most: None, readers: Readers::TakeOver };
    while !comes_and_goes.is_finished() {
        engine.read_stream(&name, follow).await.unwrap();
    }
    comes_and_goes.await.unwrap();
}

#[tokio::test]
async fn a_sweep_of_many_steps_beside_appends_removes_each_stream_once() {
    let clock = Clock::manual();
    let ttl = Some(Duration::from_mins(1));
    let retention = Retention { completed_stream_ttl: ttl, ..Retention::keep_everything() };
    let settings = Settings { retention, ..Settings::default() };
    let engine = Engine::open(MemoryBackend::new(clock.clone()), settings).unwrap();
    for n in 0..600 {
        engine.store_event(&stream(&n.to_string()), event(n).completing()).await.unwrap();
    }
    clock.advance(Duration::from_secs(61));
    let appends = async {
        for n in 0..600 {
            engine.store_event(&stream("live"), event(n)).await.unwrap();
        }
    };
    let (report, ()) = tokio::join!(engine.sweep(), appends);
    let report = report.unwrap();
    assert_eq!((report.expired_streams, report.freed_events), (600, 600));
    assert_eq!(engine.read_to_vec(&stream("live")).await.unwrap().len(), 600);
}
