//! Live events within the process: what writers publish, followers take.
//!
//! A topic exists while someone follows its stream. It holds the newest live events in a ring
//! that all its followers share and that is bounded in bytes, so a slow follower delays no one
//! and costs nothing: it finds the ring ahead of it and reads pages from the database again.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::position::Position;
use crate::backend::{StreamKey, Wakeup, event_bytes};
use crate::error::{Error, Result};
use crate::event::StoredEvent;
use crate::id::{SessionId, StreamRef};

/// Bytes of events that a topic's ring holds at most, beside its newest event.
const RING_BYTES: u64 = 256 * 1024;

/// Bytes of events that all rings may hold together. Beyond it each keeps its newest event only,
/// and followers read the rest from the database.
const ALL_RINGS_BYTES: u64 = 64 * 1024 * 1024;

/// An event as a writer publishes it.
#[derive(Clone, Debug)]
pub(super) struct LiveEvent {
    pub(super) position: Position,
    pub(super) event: StoredEvent,
    pub(super) published_at: Instant,
}

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

/// What is live of one stream.
pub(super) struct Topic {
    /// Guards the ring; nothing awaits under it.
    state: Mutex<TopicState>,
    changed: watch::Sender<()>,
}

struct TopicState {
    ring: VecDeque<LiveEvent>,
    ring_bytes: u64,
    /// Bytes in all rings, this one's among them.
    all_rings_bytes: Arc<AtomicU64>,
    /// The highest reader epoch seen, and the key it belongs to.
    epoch: Option<(StreamKey, u64)>,
    /// Take-overs that end those who still wait for the stream.
    absent_take_overs: u64,
    /// How often something happened that only the database can tell.
    nudges: u64,
}

/// What a follower finds in its topic.
pub(super) enum Taken {
    /// The next events.
    Events(Vec<LiveEvent>),
    /// Nothing new.
    Nothing,
    /// Something new that is not here: read the database.
    Elsewhere,
    /// A newer follower took the stream over.
    End,
}

/// A follower's hold on its topic; dropping it lets the topic go.
pub(super) struct Subscription {
    hub: Arc<Hub>,
    topic: Arc<Topic>,
    stream: StreamRef,
    changed: watch::Receiver<()>,
    seen: Seen,
}

/// What a follower has read the database for already.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    nudges: u64,
    newest: Option<(StreamKey, u64)>,
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
        let changed = topic.changed.subscribe();
        self.followers.send_modify(|count| *count += 1);
        drop(topics);
        let seen = lock(&topic.state).seen();
        Ok(Subscription { hub: self.clone(), topic, stream: stream.clone(), changed, seen })
    }

    /// Gives `events`, one commit's of `stream`, to its followers.
    pub(super) fn publish(&self, stream: &StreamRef, reader_epoch: u64, events: &[LiveEvent]) {
        let Some(topic) = self.topic(stream) else { return };
        let mut state = lock(&topic.state);
        for live in events {
            state.push(live.clone());
        }
        if let Some(last) = events.last() {
            state.raise_epoch(last.position.key, reader_epoch);
        }
        drop(state);
        topic.changed.send_replace(());
    }

    /// Whether anyone follows `stream`.
    pub(super) fn is_followed(&self, stream: &StreamRef) -> bool {
        *self.followers.borrow() > 0 && self.topic(stream).is_some()
    }

    /// Ends the followers of `stream` that are older than `epoch`.
    pub(super) fn raise_epoch(&self, stream: &StreamRef, key: StreamKey, epoch: u64) {
        if let Some(topic) = self.topic(stream) {
            lock(&topic.state).raise_epoch(key, epoch);
            topic.changed.send_replace(());
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
        let state = TopicState::new(all_rings_bytes.clone());
        let topic = Topic { state: Mutex::new(state), changed: watch::Sender::new(()) };
        Self { topic: Arc::new(topic), followers: 0 }
    }
}

impl Topic {
    fn nudge(&self) {
        lock(&self.state).nudges += 1;
        self.changed.send_replace(());
    }
}

impl TopicState {
    fn new(all_rings_bytes: Arc<AtomicU64>) -> Self {
        Self {
            ring: VecDeque::new(),
            ring_bytes: 0,
            all_rings_bytes,
            epoch: None,
            absent_take_overs: 0,
            nudges: 0,
        }
    }

    fn push(&mut self, live: LiveEvent) {
        let next = live.position;
        let follows =
            |newest: &LiveEvent| newest.position.key == next.key && newest.position.seq < next.seq;
        if !self.ring.back().is_none_or(follows) {
            // Another stream of that name, or a database that lost its tail: readers of the old
            // events have to find out.
            self.ring.clear();
            self.count(0);
            self.nudges += 1;
        }
        self.count(self.ring_bytes + cost(&live));
        self.ring.push_back(live);
        let crowded = self.all_rings_bytes.load(Ordering::Relaxed) > ALL_RINGS_BYTES;
        let room = if crowded { 0 } else { RING_BYTES };
        while self.ring_bytes > room && self.ring.len() > 1 {
            if let Some(oldest) = self.ring.pop_front() {
                self.count(self.ring_bytes - cost(&oldest));
            }
        }
    }

    /// Notes that the ring holds `bytes` now.
    fn count(&mut self, bytes: u64) {
        self.all_rings_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.all_rings_bytes.fetch_sub(self.ring_bytes, Ordering::Relaxed);
        self.ring_bytes = bytes;
    }

    fn raise_epoch(&mut self, key: StreamKey, epoch: u64) {
        match &mut self.epoch {
            Some((of, highest)) if *of == key => *highest = (*highest).max(epoch),
            other => *other = Some((key, epoch)),
        }
    }

    /// The events of the ring after `seq`, if the next one is there.
    fn after(&self, key: StreamKey, seq: u64) -> Vec<LiveEvent> {
        if self.ring.front().is_none_or(|oldest| oldest.position.key != key) {
            return Vec::new();
        }
        let Ok(next) = self.ring.binary_search_by_key(&(seq + 1), |live| live.position.seq) else {
            return Vec::new();
        };
        // A writer publishes without holes; another instance's events in between make one.
        let run = self.ring.iter().skip(next).zip(seq + 1..);
        run.take_while(|(live, seq)| live.position.seq == *seq).map(|(l, _)| l.clone()).collect()
    }

    /// What a follower at `seq` may find in the database. An event in the ring counts if the
    /// follower is not past it, and only once: a database that lost it would be read for ever.
    fn news_for(&self, key: StreamKey, seq: u64) -> Seen {
        let seen = self.seen();
        Seen { newest: seen.newest.filter(|(of, newest)| *of != key || *newest > seq), ..seen }
    }

    fn seen(&self) -> Seen {
        let newest = self.ring.back().map(|live| (live.position.key, live.position.seq));
        Seen { nudges: self.nudges, newest }
    }
}

impl Drop for TopicState {
    fn drop(&mut self) {
        self.count(0);
    }
}

fn cost(live: &LiveEvent) -> u64 {
    event_bytes(live.event.message.as_ref().map_or(0, |m| m.len() as u64))
}

impl Subscription {
    /// What is new after `seq` of the stream with `key`, for a follower of `epoch`.
    pub(super) fn take(&mut self, key: StreamKey, seq: u64, epoch: u64) -> Taken {
        self.changed.mark_unchanged();
        let state = lock(&self.topic.state);
        if state.epoch.is_some_and(|(of, highest)| of == key && highest > epoch) {
            return Taken::End;
        }
        // What only the database knows comes first: the ring may hold events of a deleted stream.
        let news = state.news_for(key, seq);
        if news.nudges != self.seen.nudges {
            self.seen = news;
            return Taken::Elsewhere;
        }
        let events = state.after(key, seq);
        if !events.is_empty() {
            return Taken::Events(events);
        }
        if news.newest.is_some() && news.newest != self.seen.newest {
            self.seen = news;
            return Taken::Elsewhere;
        }
        Taken::Nothing
    }

    /// Notes that the database is about to be read: what happened until now need not be told.
    pub(super) fn before_reading(&mut self) {
        self.changed.mark_unchanged();
        self.seen = lock(&self.topic.state).seen();
    }

    /// Ends the older followers here that wait for the stream and have not found it; answers the
    /// count to compare with [`absent_take_overs`](Self::absent_take_overs) later.
    pub(super) fn take_over_absent(&self) -> u64 {
        let mut state = lock(&self.topic.state);
        state.absent_take_overs += 1;
        let count = state.absent_take_overs;
        drop(state);
        self.topic.changed.send_replace(());
        count
    }

    /// How often those who wait for the stream were taken over.
    pub(super) fn absent_take_overs(&self) -> u64 {
        lock(&self.topic.state).absent_take_overs
    }

    /// Waits until something may be new.
    pub(super) async fn changed(&mut self) {
        // The topic, which holds the sender, lives as long as this subscription.
        let _ = self.changed.changed().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.unsubscribe(&self.stream);
    }
}

/// Locks, also after a panic elsewhere: every critical section here leaves its data consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Tag;
    use crate::event::Timestamp;
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
