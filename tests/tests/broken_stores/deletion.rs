//! Stores that delete, restart and keep records wrongly.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mcp_event_store_compliance::async_trait;
use mcp_event_store_core::{
    Deleted, Error, EventId, EventStoreExt, Message, NewEvent, Replay, ReplayMode, Result,
    SessionId, SessionRecord, Settings, StreamRef,
};

use super::append::changed;
use super::defect::{Defect, Good};

/// Says what it deleted, and deletes nothing.
#[derive(Default)]
pub(crate) struct LeavesEvents;

#[async_trait]
impl Defect for LeavesEvents {
    async fn delete_stream(&self, good: &Good, stream: &StreamRef) -> Result<Deleted> {
        let events = good.events.read_to_vec(stream).await?.len() as u64;
        Ok(Deleted { streams: events.min(1), events, ..Deleted::default() })
    }
}

/// Finds it wrong to delete what is not there.
#[derive(Default)]
pub(crate) struct DeletesOnce;

#[async_trait]
impl Defect for DeletesOnce {
    async fn delete_stream(&self, good: &Good, stream: &StreamRef) -> Result<Deleted> {
        let deleted = good.events.delete_stream(stream).await?;
        if deleted.streams == 0 { Err(Error::UnknownEvent) } else { Ok(deleted) }
    }
}

/// Deletes every session whose ID begins like the given one.
#[derive(Default)]
pub(crate) struct DeletesByPrefix(Mutex<HashSet<SessionId>>);

#[async_trait]
impl Defect for DeletesByPrefix {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        self.0.lock().unwrap().extend(to.session.clone());
        good.events.store_event(to, event).await
    }

    async fn delete_session(&self, good: &Good, session: &SessionId) -> Result<Deleted> {
        let all = self.0.lock().unwrap().clone();
        let like = |other: &&SessionId| other.as_str().starts_with(session.as_str());
        for other in all.iter().filter(like).filter(|other| *other != session) {
            good.events.delete_session(other).await?;
        }
        good.events.delete_session(session).await
    }
}

/// Never takes a deleted name again.
#[derive(Default)]
pub(crate) struct BlocksNames(Mutex<HashSet<StreamRef>>);

#[async_trait]
impl Defect for BlocksNames {
    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        if self.0.lock().unwrap().contains(to) {
            return Err(Error::StreamComplete);
        }
        good.events.store_event(to, event).await
    }

    async fn delete_stream(&self, good: &Good, stream: &StreamRef) -> Result<Deleted> {
        self.0.lock().unwrap().insert(stream.clone());
        good.events.delete_stream(stream).await
    }
}

/// Counts from one again after each opening.
#[derive(Default)]
pub(crate) struct ForgetsSequences {
    openings: AtomicU64,
    /// How much too high the sequence of an event is: what its stream held when it was opened.
    first: Mutex<HashMap<EventId, u64>>,
}

#[async_trait]
impl Defect for ForgetsSequences {
    fn settings(&self, settings: &Settings) -> Settings {
        self.openings.fetch_add(1, Ordering::Relaxed);
        settings.clone()
    }

    async fn store_event(&self, good: &Good, to: &StreamRef, event: NewEvent) -> Result<EventId> {
        let id = good.events.store_event(to, event).await?;
        self.first.lock().unwrap().insert(id.clone(), self.openings.load(Ordering::Relaxed));
        Ok(id)
    }

    async fn read(&self, good: &Good, stream: &StreamRef, mode: ReplayMode) -> Result<Replay> {
        let openings = self.first.lock().unwrap().clone();
        let counts: Mutex<HashMap<u64, u64>> = Mutex::default();
        let replay = good.events.read_stream(stream, mode).await?;
        Ok(changed(replay, move |mut event| {
            let opening = openings.get(&event.id).copied().unwrap_or_default();
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(opening).or_default();
            *count += 1;
            event.seq = *count;
            event
        }))
    }
}

/// Parses each record and writes it again.
#[derive(Default)]
pub(crate) struct TidiesRecords;

#[async_trait]
impl Defect for TidiesRecords {
    async fn store(&self, good: &Good, session: &SessionId, record: SessionRecord) -> Result<()> {
        let value = record.to_value::<serde_json::Value>();
        let tidy = value.and_then(|value| Message::from_value(&value)).unwrap_or(record);
        good.sessions.store(session, tidy).await
    }
}

/// Remembers records that were deleted.
#[derive(Default)]
pub(crate) struct LeavesTheRecord(Mutex<HashMap<SessionId, SessionRecord>>);

#[async_trait]
impl Defect for LeavesTheRecord {
    async fn load(&self, good: &Good, session: &SessionId) -> Result<Option<SessionRecord>> {
        let record = good.sessions.load(session).await?;
        Ok(record.or_else(|| self.0.lock().unwrap().get(session).cloned()))
    }

    async fn store(&self, good: &Good, session: &SessionId, record: SessionRecord) -> Result<()> {
        self.0.lock().unwrap().insert(session.clone(), record.clone());
        good.sessions.store(session, record).await
    }
}

/// Forgets a deletion before it acknowledges it.
#[derive(Default)]
pub(crate) struct LeavesNoMark;

impl LeavesNoMark {
    /// How long a deletion is remembered.
    const MEMORY: Duration = Duration::from_millis(1);
}

#[async_trait]
impl Defect for LeavesNoMark {
    fn settings(&self, settings: &Settings) -> Settings {
        let mut settings = settings.clone();
        settings.retention.tombstone_ttl = Self::MEMORY;
        settings
    }

    async fn delete_session(&self, good: &Good, session: &SessionId) -> Result<Deleted> {
        let deleted = good.events.delete_session(session).await?;
        good.clock.advance(Self::MEMORY);
        Ok(deleted)
    }
}
