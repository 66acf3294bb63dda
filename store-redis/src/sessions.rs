//! Session records, deletion marks, and deleting.

use mcp_event_store_core::{Deleted, Error, Result, SessionId, SessionRecord, StreamRef};
use redis::Value;

use crate::append::Waker;
use crate::call::{Call, Redis};
use crate::error::malformed;
use crate::keys::{all_buckets, bucket_of, bucket_of_session};
use crate::rows::{array, bytes, numbers, session_text, string, unsigned};
use crate::scripts;
use crate::sweep::pending;

/// Streams of a deleted session that one step takes apart.
const BURY_STEP: u64 = 1000;

/// A session's record, renewed.
pub(crate) async fn use_record(
    redis: &Redis,
    session: &SessionId,
    terms: &[u8],
) -> Result<Option<SessionRecord>> {
    let bucket = bucket_of_session(session);
    let call = Call::new(&scripts::USE_SESSION, bucket).arg(session.as_str());
    match redis.run(&call, terms).await? {
        Value::Nil => Ok(None),
        text => {
            let record = SessionRecord::parse(string(text)?);
            record.map(Some).map_err(|_| malformed("a damaged session record"))
        }
    }
}

/// Stores a session's record.
pub(crate) async fn store_record(
    redis: &Redis,
    session: &SessionId,
    record: &SessionRecord,
    terms: &[u8],
) -> Result<()> {
    let call = Call::new(&scripts::STORE_SESSION, bucket_of_session(session))
        .arg(session.as_str())
        .arg(record.get());
    match redis.run(&call, terms).await? {
        Value::Int(0) => Err(Error::SessionDeleted),
        _ => Ok(()),
    }
}

/// Deletes one stream.
pub(crate) async fn delete_stream(
    redis: &Redis,
    stream: &StreamRef,
    terms: &[u8],
    waker: &Waker<'_>,
) -> Result<Deleted> {
    let call = Call::new(&scripts::DELETE_STREAM, bucket_of(stream))
        .arg(waker.channel)
        .arg(waker.instance)
        .arg(session_text(stream.session.as_ref()))
        .arg(stream.stream.as_str());
    let [streams, events, bytes] = numbers(redis.run(&call, terms).await?)?;
    Ok(Deleted { streams, events, bytes, session_record: false })
}

/// Deletes a session: record and streams are gone after the first step, and a mark stays; the
/// other steps take apart what is left of many streams.
pub(crate) async fn delete_session(
    redis: &Redis,
    session: &SessionId,
    terms: &[u8],
    waker: &Waker<'_>,
) -> Result<Deleted> {
    let bucket = bucket_of_session(session);
    let call = Call::new(&scripts::DELETE_SESSION, bucket)
        .arg(waker.channel)
        .arg(waker.instance)
        .arg(session.as_str())
        .number(BURY_STEP);
    let mut parts = array(redis.run(&call, terms).await?)?;
    let grave = bytes(parts.pop().ok_or_else(|| malformed("a short answer"))?)?;
    let [had_record, streams, events, sum] = numbers(Value::Array(parts))?;
    let mut deleted = Deleted { streams, events, bytes: sum, session_record: had_record > 0 };
    let mut more = !grave.is_empty();
    while more {
        let call = Call::new(&scripts::BURY_MORE, bucket).arg(&grave).number(BURY_STEP);
        let [streams, events, bytes, left] = numbers(redis.run(&call, terms).await?)?;
        deleted.streams += streams;
        deleted.events += events;
        deleted.bytes += bytes;
        more = left > 0;
    }
    Ok(deleted)
}

/// Forgets expired records and overdue deletion marks, and sessions that hold nothing else.
pub(crate) async fn forget(redis: &Redis, terms: &[u8], limit: usize) -> Result<u64> {
    let limit = limit as u64;
    let mut forgotten = 0;
    for buckets in redis.chunks(&pending(redis, &all_buckets(), "s", terms).await?) {
        if forgotten >= limit {
            break;
        }
        let mut call = Call::new(&scripts::FORGET_SESSIONS, 0).number(limit - forgotten);
        call.buckets = buckets;
        forgotten += unsigned(&redis.run(&call, terms).await?)?;
    }
    Ok(forgotten)
}
