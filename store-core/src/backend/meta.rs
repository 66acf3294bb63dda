//! A stream's metadata, and how appends and removals change it.

use std::sync::Arc;

use super::types::{PendingEvent, StreamKey, Tag};
use crate::event::{EVENT_OVERHEAD_BYTES, STREAM_OVERHEAD_BYTES, Timestamp};
use crate::id::StreamRef;

/// What a database keeps of a stream beside its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamMeta {
    /// Its session and name.
    pub stream: StreamRef,
    /// Its key.
    pub key: StreamKey,
    /// The oldest kept event; `last_seq + 1` if none is kept.
    pub first_seq: u64,
    /// The newest event that it ever had.
    pub last_seq: u64,
    /// The newest event's tag.
    pub last_tag: Tag,
    /// The tag of the newest removed event, `first_seq - 1`, if any was removed.
    pub removed_tag: Option<Tag>,
    /// Bytes of all removed events.
    pub removed_bytes: u64,
    /// Bytes of all events that it ever had.
    pub total_bytes: u64,
    /// When its oldest kept event was stored; `None` if none is kept.
    pub oldest_at: Option<Timestamp>,
    /// When its newest event was stored.
    pub newest_at: Timestamp,
    /// When it was last appended to or renewed.
    pub active_at: Timestamp,
    /// Whether its last response is stored.
    pub complete: bool,
    /// When it expired, if a sweep has made it a tombstone.
    pub expired_at: Option<Timestamp>,
    /// The lease, lapsed or not.
    pub lease: Option<HeldLease>,
    /// Raised by each take-over; an older follower ends.
    pub reader_epoch: u64,
}

/// A lease as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// Who holds it.
    pub owner: Arc<str>,
    /// Until when, by the database's clock.
    pub until: Timestamp,
}

/// What makes one state of a stream different from another, for removals that must not hit a
/// stream which came to life again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The newest event.
    pub last_seq: u64,
    /// The last append or renewal.
    pub active_at: Timestamp,
}

/// What is stored with an event beside what the caller gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its place in the stream.
    pub seq: u64,
    /// When it was stored, never earlier than its predecessor.
    pub stored_at: Timestamp,
    /// Bytes of this and all earlier events.
    pub running_bytes: u64,
}

/// Bytes of an event, as the accounting counts them.
#[must_use]
pub fn event_bytes(message_bytes: u64) -> u64 {
    message_bytes + EVENT_OVERHEAD_BYTES
}

impl StreamMeta {
    /// A stream that is about to get its first event at `now`.
    #[must_use]
    pub fn new(stream: StreamRef, key: StreamKey, now: Timestamp) -> Self {
        Self {
            stream,
            key,
            first_seq: 1,
            last_seq: 0,
            last_tag: Tag::default(),
            removed_tag: None,
            removed_bytes: 0,
            total_bytes: 0,
            oldest_at: None,
            newest_at: now,
            active_at: now,
            complete: false,
            expired_at: None,
            lease: None,
            reader_epoch: 0,
        }
    }

    /// Events that are kept.
    #[must_use]
    pub fn kept_events(&self) -> u64 {
        self.last_seq + 1 - self.first_seq
    }

    /// Bytes of the kept events.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.total_bytes - self.removed_bytes
    }

    /// Bytes that the stream or tombstone costs beside its events.
    #[must_use]
    pub fn own_bytes(&self) -> u64 {
        self.stream.name_bytes() + STREAM_OVERHEAD_BYTES
    }

    /// Whether only a tombstone is left.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.expired_at.is_some()
    }

    /// Its present state.
    #[must_use]
    pub fn version(&self) -> Version {
        Version { last_seq: self.last_seq, active_at: self.active_at }
    }

    /// Appends `event` at `now` and says what to store with it.
    pub fn push(&mut self, event: &PendingEvent, now: Timestamp) -> Stamp {
        self.last_seq += 1;
        self.last_tag = event.tag;
        self.total_bytes += event.bytes();
        self.newest_at = self.newest_at.max(now);
        self.active_at = self.active_at.max(now);
        self.oldest_at.get_or_insert(self.newest_at);
        self.complete = event.completes_stream;
        self.push_lease(event, now);
        Stamp { seq: self.last_seq, stored_at: self.newest_at, running_bytes: self.total_bytes }
    }

    /// Takes or extends the event's lease unless another's lasts; completion ends every lease.
    fn push_lease(&mut self, event: &PendingEvent, now: Timestamp) {
        if self.complete {
            self.lease = None;
        } else if let Some(lease) = &event.lease
            && self.lease_is_free_for(&lease.owner, now)
        {
            self.lease = Some(HeldLease { owner: lease.owner.clone(), until: now.plus(lease.ttl) });
        }
    }

    /// Whether `owner` may take the lease at `now`: it is free, lapsed, or the owner's own.
    #[must_use]
    pub fn lease_is_free_for(&self, owner: &str, now: Timestamp) -> bool {
        match &self.lease {
            Some(held) => &*held.owner == owner || held.until <= now,
            None => true,
        }
    }

    /// Removes every event, so that the next one follows the newest removed.
    pub fn remove_all(&mut self) {
        self.removed_tag = Some(self.last_tag);
        self.removed_bytes = self.total_bytes;
        self.first_seq = self.last_seq + 1;
        self.oldest_at = None;
    }

    /// Removes the events up to `through`, whose tag and running bytes are given, as is the time
    /// of the event after it, if there is one.
    pub fn remove_prefix(
        &mut self,
        through: u64,
        tag: Tag,
        running_bytes: u64,
        next_at: Option<Timestamp>,
    ) {
        self.first_seq = through + 1;
        self.removed_tag = Some(tag);
        self.removed_bytes = running_bytes;
        self.oldest_at = next_at;
    }
}
