//! The reference: the contract once more, as simply as it can be said. It shares nothing with the
//! engine but the names of settings.

use std::collections::BTreeMap;

use mcp_event_store_core::{Deleted, Error, EventId, LeaseState, Retention, Settings, Usage};

use super::script::{PLACES, session_at};
use super::stream::{Event, Moment, Stream, millis};

/// Why something is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    InvalidInput,
    TooLarge,
    LimitReached,
    StreamComplete,
    SessionDeleted,
    UnknownEvent,
    EventsExpired,
}

impl Refusal {
    /// The kind of `error`, if it is one that a script can bring about.
    pub(crate) fn of(error: &Error) -> Option<Self> {
        Some(match error {
            Error::InvalidInput { .. } => Self::InvalidInput,
            Error::TooLarge { .. } => Self::TooLarge,
            Error::LimitReached { .. } => Self::LimitReached,
            Error::StreamComplete => Self::StreamComplete,
            Error::SessionDeleted => Self::SessionDeleted,
            Error::UnknownEvent => Self::UnknownEvent,
            Error::EventsExpired { .. } => Self::EventsExpired,
            _ => return None,
        })
    }
}

#[derive(Default)]
pub(crate) struct Reference {
    pub(crate) now: Moment,
    /// Every stream that ever was, in the order of creation.
    pub(crate) streams: Vec<Stream>,
    /// The stream that has each name now.
    current: [Option<usize>; PLACES],
    pub(super) sessions: BTreeMap<usize, Session>,
    /// Tombstones that the last sweep removed to make room.
    pub(super) evicted: Vec<usize>,
    /// Every event that ever was: its stream, and its number there.
    pub(crate) known: Vec<(usize, usize)>,
}

#[derive(Default)]
pub(super) struct Session {
    pub(super) record: Option<String>,
    pub(super) used_at: Moment,
    pub(super) deleted_at: Option<Moment>,
}

/// What a replay after an event finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Unknown,
    /// This many events of the stream are hidden, and one after the given event among them.
    Expired {
        hidden: usize,
    },
    Good,
}

impl Reference {
    /// What is left of the stream at `place`, expired or not.
    pub(crate) fn at(&self, place: usize, r: &Retention) -> Option<usize> {
        self.current[place].filter(|s| !self.streams[*s].is_forgotten(self.now, r))
    }

    /// The number of the stream that has the name of `place`, or of the next one to be created.
    pub(crate) fn since(&self, place: usize) -> usize {
        self.current[place].unwrap_or(self.streams.len())
    }

    /// The streams of which something is stored.
    pub(super) fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.current.iter().flatten().copied()
    }

    pub(super) fn rows_of(&self, session: usize) -> impl Iterator<Item = usize> + '_ {
        self.rows().filter(move |s| session_at(self.streams[*s].place) == Some(session))
    }

    /// Appends `event`, whose time is now; answers its stream and number.
    pub(crate) fn append(
        &mut self,
        place: usize,
        event: Event,
        lease: Option<(&str, std::time::Duration)>,
        settings: &Settings,
    ) -> Result<(usize, usize), Refusal> {
        let bytes = event.bytes() - 64;
        if settings.limits.max_event_bytes.is_some_and(|max| bytes > max) {
            return Err(Refusal::TooLarge);
        }
        if lease.is_some_and(|(_, ttl)| ttl.is_zero()) {
            return Err(Refusal::InvalidInput);
        }
        let r = &settings.retention;
        let stream = match self.at(place, r) {
            Some(s) if self.streams[s].complete => return Err(Refusal::StreamComplete),
            Some(s) if !self.streams[s].is_expired(self.now, r) => s,
            old => {
                self.check_new_stream(place, settings)?;
                if let Some(s) = old {
                    self.streams[s].revive();
                    s
                } else {
                    self.create(place)
                }
            }
        };
        self.streams[stream].push(event, lease);
        let number = self.streams[stream].events.len() - 1;
        self.known.push((stream, number));
        Ok((stream, number))
    }

    /// T11, and the mark of a deleted session.
    fn check_new_stream(&self, place: usize, settings: &Settings) -> Result<(), Refusal> {
        let Some(session) = session_at(place) else { return Ok(()) };
        self.check_not_deleted(session, &settings.retention)?;
        let live = |s: &usize| self.streams[*s].is_live(self.now, &settings.retention);
        let open = self.rows_of(session).filter(live).count() as u64;
        match settings.limits.max_streams_per_session {
            Some(max) if open >= max => Err(Refusal::LimitReached),
            _ => Ok(()),
        }
    }

    fn check_not_deleted(&self, session: usize, r: &Retention) -> Result<(), Refusal> {
        let deleted_at = self.sessions.get(&session).and_then(|session| session.deleted_at);
        match deleted_at {
            Some(at) if at + millis(r.tombstone_ttl) > self.now => Err(Refusal::SessionDeleted),
            _ => Ok(()),
        }
    }

    fn create(&mut self, place: usize) -> usize {
        self.remove(place);
        self.streams.push(Stream::new(place, self.now));
        self.current[place] = Some(self.streams.len() - 1);
        self.streams.len() - 1
    }

    /// Whether who follows `stream` has to be told that it is no more: it was deleted, or another
    /// has its name. One that was only forgotten had nothing to give, and tells no one.
    pub(crate) fn is_lost(&self, stream: usize) -> bool {
        let s = &self.streams[stream];
        s.deleted || s.gone && self.current[s.place].is_some()
    }

    /// Leaves nothing of the stream at `place`.
    pub(super) fn remove(&mut self, place: usize) {
        if let Some(stream) = self.current[place].take() {
            self.streams[stream].gone = true;
        }
    }

    /// Takes a removal back.
    pub(super) fn restore(&mut self, stream: usize) {
        self.streams[stream].gone = false;
        self.current[self.streams[stream].place] = Some(stream);
    }

    /// P1, P5 to P7: what a replay after an event finds in the scope of `session`.
    pub(crate) fn find(
        &self,
        (stream, number): (usize, usize),
        session: Option<usize>,
        r: &Retention,
    ) -> Place {
        let s = &self.streams[stream];
        if s.is_forgotten(self.now, r) || session_at(s.place) != session {
            return Place::Unknown;
        }
        match s.hidden(self.now, r) {
            hidden if number + 1 < hidden => Place::Expired { hidden },
            _ => Place::Good,
        }
    }

    pub(crate) fn id(&self, (stream, number): (usize, usize)) -> EventId {
        self.streams[stream].events[number].id.clone().expect("an event that was stored")
    }

    pub(crate) fn renew(
        &mut self,
        place: usize,
        owner: &str,
        ttl: std::time::Duration,
        r: &Retention,
    ) -> Result<LeaseState, Refusal> {
        if ttl.is_zero() {
            return Err(Refusal::InvalidInput);
        }
        Ok(match self.at(place, r) {
            Some(s) => self.streams[s].renew(owner, ttl, self.now, r),
            None => LeaseState::Gone,
        })
    }

    pub(crate) fn delete_stream(&mut self, place: usize) -> Deleted {
        let Some(stream) = self.current[place] else { return Deleted::default() };
        let s = &self.streams[stream];
        let deleted = Deleted {
            streams: u64::from(s.expired_at.is_none()),
            events: s.kept().len() as u64,
            bytes: s.bytes(),
            session_record: false,
        };
        self.streams[stream].deleted = true;
        self.remove(place);
        deleted
    }

    pub(crate) fn delete_session(&mut self, session: usize) -> Deleted {
        let mut deleted = Deleted::default();
        let places: Vec<_> = self.rows_of(session).map(|s| self.streams[s].place).collect();
        for place in places {
            let one = self.delete_stream(place);
            deleted.streams += one.streams;
            deleted.events += one.events;
            deleted.bytes += one.bytes;
        }
        let entry = self.sessions.entry(session).or_default();
        deleted.session_record = entry.record.take().is_some();
        entry.deleted_at = Some(self.now);
        deleted
    }

    pub(crate) fn store_record(
        &mut self,
        session: usize,
        record: String,
        settings: &Settings,
    ) -> Result<(), Refusal> {
        if settings.limits.max_event_bytes.is_some_and(|max| record.len() as u64 > max) {
            return Err(Refusal::TooLarge);
        }
        self.check_not_deleted(session, &settings.retention)?;
        let stored = Session { record: Some(record), used_at: self.now, deleted_at: None };
        self.sessions.insert(session, stored);
        Ok(())
    }

    /// The session's record, renewed.
    pub(crate) fn use_record(&mut self, session: usize, r: &Retention) -> Option<String> {
        let now = self.now;
        let session = self.sessions.get_mut(&session).filter(|s| !s.is_unused(now, r))?;
        session.used_at = now;
        session.record.clone()
    }

    pub(crate) fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for s in self.rows().map(|s| &self.streams[s]) {
            let tombstone = u64::from(s.expired_at.is_some());
            usage.tombstones += tombstone;
            usage.streams += 1 - tombstone;
            usage.events += s.kept().len() as u64;
            usage.bytes += s.bytes();
        }
        usage.sessions = self.sessions.values().filter(|s| s.record.is_some()).count() as u64;
        usage
    }
}

impl Session {
    /// S2.
    pub(super) fn is_unused(&self, now: Moment, r: &Retention) -> bool {
        r.session_ttl.is_some_and(|ttl| self.used_at + millis(ttl) <= now)
    }
}
