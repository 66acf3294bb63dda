//! What one commit changes, gathered stream by stream.
//!
//! The accounting is exact by construction: what a stream counts for after the change, less what
//! it counted for before, is added to its session and to the totals. The lists of the sweep follow
//! in the same way: entries before that are none after are deleted, new ones are put.

use std::collections::BTreeMap;

use mcp_event_store_core::backend::{PendingEvent, Stamp, StreamKey, StreamMeta};
use mcp_event_store_core::{Result, SessionId, SessionRecord, StreamRef, Timestamp, Usage};
use rocksdb::WriteBatch;

use crate::database::Database;
use crate::error::damaged;
use crate::index::{self, Garbage, List};
use crate::packed::{Packer, Unpacker};
use crate::rows::{SessionRow, StreamRow, event_key, name_key, pack_event};
use crate::schema::Table;

const TOTALS_KEY: &[u8] = b"totals";

/// The sums of everything, so that usage never scans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) usage: Usage,
    /// The number of the next garbage.
    next_garbage: u64,
}

/// What a stream counts for.
#[derive(Clone, Copy)]
struct Sums {
    open: u64,
    streams: u64,
    tombstones: u64,
    events: u64,
    bytes: u64,
}

/// The changes of one commit. What was changed in it is not read again through it.
pub(crate) struct Batch<'a> {
    database: &'a Database,
    writes: WriteBatch,
    before: Totals,
    totals: Totals,
    /// Sessions that were looked at: as they are stored, and as they will be.
    sessions: BTreeMap<SessionId, (SessionRow, SessionRow)>,
    /// Entries that are new in lists with an order.
    listed: Vec<(List, Timestamp)>,
    /// Streams as they will be, or that they will be gone.
    changed: Vec<(StreamRef, Option<StreamRow>)>,
}

impl Totals {
    /// The sums in `database`.
    pub(crate) fn load(database: &Database) -> Result<Self> {
        let Some(bytes) = database.get(Table::Main, TOTALS_KEY)? else {
            return Ok(Self::default());
        };
        let mut bytes = Unpacker(&bytes);
        let mut sum = || bytes.number();
        let read = (|| {
            let usage = Usage {
                sessions: sum()?,
                streams: sum()?,
                tombstones: sum()?,
                events: sum()?,
                bytes: sum()?,
            };
            Some(Self { usage, next_garbage: sum()? })
        })();
        read.ok_or_else(|| damaged("sum"))
    }

    fn pack(&self) -> Vec<u8> {
        let Usage { sessions, streams, tombstones, events, bytes } = self.usage;
        let sums = [sessions, streams, tombstones, events, bytes, self.next_garbage];
        sums.into_iter().fold(Packer::default(), Packer::number).done()
    }
}

impl Sums {
    fn of(row: &StreamRow) -> Self {
        let meta = &row.meta;
        let tombstone = u64::from(meta.is_tombstone());
        Self {
            open: u64::from(row.is_open()),
            streams: 1 - tombstone,
            tombstones: tombstone,
            events: meta.kept_events(),
            bytes: meta.kept_bytes() + meta.own_bytes(),
        }
    }
}

impl<'a> Batch<'a> {
    pub(crate) fn new(database: &'a Database, totals: Totals) -> Self {
        let writes = WriteBatch::default();
        Self {
            database,
            writes,
            before: totals,
            totals,
            sessions: BTreeMap::new(),
            listed: Vec::new(),
            changed: Vec::new(),
        }
    }

    pub(crate) fn database(&self) -> &'a Database {
        self.database
    }

    /// The stream of this name, to be changed.
    pub(crate) fn stream_named(&mut self, stream: &StreamRef) -> Result<Option<StreamRow>> {
        if let Some(session) = &stream.session {
            self.session(session)?;
        }
        match self.database.known.get(stream) {
            Some(row) => Ok(Some(row)),
            None => self.database.stream_named(stream),
        }
    }

    /// The stream with this key, to be changed.
    pub(crate) fn stream(&mut self, key: &StreamKey) -> Result<Option<StreamRow>> {
        let row = self.database.stream(key)?;
        if let Some(session) = row.as_ref().and_then(|row| row.meta.stream.session.as_ref()) {
            self.session(session)?;
        }
        Ok(row)
    }

    /// The session, to be changed.
    pub(crate) fn session(&mut self, session: &SessionId) -> Result<&mut SessionRow> {
        if !self.sessions.contains_key(session) {
            let row = match self.database.known_sessions.get(session) {
                Some(row) => row,
                None => self.database.session(session)?.unwrap_or_default(),
            };
            self.sessions.insert(session.clone(), (row, row));
        }
        self.sessions.get_mut(session).map(|(_, after)| after).ok_or_else(|| damaged("session"))
    }

    /// A stream is created.
    pub(crate) fn create(&mut self, meta: StreamMeta) -> Result<()> {
        let row = StreamRow::new(meta);
        if let Some(session) = &row.meta.stream.session {
            // Its time is over, or the stream would not be created.
            self.session(session)?.deleted_at = None;
        }
        self.put(Table::Names, &name_key(&row.meta.stream), &row.meta.key.0)?;
        self.replace(None, Some(&row))
    }

    /// A stream is changed.
    pub(crate) fn change(&mut self, before: &StreamRow, meta: StreamMeta) -> Result<()> {
        let mut after = StreamRow::new(meta);
        if before.is_open() && after.is_open() {
            after.since = before.since;
        }
        self.discard(&before.meta, after.meta.first_seq, after.meta.removed_bytes)?;
        self.replace(Some(before), Some(&after))
    }

    /// A stream is put where it belongs in the sweep's order.
    pub(crate) fn refresh(&mut self, before: &StreamRow) -> Result<()> {
        self.replace(Some(before), Some(&StreamRow::new(before.meta.clone())))
    }

    /// A stream is deleted.
    pub(crate) fn delete(&mut self, before: &StreamRow) -> Result<()> {
        let meta = &before.meta;
        self.discard(meta, meta.last_seq + 1, meta.total_bytes)?;
        self.remove(Table::Names, &name_key(&meta.stream))?;
        self.replace(Some(before), None)
    }

    /// An event is stored.
    pub(crate) fn put_event(
        &mut self,
        key: &StreamKey,
        stamp: &Stamp,
        event: &PendingEvent,
    ) -> Result<()> {
        self.put(Table::Events, &event_key(key, stamp.seq), &pack_event(stamp, event))
    }

    /// A record is stored.
    pub(crate) fn put_record(
        &mut self,
        session: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<()> {
        self.put(Table::Records, session.as_str().as_bytes(), record.get().as_bytes())?;
        let row = self.session(session)?;
        let is_new = !row.has_record;
        *row = SessionRow {
            has_record: true,
            used_at: now,
            used_since: now,
            deleted_at: None,
            ..*row
        };
        self.totals.usage.sessions += u64::from(is_new);
        Ok(())
    }

    /// A record is removed, if there is one; answers whether there was.
    pub(crate) fn remove_record(&mut self, session: &SessionId) -> Result<bool> {
        let had_record = std::mem::take(&mut self.session(session)?.has_record);
        if had_record {
            self.remove(Table::Records, session.as_str().as_bytes())?;
            self.totals.usage.sessions = self.totals.usage.sessions.saturating_sub(1);
        }
        Ok(had_record)
    }

    /// Events of `meta` below `below` become garbage; `removed_bytes` are then removed in all.
    fn discard(&mut self, meta: &StreamMeta, below: u64, removed_bytes: u64) -> Result<()> {
        let (key, from) = (meta.key, meta.first_seq);
        if from >= below || meta.kept_events() == 0 {
            return Ok(());
        }
        let bytes = removed_bytes - meta.removed_bytes;
        let garbage = Garbage { key, from, below: below.min(meta.last_seq + 1), bytes };
        self.put_garbage(self.totals.next_garbage, &garbage)?;
        self.totals.next_garbage += 1;
        Ok(())
    }

    pub(crate) fn put_garbage(&mut self, number: u64, garbage: &Garbage) -> Result<()> {
        self.put(Table::Lists, &Garbage::entry(number), &garbage.pack())
    }

    pub(crate) fn remove_garbage(&mut self, number: u64) -> Result<()> {
        self.remove(Table::Lists, &Garbage::entry(number))
    }

    /// Events from `from` to before `below` are freed: by a deletion each, or, if they are many,
    /// by one for all. Every read looks at all deletions of the second kind that are near it.
    pub(crate) fn free(&mut self, key: &StreamKey, from: u64, below: u64) -> Result<()> {
        const MANY: u64 = 256;
        let events = self.database.table(Table::Events)?;
        if below - from >= MANY {
            self.writes.delete_range_cf(events, event_key(key, from), event_key(key, below));
        } else {
            (from..below).for_each(|seq| self.writes.delete_cf(events, event_key(key, seq)));
        }
        Ok(())
    }

    fn replace(&mut self, before: Option<&StreamRow>, after: Option<&StreamRow>) -> Result<()> {
        for (row, sign) in [(before, false), (after, true)] {
            let Some(row) = row else { continue };
            self.count(row, sign)?;
        }
        match (before, after) {
            (_, Some(row)) => self.put(Table::Streams, &row.meta.key.0, &row.pack())?,
            (Some(row), None) => self.remove(Table::Streams, &row.meta.key.0)?,
            (None, None) => {}
        }
        let entries = |row: Option<&StreamRow>| row.map_or_else(Vec::new, index::of_stream);
        self.list(&entries(before), &entries(after))?;
        if let Some(row) = after.or(before) {
            self.changed.push((row.meta.stream.clone(), after.cloned()));
        }
        Ok(())
    }

    /// Adds what `row` counts for, or takes it away.
    fn count(&mut self, row: &StreamRow, add: bool) -> Result<()> {
        let sums = Sums::of(row);
        let count = |sum: &mut u64, by: u64| {
            *sum = if add { *sum + by } else { sum.saturating_sub(by) };
        };
        let usage = &mut self.totals.usage;
        count(&mut usage.streams, sums.streams);
        count(&mut usage.tombstones, sums.tombstones);
        count(&mut usage.events, sums.events);
        count(&mut usage.bytes, sums.bytes);
        if let Some(session) = &row.meta.stream.session {
            let session = self.session(session)?;
            count(&mut session.streams, 1);
            count(&mut session.open_streams, sums.open);
            count(&mut session.bytes, sums.bytes);
        }
        Ok(())
    }

    fn list(&mut self, before: &[Vec<u8>], after: &[Vec<u8>]) -> Result<()> {
        for entry in before.iter().filter(|entry| !after.contains(entry)) {
            self.remove(Table::Lists, entry)?;
        }
        for entry in after.iter().filter(|entry| !before.contains(entry)) {
            self.put(Table::Lists, entry, &[])?;
            self.listed.extend(index::timed(entry));
        }
        Ok(())
    }

    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<()> {
        self.writes.put_cf(self.database.table(table)?, key, value);
        Ok(())
    }

    fn remove(&mut self, table: Table, key: &[u8]) -> Result<()> {
        self.writes.delete_cf(self.database.table(table)?, key);
        Ok(())
    }

    /// Commits everything, if there is anything; answers the new totals.
    pub(crate) fn commit(mut self) -> Result<Totals> {
        let sessions = std::mem::take(&mut self.sessions);
        for (session, (before, after)) in &sessions {
            if before == after {
                continue;
            }
            let (id, key) = (session.as_str(), session.as_str().as_bytes());
            self.list(&index::of_session(id, before), &index::of_session(id, after))?;
            if after.is_empty() {
                self.remove(Table::Sessions, key)?;
            } else {
                self.put(Table::Sessions, key, &after.pack())?;
            }
        }
        if self.totals != self.before {
            self.put(Table::Main, TOTALS_KEY, &self.totals.pack())?;
        }
        if !self.writes.is_empty() {
            self.database.write(self.writes)?;
        }
        for (list, at) in self.listed {
            self.database.marks.put(list, at);
        }
        let open = |row: Option<StreamRow>| row.filter(StreamRow::is_open);
        let changed = self.changed.into_iter().map(|(stream, row)| (stream, open(row)));
        self.database.known.note(changed);
        let there = |row: SessionRow| Some(row).filter(|row| !row.is_empty());
        let sessions = sessions.into_iter().map(|(session, (_, row))| (session, there(row)));
        self.database.known_sessions.note(sessions);
        Ok(self.totals)
    }
}
