//! Stores that append wrongly.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use mcp_event_store_compliance::async_trait;
use mcp_event_store_core::{
    Error, EventId, EventStoreExt, Message, NewEvent, Replay, ReplayMode, Result, Scope, SessionId,
    StoredEvent, StreamId, StreamRef,
};

use super::defect::{Defect, Good};

/// `replay` with each event changed by `change`.
pub(crate) fn changed(
    replay: Replay,
    change: impl Fn(StoredEvent) -> StoredEvent + Send + Sync + 'static,
) -> Replay {
    let events = replay.events.map(move |event| event.map(&change));
    Replay { events: Box::pin(events), ..replay }
}

/// Acknowledges one event in fifty without storing it.
#[derive(Default)]
pub(crate) struct LosesOneAppend(AtomicU64);

#[async_trait]
impl Defect for LosesOneAppend {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        if self.0.fetch_add(1, Ordering::Relaxed) % 50 == 49 {
            return Ok(EventId::new("lost"));
        }
        good.events.store_event(to, event).await
    }
}

/// Shows the events of a page in one order to some readers and in another to others.
#[derive(Default)]
pub(crate) struct Reorders(AtomicU64);

#[async_trait]
impl Defect for Reorders {
    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        let replay = good.events.replay_events_after(scope, id, mode).await?;
        if self.0.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return Ok(replay);
        }
        let (stream, verdict) = (replay.stream, replay.verdict);
        let swapped = replay.events.ready_chunks(2).flat_map(|mut pair| {
            pair.reverse();
            futures_util::stream::iter(pair)
        });
        Ok(Replay { stream, verdict, events: Box::pin(swapped) })
    }
}

/// Gives IDs of its own, and knows what the good store calls the event.
#[derive(Default)]
struct Renamed {
    count: AtomicU64,
    /// The good store's ID for each of its own, and its own for each of the good store's.
    good: Mutex<HashMap<EventId, EventId>>,
    own: Mutex<HashMap<EventId, EventId>>,
}

impl Renamed {
    async fn store_event(
        &self,
        good: &Good,
        to: &StreamRef,
        event: NewEvent,
        name: impl Fn(u64) -> String + Send,
    ) -> Result<EventId> {
        let id = good.events.store_event(to, event).await?;
        let own = EventId::new(name(self.count.fetch_add(1, Ordering::Relaxed)));
        self.good.lock().unwrap().insert(own.clone(), id.clone());
        self.own.lock().unwrap().insert(id, own.clone());
        Ok(own)
    }

    fn to_good(&self, own: &EventId) -> EventId {
        self.good.lock().unwrap().get(own).unwrap_or(own).clone()
    }
}

/// IDs that count up, and start again with each hundred.
#[derive(Default)]
pub(crate) struct ReusesIds(Renamed);

#[async_trait]
impl Defect for ReusesIds {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        self.0.store_event(good, to, event, |n| format!("event-{:032}", n % 100)).await
    }

    async fn look_up(&self, good: &Good, id: &EventId) -> Result<Option<StreamRef>> {
        good.events.stream_id_for_event_id(&self.0.to_good(id)).await
    }

    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        good.events.replay_events_after(scope, &self.0.to_good(id), mode).await
    }
}

/// IDs that are the next number, well spread but known to all.
#[derive(Default)]
pub(crate) struct CountsIds(Renamed);

#[async_trait]
impl Defect for CountsIds {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        self.0.store_event(good, to, event, |n| format!("{:040}", n * 7919)).await
    }
}

/// IDs that begin with the stream's name in hexadecimal.
#[derive(Default)]
pub(crate) struct ShowsTheStream(Renamed);

#[async_trait]
impl Defect for ShowsTheStream {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        let hex = to.stream.as_str().bytes().map(|b| format!("{b:02x}"));
        let name = hex.collect::<Vec<_>>().concat();
        self.0.store_event(good, to, event, |n| format!("{name}-{n}")).await
    }
}

/// Parses each message and writes it again.
#[derive(Default)]
pub(crate) struct TidiesMessages;

#[async_trait]
impl Defect for TidiesMessages {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        let tidy = |message: Message| {
            let value = message.to_value::<serde_json::Value>();
            value.and_then(|value| Message::from_value(&value)).unwrap_or(message)
        };
        let event = NewEvent { message: event.message.map(tidy), ..event };
        good.events.store_event(to, event).await
    }
}

/// Takes a `retry` of zero for none.
#[derive(Default)]
pub(crate) struct ForgetsRetry;

#[async_trait]
impl Defect for ForgetsRetry {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        let retry = event.retry.filter(|retry| *retry > Duration::ZERO);
        good.events.store_event(to, NewEvent { retry, ..event }).await
    }
}

/// Creates the stream before it looks at the event.
#[derive(Default)]
pub(crate) struct CreatesAnyway;

#[async_trait]
impl Defect for CreatesAnyway {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        let answer = good.events.store_event(to, event).await;
        if let Err(Error::TooLarge { .. }) = answer
            && good.events.read_to_vec(to).await?.is_empty()
        {
            good.events.store_event(to, NewEvent::priming(None)).await?;
        }
        answer
    }
}

/// Stores an event again if its caller has gone away meanwhile.
#[derive(Default)]
pub(crate) struct StoresCancelledTwice;

#[async_trait]
impl Defect for StoresCancelledTwice {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        /// Stores the event once more when it is dropped before it is told not to.
        struct Again(
            Option<(std::sync::Arc<dyn mcp_event_store_core::EventStore>, StreamRef, NewEvent)>,
        );
        impl Drop for Again {
            fn drop(&mut self) {
                if let Some((events, to, event)) = self.0.take() {
                    tokio::spawn(async move {
                        let _ = events.store_event(&to, event.clone()).await;
                        let _ = events.store_event(&to, event).await;
                    });
                }
            }
        }
        let mut again = Again(Some((good.events.clone(), to.clone(), event.clone())));
        let answer = good.events.store_event(to, event).await;
        again.0 = None;
        answer
    }
}

/// Takes `A` for `a`, as some databases' collations do.
#[derive(Default)]
pub(crate) struct IgnoresCase;

fn lower(stream: &StreamRef) -> StreamRef {
    let session = stream.session.as_ref().map(|s| s.as_str().to_lowercase());
    let session = session.map(|session| SessionId::new(session).unwrap());
    StreamRef { session, stream: StreamId::new(stream.stream.as_str().to_lowercase()).unwrap() }
}

#[async_trait]
impl Defect for IgnoresCase {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        good.events.store_event(&lower(to), event).await
    }

    async fn read(&self, good: &Good, stream: &StreamRef, mode: ReplayMode) -> Result<Replay> {
        good.events.read_stream(&lower(stream), mode).await
    }
}

/// Keeps `a/b` of a session and `b` of the session's `a` under one name.
#[derive(Default)]
pub(crate) struct JoinsNames;

fn joined(stream: &StreamRef) -> StreamRef {
    let session = stream.session.as_ref().map_or("", |session| session.as_str());
    let mut name = format!("{session}/{}", stream.stream);
    while name.len() > 512 {
        name.pop();
    }
    StreamRef::sessionless(StreamId::new(name).unwrap())
}

#[async_trait]
impl Defect for JoinsNames {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        good.events.store_event(&joined(to), event).await
    }

    async fn read(&self, good: &Good, stream: &StreamRef, mode: ReplayMode) -> Result<Replay> {
        good.events.read_stream(&joined(stream), mode).await
    }
}

/// Never marks a stream as complete, though its last event says so.
#[derive(Default)]
pub(crate) struct NeverComplete;

#[async_trait]
impl Defect for NeverComplete {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        let event = NewEvent { completes_stream: false, ..event };
        good.events.store_event(to, event).await
    }
}
