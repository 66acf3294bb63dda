//! The maps behind the in-memory backend.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::backend::{
    AppendPlan, Appended, Candidates, Cursor, Group, Page, PageEvent, PageLimit, Removal, Remove,
    SessionState, StreamKey, StreamMeta, event_bytes,
};
use crate::error::Result;
use crate::event::{SessionRecord, Timestamp};
use crate::id::{SessionId, StreamId, StreamRef};
use crate::retention::{Retention, Settings};
use crate::store::{Deleted, Usage};

#[derive(Debug, Default)]
pub(super) struct Data {
    streams: HashMap<StreamKey, Stream>,
    /// By session, so that what is done with one does not look at all others.
    keys: HashMap<Option<SessionId>, HashMap<StreamId, StreamKey>>,
    sessions: BTreeMap<SessionId, Session>,
    /// Who sweeps in the background, and until when.
    sweeper: Option<(String, Timestamp)>,
}

#[derive(Debug)]
struct Stream {
    meta: StreamMeta,
    events: VecDeque<PageEvent>,
}

#[derive(Debug, Default)]
struct Session {
    record: Option<SessionRecord>,
    used_at: Timestamp,
    deleted_at: Option<Timestamp>,
}

impl Data {
    fn key_of(&self, stream: &StreamRef) -> Option<&StreamKey> {
        self.keys.get(&stream.session)?.get(&stream.stream)
    }

    pub(super) fn meta_of(&self, stream: &StreamRef) -> Option<&StreamMeta> {
        self.key_of(stream).and_then(|key| self.streams.get(key)).map(|stream| &stream.meta)
    }

    pub(super) fn meta_of_mut(&mut self, stream: &StreamRef) -> Option<&mut StreamMeta> {
        let key = *self.key_of(stream)?;
        self.streams.get_mut(&key).map(|stream| &mut stream.meta)
    }

    pub(super) fn append(
        &mut self,
        group: &Group,
        now: Timestamp,
        settings: &Settings,
    ) -> Result<Appended> {
        let old = self.meta_of(&group.stream);
        let plan = StreamMeta::plan_append(old, now, &settings.retention)?;
        if plan != AppendPlan::Extend {
            self.check_new_stream(&group.stream, now, settings)?;
        }
        match plan {
            AppendPlan::Create => self.create(group, now),
            AppendPlan::Replace => {
                self.delete_stream(&group.stream);
                self.create(group, now);
            }
            AppendPlan::Extend => {}
            AppendPlan::Revive => self.stream_mut(&group.stream, Stream::revive),
        }
        let mut appended = None;
        self.stream_mut(&group.stream, |stream| appended = Some(stream.extend(group, now)));
        appended.ok_or(crate::error::Error::UnknownEvent)
    }

    fn check_new_stream(
        &self,
        name: &StreamRef,
        now: Timestamp,
        settings: &Settings,
    ) -> Result<()> {
        let Some(session) = &name.session else { return Ok(()) };
        let deleted_at = self.sessions.get(session).and_then(|session| session.deleted_at);
        let all = self.keys.get(&name.session).map_or(0, HashMap::len) as u64;
        let is_near = settings.limits.max_streams_per_session.is_some_and(|limit| all >= limit);
        // Which of them are open only matters where they could be too many.
        let live = || self.of_session(session).filter(|s| s.meta.is_live(now, &settings.retention));
        let open_streams = if is_near { live().count() as u64 } else { all };
        let state = SessionState { deleted_at, open_streams };
        state.check_new_stream(now, &settings.retention, &settings.limits)
    }

    fn create(&mut self, group: &Group, now: Timestamp) {
        let meta = StreamMeta::new(group.stream.clone(), group.candidate_key, now);
        let StreamRef { session, stream } = group.stream.clone();
        self.keys.entry(session).or_default().insert(stream, group.candidate_key);
        let stream = Stream { meta, events: VecDeque::new() };
        self.streams.insert(group.candidate_key, stream);
    }

    fn stream_mut(&mut self, name: &StreamRef, change: impl FnOnce(&mut Stream)) {
        let key = self.key_of(name).copied();
        if let Some(stream) = key.and_then(|key| self.streams.get_mut(&key)) {
            change(stream);
        }
    }

    fn of_session(&self, session: &SessionId) -> impl Iterator<Item = &Stream> {
        let keys = self.keys.get(&Some(session.clone())).into_iter().flat_map(HashMap::values);
        keys.filter_map(|key| self.streams.get(key))
    }

    pub(super) fn read(
        &self,
        key: &StreamKey,
        after: u64,
        limit: PageLimit,
        now: Timestamp,
    ) -> Option<Page> {
        let Stream { meta, events } = self.streams.get(key)?;
        let at =
            |seq: u64| usize::try_from(seq.saturating_sub(meta.first_seq)).unwrap_or(usize::MAX);
        let is_kept = after >= meta.first_seq && after <= meta.last_seq;
        let anchor_tag = is_kept.then(|| events.get(at(after)).map(|event| event.tag)).flatten();
        let mut page = Vec::new();
        let mut bytes = 0;
        for event in events.iter().skip(at(after.saturating_add(1))) {
            bytes += event_bytes(event.message.as_ref().map_or(0, |m| m.len() as u64));
            let is_full = page.len() as u64 >= limit.events || bytes > limit.bytes;
            if is_full && !page.is_empty() {
                break;
            }
            page.push(event.clone());
        }
        Some(Page { meta: meta.clone(), now, anchor_tag, events: page })
    }

    pub(super) fn take_over(&mut self, key: &StreamKey) -> Option<(StreamRef, u64)> {
        let meta = &mut self.streams.get_mut(key)?.meta;
        meta.reader_epoch += 1;
        Some((meta.stream.clone(), meta.reader_epoch))
    }

    pub(super) fn delete_stream(&mut self, name: &StreamRef) -> Deleted {
        let Some(keys) = self.keys.get_mut(&name.session) else { return Deleted::default() };
        let key = keys.remove(&name.stream);
        if keys.is_empty() {
            self.keys.remove(&name.session);
        }
        let stream = key.and_then(|key| self.streams.remove(&key));
        stream.map_or_else(Deleted::default, |stream| stream.as_deleted())
    }

    pub(super) fn delete_session(&mut self, session: &SessionId, now: Timestamp) -> Deleted {
        let names: Vec<_> = self.of_session(session).map(|s| s.meta.stream.clone()).collect();
        let mut deleted = Deleted::default();
        for name in names {
            let one = self.delete_stream(&name);
            deleted.streams += one.streams;
            deleted.events += one.events;
            deleted.bytes += one.bytes;
        }
        let entry = self.sessions.entry(session.clone()).or_default();
        deleted.session_record = entry.record.take().is_some();
        entry.deleted_at = Some(now);
        deleted
    }

    pub(super) fn use_record(
        &mut self,
        session: &SessionId,
        now: Timestamp,
        settings: &Settings,
    ) -> Option<SessionRecord> {
        let session = self.sessions.get_mut(session)?;
        if session.is_unused(now, &settings.retention) {
            return None;
        }
        session.used_at = session.used_at.max(now);
        session.record.clone()
    }

    pub(super) fn store_record(
        &mut self,
        session: &SessionId,
        record: SessionRecord,
        now: Timestamp,
        settings: &Settings,
    ) -> Result<()> {
        let session = self.sessions.entry(session.clone()).or_default();
        let state = SessionState { deleted_at: session.deleted_at, open_streams: 0 };
        state.check_not_deleted(now, &settings.retention)?;
        *session = Session { record: Some(record), used_at: now, deleted_at: None };
        Ok(())
    }

    pub(super) fn candidates(
        &self,
        which: &Candidates,
        after: Option<&Cursor>,
        limit: usize,
    ) -> (Vec<StreamMeta>, Option<Cursor>) {
        let metas = self.streams.values().map(|stream| &stream.meta);
        let mut found: Vec<_> =
            metas.filter_map(|meta| Some((sort_key(meta, which)?, meta.key, meta))).collect();
        found.sort_unstable_by_key(|(at, key, _)| (*at, *key));
        if let Some(cursor) = after {
            found.retain(|(at, key, _)| (*at, &key.0[..]) > (cursor.at, &cursor.id[..]));
        }
        let is_more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| is_more);
        let next = last.map(|(at, key, _)| Cursor { at: *at, id: Arc::from(key.0) });
        (found.into_iter().map(|(_, _, meta)| meta.clone()).collect(), next)
    }

    pub(super) fn large_sessions(
        &self,
        min_bytes: u64,
        after: Option<&SessionId>,
        limit: usize,
    ) -> Vec<(SessionId, u64)> {
        let mut bytes: BTreeMap<&SessionId, u64> = BTreeMap::new();
        for stream in self.streams.values() {
            if let Some(session) = &stream.meta.stream.session {
                *bytes.entry(session).or_default() += stream.bytes();
            }
        }
        let large = bytes.into_iter().filter(|(_, bytes)| *bytes >= min_bytes);
        let rest = large.filter(|(session, _)| after.is_none_or(|after| *session > after));
        rest.take(limit).map(|(session, bytes)| (session.clone(), bytes)).collect()
    }

    pub(super) fn remove(&mut self, removal: &Removal) -> Option<u64> {
        let stream = self.streams.get_mut(&removal.key)?;
        match removal.what {
            Remove::Prefix { through } => stream.remove_prefix(through),
            Remove::Whole { at, unchanged } => {
                let applies = stream.meta.version() == unchanged && !stream.meta.is_tombstone();
                applies.then(|| stream.expire(at))
            }
            Remove::Tombstone { unchanged } => {
                if stream.meta.version() != unchanged {
                    return None;
                }
                let name = stream.meta.stream.clone();
                Some(self.delete_stream(&name).events)
            }
        }
    }

    pub(super) fn forget_sessions(
        &mut self,
        now: Timestamp,
        settings: &Settings,
        limit: usize,
    ) -> u64 {
        let retention = &settings.retention;
        let overdue = self.sessions.iter().filter(|(_, s)| s.is_overdue(now, retention));
        let overdue: Vec<_> = overdue.take(limit).map(|(id, _)| id.clone()).collect();
        for id in &overdue {
            self.sessions.remove(id);
        }
        overdue.len() as u64
    }

    pub(super) fn claim_sweep(&mut self, instance: &str, now: Timestamp, ttl: Duration) -> bool {
        let taken = |(owner, until): &(String, Timestamp)| owner != instance && *until > now;
        if self.sweeper.as_ref().is_some_and(taken) {
            return false;
        }
        self.sweeper = (!ttl.is_zero()).then(|| (instance.to_owned(), now.plus(ttl)));
        true
    }

    pub(super) fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for stream in self.streams.values() {
            let tombstone = u64::from(stream.meta.is_tombstone());
            usage.tombstones += tombstone;
            usage.streams += 1 - tombstone;
            usage.events += stream.meta.kept_events();
            usage.bytes += stream.bytes();
        }
        let with_record = self.sessions.values().filter(|session| session.record.is_some());
        usage.sessions = with_record.count() as u64;
        usage
    }
}

impl Stream {
    fn bytes(&self) -> u64 {
        self.meta.kept_bytes() + self.meta.own_bytes()
    }

    fn extend(&mut self, group: &Group, now: Timestamp) -> Appended {
        let first_seq = self.meta.last_seq + 1;
        for event in &group.events {
            let stamp = self.meta.push(event, now);
            self.events.push_back(PageEvent {
                seq: stamp.seq,
                tag: event.tag,
                stored_at: stamp.stored_at,
                running_bytes: stamp.running_bytes,
                message: event.message.clone(),
                retry_ms: event.retry_ms,
            });
        }
        Appended {
            key: self.meta.key,
            first_seq,
            stored_at: self.meta.newest_at,
            reader_epoch: self.meta.reader_epoch,
        }
    }

    fn revive(&mut self) {
        self.events.clear();
        self.meta.revive();
    }

    fn expire(&mut self, at: Timestamp) -> u64 {
        let events = self.meta.kept_events();
        if events > 0 {
            self.meta.remove_all();
        }
        self.events.clear();
        self.meta.expired_at = Some(at);
        events
    }

    fn remove_prefix(&mut self, through: u64) -> Option<u64> {
        let newest = self.events.iter().take_while(|event| event.seq <= through).last()?.clone();
        let kept = self.events.len();
        self.events.retain(|event| event.seq > newest.seq);
        let next_at = self.events.front().map(|event| event.stored_at);
        self.meta.remove_prefix(newest.seq, newest.tag, newest.running_bytes, next_at);
        Some((kept - self.events.len()) as u64)
    }

    fn as_deleted(&self) -> Deleted {
        Deleted {
            streams: u64::from(!self.meta.is_tombstone()),
            events: self.meta.kept_events(),
            bytes: self.bytes(),
            session_record: false,
        }
    }
}

impl Session {
    fn is_unused(&self, now: Timestamp, retention: &Retention) -> bool {
        retention.session_ttl.is_some_and(|ttl| self.used_at.plus(ttl) <= now)
    }

    /// Whether neither a record nor a deletion mark is left to remember.
    fn is_overdue(&self, now: Timestamp, retention: &Retention) -> bool {
        let marked = self.deleted_at.is_some_and(|at| at.plus(retention.tombstone_ttl) > now);
        !marked && (self.record.is_none() || self.is_unused(now, retention))
    }
}

/// Where `meta` stands among the candidates, if it is one.
fn sort_key(meta: &StreamMeta, which: &Candidates) -> Option<i64> {
    let of = |session| meta.stream.session.as_ref() == Some(session);
    let (fits, at) = match which {
        Candidates::Tombstones(until) => {
            let at = meta.expired_at?;
            return (at <= *until).then_some(at.0);
        }
        Candidates::TombstonesOf(session) => (of(session), meta.expired_at?.0),
        _ if meta.is_tombstone() => return None,
        Candidates::Idle(until) => (!meta.complete && meta.active_at <= *until, meta.active_at.0),
        Candidates::Complete(until) => {
            (meta.complete && meta.active_at <= *until, meta.active_at.0)
        }
        Candidates::Aged(until) => (meta.oldest_at? <= *until, meta.oldest_at?.0),
        Candidates::Large(bytes) => (meta.kept_bytes() >= *bytes, meta.active_at.0),
        Candidates::LeastRecent => (true, meta.active_at.0),
        Candidates::OfSession(session) => (of(session), meta.active_at.0),
    };
    fits.then_some(at)
}
