//! Renewing a lease and taking a stream's readers over: both change a stream's row alone.

use std::time::Duration;

use mcp_event_store_core::backend::StreamKey;
use mcp_event_store_core::{Lease, LeaseState, Result, Settings, StreamRef};

use crate::call::Call;
use crate::rows::{millis, session_text, stream_ref};
use crate::server::{Server, column};

/// Extends or takes the lease on `stream`.
pub(crate) async fn renew(
    server: &Server,
    stream: &StreamRef,
    lease: &Lease,
    settings: &Settings,
) -> Result<LeaseState> {
    let call = Call::new("renew")
        .with(session_text(stream.session.as_ref()))
        .with(stream.stream.as_str())
        .with(&*lease.owner)
        .with(millis(lease.ttl))
        .with(settings.retention.stream_ttl.map(millis))
        .with(settings.retention.completed_stream_ttl.map(millis))
        .with(server.offset())
        .with(server.sync());
    let row = server.ask_one(&call).await?;
    Ok(match column::<i64>(&row, 0)? {
        0 => LeaseState::Held,
        1 => {
            let remaining = u64::try_from(column::<i64>(&row, 1)?).unwrap_or_default();
            LeaseState::Other { remaining: Duration::from_millis(remaining) }
        }
        2 => LeaseState::Complete,
        _ => LeaseState::Gone,
    })
}

/// Raises the reader epoch of the stream with `key`; answers it and the stream.
pub(crate) async fn take_over(
    server: &Server,
    key: &StreamKey,
) -> Result<Option<(u64, StreamRef)>> {
    let call = Call::new("take_over").with(*key).with(server.sync());
    let rows = server.ask(&call).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let stream = stream_ref(column(row, 1)?, column(row, 2)?)?;
    Ok(Some((column::<i64>(row, 0)?.cast_unsigned(), stream)))
}
