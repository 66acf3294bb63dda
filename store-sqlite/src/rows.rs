//! Streams between the database and the engine. Metadata travels as one JSON text a stream, in
//! both directions, so that a statement can take or give any number of streams.

use std::fmt::Write as _;
use std::sync::Arc;

use mcp_event_store_core::backend::{HeldLease, StreamKey, StreamMeta, Tag};
use mcp_event_store_core::{Error, Result, SessionId, StreamId, StreamRef, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;

/// A row of `streams` as [`StreamRow`] reads it; the table goes by the name of `s`.
macro_rules! stream_json {
    () => {
        "json_object('id', s.id, 'key', hex(s.key), 'session', s.session, 'name', s.name, \
         'first_seq', s.first_seq, 'last_seq', s.last_seq, 'last_tag', s.last_tag, \
         'removed_tag', s.removed_tag, 'removed_bytes', s.removed_bytes, \
         'total_bytes', s.total_bytes, 'oldest_at', s.oldest_at, 'newest_at', s.newest_at, \
         'active_at', s.active_at, 'state', s.state, 'complete', s.complete, \
         'expired_at', s.expired_at, 'owner', s.owner, 'lease_until', s.lease_until, \
         'reader_epoch', s.reader_epoch, 'since', s.since, 'version', s.version)"
    };
}
pub(crate) use stream_json;

/// The stream with this session and name.
pub(crate) const BY_NAME: &str =
    concat!("SELECT ", stream_json!(), " FROM streams s WHERE s.session = ?1 AND s.name = ?2");

/// A statement and its values.
pub(crate) type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Asks for one stream by its name.
pub(crate) fn by_name(stream: &StreamRef) -> Statement<'static> {
    let session = session_text(stream.session.as_ref()).to_owned();
    sqlx::query(BY_NAME).bind(session).bind(stream.stream.as_str().to_owned())
}

/// A row of `streams`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct StreamRow {
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
    state: u8,
    complete: u8,
    expired_at: Option<i64>,
    owner: Option<String>,
    lease_until: i64,
    reader_epoch: u64,
    since: i64,
    version: i64,
}

/// A stream and its place in the database.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) id: i64,
    pub(crate) since: i64,
    /// Raised by every change: what a cached stream is checked against.
    pub(crate) version: i64,
    pub(crate) meta: StreamMeta,
}

/// States of a stream, as the sweep's index knows them.
pub(crate) const INCOMPLETE: u8 = 0;
pub(crate) const COMPLETE: u8 = 1;
pub(crate) const TOMBSTONE: u8 = 2;

/// The state of `meta`.
pub(crate) fn state_of(meta: &StreamMeta) -> u8 {
    if meta.is_tombstone() {
        TOMBSTONE
    } else if meta.complete {
        COMPLETE
    } else {
        INCOMPLETE
    }
}

impl Stream {
    /// Reads the JSON text of a stream.
    pub(crate) fn from_json(text: &str) -> Result<Self> {
        let damaged = |e| Error::corrupt("the SQLite database holds a damaged stream", e);
        let row: StreamRow = serde_json::from_str(text).map_err(damaged)?;
        let (id, since, version) = (row.id, row.since, row.version);
        Ok(Self { id, since, version, meta: row.into_meta()? })
    }

    /// The row to save.
    pub(crate) fn to_row(&self) -> StreamRow {
        let meta = &self.meta;
        let state = state_of(meta);
        StreamRow {
            id: self.id,
            key: key_to_hex(&meta.key),
            session: session_text(meta.stream.session.as_ref()).to_owned(),
            name: meta.stream.stream.as_str().to_owned(),
            first_seq: meta.first_seq,
            last_seq: meta.last_seq,
            last_tag: tag_to_int(meta.last_tag),
            removed_tag: meta.removed_tag.map(tag_to_int),
            removed_bytes: meta.removed_bytes,
            total_bytes: meta.total_bytes,
            oldest_at: meta.oldest_at.map(|at| at.0),
            newest_at: meta.newest_at.0,
            active_at: meta.active_at.0,
            state,
            complete: u8::from(meta.complete),
            expired_at: meta.expired_at.map(|at| at.0),
            owner: meta.lease.as_ref().map(|lease| lease.owner.to_string()),
            lease_until: meta.lease.as_ref().map_or(0, |lease| lease.until.0),
            reader_epoch: meta.reader_epoch,
            since: meta.expired_at.unwrap_or(meta.active_at).0,
            version: self.version,
        }
    }
}

impl StreamRow {
    fn into_meta(self) -> Result<StreamMeta> {
        let session = match &*self.session {
            "" => None,
            session => Some(SessionId::new(session)?),
        };
        let until = Timestamp(self.lease_until);
        Ok(StreamMeta {
            stream: StreamRef { session, stream: StreamId::new(&self.name)? },
            key: key_from_hex(&self.key)?,
            first_seq: self.first_seq,
            last_seq: self.last_seq,
            last_tag: tag_from_int(self.last_tag),
            removed_tag: self.removed_tag.map(tag_from_int),
            removed_bytes: self.removed_bytes,
            total_bytes: self.total_bytes,
            oldest_at: self.oldest_at.map(Timestamp),
            newest_at: Timestamp(self.newest_at),
            active_at: Timestamp(self.active_at),
            complete: self.complete != 0,
            expired_at: self.expired_at.map(Timestamp),
            lease: self.owner.map(|owner| HeldLease { owner: Arc::from(owner), until }),
            reader_epoch: self.reader_epoch,
        })
    }
}

/// The session's column: `''` for session-less streams, which no session ID is.
pub(crate) fn session_text(session: Option<&SessionId>) -> &str {
    session.map_or("", SessionId::as_str)
}

/// A tag's 48 bits, which fit an integer.
pub(crate) fn tag_to_int(Tag(tag): Tag) -> u64 {
    tag.iter().fold(0, |int, byte| int << 8 | u64::from(*byte))
}

/// The tag with these 48 bits.
pub(crate) fn tag_from_int(int: u64) -> Tag {
    let [_, _, tag @ ..] = int.to_be_bytes();
    Tag(tag)
}

/// A key as `unhex` reads it.
pub(crate) fn key_to_hex(StreamKey(key): &StreamKey) -> String {
    key.iter().fold(String::with_capacity(32), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn key_from_hex(hex: &str) -> Result<StreamKey> {
    let number = u128::from_str_radix(hex, 16);
    let damaged = |e| Error::corrupt("the SQLite database holds a damaged stream key", e);
    Ok(StreamKey(number.map_err(damaged)?.to_be_bytes()))
}

/// `value` as the JSON text that a statement takes.
pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::backend("a row cannot be written as JSON", e))
}

/// A count or size for a column. Every one is bounded by what SQLite can hold at all.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_keys_survive_their_columns() {
        let tag = Tag([0xff, 0, 1, 2, 3, 0xfe]);
        assert_eq!(tag_from_int(tag_to_int(tag)), tag);
        let key = StreamKey([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(key_from_hex(&key_to_hex(&key)).unwrap(), key);
    }
}
