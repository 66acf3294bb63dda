//! The tables, and what a transaction does to them.

use std::collections::{BTreeMap, HashMap};

use mcp_event_store_core::backend::{
    AppendPlan, Appended, Candidates, Cursor, Group, Page, PageEvent, PageLimit, Removal, Remove,
    SessionState, StreamKey, StreamMeta, event_bytes,
};
use mcp_event_store_core::{
    Deleted, Result, Retention, SessionId, SessionRecord, Settings, StreamRef, Timestamp, Usage,
};

#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) streams: BTreeMap<StreamRef, StreamMeta>,
    /// An index: each stream by its key.
    names: HashMap<StreamKey, StreamRef>,
    events: BTreeMap<(StreamKey, u64), PageEvent>,
    sessions: BTreeMap<SessionId, Session>,
    /// Who sweeps in the background, and until when.
    pub(crate) sweeper: Option<(String, Timestamp)>,
    /// Rows of events that were freed and not yet reported.
    pub(crate) freed: u64,
}

#[derive(Default)]
struct Session {
    record: Option<SessionRecord>,
    used_at: Timestamp,
    deleted_at: Option<Timestamp>,
}

impl Tables {
    pub(crate) fn meta_mut(&mut self, key: &StreamKey) -> Option<&mut StreamMeta> {
        self.streams.get_mut(self.names.get(key)?)
    }

    fn of_session(&self, session: &SessionId) -> impl Iterator<Item = &StreamMeta> {
        self.streams.values().filter(move |meta| meta.stream.session.as_ref() == Some(session))
    }

    pub(crate) fn append(
        &mut self,
        group: &Group,
        now: Timestamp,
        settings: &Settings,
    ) -> Result<Appended> {
        let name = &group.stream;
        let plan = StreamMeta::plan_append(self.streams.get(name), now, &settings.retention)?;
        if plan != AppendPlan::Extend {
            self.check_session(name, now, settings)?;
        }
        if plan == AppendPlan::Replace {
            self.delete_stream(name);
        }
        let create = || StreamMeta::new(name.clone(), group.candidate_key, now);
        let meta = self.streams.entry(name.clone()).or_insert_with(create);
        let key = meta.key;
        if plan == AppendPlan::Revive {
            meta.revive();
            free(&mut self.events, key, meta.last_seq);
        }
        let first_seq = meta.last_seq + 1;
        for event in &group.events {
            let stamp = meta.push(event, now);
            let row = PageEvent {
                seq: stamp.seq,
                tag: event.tag,
                stored_at: stamp.stored_at,
                running_bytes: stamp.running_bytes,
                message: event.message.clone(),
                retry_ms: event.retry_ms,
            };
            self.events.insert((key, stamp.seq), row);
        }
        self.names.insert(key, name.clone());
        let (stored_at, reader_epoch) = (meta.newest_at, meta.reader_epoch);
        Ok(Appended { key, first_seq, stored_at, reader_epoch })
    }

    /// Whether a stream may be created here.
    fn check_session(&self, name: &StreamRef, now: Timestamp, settings: &Settings) -> Result<()> {
        let Some(session) = &name.session else { return Ok(()) };
        let retention = &settings.retention;
        let deleted_at = self.sessions.get(session).and_then(|session| session.deleted_at);
        let open = self.of_session(session).filter(|meta| meta.is_live(now, retention)).count();
        let state = SessionState { deleted_at, open_streams: open as u64 };
        state.check_new_stream(now, retention, &settings.limits)
    }

    pub(crate) fn page(
        &self,
        key: &StreamKey,
        after: u64,
        limit: PageLimit,
        now: Timestamp,
    ) -> Option<Page> {
        let meta = self.streams.get(self.names.get(key)?)?.clone();
        let anchor_tag = self.events.get(&(*key, after)).map(|event| event.tag);
        let mut events = Vec::new();
        let mut bytes = 0;
        for (_, event) in self.events.range((*key, after.saturating_add(1))..=(*key, u64::MAX)) {
            bytes += event_bytes(event.message.as_ref().map_or(0, |m| m.len() as u64));
            if !events.is_empty() && (events.len() as u64 >= limit.events || bytes > limit.bytes) {
                break;
            }
            events.push(event.clone());
        }
        Some(Page { meta, now, anchor_tag, events })
    }

    pub(crate) fn delete_stream(&mut self, name: &StreamRef) -> Deleted {
        let Some(meta) = self.streams.remove(name) else { return Deleted::default() };
        self.names.remove(&meta.key);
        free(&mut self.events, meta.key, meta.last_seq);
        Deleted {
            streams: u64::from(!meta.is_tombstone()),
            events: meta.kept_events(),
            bytes: meta.kept_bytes() + meta.own_bytes(),
            session_record: false,
        }
    }

    pub(crate) fn delete_session(&mut self, id: &SessionId, now: Timestamp) -> Deleted {
        let names: Vec<_> = self.of_session(id).map(|meta| meta.stream.clone()).collect();
        let mut all = Deleted::default();
        for one in names.iter().map(|name| self.delete_stream(name)).collect::<Vec<_>>() {
            all.streams += one.streams;
            all.events += one.events;
            all.bytes += one.bytes;
        }
        let session = self.sessions.entry(id.clone()).or_default();
        all.session_record = session.record.take().is_some();
        session.deleted_at = Some(now);
        all
    }

    pub(crate) fn use_record(
        &mut self,
        id: &SessionId,
        now: Timestamp,
        retention: &Retention,
    ) -> Option<SessionRecord> {
        let session = self.sessions.get_mut(id).filter(|s| !s.is_unused(now, retention))?;
        session.used_at = session.used_at.max(now);
        session.record.clone()
    }

    pub(crate) fn store_record(
        &mut self,
        id: &SessionId,
        record: SessionRecord,
        now: Timestamp,
        retention: &Retention,
    ) -> Result<()> {
        let session = self.sessions.entry(id.clone()).or_default();
        let state = SessionState { deleted_at: session.deleted_at, open_streams: 0 };
        state.check_not_deleted(now, retention)?;
        *session = Session { record: Some(record), used_at: now, deleted_at: None };
        Ok(())
    }

    pub(crate) fn candidates(
        &self,
        which: &Candidates,
        after: Option<&Cursor>,
        limit: usize,
    ) -> (Vec<StreamMeta>, Option<Cursor>) {
        let place = |meta: &StreamMeta| Some((time_of(meta, which)?, meta.key));
        let mut found: Vec<_> =
            self.streams.values().filter_map(|meta| Some((place(meta)?, meta))).collect();
        found.sort_unstable_by_key(|(place, _)| *place);
        if let Some(Cursor { at, id }) = after {
            found.retain(|((time, key), _)| (*time, &key.0[..]) > (*at, &id[..]));
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| more);
        let next = last.map(|((at, key), _)| Cursor { at: *at, id: key.0.into() });
        (found.into_iter().map(|(_, meta)| meta.clone()).collect(), next)
    }

    pub(crate) fn large_sessions(
        &self,
        min_bytes: u64,
        after: Option<&SessionId>,
        limit: usize,
    ) -> Vec<(SessionId, u64)> {
        let mut bytes: BTreeMap<&SessionId, u64> = BTreeMap::new();
        for meta in self.streams.values() {
            if let Some(session) = &meta.stream.session {
                *bytes.entry(session).or_default() += meta.kept_bytes() + meta.own_bytes();
            }
        }
        let large = bytes.into_iter().filter(|(_, bytes)| *bytes >= min_bytes);
        let rest = large.filter(|(session, _)| after.is_none_or(|after| *session > after));
        rest.take(limit).map(|(session, bytes)| (session.clone(), bytes)).collect()
    }

    /// Removes what is still as the sweep saw it.
    pub(crate) fn remove(&mut self, removal: &Removal) -> Option<u64> {
        let meta = self.streams.get_mut(self.names.get(&removal.key)?)?;
        let kept = meta.kept_events();
        match removal.what {
            Remove::Prefix { through } => {
                let newest = self.events.get(&(meta.key, through))?;
                let next = self.events.get(&(meta.key, through + 1)).map(|next| next.stored_at);
                meta.remove_prefix(through, newest.tag, newest.running_bytes, next);
            }
            Remove::Whole { at, unchanged } => {
                if meta.version() != unchanged || meta.is_tombstone() {
                    return None;
                }
                if kept > 0 {
                    meta.remove_all();
                }
                meta.expired_at = Some(at);
            }
            Remove::Tombstone { unchanged } => {
                if meta.version() != unchanged {
                    return None;
                }
                let name = meta.stream.clone();
                self.freed += kept;
                return Some(self.delete_stream(&name).events);
            }
        }
        let removed = kept - meta.kept_events();
        free(&mut self.events, meta.key, meta.first_seq - 1);
        self.freed += removed;
        Some(removed)
    }

    pub(crate) fn forget_sessions(
        &mut self,
        now: Timestamp,
        retention: &Retention,
        limit: usize,
    ) -> u64 {
        let overdue = self.sessions.iter().filter(|(_, session)| session.is_over(now, retention));
        let overdue: Vec<_> = overdue.take(limit).map(|(id, _)| id.clone()).collect();
        self.sessions.retain(|id, _| !overdue.contains(id));
        overdue.len() as u64
    }

    pub(crate) fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for meta in self.streams.values() {
            usage.streams += u64::from(!meta.is_tombstone());
            usage.tombstones += u64::from(meta.is_tombstone());
            usage.events += meta.kept_events();
            usage.bytes += meta.kept_bytes() + meta.own_bytes();
        }
        let records = self.sessions.values().filter(|session| session.record.is_some());
        usage.sessions = records.count() as u64;
        usage
    }
}

/// Frees the rows of a stream's events up to `through`.
fn free(events: &mut BTreeMap<(StreamKey, u64), PageEvent>, key: StreamKey, through: u64) {
    let rows: Vec<_> = events.range((key, 0)..=(key, through)).map(|(row, _)| *row).collect();
    for row in rows {
        events.remove(&row);
    }
}

impl Session {
    fn is_unused(&self, now: Timestamp, retention: &Retention) -> bool {
        retention.session_ttl.is_some_and(|ttl| self.used_at.plus(ttl) <= now)
    }

    /// Whether there is neither a record in use nor a deletion mark to remember.
    fn is_over(&self, now: Timestamp, retention: &Retention) -> bool {
        let marked = self.deleted_at.is_some_and(|at| at.plus(retention.tombstone_ttl) > now);
        !marked && (self.record.is_none() || self.is_unused(now, retention))
    }
}

/// The time by which a candidate is listed; `None` if the stream is none.
fn time_of(meta: &StreamMeta, which: &Candidates) -> Option<i64> {
    let of = |session| meta.stream.session.as_ref() == Some(session);
    let active = meta.active_at;
    let (fits, time) = match which {
        Candidates::Tombstones(until) => (meta.expired_at? <= *until, meta.expired_at?),
        Candidates::TombstonesOf(session) => (of(session), meta.expired_at?),
        _ if meta.is_tombstone() => return None,
        Candidates::Idle(until) => (!meta.complete && active <= *until, active),
        Candidates::Complete(until) => (meta.complete && active <= *until, active),
        Candidates::Aged(until) => (meta.oldest_at? <= *until, meta.oldest_at?),
        Candidates::Large(bytes) => (meta.kept_bytes() >= *bytes, active),
        Candidates::LeastRecent => (true, active),
        Candidates::OfSession(session) => (of(session), active),
    };
    fits.then_some(time.0)
}
