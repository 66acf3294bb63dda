//! Streams between the database and the engine. A stream travels as one JSON text, which
//! PostgreSQL makes of the whole row.

use std::sync::Arc;
use std::time::Duration;

use mcp_event_store_core::backend::{HeldLease, StreamKey, StreamMeta, Tag};
use mcp_event_store_core::{Error, Result, SessionId, StreamId, StreamRef, Timestamp};
use serde::Deserialize;

/// A row of `streams`; columns that only the database needs are left out.
#[derive(Deserialize)]
struct StreamRow {
    id: i64,
    key: String,
    session: String,
    name: String,
    first_seq: u64,
    last_seq: u64,
    last_tag: u64,
    removed_tag: Option<u64>,
    removed_bytes: u64,
    total_bytes: u64,
    oldest_at: Option<i64>,
    newest_at: i64,
    active_at: i64,
    complete: bool,
    expired_at: Option<i64>,
    owner: Option<String>,
    lease_until: Option<i64>,
    reader_epoch: u64,
    since: i64,
}

/// A stream and its place in the database.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) id: i64,
    pub(crate) since: i64,
    pub(crate) meta: StreamMeta,
}

impl Stream {
    /// Reads the JSON text of a row.
    pub(crate) fn from_json(text: &str) -> Result<Self> {
        let damaged = |e| Error::corrupt("PostgreSQL holds a damaged stream", e);
        let row: StreamRow = serde_json::from_str(text).map_err(damaged)?;
        let (id, since) = (row.id, row.since);
        Ok(Self { id, since, meta: row.into_meta()? })
    }
}

impl StreamRow {
    fn into_meta(self) -> Result<StreamMeta> {
        let lease = self.owner.zip(self.lease_until);
        Ok(StreamMeta {
            stream: stream_ref(&self.session, &self.name)?,
            key: key_from_text(&self.key)?,
            first_seq: self.first_seq,
            last_seq: self.last_seq,
            last_tag: tag_from_int(self.last_tag),
            removed_tag: self.removed_tag.map(tag_from_int),
            removed_bytes: self.removed_bytes,
            total_bytes: self.total_bytes,
            oldest_at: self.oldest_at.map(Timestamp),
            newest_at: Timestamp(self.newest_at),
            active_at: Timestamp(self.active_at),
            complete: self.complete,
            expired_at: self.expired_at.map(Timestamp),
            lease: lease.map(|(owner, until)| HeldLease {
                owner: Arc::from(owner),
                until: Timestamp(until),
            }),
            reader_epoch: self.reader_epoch,
        })
    }
}

/// The stream with the columns `session` and `name`.
pub(crate) fn stream_ref(session: &str, name: &str) -> Result<StreamRef> {
    let session = match session {
        "" => None,
        session => Some(SessionId::new(session)?),
    };
    Ok(StreamRef { session, stream: StreamId::new(name)? })
}

/// The session's column: `''` for session-less streams, which no session ID is.
pub(crate) fn session_text(session: Option<&SessionId>) -> &str {
    session.map_or("", SessionId::as_str)
}

/// A tag's 48 bits, which fit an integer.
pub(crate) fn tag_to_int(Tag(tag): Tag) -> i64 {
    tag.iter().fold(0, |int, byte| int << 8 | i64::from(*byte))
}

/// The tag with these 48 bits.
pub(crate) fn tag_from_int(int: u64) -> Tag {
    let [_, _, tag @ ..] = int.to_be_bytes();
    Tag(tag)
}

/// A key from the text that PostgreSQL writes of bytes: `\x` and hexadecimal digits.
fn key_from_text(text: &str) -> Result<StreamKey> {
    let digits = text.strip_prefix("\\x").unwrap_or(text);
    let damaged = |e| Error::corrupt("PostgreSQL holds a damaged stream key", e);
    Ok(StreamKey(u128::from_str_radix(digits, 16).map_err(damaged)?.to_be_bytes()))
}

/// A count or size for a column. Every one is bounded by what PostgreSQL can hold at all.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A time span in milliseconds, short enough that two of them and a point in time have a sum.
pub(crate) fn millis(duration: Duration) -> i64 {
    const LONGEST: i64 = i64::MAX / 4;
    i64::try_from(duration.as_millis()).unwrap_or(LONGEST).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_keys_survive_their_columns() {
        let tag = Tag([0xff, 0, 1, 2, 3, 0xfe]);
        assert_eq!(tag_from_int(tag_to_int(tag).cast_unsigned()), tag);
        let key = key_from_text("\\x000102030405060708090a0b0c0d0eff").unwrap();
        assert_eq!(key, StreamKey([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]));
    }
}
