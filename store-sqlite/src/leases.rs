//! Renewing a lease and taking a stream's readers over: both change a stream's row alone.

use mcp_event_store_core::backend::StreamKey;
use mcp_event_store_core::{Lease, LeaseState, Result, Settings, StreamRef, Timestamp};
use sqlx::{Row, SqliteConnection};

use crate::batch::Batch;
use crate::error::classify;
use crate::rows::{Stream, by_name};

/// Extends or takes the lease on `stream`.
pub(crate) async fn renew(
    connection: &mut SqliteConnection,
    stream: &StreamRef,
    lease: &Lease,
    now: Timestamp,
    settings: &Settings,
) -> Result<LeaseState> {
    let row = by_name(stream).fetch_optional(&mut *connection).await.map_err(classify)?;
    let Some(row) = row else { return Ok(LeaseState::Gone) };
    let mut stream = Stream::from_json(row.try_get(0).map_err(classify)?)?;
    let before = stream.meta.clone();
    let state = stream.meta.plan_renew(lease, now, &settings.retention);
    if state == LeaseState::Held {
        let mut batch = Batch::default();
        batch.change(&before, &stream);
        batch.write(connection).await?;
    }
    Ok(state)
}

/// Raises the reader epoch of the stream with `key`.
pub(crate) async fn take_over(
    connection: &mut SqliteConnection,
    key: &StreamKey,
) -> Result<Option<u64>> {
    let query = sqlx::query(
        "UPDATE streams SET reader_epoch = reader_epoch + 1, version = version + 1
         WHERE key = ?1 RETURNING reader_epoch",
    );
    let row = query.bind(key.0.to_vec()).fetch_optional(connection).await.map_err(classify)?;
    let epoch = |row: sqlx::sqlite::SqliteRow| row.try_get(0).map(i64::cast_unsigned);
    row.map(epoch).transpose().map_err(classify)
}
