//! The words between the engine and a backend.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::meta::{StreamMeta, Version, event_bytes};
use crate::event::{Lease, Message, Timestamp};
use crate::id::{SessionId, StreamRef};

/// A stream's 128 random bits: the capability in its event IDs, and its epoch. A stream that is
/// deleted and created again has another key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey(pub [u8; 16]);

impl fmt::Debug for StreamKey {
    /// Shows the first three bytes: the key is a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamKey({:02x}{:02x}{:02x}…)", self.0[0], self.0[1], self.0[2])
    }
}

/// Six random bytes stored with each event. They tell two events with the same key and sequence
/// apart, which a failover or a restored backup can produce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tag(pub [u8; 6]);

/// Events of one stream to be stored together.
#[derive(Clone, Debug)]
pub struct Group {
    /// The stream.
    pub stream: StreamRef,
    /// The key that the stream gets if it has to be created.
    pub candidate_key: StreamKey,
    /// One event or more; only the last may complete the stream.
    pub events: Vec<PendingEvent>,
}

/// An event on its way to the database.
#[derive(Clone, Debug)]
pub struct PendingEvent {
    /// Drawn for this event.
    pub tag: Tag,
    /// The message, if any.
    pub message: Option<Message>,
    /// The SSE `retry` hint in milliseconds.
    pub retry_ms: Option<u64>,
    /// A lease to take or extend with the event.
    pub lease: Option<Lease>,
    /// Whether the stream is complete after it.
    pub completes_stream: bool,
}

impl PendingEvent {
    /// Bytes of the event, as the accounting counts them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        event_bytes(self.message.as_ref().map_or(0, |message| message.len() as u64))
    }
}

/// A group that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The stream's key: the candidate only if the stream was created.
    pub key: StreamKey,
    /// The sequence of the group's first event; the others follow it.
    pub first_seq: u64,
    /// The time stored with all of them.
    pub stored_at: Timestamp,
    /// The stream's reader epoch.
    pub reader_epoch: u64,
}

/// A stream that was found by its name, and the time at which it was.
#[derive(Clone, Debug)]
pub struct Found {
    /// The stream.
    pub meta: StreamMeta,
    /// The backend's time.
    pub now: Timestamp,
}

/// How much a page may hold. It holds at least one event if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// Events.
    pub events: u64,
    /// Bytes, counted as the accounting does.
    pub bytes: u64,
}

/// Events of a stream and the stream itself, in one snapshot.
#[derive(Clone, Debug)]
pub struct Page {
    /// The stream.
    pub meta: StreamMeta,
    /// The backend's time.
    pub now: Timestamp,
    /// The tag of the event that the page starts after, if that event is kept.
    pub anchor_tag: Option<Tag>,
    /// The kept events, without a hole, from the larger of `after + 1` and `meta.first_seq`.
    pub events: Vec<PageEvent>,
}

/// An event in a page.
#[derive(Clone, Debug)]
pub struct PageEvent {
    /// Its place in the stream.
    pub seq: u64,
    /// Its tag.
    pub tag: Tag,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// Bytes of this and all earlier events that the stream ever had.
    pub running_bytes: u64,
    /// Its message.
    pub message: Option<Message>,
    /// Its SSE `retry` hint in milliseconds.
    pub retry_ms: Option<u64>,
}

/// Which streams a sweep asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidates {
    /// Incomplete streams whose last append or renewal was at this time or earlier.
    Idle(Timestamp),
    /// Complete streams that were completed at this time or earlier.
    Complete(Timestamp),
    /// Tombstones that expired at this time or earlier, oldest first.
    Tombstones(Timestamp),
    /// Streams, not tombstones, whose oldest kept event was stored at this time or earlier.
    Aged(Timestamp),
    /// Streams, not tombstones, whose kept events have this many bytes or more.
    Large(u64),
    /// All streams that are no tombstones, least recently appended or renewed first.
    LeastRecent,
    /// Streams of a session that are no tombstones, least recently appended or renewed first.
    OfSession(SessionId),
    /// Tombstones of a session, oldest first.
    TombstonesOf(SessionId),
}

/// Where a listing goes on: a time and an identifier, in the order of the listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The sort key of the last stream that was listed.
    pub at: i64,
    /// The backend's own identifier of that stream.
    pub id: Arc<[u8]>,
}

/// One thing that a sweep removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The stream.
    pub key: StreamKey,
    /// What of it.
    pub what: Remove,
}

/// What of a stream is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remove {
    /// The events up to this sequence. Applies as long as the stream holds any of them.
    Prefix {
        /// The newest sequence to remove.
        through: u64,
    },
    /// The whole stream: a tombstone stays. Applies if the stream has not changed.
    Whole {
        /// When it expired.
        at: Timestamp,
        /// The stream as the sweep saw it.
        unchanged: Version,
    },
    /// The tombstone too, or an expired stream whose tombstone time is over.
    Tombstone {
        /// The stream as the sweep saw it.
        unchanged: Version,
    },
}

/// What a commit needs to know of a session before it creates a stream in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionState {
    /// When the session was deleted, if it was.
    pub deleted_at: Option<Timestamp>,
    /// Its incomplete, unexpired streams.
    pub open_streams: u64,
}

/// What may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wakeup {
    /// Any stream.
    Any,
    /// This stream.
    Stream(StreamRef),
    /// The streams with this [`name_hash`](StreamRef::name_hash), for backends whose instances
    /// tell each other hashes instead of names.
    NameHash(u64),
}

impl PageLimit {
    /// What the engine reads at a time, unless a backend says otherwise: 256 events or 256 KiB, whichever
    /// comes first.
    pub const PAGE: Self = Self { events: 256, bytes: 256 * 1024 };

    /// One event.
    pub const ONE: Self = Self { events: 1, bytes: 0 };
}

impl PageEvent {
    /// The `retry` hint.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.retry_ms.map(Duration::from_millis)
    }
}
