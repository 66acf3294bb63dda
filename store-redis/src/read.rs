//! Reading: one script a page, so that a page is one snapshot.

use mcp_event_store_core::backend::{Found, Page, PageLimit, StreamKey, Tag};
use mcp_event_store_core::{Result, StreamRef, Timestamp};
use redis::Value;

use crate::call::{Call, Redis};
use crate::error::malformed;
use crate::keys::{bucket_of, bucket_of_key};
use crate::rows::{Reader, array, bytes, event_from, integer, meta_from, session_text, unsigned};
use crate::scripts;

/// A stream by its name.
pub(crate) async fn find(redis: &Redis, stream: &StreamRef, terms: &[u8]) -> Result<Option<Found>> {
    let call = Call::new(&scripts::FIND, bucket_of(stream))
        .arg(session_text(stream.session.as_ref()))
        .arg(stream.stream.as_str());
    let answer = redis.run(&call, terms).await?;
    if answer == Value::Nil {
        return Ok(None);
    }
    let [now, key, meta] = parts(answer)?;
    let key = Reader::new(&bytes(key)?).key()?;
    Ok(Some(Found { meta: meta_from(key, &bytes(meta)?)?, now: Timestamp(integer(&now)?) }))
}

fn parts<const N: usize>(answer: Value) -> Result<[Value; N]> {
    array(answer)?.try_into().map_err(|_| malformed("too few or too many parts"))
}

/// A page of a stream.
pub(crate) async fn read(
    redis: &Redis,
    key: &StreamKey,
    after: u64,
    limit: PageLimit,
    terms: &[u8],
) -> Result<Option<Page>> {
    let bucket = bucket_of_key(key);
    let call = Call::new(&scripts::READ, bucket)
        .arg(key.0)
        .number(after)
        .number(limit.events)
        .number(limit.bytes);
    match redis.run(&call, terms).await? {
        Value::Nil => Ok(None),
        Value::Int(0) => {
            tracing::warn!(?key, "Redis lost a part of a stream: what is left of it is removed");
            redis.run(&Call::new(&scripts::LOSE, bucket).arg(key.0), terms).await?;
            Ok(None)
        }
        answer => page(*key, answer).map(Some),
    }
}

fn page(key: StreamKey, answer: Value) -> Result<Page> {
    let mut parts = array(answer)?.into_iter();
    let mut next = || parts.next().ok_or_else(|| malformed("a short page"));
    let (now, meta, tag, first) = (integer(&next()?)?, bytes(next()?)?, bytes(next()?)?, next()?);
    let first = unsigned(&first)?;
    let anchor_tag = (!tag.is_empty()).then(|| Reader::new(&tag).bytes()).transpose()?.map(Tag);
    let mut events = Vec::with_capacity(parts.len() / 2);
    while let (Some(stamp), Some(value)) = (parts.next(), parts.next()) {
        events.push(event_from(first + events.len() as u64, &bytes(stamp)?, &bytes(value)?)?);
    }
    Ok(Page { meta: meta_from(key, &meta)?, now: Timestamp(now), anchor_tag, events })
}
