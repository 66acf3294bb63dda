//! Session records, deletion marks, and deleting.

use mcp_event_store_core::{Deleted, Error, Result, SessionId, SessionRecord, Settings, StreamRef};
use sqlx::postgres::PgRow;

use crate::call::Call;
use crate::rows::{int, millis, session_text};
use crate::server::{Server, column};

/// A session's record, renewed.
pub(crate) async fn load(
    server: &Server,
    session: &SessionId,
    settings: &Settings,
) -> Result<Option<SessionRecord>> {
    let call = Call::new("load_session")
        .with(session.as_str())
        .with(settings.retention.session_ttl.map(millis))
        .with(server.offset())
        .with(server.sync());
    let rows = server.ask(&call).await?;
    let damaged = |e| Error::corrupt("PostgreSQL holds a damaged session record", e);
    let record = |row: &PgRow| SessionRecord::parse(column::<&str>(row, 0)?).map_err(damaged);
    rows.first().map(record).transpose()
}

/// Stores a session's record.
pub(crate) async fn store(
    server: &Server,
    session: &SessionId,
    record: &SessionRecord,
    settings: &Settings,
) -> Result<()> {
    let call = Call::new("store_session")
        .with(session.as_str())
        .with(record.get())
        .with(millis(settings.retention.tombstone_ttl))
        .with(server.offset())
        .with(server.sync());
    let row = server.ask_one(&call).await?;
    if column(&row, 0)? { Ok(()) } else { Err(Error::SessionDeleted) }
}

/// Deletes one stream.
pub(crate) async fn delete_stream(server: &Server, stream: &StreamRef) -> Result<Deleted> {
    let call = Call::new("delete_stream")
        .with(session_text(stream.session.as_ref()))
        .with(stream.stream.as_str())
        .with(server.sync());
    let rows = server.ask(&call).await?;
    rows.first().map_or_else(|| Ok(Deleted::default()), deleted)
}

/// Deletes a session: streams and record go, a mark stays.
pub(crate) async fn delete_session(server: &Server, session: &SessionId) -> Result<Deleted> {
    let call = Call::new("delete_session")
        .with(session.as_str())
        .with(server.offset())
        .with(server.sync());
    let row = server.ask_one(&call).await?;
    Ok(Deleted { session_record: column(&row, 3)?, ..deleted(&row)? })
}

fn deleted(row: &PgRow) -> Result<Deleted> {
    let count = |at: usize| column::<i64>(row, at).map(i64::cast_unsigned);
    Ok(Deleted { streams: count(0)?, events: count(1)?, bytes: count(2)?, session_record: false })
}

/// Forgets expired records and overdue deletion marks, and sessions that hold nothing else.
pub(crate) async fn forget(server: &Server, settings: &Settings, limit: usize) -> Result<u64> {
    let call = Call::new("forget_sessions")
        .with(settings.retention.session_ttl.map(millis))
        .with(millis(settings.retention.tombstone_ttl))
        .with(int(limit as u64))
        .with(server.offset());
    let row = server.ask_one(&call).await?;
    Ok(column::<i64>(&row, 0)?.cast_unsigned())
}
