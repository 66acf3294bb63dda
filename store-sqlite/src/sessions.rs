//! Session records, deletion marks, and deleting.

use mcp_event_store_core::backend::{SessionState, StreamMeta};
use mcp_event_store_core::{
    Deleted, Error, Result, SessionId, SessionRecord, Settings, StreamRef, Timestamp,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::batch::{Batch, FORGET_SESSIONS};
use crate::error::classify;
use crate::rows::{Stream, by_name, stream_json, to_json};

const USE: &str = "
    UPDATE sessions SET used_at = max(used_at, ?2)
    WHERE id = ?1 AND record IS NOT NULL AND used_at > ?3 RETURNING record";

const STORE: &str = "
    INSERT INTO sessions (id, record, used_at) VALUES (?1, ?2, ?3)
    ON CONFLICT (id) DO UPDATE SET
        record = excluded.record, used_at = excluded.used_at, deleted_at = NULL";

const MARK_DELETED: &str = "
    INSERT INTO sessions (id, deleted_at) VALUES (?1, ?2)
    ON CONFLICT (id) DO UPDATE SET record = NULL, deleted_at = excluded.deleted_at";

const COUNT_RECORDS: &str = "UPDATE totals SET sessions = sessions + ?1";

const STREAMS_OF: &str = concat!("SELECT ", stream_json!(), " FROM streams s WHERE s.session = ?1");

const EXPIRE_RECORDS: &str = "
    UPDATE sessions SET record = NULL WHERE id IN (
        SELECT id FROM sessions WHERE record IS NOT NULL AND used_at <= ?1
        ORDER BY used_at LIMIT ?2)
    RETURNING id";
const FORGET_MARKS: &str = "
    UPDATE sessions SET deleted_at = NULL WHERE id IN (
        SELECT id FROM sessions WHERE deleted_at IS NOT NULL AND deleted_at <= ?1
        ORDER BY deleted_at LIMIT ?2)
    RETURNING id";

#[cfg(test)]
pub(crate) const STATEMENTS: [&str; 6] =
    [USE, STORE, MARK_DELETED, STREAMS_OF, EXPIRE_RECORDS, FORGET_MARKS];

/// The last use that a record may have had to be expired at `now`.
fn unused_since(now: Timestamp, settings: &Settings) -> i64 {
    settings.retention.session_ttl.map_or(i64::MIN, |ttl| now.minus(ttl).0)
}

/// A session's record, renewed.
pub(crate) async fn use_record(
    connection: &mut SqliteConnection,
    session: &SessionId,
    now: Timestamp,
    settings: &Settings,
) -> Result<Option<SessionRecord>> {
    let query = sqlx::query(USE).bind(session.as_str().to_owned()).bind(now.0);
    let query = query.bind(unused_since(now, settings));
    let row = query.fetch_optional(connection).await.map_err(classify)?;
    let damaged = |e| Error::corrupt("the SQLite database holds a damaged session record", e);
    let record = |row: SqliteRow| {
        let text: &str = row.try_get(0).map_err(classify)?;
        SessionRecord::parse(text).map_err(damaged)
    };
    row.map(record).transpose()
}

/// Stores a session's record.
pub(crate) async fn store_record(
    connection: &mut SqliteConnection,
    session: &SessionId,
    record: &SessionRecord,
    now: Timestamp,
    settings: &Settings,
) -> Result<()> {
    let query = sqlx::query("SELECT deleted_at, record IS NOT NULL FROM sessions WHERE id = ?1");
    let query = query.bind(session.as_str().to_owned());
    let row = query.fetch_optional(&mut *connection).await.map_err(classify)?;
    let mut had_record = false;
    if let Some(row) = row {
        let deleted_at: Option<i64> = row.try_get(0).map_err(classify)?;
        let state = SessionState { deleted_at: deleted_at.map(Timestamp), open_streams: 0 };
        state.check_not_deleted(now, &settings.retention)?;
        had_record = row.try_get(1).map_err(classify)?;
    }
    let store = sqlx::query(STORE).bind(session.as_str().to_owned());
    let store = store.bind(record.get().to_owned()).bind(now.0);
    store.execute(&mut *connection).await.map_err(classify)?;
    count_records(connection, i64::from(!had_record)).await
}

async fn count_records(connection: &mut SqliteConnection, change: i64) -> Result<()> {
    // An idle sweep must not write: other processes' followers would wake for it.
    if change == 0 {
        return Ok(());
    }
    let count = sqlx::query(COUNT_RECORDS).bind(change);
    count.execute(connection).await.map_err(classify)?;
    Ok(())
}

/// Deletes one stream.
pub(crate) async fn delete_stream(
    connection: &mut SqliteConnection,
    stream: &StreamRef,
) -> Result<Deleted> {
    let rows = by_name(stream).fetch_all(&mut *connection).await.map_err(classify)?;
    delete_rows(connection, &rows).await
}

/// Deletes a session: streams and record go, a mark stays.
pub(crate) async fn delete_session(
    connection: &mut SqliteConnection,
    session: &SessionId,
    now: Timestamp,
) -> Result<Deleted> {
    let had_record = sqlx::query("SELECT 1 FROM sessions WHERE id = ?1 AND record IS NOT NULL");
    let had_record = had_record.bind(session.as_str().to_owned());
    let had_record = had_record.fetch_optional(&mut *connection).await.map_err(classify)?.is_some();
    let mark = sqlx::query(MARK_DELETED).bind(session.as_str().to_owned()).bind(now.0);
    mark.execute(&mut *connection).await.map_err(classify)?;
    count_records(connection, -i64::from(had_record)).await?;
    let streams = sqlx::query(STREAMS_OF).bind(session.as_str().to_owned());
    let rows = streams.fetch_all(&mut *connection).await.map_err(classify)?;
    let deleted = delete_rows(connection, &rows).await?;
    Ok(Deleted { session_record: had_record, ..deleted })
}

async fn delete_rows(connection: &mut SqliteConnection, rows: &[SqliteRow]) -> Result<Deleted> {
    let mut batch = Batch::default();
    let mut deleted = Deleted::default();
    for row in rows {
        let stream = Stream::from_json(row.try_get(0).map_err(classify)?)?;
        batch.delete(&stream);
        count_deleted(&mut deleted, &stream.meta);
    }
    batch.write(connection).await?;
    Ok(deleted)
}

fn count_deleted(deleted: &mut Deleted, meta: &StreamMeta) {
    deleted.streams += u64::from(!meta.is_tombstone());
    deleted.events += meta.kept_events();
    deleted.bytes += meta.kept_bytes() + meta.own_bytes();
}

/// Forgets expired records and overdue deletion marks, and sessions that hold nothing else.
pub(crate) async fn forget(
    connection: &mut SqliteConnection,
    now: Timestamp,
    settings: &Settings,
    limit: usize,
) -> Result<u64> {
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    let expire = sqlx::query(EXPIRE_RECORDS).bind(unused_since(now, settings)).bind(rows);
    let expired = ids(expire.fetch_all(&mut *connection).await.map_err(classify)?)?;
    count_records(connection, -i64::try_from(expired.len()).unwrap_or(i64::MAX)).await?;
    let marked_until = now.minus(settings.retention.tombstone_ttl).0;
    let left = rows - i64::try_from(expired.len()).unwrap_or(rows);
    let unmark = sqlx::query(FORGET_MARKS).bind(marked_until).bind(left);
    let unmarked = ids(unmark.fetch_all(&mut *connection).await.map_err(classify)?)?;
    let forgotten: Vec<_> = expired.into_iter().chain(unmarked).collect();
    let empty = sqlx::query(FORGET_SESSIONS).bind(to_json(&forgotten)?);
    empty.execute(connection).await.map_err(classify)?;
    Ok(forgotten.len() as u64)
}

fn ids(rows: Vec<SqliteRow>) -> Result<Vec<String>> {
    rows.into_iter().map(|row| row.try_get(0).map_err(classify)).collect()
}
