//! What is live of one stream, and a follower's hold on it.
//!
//! A topic holds the newest live events in a ring that all its followers share and that is bounded
//! in bytes, so a slow follower delays no one and costs nothing: it finds the ring ahead of it and
//! reads pages from the database again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::watch;

use super::{Hub, lock};
use crate::backend::{StreamKey, event_bytes};
use crate::engine::position::Position;
use crate::event::StoredEvent;
use crate::id::StreamRef;

/// Bytes of events that a topic's ring holds at most, beside its newest event.
const RING_BYTES: u64 = 256 * 1024;

/// Bytes of events that all rings may hold together. Beyond it each keeps its newest event only,
/// and followers read the rest from the database.
pub(super) const ALL_RINGS_BYTES: u64 = 64 * 1024 * 1024;

/// An event as a writer publishes it.
#[derive(Clone, Debug)]
pub(in crate::engine) struct LiveEvent {
    pub(in crate::engine) position: Position,
    pub(in crate::engine) event: StoredEvent,
    pub(in crate::engine) published_at: Instant,
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
pub(in crate::engine) enum Taken {
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
pub(in crate::engine) struct Subscription {
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

impl Topic {
    pub(super) fn new(all_rings_bytes: Arc<AtomicU64>) -> Self {
        let state = TopicState::new(all_rings_bytes);
        Self { state: Mutex::new(state), changed: watch::Sender::new(()) }
    }

    /// Tells whenever something may be new, from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Gives `events`, one commit's, to the followers.
    pub(super) fn publish(&self, reader_epoch: u64, events: &[LiveEvent]) {
        let mut state = lock(&self.state);
        for live in events {
            state.push(live.clone());
        }
        if let Some(last) = events.last() {
            state.raise_epoch(last.position.key, reader_epoch);
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// Ends the followers that are older than `epoch`.
    pub(super) fn raise_epoch(&self, key: StreamKey, epoch: u64) {
        lock(&self.state).raise_epoch(key, epoch);
        self.changed.send_replace(());
    }

    /// Makes the followers read the database.
    pub(super) fn nudge(&self) {
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
    /// A hold on `topic`, whose `changed` was taken when it was registered.
    pub(super) fn new(
        hub: Arc<Hub>,
        topic: Arc<Topic>,
        stream: StreamRef,
        changed: watch::Receiver<()>,
    ) -> Self {
        let seen = lock(&topic.state).seen();
        Self { hub, topic, stream, changed, seen }
    }

    /// What is new after `seq` of the stream with `key`, for a follower of `epoch`.
    pub(in crate::engine) fn take(&mut self, key: StreamKey, seq: u64, epoch: u64) -> Taken {
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
    pub(in crate::engine) fn before_reading(&mut self) {
        self.changed.mark_unchanged();
        self.seen = lock(&self.topic.state).seen();
    }

    /// Ends the older followers here that wait for the stream and have not found it; answers the
    /// count to compare with [`absent_take_overs`](Self::absent_take_overs) later.
    pub(in crate::engine) fn take_over_absent(&self) -> u64 {
        let mut state = lock(&self.topic.state);
        state.absent_take_overs += 1;
        let count = state.absent_take_overs;
        drop(state);
        self.topic.changed.send_replace(());
        count
    }

    /// How often those who wait for the stream were taken over.
    pub(in crate::engine) fn absent_take_overs(&self) -> u64 {
        lock(&self.topic.state).absent_take_overs
    }

    /// Waits until something may be new.
    pub(in crate::engine) async fn changed(&mut self) {
        // The topic, which holds the sender, lives as long as this subscription.
        let _ = self.changed.changed().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.unsubscribe(&self.stream);
    }
}
