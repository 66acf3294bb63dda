//! Live events within the process: what writers publish, followers take.
//!
//! The hub knows which streams are followed: each has a topic while someone follows it.

mod topic;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use self::topic::Topic;
pub(super) use self::topic::{LiveEvent, Subscription, Taken};
use crate::backend::{StreamKey, Wakeup};
use crate::error::{Error, Result};
use crate::id::{SessionId, StreamRef};

/// All topics.
pub(super) struct Hub {
    /// Guards the registry; nothing awaits under it.
    topics: Mutex<Registry>,
    /// The number of open followers, for the task that listens to the backend's wake-ups.
    followers: watch::Sender<usize>,
    /// Bytes in all rings.
    ring_bytes: Arc<AtomicU64>,
}

#[derive(Default)]
struct Registry {
    by_stream: HashMap<StreamRef, Entry>,
    /// The same streams by their name hashes, which several may share.
    by_hash: HashMap<u64, Vec<StreamRef>>,
    followers_of: HashMap<SessionId, u64>,
}

struct Entry {
    topic: Arc<Topic>,
    followers: usize,
}

impl Hub {
    pub(super) fn new() -> Arc<Self> {
        let followers = watch::Sender::new(0);
        Arc::new(Self { topics: Mutex::default(), followers, ring_bytes: Arc::default() })
    }

    /// Follows `stream`, unless its session has `limit` followers already.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        stream: &StreamRef,
        limit: Option<u64>,
    ) -> Result<Subscription> {
        let mut topics = lock(&self.topics);
        if let Some(session) = &stream.session {
            let count = topics.followers_of.entry(session.clone()).or_default();
            if let Some(allowed) = limit.filter(|allowed| *count >= *allowed) {
                return Err(Error::LimitReached { limit: "max_followers_per_session", allowed });
            }
            *count += 1;
        }
        if !topics.by_stream.contains_key(stream) {
            topics.by_hash.entry(stream.name_hash()).or_default().push(stream.clone());
        }
        let entry =
            topics.by_stream.entry(stream.clone()).or_insert_with(|| Entry::new(&self.ring_bytes));
        entry.followers += 1;
        let topic = entry.topic.clone();
        let changed = topic.changes();
        self.followers.send_modify(|count| *count += 1);
        drop(topics);
        Ok(Subscription::new(self.clone(), topic, stream.clone(), changed))
    }

    /// Gives `events`, one commit's of `stream`, to its followers.
    pub(super) fn publish(&self, stream: &StreamRef, reader_epoch: u64, events: &[LiveEvent]) {
        if let Some(topic) = self.topic(stream) {
            topic.publish(reader_epoch, events);
        }
    }

    /// Whether anyone follows `stream`.
    pub(super) fn is_followed(&self, stream: &StreamRef) -> bool {
        *self.followers.borrow() > 0 && self.topic(stream).is_some()
    }

    /// Ends the followers of `stream` that are older than `epoch`.
    pub(super) fn raise_epoch(&self, stream: &StreamRef, key: StreamKey, epoch: u64) {
        if let Some(topic) = self.topic(stream) {
            topic.raise_epoch(key, epoch);
        }
    }

    /// Makes the followers concerned read the database.
    pub(super) fn wake(&self, wakeup: &Wakeup) {
        match wakeup {
            Wakeup::Any => {
                let topics = lock(&self.topics);
                topics.by_stream.values().for_each(|entry| entry.topic.nudge());
            }
            Wakeup::NameHash(hash) => {
                let topics = lock(&self.topics);
                let named = topics.by_hash.get(hash).into_iter().flatten();
                let entries = named.filter_map(|stream| topics.by_stream.get(stream));
                entries.for_each(|entry| entry.topic.nudge());
            }
            Wakeup::Stream(stream) => {
                if let Some(topic) = self.topic(stream) {
                    topic.nudge();
                }
            }
        }
    }

    /// Makes the followers of the session's streams read the database.
    pub(super) fn wake_session(&self, session: &SessionId) {
        let topics = lock(&self.topics);
        for (_, entry) in
            topics.by_stream.iter().filter(|(s, _)| s.session.as_ref() == Some(session))
        {
            entry.topic.nudge();
        }
    }

    /// The number of open followers, as it changes.
    pub(super) fn followers(&self) -> watch::Receiver<usize> {
        self.followers.subscribe()
    }

    fn topic(&self, stream: &StreamRef) -> Option<Arc<Topic>> {
        lock(&self.topics).by_stream.get(stream).map(|entry| entry.topic.clone())
    }

    fn unsubscribe(&self, stream: &StreamRef) {
        let mut topics = lock(&self.topics);
        if let Some(session) = &stream.session
            && let Some(count) = topics.followers_of.get_mut(session)
        {
            *count -= 1;
            if *count == 0 {
                topics.followers_of.remove(session);
            }
        }
        if let Some(entry) = topics.by_stream.get_mut(stream) {
            entry.followers -= 1;
            if entry.followers == 0 {
                topics.by_stream.remove(stream);
                topics.forget_hash(stream);
            }
        }
        self.followers.send_modify(|count| *count -= 1);
    }
}

impl Registry {
    fn forget_hash(&mut self, stream: &StreamRef) {
        let hash = stream.name_hash();
        if let Some(named) = self.by_hash.get_mut(&hash) {
            named.retain(|known| known != stream);
            if named.is_empty() {
                self.by_hash.remove(&hash);
            }
        }
    }
}

impl Entry {
    fn new(all_rings_bytes: &Arc<AtomicU64>) -> Self {
        Self { topic: Arc::new(Topic::new(all_rings_bytes.clone())), followers: 0 }
    }
}

/// Locks, also after a panic elsewhere: every critical section here leaves its data consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Instant;

    use super::topic::ALL_RINGS_BYTES;
    use super::*;
    use crate::backend::{Tag, event_bytes};
    use crate::engine::position::Position;
    use crate::event::{StoredEvent, Timestamp};
    use crate::id::StreamId;

    const KEY: StreamKey = StreamKey([7; 16]);

    fn stream() -> StreamRef {
        StreamRef::sessionless(StreamId::new("a").unwrap())
    }

    fn live(seq: u64) -> LiveEvent {
        let position = Position { key: KEY, seq, tag: Tag::default() };
        let event = StoredEvent {
            id: position.to_event_id(),
            seq,
            stored_at: Timestamp(0),
            message: None,
            retry: None,
            completes_stream: false,
        };
        LiveEvent { position, event, published_at: Instant::now() }
    }

    fn seqs(taken: Taken) -> Vec<u64> {
        match taken {
            Taken::Events(events) => events.iter().map(|live| live.position.seq).collect(),
            _ => Vec::new(),
        }
    }

    fn is_elsewhere(taken: &Taken) -> bool {
        matches!(taken, Taken::Elsewhere)
    }

    #[test]
    fn every_follower_takes_the_same_events_in_turn() {
        let hub = Hub::new();
        let (mut a, mut b) =
            (hub.subscribe(&stream(), None).unwrap(), hub.subscribe(&stream(), None).unwrap());
        hub.publish(&stream(), 0, &[live(1), live(2)]);
        assert_eq!(seqs(a.take(KEY, 0, 0)), [1, 2]);
        assert_eq!(seqs(b.take(KEY, 1, 0)), [2]);
        assert!(matches!(a.take(KEY, 2, 0), Taken::Nothing));
    }

    #[test]
    fn a_hole_sends_the_follower_to_the_database_once() {
        let hub = Hub::new();
        let mut follower = hub.subscribe(&stream(), None).unwrap();
        hub.publish(&stream(), 0, &[live(1), live(3)]);
        assert_eq!(seqs(follower.take(KEY, 0, 0)), [1]);
        assert!(is_elsewhere(&follower.take(KEY, 1, 0)));
        follower.before_reading();
        // The database has lost event 2: there is nothing to spin for.
        assert!(matches!(follower.take(KEY, 1, 0), Taken::Nothing));
    }

    #[test]
    fn a_sequence_that_comes_again_sends_everyone_to_the_database() {
        let hub = Hub::new();
        let mut follower = hub.subscribe(&stream(), None).unwrap();
        hub.publish(&stream(), 0, &[live(1), live(2)]);
        assert_eq!(seqs(follower.take(KEY, 0, 0)), [1, 2]);
        hub.publish(&stream(), 0, &[live(2)]);
        assert!(is_elsewhere(&follower.take(KEY, 2, 0)));
    }

    #[test]
    fn a_nudge_comes_before_what_the_ring_holds() {
        let hub = Hub::new();
        let mut follower = hub.subscribe(&stream(), None).unwrap();
        hub.publish(&stream(), 0, &[live(1)]);
        hub.wake(&Wakeup::Stream(stream()));
        assert!(is_elsewhere(&follower.take(KEY, 0, 0)));
        follower.before_reading();
        assert_eq!(seqs(follower.take(KEY, 0, 0)), [1]);
    }

    #[test]
    fn a_name_hash_wakes_the_streams_that_have_it() {
        let hub = Hub::new();
        let other = StreamRef::sessionless(StreamId::new("b").unwrap());
        let mut follower = hub.subscribe(&stream(), None).unwrap();
        hub.wake(&Wakeup::NameHash(other.name_hash()));
        assert!(matches!(follower.take(KEY, 0, 0), Taken::Nothing));
        hub.wake(&Wakeup::NameHash(stream().name_hash()));
        assert!(is_elsewhere(&follower.take(KEY, 0, 0)));
        drop(follower);
        assert!(lock(&hub.topics).by_hash.is_empty());
    }

    #[test]
    fn all_rings_together_are_bounded() {
        let hub = Hub::new();
        let bytes = || hub.ring_bytes.load(Ordering::Relaxed);
        let follower = hub.subscribe(&stream(), None).unwrap();
        hub.publish(&stream(), 0, &[live(1), live(2)]);
        assert_eq!(bytes(), 2 * event_bytes(0));
        hub.ring_bytes.fetch_add(ALL_RINGS_BYTES, Ordering::Relaxed);
        hub.publish(&stream(), 0, &[live(3)]);
        assert_eq!(bytes() - ALL_RINGS_BYTES, event_bytes(0));
        drop(follower);
        assert_eq!(bytes(), ALL_RINGS_BYTES);
    }

    #[test]
    fn the_last_follower_takes_the_topic_with_it() {
        let hub = Hub::new();
        let follower = hub.subscribe(&stream(), None).unwrap();
        assert!(hub.is_followed(&stream()));
        drop(follower);
        assert!(!hub.is_followed(&stream()) && lock(&hub.topics).by_stream.is_empty());
    }

    #[test]
    fn a_session_has_its_limit_and_a_refusal_counts_for_nothing() {
        let hub = Hub::new();
        let session = SessionId::new("s").unwrap();
        let stream = StreamRef::in_session(session, StreamId::new("a").unwrap());
        let follower = hub.subscribe(&stream, Some(1)).unwrap();
        assert!(hub.subscribe(&stream, Some(1)).is_err());
        drop(follower);
        assert!(hub.subscribe(&stream, Some(1)).is_ok());
    }
}
