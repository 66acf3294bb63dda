//! What one transaction changes beside the events: gathered stream by stream, written in as few
//! statements as there are tables, however many streams it touches.
//!
//! The accounting is exact by construction: what a stream counts for after the change, less what
//! it counted for before, is added to its session and to the totals.

use std::collections::BTreeMap;

use mcp_event_store_core::Result;
use mcp_event_store_core::backend::StreamMeta;
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::error::classify;
use crate::rows::{
    INCOMPLETE, Statement, Stream, StreamRow, int, session_text, state_of, tag_to_int, to_json,
};

/// Statements that write a batch; [`Batch::bind`] gives their arguments. With `json_each` each object
/// would be written out as text, to be parsed again.
macro_rules! write_sql {
    () => {
        "UPDATE streams SET
             last_seq = w.value->>'last_seq', last_tag = w.value->>'last_tag',
             total_bytes = w.value->>'total_bytes', newest_at = w.value->>'newest_at',
             active_at = w.value->>'active_at', owner = w.value->>'owner',
             lease_until = w.value->>'lease_until', version = version + 1
         FROM jsonb_each(?) w WHERE streams.id = w.value->>'id';
         INSERT INTO streams (
             id, key, session, name, first_seq, last_seq, last_tag, removed_tag, removed_bytes,
             total_bytes, oldest_at, newest_at, active_at, state, complete, expired_at, owner,
             lease_until, reader_epoch, since, version)
         SELECT
             w.value->>'id', unhex(w.value->>'key'), w.value->>'session', w.value->>'name',
             w.value->>'first_seq', w.value->>'last_seq', w.value->>'last_tag',
             w.value->>'removed_tag', w.value->>'removed_bytes', w.value->>'total_bytes',
             w.value->>'oldest_at', w.value->>'newest_at', w.value->>'active_at',
             w.value->>'state', w.value->>'complete', w.value->>'expired_at', w.value->>'owner',
             w.value->>'lease_until', w.value->>'reader_epoch', w.value->>'since',
             w.value->>'version'
         FROM jsonb_each(?) w WHERE true
         ON CONFLICT (id) DO UPDATE SET
             first_seq = excluded.first_seq, last_seq = excluded.last_seq,
             last_tag = excluded.last_tag, removed_tag = excluded.removed_tag,
             removed_bytes = excluded.removed_bytes, total_bytes = excluded.total_bytes,
             oldest_at = excluded.oldest_at, newest_at = excluded.newest_at,
             active_at = excluded.active_at, state = excluded.state,
             complete = excluded.complete, expired_at = excluded.expired_at,
             owner = excluded.owner, lease_until = excluded.lease_until,
             reader_epoch = excluded.reader_epoch, since = excluded.since,
             version = version + 1;
         INSERT INTO sessions (id, bytes, streams, open_streams)
         SELECT w.key, w.value->>'bytes', w.value->>'rows', w.value->>'open'
         FROM jsonb_each(?) w WHERE true
         ON CONFLICT (id) DO UPDATE SET
             bytes = bytes + excluded.bytes, streams = streams + excluded.streams,
             open_streams = open_streams + excluded.open_streams,
             deleted_at = iif(excluded.streams > 0, NULL, deleted_at);
         UPDATE totals SET
             next_stream = max(next_stream, ?), streams = streams + ?, tombstones = tombstones + ?,
             events = events + ?, bytes = bytes + ?;"
    };
}
pub(crate) use write_sql;

/// Takes whole streams away; their events become garbage.
const REMOVE: &str = "
    DELETE FROM streams WHERE id IN (SELECT value FROM json_each(?));
    INSERT INTO garbage SELECT value->>0, value->>1 FROM jsonb_each(?) WHERE true
    ON CONFLICT (stream) DO UPDATE SET below = max(below, excluded.below);";

/// Takes away the rows of those sessions that hold nothing any more.
pub(crate) const FORGET_SESSIONS: &str = "
    DELETE FROM sessions
    WHERE id IN (SELECT value FROM json_each(?))
        AND streams = 0 AND record IS NULL AND deleted_at IS NULL";

#[cfg(test)]
pub(crate) const STATEMENTS: [&str; 2] = [REMOVE, FORGET_SESSIONS];

/// What a stream, or the lack of one, counts for.
#[derive(Clone, Copy, Default, Serialize)]
struct Sums {
    rows: i64,
    open: i64,
    streams: i64,
    tombstones: i64,
    events: i64,
    bytes: i64,
}

impl Sums {
    fn of(meta: &StreamMeta) -> Self {
        let tombstone = i64::from(meta.is_tombstone());
        Self {
            rows: 1,
            open: i64::from(state_of(meta) == INCOMPLETE),
            streams: 1 - tombstone,
            tombstones: tombstone,
            events: int(meta.kept_events()),
            bytes: int(meta.kept_bytes() + meta.own_bytes()),
        }
    }

    fn add(&mut self, sign: i64, other: Self) {
        self.rows += sign * other.rows;
        self.open += sign * other.open;
        self.streams += sign * other.streams;
        self.tombstones += sign * other.tombstones;
        self.events += sign * other.events;
        self.bytes += sign * other.bytes;
    }
}

/// A stream that only grew: no column that an index knows has changed.
#[derive(Serialize)]
struct Growth {
    id: i64,
    last_seq: u64,
    last_tag: u64,
    total_bytes: u64,
    newest_at: i64,
    active_at: i64,
    owner: Option<String>,
    lease_until: i64,
}

/// The changes of one transaction.
#[derive(Default)]
pub(crate) struct Batch {
    growths: Vec<Growth>,
    saves: Vec<StreamRow>,
    deletes: Vec<i64>,
    garbage: Vec<(i64, i64)>,
    sessions: BTreeMap<String, Sums>,
    totals: Sums,
    next_stream: i64,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.growths.is_empty() && self.saves.is_empty() && self.deletes.is_empty()
    }

    /// A stream was created.
    pub(crate) fn create(&mut self, after: &Stream) {
        self.next_stream = self.next_stream.max(after.id + 1);
        self.count(1, &after.meta);
        self.saves.push(after.to_row());
    }

    /// A stream was changed.
    pub(crate) fn change(&mut self, before: &StreamMeta, after: &Stream) {
        self.count(-1, before);
        self.count(1, &after.meta);
        if after.meta.first_seq > before.first_seq {
            self.garbage.push((after.id, int(after.meta.first_seq)));
        }
        if only_grew(before, &after.meta) && state_of(before) == state_of(&after.meta) {
            self.growths.push(growth(after));
        } else {
            self.saves.push(after.to_row());
        }
    }

    /// A stream was deleted.
    pub(crate) fn delete(&mut self, before: &Stream) {
        self.count(-1, &before.meta);
        self.deletes.push(before.id);
        if before.meta.kept_events() > 0 {
            self.garbage.push((before.id, i64::MAX));
        }
    }

    fn count(&mut self, sign: i64, meta: &StreamMeta) {
        let sums = Sums::of(meta);
        self.totals.add(sign, sums);
        if let Some(session) = &meta.stream.session {
            let of_session = self.sessions.entry(session_text(Some(session)).to_owned());
            of_session.or_default().add(sign, sums);
        }
    }

    /// Writes everything.
    pub(crate) async fn write(&self, connection: &mut SqliteConnection) -> Result<()> {
        self.remove(connection).await?;
        let write = self.bind(sqlx::query(write_sql!()))?;
        write.execute(&mut *connection).await.map_err(classify)?;
        self.forget_sessions(connection).await
    }

    /// Writes what goes before [`write_sql`]: a name has to be free before it is taken again.
    pub(crate) async fn remove(&self, connection: &mut SqliteConnection) -> Result<()> {
        if self.deletes.is_empty() && self.garbage.is_empty() {
            return Ok(());
        }
        let remove =
            sqlx::query(REMOVE).bind(to_json(&self.deletes)?).bind(to_json(&self.garbage)?);
        remove.execute(connection).await.map_err(classify)?;
        Ok(())
    }

    /// Writes what goes after [`write_sql`].
    async fn forget_sessions(&self, connection: &mut SqliteConnection) -> Result<()> {
        let smaller = self.sessions.iter().filter(|(_, sums)| sums.rows < 0);
        let smaller: Vec<_> = smaller.map(|(session, _)| session).collect();
        if !smaller.is_empty() {
            let forget = sqlx::query(FORGET_SESSIONS).bind(to_json(&smaller)?);
            forget.execute(connection).await.map_err(classify)?;
        }
        Ok(())
    }

    /// Gives `query`, whose statements end with those of [`write_sql`], their arguments.
    pub(crate) fn bind<'q>(&self, query: Statement<'q>) -> Result<Statement<'q>> {
        Ok(query
            .bind(to_json(&self.growths)?)
            .bind(to_json(&self.saves)?)
            .bind(to_json(&self.sessions)?)
            .bind(self.next_stream)
            .bind(self.totals.streams)
            .bind(self.totals.tombstones)
            .bind(self.totals.events)
            .bind(self.totals.bytes))
    }
}

/// Whether a stream only got events at its end, the last of which may complete it.
pub(crate) fn only_grew(before: &StreamMeta, after: &StreamMeta) -> bool {
    (before.first_seq, before.oldest_at, before.reader_epoch, before.expired_at)
        == (after.first_seq, after.oldest_at, after.reader_epoch, after.expired_at)
}

fn growth(Stream { id, meta, .. }: &Stream) -> Growth {
    Growth {
        id: *id,
        last_seq: meta.last_seq,
        last_tag: tag_to_int(meta.last_tag),
        total_bytes: meta.total_bytes,
        newest_at: meta.newest_at.0,
        active_at: meta.active_at.0,
        owner: meta.lease.as_ref().map(|lease| lease.owner.to_string()),
        lease_until: meta.lease.as_ref().map_or(0, |lease| lease.until.0),
    }
}
