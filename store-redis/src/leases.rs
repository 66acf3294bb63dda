//! Renewing a lease and taking a stream's readers over: both change a stream's metadata alone.

use std::time::Duration;

use mcp_event_store_core::backend::StreamKey;
use mcp_event_store_core::{Lease, LeaseState, Result, StreamRef};
use redis::Value;

use crate::append::Waker;
use crate::call::{Call, Redis};
use crate::error::malformed;
use crate::keys::{bucket_of, bucket_of_key};
use crate::rows::{integer, millis, session_text, unsigned};
use crate::scripts;

const HELD: i64 = -1;
const COMPLETE: i64 = -2;
const GONE: i64 = -3;

/// Extends or takes the lease on `stream`.
pub(crate) async fn renew(
    redis: &Redis,
    stream: &StreamRef,
    lease: &Lease,
    terms: &[u8],
) -> Result<LeaseState> {
    let call = Call::new(&scripts::RENEW, bucket_of(stream))
        .arg(session_text(stream.session.as_ref()))
        .arg(stream.stream.as_str())
        .arg(&*lease.owner)
        .number(millis(lease.ttl));
    match integer(&redis.run(&call, terms).await?)? {
        HELD => Ok(LeaseState::Held),
        COMPLETE => Ok(LeaseState::Complete),
        GONE => Ok(LeaseState::Gone),
        remaining => {
            let remaining = u64::try_from(remaining).map_err(|_| malformed("a lease's state"))?;
            Ok(LeaseState::Other { remaining: Duration::from_millis(remaining) })
        }
    }
}

/// Raises the reader epoch of the stream with `key`. A second attempt raises it once more, which
/// ends nobody but those that the first was to end.
pub(crate) async fn take_over(
    redis: &Redis,
    key: &StreamKey,
    terms: &[u8],
    waker: &Waker<'_>,
) -> Result<Option<u64>> {
    let call = Call::new(&scripts::TAKE_OVER, bucket_of_key(key))
        .arg(waker.channel)
        .arg(waker.instance)
        .arg(key.0);
    match redis.run(&call, terms).await? {
        Value::Nil => Ok(None),
        epoch => unsigned(&epoch).map(Some),
    }
}
