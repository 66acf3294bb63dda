//! A worked example: the smallest `EventStore` that keeps its promises, in one map behind a lock.
//!
//! It stores, looks up, replays and deletes. It does not follow, keeps no leases, and forgets
//! nothing by itself; what needs that shows as ignored. For a real database prefer the `Backend`
//! trait, as `example_backend.rs` shows: the engine then does the rest.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use futures_util::stream;
use mcp_event_store_compliance::{Harness, HarnessError, Opened, async_trait, compliance_suite};
use mcp_event_store_core::{
    Clock, Deleted, EVENT_OVERHEAD_BYTES, Error, EventId, EventStore, Lease, LeaseState, NewEvent,
    Replay, ReplayMode, Result, STREAM_OVERHEAD_BYTES, Scope, SessionId, Settings, StoredEvent,
    StreamRef, Timestamp, Verdict,
};

struct MapStore {
    max_event_bytes: u64,
    /// Guards everything; nothing awaits under it.
    data: Mutex<Data>,
}

#[derive(Default)]
struct Data {
    streams: HashMap<StreamRef, Vec<StoredEvent>>,
    /// Where each event is: its stream and its sequence.
    places: HashMap<EventId, (StreamRef, u64)>,
    deleted_sessions: HashSet<SessionId>,
}

/// 160 random bits in hexadecimal: nothing of the stream shows, and nobody guesses it.
fn draw_id() -> Result<EventId> {
    let mut random = [0_u8; 20];
    getrandom::fill(&mut random)
        .map_err(|error| Error::backend("the system gives no random numbers", error))?;
    Ok(EventId::new(random.map(|byte| format!("{byte:02x}")).concat()))
}

/// Refuses what this store does not do, rather than pretending.
fn unsupported<T>(what: &'static str) -> Result<T> {
    Err(Error::invalid(what, "is not supported by this store"))
}

impl MapStore {
    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, event: &NewEvent) -> Result<()> {
        if event.lease.is_some() {
            return unsupported("lease");
        }
        let bytes = event.message_bytes();
        if bytes > self.max_event_bytes {
            let (limit, allowed) = ("limits.max_event_bytes", self.max_event_bytes);
            return Err(Error::TooLarge { field: "message", bytes, limit, allowed });
        }
        Ok(())
    }
}

impl Data {
    fn append(&mut self, stream: &StreamRef, event: NewEvent) -> Result<EventId> {
        if stream.session.as_ref().is_some_and(|s| self.deleted_sessions.contains(s)) {
            return Err(Error::SessionDeleted);
        }
        let id = draw_id()?;
        let events = self.streams.entry(stream.clone()).or_default();
        let last = events.last();
        if last.is_some_and(|last| last.completes_stream) {
            return Err(Error::StreamComplete);
        }
        // The clock may be turned back; the stream's times are not.
        let now = Timestamp::from(SystemTime::now());
        let stored = StoredEvent {
            id: id.clone(),
            seq: last.map_or(1, |last| last.seq + 1),
            stored_at: last.map_or(now, |last| now.max(last.stored_at)),
            message: event.message,
            retry: event.retry,
            completes_stream: event.completes_stream,
        };
        self.places.insert(id.clone(), (stream.clone(), stored.seq));
        events.push(stored);
        Ok(id)
    }

    /// The events of `stream` after the one with sequence `seq`, which is its place in the list.
    fn after(&self, stream: &StreamRef, seq: u64) -> Replay {
        let all = self.streams.get(stream).map_or(&[][..], Vec::as_slice);
        let read = usize::try_from(seq).unwrap_or(usize::MAX).min(all.len());
        let rest = all[read..].to_vec();
        Replay {
            stream: stream.clone(),
            verdict: Verdict::of(rest.len() as u64),
            events: Box::pin(stream::iter(rest.into_iter().map(Ok))),
        }
    }

    fn delete(&mut self, stream: &StreamRef) -> Deleted {
        let Some(events) = self.streams.remove(stream) else { return Deleted::default() };
        let mut bytes = stream.name_bytes() + STREAM_OVERHEAD_BYTES;
        for event in &events {
            self.places.remove(&event.id);
            bytes += event.message.as_ref().map_or(0, |m| m.len() as u64) + EVENT_OVERHEAD_BYTES;
        }
        Deleted { streams: 1, events: events.len() as u64, bytes, session_record: false }
    }
}

#[async_trait]
impl EventStore for MapStore {
    async fn store_event(&self, stream: &StreamRef, event: NewEvent) -> Result<EventId> {
        self.check(&event)?;
        self.data().append(stream, event)
    }

    async fn stream_id_for_event_id(&self, id: &EventId) -> Result<Option<StreamRef>> {
        Ok(self.data().places.get(id).map(|(stream, _)| stream.clone()))
    }

    async fn replay_events_after(
        &self,
        scope: Scope<'_>,
        last_event_id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        if mode != ReplayMode::Stored {
            return unsupported("mode");
        }
        let data = self.data();
        match data.places.get(last_event_id) {
            Some((stream, seq)) if stream.scope() == scope => Ok(data.after(stream, *seq)),
            // An event of another scope is as unknown as one that never was.
            _ => Err(Error::UnknownEvent),
        }
    }

    async fn read_stream(&self, stream: &StreamRef, mode: ReplayMode) -> Result<Replay> {
        if mode != ReplayMode::Stored {
            return unsupported("mode");
        }
        Ok(self.data().after(stream, 0))
    }

    async fn renew(&self, _stream: &StreamRef, _lease: &Lease) -> Result<LeaseState> {
        unsupported("lease")
    }

    async fn delete_stream(&self, stream: &StreamRef) -> Result<Deleted> {
        Ok(self.data().delete(stream))
    }

    async fn delete_session(&self, session: &SessionId) -> Result<Deleted> {
        let mut data = self.data();
        let of_session = |stream: &&StreamRef| stream.session.as_ref() == Some(session);
        let streams: Vec<_> = data.streams.keys().filter(of_session).cloned().collect();
        let mut all = Deleted::default();
        for stream in &streams {
            let one = data.delete(stream);
            all.streams += one.streams;
            all.events += one.events;
            all.bytes += one.bytes;
        }
        data.deleted_sessions.insert(session.clone());
        Ok(all)
    }
}

/// All that the suite needs to know of it.
struct MapHarness;

#[async_trait]
impl Harness for MapHarness {
    async fn create() -> Result<Self, HarnessError> {
        Ok(Self)
    }

    async fn open(&self, settings: &Settings, _clock: &Clock) -> Result<Opened, HarnessError> {
        let max_event_bytes = settings.limits.max_event_bytes.unwrap_or(u64::MAX);
        Ok(Opened::events_only(MapStore { max_event_bytes, data: Mutex::default() }))
    }

    fn address(&self) -> String {
        "a map, gone with this process".to_owned()
    }

    async fn tear_down(self: Box<Self>) -> Result<(), HarnessError> {
        Ok(())
    }
}

compliance_suite!(MapHarness, offers: []);
