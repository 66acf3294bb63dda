//! Renewing a lease and taking a stream's readers over: both change a stream's row alone.

use mcp_event_store_core::backend::StreamKey;
use mcp_event_store_core::{Lease, LeaseState, Result, Settings, StreamRef, Timestamp};

use crate::batch::Batch;

/// Extends or takes the lease on `stream`.
pub(crate) fn renew(
    batch: &mut Batch<'_>,
    stream: &StreamRef,
    lease: &Lease,
    settings: &Settings,
    now: Timestamp,
) -> Result<LeaseState> {
    let Some(before) = batch.stream_named(stream)? else { return Ok(LeaseState::Gone) };
    let mut meta = before.meta.clone();
    let state = meta.plan_renew(lease, now, &settings.retention);
    if state == LeaseState::Held {
        batch.change(&before, meta)?;
    }
    Ok(state)
}

/// Raises the reader epoch of the stream with `key`.
pub(crate) fn take_over(batch: &mut Batch<'_>, key: &StreamKey) -> Result<Option<u64>> {
    let Some(before) = batch.stream(key)? else { return Ok(None) };
    let mut meta = before.meta.clone();
    meta.reader_epoch += 1;
    let epoch = meta.reader_epoch;
    batch.change(&before, meta)?;
    Ok(Some(epoch))
}
