//! One stream of the reference: everything that it ever held, and what is left of it.

use std::time::Duration;

use mcp_event_store_core::{EventId, LeaseState, Retention, Timestamp};

use super::script::stream_at;

/// Milliseconds since the script began.
pub(crate) type Moment = i64;

pub(crate) fn millis(duration: Duration) -> Moment {
    i64::try_from(duration.as_millis()).expect("hours")
}

pub(crate) struct Stream {
    pub(crate) place: usize,
    /// Every event that it ever had; the sequence of the first is 1.
    pub(crate) events: Vec<Event>,
    /// How many of them were removed.
    pub(crate) removed: usize,
    pub(crate) complete: bool,
    /// The last append or renewal.
    pub(crate) active_at: Moment,
    pub(crate) lease: Option<(String, Moment)>,
    /// When it expired, once only its tombstone is left.
    pub(crate) expired_at: Option<Moment>,
    /// Deleted or forgotten: nothing of it is left.
    pub(crate) gone: bool,
    pub(crate) deleted: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// `None` until the store has given it.
    pub(crate) id: Option<EventId>,
    pub(crate) message: Option<String>,
    pub(crate) retry_ms: Option<u64>,
    pub(crate) completes: bool,
    pub(crate) at: Moment,
    /// What the store says, once it was read.
    pub(crate) stored_at: Option<Timestamp>,
}

impl Event {
    /// Message and 64.
    pub(crate) fn bytes(&self) -> u64 {
        self.message.as_ref().map_or(0, |message| message.len() as u64) + 64
    }
}

impl Stream {
    pub(crate) fn new(place: usize, now: Moment) -> Self {
        Self {
            place,
            events: Vec::new(),
            removed: 0,
            complete: false,
            active_at: now,
            lease: None,
            expired_at: None,
            gone: false,
            deleted: false,
        }
    }

    /// T1, T5: when it expires or did.
    pub(crate) fn expires_at(&self, r: &Retention) -> Option<Moment> {
        if let Some(at) = self.expired_at {
            return Some(at);
        }
        if self.complete {
            return Some(self.active_at + millis(r.completed_stream_ttl?));
        }
        let idle = self.active_at + millis(r.stream_ttl?);
        Some(self.lease.as_ref().map_or(idle, |(_, until)| idle.max(*until)))
    }

    pub(crate) fn is_expired(&self, now: Moment, r: &Retention) -> bool {
        self.expired_at.is_some() || self.expires_at(r).is_some_and(|at| at <= now)
    }

    /// T9: even the tombstone is over.
    pub(crate) fn is_forgotten(&self, now: Moment, r: &Retention) -> bool {
        self.gone || self.expires_at(r).is_some_and(|at| at + millis(r.tombstone_ttl) <= now)
    }

    pub(crate) fn is_live(&self, now: Moment, r: &Retention) -> bool {
        !self.complete && !self.is_expired(now, r)
    }

    /// How many of the oldest events a reader must not be given: removed, or expired (T2 to T4).
    pub(crate) fn hidden(&self, now: Moment, r: &Retention) -> usize {
        if self.is_expired(now, r) {
            return self.events.len();
        }
        let mut hidden = self.events.len();
        let mut bytes = 0;
        while hidden > self.removed {
            let event = &self.events[hidden - 1];
            let newer = (self.events.len() - hidden) as u64;
            bytes += event.bytes();
            let young = r.event_ttl.is_none_or(|ttl| event.at + millis(ttl) > now);
            let few = r.max_events_per_stream.is_none_or(|max| newer < max);
            // T7: the caps spare the newest.
            let small = newer == 0 || r.max_bytes_per_stream.is_none_or(|max| bytes <= max);
            if !(young && few && small) {
                break;
            }
            hidden -= 1;
        }
        hidden
    }

    /// Events that were not removed.
    pub(crate) fn kept(&self) -> &[Event] {
        &self.events[self.removed..]
    }

    pub(crate) fn kept_bytes(&self) -> u64 {
        self.kept().iter().map(Event::bytes).sum()
    }

    /// IDs and 256.
    pub(crate) fn own_bytes(&self) -> u64 {
        stream_at(self.place).name_bytes() + 256
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.kept_bytes() + self.own_bytes()
    }

    /// A tombstone is left.
    pub(crate) fn expire(&mut self, at: Moment) {
        self.removed = self.events.len();
        self.expired_at = Some(at);
    }

    /// T9: an append to an expired stream.
    pub(crate) fn revive(&mut self) {
        self.removed = self.events.len();
        self.expired_at = None;
        self.lease = None;
    }

    pub(crate) fn push(&mut self, event: Event, lease: Option<(&str, Duration)>) {
        self.active_at = event.at;
        self.complete = event.completes;
        if self.complete {
            self.lease = None;
        } else if let Some((owner, ttl)) = lease
            && self.other_owner(owner, event.at).is_none()
        {
            self.lease = Some((owner.to_owned(), event.at + millis(ttl)));
        }
        self.events.push(event);
    }

    /// Until when another holds the lease.
    fn other_owner(&self, owner: &str, now: Moment) -> Option<Moment> {
        let others = |(held_by, until): &&(String, Moment)| held_by != owner && *until > now;
        self.lease.as_ref().filter(others).map(|(_, until)| *until)
    }

    pub(crate) fn renew(
        &mut self,
        owner: &str,
        ttl: Duration,
        now: Moment,
        r: &Retention,
    ) -> LeaseState {
        if self.is_expired(now, r) {
            return LeaseState::Gone;
        }
        if self.complete {
            return LeaseState::Complete;
        }
        if let Some(until) = self.other_owner(owner, now) {
            let remaining = u64::try_from(until - now).expect("a lease that holds");
            return LeaseState::Other { remaining: Duration::from_millis(remaining) };
        }
        self.lease = Some((owner.to_owned(), now + millis(ttl)));
        self.active_at = now;
        LeaseState::Held
    }
}
