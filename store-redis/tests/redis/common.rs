//! Stores, events, and what became of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mcp_event_store_core::{
    Clock, Durability, Engine, Error, EventId, EventStore, EventStoreExt, Message, NewEvent,
    Result, Retention, SessionId, Settings, StoredEvent, StreamId, StreamRef,
};
use mcp_event_store_redis::{RedisBackend, RedisOptions};
use redis::aio::MultiplexedConnection;

/// A prefix that no other test uses.
pub(crate) fn options() -> RedisOptions {
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    let key_prefix = format!("test-{:016x}:", u64::from_be_bytes(random));
    RedisOptions { key_prefix, ..RedisOptions::default() }
}

/// Keeps everything, and never sweeps by itself.
pub(crate) fn settings(durability: Durability) -> Settings {
    Settings { retention: Retention::keep_everything(), durability, ..Settings::default() }
}

pub(crate) async fn open_with(
    url: &str,
    options: &RedisOptions,
    durability: Durability,
) -> Result<Arc<Engine<RedisBackend>>> {
    let backend = RedisBackend::open(url, options, durability, Clock::system()).await?;
    Engine::open(backend, settings(durability))
}

pub(crate) async fn open(url: &str, options: &RedisOptions) -> Arc<Engine<RedisBackend>> {
    open_with(url, options, Durability::Committed).await.unwrap()
}

pub(crate) async fn connect(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    connection.set_response_timeout(Duration::from_secs(20));
    connection
}

pub(crate) async fn command(url: &str, words: &[&str]) -> redis::Value {
    let mut connection = connect(url).await;
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(&mut connection).await.unwrap()
}

pub(crate) fn stream(session: &str, name: &str) -> StreamRef {
    StreamRef::in_session(SessionId::new(session).unwrap(), StreamId::new(name).unwrap())
}

pub(crate) fn event(text: &str) -> NewEvent {
    NewEvent::message(Message::from_value(&text).unwrap())
}

pub(crate) fn text(event: &StoredEvent) -> String {
    event.message.as_ref().unwrap().to_value().unwrap()
}

/// The error's text and all its causes'.
pub(crate) fn words(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Waits until `done` says so.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !done().await {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What appenders heard: each text with its answer.
pub(crate) type Heard = HashMap<String, Result<EventId>>;

/// Appends to streams of many sessions until `stop`, each appender one event after the other.
pub(crate) struct Appenders {
    stop: tokio_util::sync::CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<(StreamRef, Heard)>>,
    /// What was acknowledged to each.
    acknowledged: Vec<Arc<AtomicUsize>>,
}

impl Appenders {
    pub(crate) fn start(store: &Arc<Engine<RedisBackend>>, streams: Vec<StreamRef>) -> Self {
        let stop = tokio_util::sync::CancellationToken::new();
        let acknowledged: Vec<_> = streams.iter().map(|_| Arc::<AtomicUsize>::default()).collect();
        let tasks = streams.into_iter().zip(acknowledged.clone()).map(|(stream, acknowledged)| {
            let (store, stop) = (store.clone(), stop.clone());
            tokio::spawn(async move {
                let mut heard = Heard::new();
                while !stop.is_cancelled() {
                    let text = format!("{}", heard.len());
                    let answer = store.store_event(&stream, event(&text)).await;
                    acknowledged.fetch_add(usize::from(answer.is_ok()), Ordering::Relaxed);
                    heard.insert(text, answer);
                }
                (stream, heard)
            })
        });
        let tasks = tasks.collect();
        Self { stop, tasks, acknowledged }
    }

    /// Waits until `events` more were acknowledged to each.
    pub(crate) async fn go_on(&self, events: usize) {
        let now = || self.acknowledged.iter().map(|count| count.load(Ordering::Relaxed));
        let awaited: Vec<_> = now().map(|count| count + events).collect();
        let gone_on = || async { now().zip(&awaited).all(|(count, awaited)| count >= *awaited) };
        eventually("all appenders go on", gone_on).await;
    }

    /// Stops, and checks that every acknowledged event is there once, in order, and that none is
    /// there twice. Answers how many were acknowledged and how many were not.
    pub(crate) async fn check(self, store: &Engine<RedisBackend>) -> (usize, usize) {
        self.stop.cancel();
        let (mut stored, mut refused) = (0, 0);
        for task in self.tasks {
            let (stream, heard) = task.await.unwrap();
            let events = store.read_to_vec(&stream).await.unwrap();
            check_stream(&stream, &events, &heard);
            let acknowledged = heard.values().filter(|answer| answer.is_ok()).count();
            stored += acknowledged;
            refused += heard.len() - acknowledged;
        }
        (stored, refused)
    }
}

fn check_stream(stream: &StreamRef, events: &[StoredEvent], heard: &Heard) {
    for (at, event) in events.iter().enumerate() {
        assert_eq!(event.seq, at as u64 + 1, "{stream:?} has a hole");
    }
    let mut found: HashMap<String, Vec<&EventId>> = HashMap::new();
    for event in events {
        found.entry(text(event)).or_default().push(&event.id);
    }
    for (text, answer) in heard {
        let ids = found.remove(text).unwrap_or_default();
        match answer {
            Ok(id) => assert_eq!(ids, [id], "{stream:?}: {text} was acknowledged"),
            Err(Error::OutcomeUnknown { .. }) => assert!(ids.len() < 2, "{stream:?}: {text} twice"),
            Err(Error::Unavailable { .. }) => assert!(ids.is_empty(), "{stream:?}: {text} refused"),
            Err(other) => panic!("{stream:?}: {text}: {other:?}"),
        }
    }
    assert!(found.is_empty(), "{stream:?} holds what nobody appended: {found:?}");
}
