//! Session records, deletion marks, and deleting.

use mcp_event_store_core::backend::StreamMeta;
use mcp_event_store_core::{
    Deleted, Result, SessionId, SessionRecord, Settings, StreamRef, Timestamp,
};

use crate::batch::Batch;
use crate::database::{Cache, Database};
use crate::error::damaged;
use crate::index::{List, next_moment, split};
use crate::rows::{SessionRow, message, names_of, stream_key};
use crate::schema::Table;

/// Records that one step of forgetting looks at, for each that it may forget: those that were
/// used since they were listed are only put in their place.
const LOOKS: usize = 16;

/// A session's record, renewed.
pub(crate) fn use_record(
    batch: &mut Batch<'_>,
    session: &SessionId,
    settings: &Settings,
    now: Timestamp,
) -> Result<Option<SessionRecord>> {
    let row = batch.session(session)?;
    if !row.has_record || is_unused(row, settings, now) {
        return Ok(None);
    }
    row.used_at = row.used_at.max(now);
    let text = batch.database().get(Table::Records, session.as_str().as_bytes())?;
    message(&text.ok_or_else(|| damaged("session record"))?).map(Some)
}

fn is_unused(row: &SessionRow, settings: &Settings, now: Timestamp) -> bool {
    settings.retention.session_ttl.is_some_and(|ttl| row.used_at.plus(ttl) <= now)
}

/// Stores a session's record.
pub(crate) fn store_record(
    batch: &mut Batch<'_>,
    session: &SessionId,
    record: &SessionRecord,
    settings: &Settings,
    now: Timestamp,
) -> Result<()> {
    batch.session(session)?.state().check_not_deleted(now, &settings.retention)?;
    batch.put_record(session, record, now)
}

/// Deletes one stream.
pub(crate) fn delete_stream(batch: &mut Batch<'_>, stream: &StreamRef) -> Result<Deleted> {
    let mut deleted = Deleted::default();
    if let Some(row) = batch.stream_named(stream)? {
        count_deleted(&mut deleted, &row.meta);
        batch.delete(&row)?;
    }
    Ok(deleted)
}

/// Deletes a session: streams and record go, a mark stays.
pub(crate) fn delete_session(
    batch: &mut Batch<'_>,
    session: &SessionId,
    now: Timestamp,
) -> Result<Deleted> {
    let session_record = batch.remove_record(session)?;
    let mut deleted = Deleted { session_record, ..Deleted::default() };
    let database = batch.database();
    let (from, below) = names_of(session);
    let mut names = database.rows(Table::Names, from, below, Cache::Leave)?;
    while let Some((_, key)) = names.next()? {
        let row = batch.stream(&stream_key(key)?)?.ok_or_else(|| damaged("stream name"))?;
        count_deleted(&mut deleted, &row.meta);
        batch.delete(&row)?;
    }
    batch.session(session)?.deleted_at = Some(now);
    Ok(deleted)
}

fn count_deleted(deleted: &mut Deleted, meta: &StreamMeta) {
    deleted.streams += u64::from(!meta.is_tombstone());
    deleted.events += meta.kept_events();
    deleted.bytes += meta.kept_bytes() + meta.own_bytes();
}

/// Forgets expired records and overdue deletion marks, and sessions that hold nothing else;
/// answers how many records and marks.
pub(crate) fn forget(
    batch: &mut Batch<'_>,
    settings: &Settings,
    limit: usize,
    now: Timestamp,
) -> Result<u64> {
    let mut forgotten = 0;
    if let Some(ttl) = settings.retention.session_ttl {
        for session in listed(batch.database(), List::UsedSessions, now.minus(ttl), limit * LOOKS)?
        {
            if forgotten == limit {
                break;
            }
            let row = batch.session(&session)?;
            if is_unused(row, settings, now) {
                batch.remove_record(&session)?;
                forgotten += 1;
            } else {
                row.used_since = row.used_at;
            }
        }
    }
    let marked_until = now.minus(settings.retention.tombstone_ttl);
    for session in listed(batch.database(), List::DeletedSessions, marked_until, limit - forgotten)?
    {
        batch.session(&session)?.deleted_at = None;
        forgotten += 1;
    }
    Ok(forgotten as u64)
}

/// The first sessions of a list, up to a time.
fn listed(
    database: &Database,
    list: List,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<SessionId>> {
    let turn = database.marks.begin(list);
    let from = list.timed(turn.first, &[]);
    let mut rows = database.rows(Table::Lists, from, list.after(until), Cache::Leave)?;
    let mut first = None;
    let mut sessions = Vec::new();
    while sessions.len() < limit
        && let Some((entry, _)) = rows.next()?
    {
        let (at, id) = split(entry)?;
        first.get_or_insert(at);
        let id = std::str::from_utf8(id).map_err(|_| damaged("list"))?;
        sessions.push(SessionId::new(id)?);
    }
    if limit > 0 {
        database.marks.end(&turn, first.unwrap_or_else(|| next_moment(until)));
    }
    Ok(sessions)
}
