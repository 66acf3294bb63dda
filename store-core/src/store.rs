//! The traits that servers call, and their answers.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{Stream, TryStreamExt};

use crate::error::Result;
use crate::event::{Lease, LeaseState, NewEvent, SessionRecord, StoredEvent};
use crate::id::{EventId, Scope, SessionId, StreamRef};

/// Events of one stream, in order. Dropping it stops whatever fills it.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<StoredEvent>> + Send + Sync + 'static>>;

/// Stores events and gives them back: what an MCP server needs for resumable SSE streams.
///
/// Object-safe: servers hold an `Arc<dyn EventStore>`. Conveniences are in [`EventStoreExt`].
/// To write a store for another database, prefer [`Backend`](crate::backend::Backend), which
/// leaves everything subtle to the engine; the compliance suite checks either.
///
/// # To ensure correctness
///
/// Each rule (A1 to S4) is a named check of the compliance suite.
///
/// - An event whose ID was returned is durable, and no rejected or cancelled append leaves a part
///   of itself behind (A1, A6, A7, A10).
/// - Events of a stream have one order, the same for every reader and for good (A2, P1, R2).
/// - An ID never means two things, shows neither session nor stream, and cannot be guessed (A3, A4).
/// - A replay is complete or an error, never silently partial (P5, P9), and an ID from another
///   scope is as unknown as one that never existed (P7).
/// - Retention is exact whenever something is read, whether or not a sweep has run (T1 to T5).
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// Stores `event` at the end of `stream`, creating the stream if needed, and returns its ID
    /// once it is durable.
    ///
    /// Cancel-safe: a dropped call stores the event whole or not at all.
    ///
    /// # Errors
    /// `StreamComplete`, `SessionDeleted`, `TooLarge`, `LimitReached`, `InvalidInput`: nothing
    /// was stored. `Unavailable`: nothing was stored, trying again may help. `OutcomeUnknown`: it
    /// may be stored.
    async fn store_event(&self, stream: &StreamRef, event: NewEvent) -> Result<EventId>;

    /// The stream of an event that [`replay_events_after`](Self::replay_events_after) would
    /// accept in the stream's own scope; `None` for any other text.
    ///
    /// # Errors
    /// `Unavailable` and the like; never one for the text of `id`.
    async fn stream_id_for_event_id(&self, id: &EventId) -> Result<Option<StreamRef>>;

    /// The events of the same stream strictly after `last_event_id`.
    ///
    /// # Errors
    /// `UnknownEvent` if `scope` has no such event, `EventsExpired` if a later event was removed,
    /// `LimitReached` if the session has too many followers here.
    async fn replay_events_after(
        &self,
        scope: Scope<'_>,
        last_event_id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay>;

    /// The events of `stream` from the oldest kept one, for a connection that holds no event ID.
    /// An absent stream is empty, and a follow waits for it.
    ///
    /// # Errors
    /// `LimitReached` if the session has too many followers here; never `EventsExpired`.
    async fn read_stream(&self, stream: &StreamRef, mode: ReplayMode) -> Result<Replay>;

    /// Stores `event` and follows its stream from the oldest kept event, beside other readers: for
    /// a stream that begins with `event`, as that of a request does, and need not be read back then.
    ///
    /// Cancel-safe, as [`store_event`](Self::store_event).
    ///
    /// # Errors
    /// As [`store_event`](Self::store_event), and `LimitReached` if the session has too many
    /// followers here: nothing was stored. If it was, but cannot be followed, [`Begun::replay`]
    /// says why.
    async fn begin_stream(&self, stream: &StreamRef, event: NewEvent) -> Result<Begun> {
        let id = self.store_event(stream, event).await?;
        let replay = self.read_stream(stream, ReplayMode::follow()).await;
        Ok(Begun { id, replay })
    }

    /// Extends the caller's lease on `stream`, or takes a free or lapsed one. Of several callers
    /// that try to take the same lease, exactly one gets [`LeaseState::Held`]. Creates and
    /// revives nothing.
    ///
    /// # Errors
    /// `InvalidInput` for an empty owner or a TTL under a millisecond.
    async fn renew(&self, stream: &StreamRef, lease: &Lease) -> Result<LeaseState>;

    /// Deletes `stream` and its events. Deleting what is not there is no error.
    ///
    /// # Errors
    /// `Unavailable` and the like.
    async fn delete_stream(&self, stream: &StreamRef) -> Result<Deleted>;

    /// Deletes the session's record and streams, and for `tombstone_ttl` refuses everything that
    /// would be stored under its name. The same operation as [`SessionStore::delete`].
    ///
    /// # Errors
    /// `Unavailable` and the like.
    async fn delete_session(&self, session: &SessionId) -> Result<Deleted>;
}

/// Conveniences over any [`EventStore`].
#[async_trait]
pub trait EventStoreExt: EventStore {
    /// Replays what is stored after `last_event_id` into memory. For tests and small streams.
    ///
    /// # Errors
    /// As [`EventStore::replay_events_after`].
    async fn replay_to_vec(
        &self,
        scope: Scope<'_>,
        last_event_id: &EventId,
    ) -> Result<Vec<StoredEvent>> {
        let replay = self.replay_events_after(scope, last_event_id, ReplayMode::Stored).await?;
        replay.events.try_collect().await
    }

    /// Reads what is stored of `stream` into memory. For tests and small streams.
    ///
    /// # Errors
    /// As [`EventStore::read_stream`].
    async fn read_to_vec(&self, stream: &StreamRef) -> Result<Vec<StoredEvent>> {
        let replay = self.read_stream(stream, ReplayMode::Stored).await?;
        replay.events.try_collect().await
    }

    /// Follows the stream of `last_event_id` beside its other readers, without a time limit.
    ///
    /// # Errors
    /// As [`EventStore::replay_events_after`].
    async fn follow_after(&self, scope: Scope<'_>, last_event_id: &EventId) -> Result<Replay> {
        self.replay_events_after(scope, last_event_id, ReplayMode::follow()).await
    }
}

impl<S: EventStore + ?Sized> EventStoreExt for S {}

/// A replay that happens; its verdict is known before its first event.
pub struct Replay {
    /// The stream that is replayed.
    pub stream: StreamRef,
    /// What the first snapshot held.
    pub verdict: Verdict,
    /// The events. In [`ReplayMode::Stored`] it ends at the first snapshot's tail.
    ///
    /// It can end with one error: `EventsExpired` if retention overtook it, `UnknownEvent` if the
    /// stream was deleted, `Unavailable` if the database stayed out of reach.
    pub events: EventStream,
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay")
            .field("stream", &self.stream)
            .field("verdict", &self.verdict)
            .finish_non_exhaustive()
    }
}

/// A stream that was begun: what [`EventStore::begin_stream`] has stored, and its reader.
#[derive(Debug)]
pub struct Begun {
    /// The ID of the stored event.
    pub id: EventId,
    /// The stream from its oldest kept event on, or why it cannot be followed.
    pub replay: Result<Replay>,
}

/// What a replay found stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing after the given event.
    CaughtUp,
    /// Something.
    Recovered {
        /// How many events the first snapshot held after the given one.
        events: u64,
    },
}

impl Verdict {
    /// The verdict for a snapshot of `events` events.
    #[must_use]
    pub fn of(events: u64) -> Self {
        if events == 0 { Self::CaughtUp } else { Self::Recovered { events } }
    }
}

/// How far a replay goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayMode {
    /// What is stored now.
    Stored,
    /// What is stored now, then live events until the stream is complete.
    Follow {
        /// End after this time at the latest.
        at_most: Option<Duration>,
        /// What happens to the stream's other followers.
        readers: Readers,
    },
}

impl ReplayMode {
    /// Follows beside other readers, without a time limit.
    #[must_use]
    pub fn follow() -> Self {
        Self::Follow { at_most: None, readers: Readers::Join }
    }
}

/// What a new follower does to the older ones of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Reads beside them.
    Join,
    /// Ends them, on every instance.
    TakeOver,
}

/// What a deletion removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Streams that still held events or were live.
    pub streams: u64,
    /// Their kept events.
    pub events: u64,
    /// Logical bytes given back.
    pub bytes: u64,
    /// Whether a session record was removed.
    pub session_record: bool,
}

/// Remembers sessions, so that another instance can serve them.
///
/// A session's record expires `session_ttl` after its last `store`, `load` or `touch`.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// The session's record, renewed by this call; `None` if there is none or it has expired.
    ///
    /// # Errors
    /// `Unavailable` and the like.
    async fn load(&self, session: &SessionId) -> Result<Option<SessionRecord>>;

    /// Stores or replaces the session's record.
    ///
    /// # Errors
    /// `SessionDeleted` for `tombstone_ttl` after a deletion; `TooLarge` above `max_event_bytes`.
    async fn store(&self, session: &SessionId, record: SessionRecord) -> Result<()>;

    /// Renews the record; `false` if there is none or it has expired.
    ///
    /// # Errors
    /// `Unavailable` and the like.
    async fn touch(&self, session: &SessionId) -> Result<bool>;

    /// Deletes the record and the session's streams, on every instance, and for `tombstone_ttl`
    /// refuses everything that would be stored under its name. Deleting twice is no error.
    ///
    /// # Errors
    /// `Unavailable` and the like.
    async fn delete(&self, session: &SessionId) -> Result<Deleted>;
}

/// For whoever runs a store.
#[async_trait]
pub trait Maintenance: Send + Sync + 'static {
    /// Deletes everything that retention no longer keeps. Runs in the background as well, every
    /// `sweep_every`; several instances may sweep at once.
    ///
    /// # Errors
    /// `Unavailable` and the like; what was deleted until then stays deleted.
    async fn sweep(&self) -> Result<SweepReport>;

    /// What is stored now.
    ///
    /// # Errors
    /// `Unavailable` and the like.
    async fn usage(&self) -> Result<Usage>;

    /// Whether the database answers.
    ///
    /// # Errors
    /// `Unavailable` if it does not, `Closed` after `close`.
    async fn ping(&self) -> Result<()>;

    /// Commits what was accepted, ends every follower and stops every task. Later calls on the
    /// store give `Closed`; closing twice is no error.
    ///
    /// # Errors
    /// The error of the last commit or of the database's own closing.
    async fn close(&self) -> Result<()>;
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Events removed from streams that stay.
    pub trimmed_events: u64,
    /// Streams removed whole; each leaves a tombstone.
    pub expired_streams: u64,
    /// Tombstones forgotten.
    pub forgotten_tombstones: u64,
    /// Session records and deletion marks removed.
    pub forgotten_sessions: u64,
    /// Rows or keys of events that were freed in the database.
    pub freed_events: u64,
}

/// What a store holds. Bytes are logical: message + 64 an event, IDs + 256 a stream or tombstone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Session records.
    pub sessions: u64,
    /// Streams that are not tombstones.
    pub streams: u64,
    /// Streams of which only the newest event's ID is remembered.
    pub tombstones: u64,
    /// Kept events.
    pub events: u64,
    /// Logical bytes of all of these.
    pub bytes: u64,
}

/// An open store: the three faces of one engine. Cheap to clone; when the last clone and the last
/// face are dropped, its tasks end.
#[derive(Clone)]
pub struct Store {
    events: Arc<dyn EventStore>,
    sessions: Arc<dyn SessionStore>,
    maintenance: Arc<dyn Maintenance>,
}

impl Store {
    /// The faces of `engine`.
    pub fn new<E: EventStore + SessionStore + Maintenance>(engine: Arc<E>) -> Self {
        Self { events: engine.clone(), sessions: engine.clone(), maintenance: engine }
    }

    /// Events: what a server stores and replays.
    #[must_use]
    pub fn events(&self) -> Arc<dyn EventStore> {
        self.events.clone()
    }

    /// Sessions: what lets another instance serve a session.
    #[must_use]
    pub fn sessions(&self) -> Arc<dyn SessionStore> {
        self.sessions.clone()
    }

    /// Maintenance: sweeping, usage, closing.
    #[must_use]
    pub fn maintenance(&self) -> Arc<dyn Maintenance> {
        self.maintenance.clone()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
