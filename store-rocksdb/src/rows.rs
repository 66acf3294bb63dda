//! Keys and values of the tables: streams, their names, events and sessions.
//!
//! | table | key | value |
//! |---|---|---|
//! | streams | stream key | [`StreamRow`] |
//! | names | session, `00`, name | stream key |
//! | events | stream key, sequence | tag, time, running bytes, retry, message |
//! | sessions | session | [`SessionRow`] |
//! | records | session | the record's text |
//!
//! No name holds a control character, so `00` ends a session's name: its streams are one range,
//! and those of a session whose name begins with it lie outside. Session-less streams have an
//! empty session, which no session's name is.

use std::sync::Arc;

use mcp_event_store_core::backend::{
    HeldLease, PageEvent, PendingEvent, SessionState, Stamp, StreamKey, StreamMeta,
};
use mcp_event_store_core::{Message, Result, SessionId, StreamId, StreamRef, Timestamp};

use crate::error::damaged;
use crate::packed::{Packer, Unpacker};

const END_OF_SESSION: u8 = 0;

/// A stream as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamRow {
    /// Its place in the sweep's order: for a tombstone `expired_at`, else `active_at` or, while
    /// the stream is incomplete, an earlier value of it. So an append moves nothing in the index,
    /// and the sweep moves the few streams that it meets.
    pub(crate) since: Timestamp,
    pub(crate) meta: StreamMeta,
}

/// A session as it is stored, but for its record. It is there while it has a record, a deletion
/// mark, or a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionRow {
    pub(crate) has_record: bool,
    pub(crate) used_at: Timestamp,
    /// Its record's place in the sweep's order: `used_at`, or an earlier value of it.
    pub(crate) used_since: Timestamp,
    pub(crate) deleted_at: Option<Timestamp>,
    /// Bytes that its streams count for.
    pub(crate) bytes: u64,
    /// Its streams, tombstones among them.
    pub(crate) streams: u64,
    /// Its streams that are incomplete and no tombstones.
    pub(crate) open_streams: u64,
}

impl StreamRow {
    /// The row of a stream that has just become what `meta` says, placed anew.
    pub(crate) fn new(meta: StreamMeta) -> Self {
        Self { since: meta.expired_at.unwrap_or(meta.active_at), meta }
    }

    /// Whether the stream is incomplete and no tombstone.
    pub(crate) fn is_open(&self) -> bool {
        !self.meta.complete && !self.meta.is_tombstone()
    }

    pub(crate) fn pack(&self) -> Vec<u8> {
        let meta = &self.meta;
        let session = meta.stream.session.as_ref().map_or("", SessionId::as_str);
        Packer::default()
            .time(self.since)
            .number(meta.first_seq)
            .number(meta.last_seq)
            .tag(meta.last_tag)
            .option(meta.removed_tag, Packer::tag)
            .number(meta.removed_bytes)
            .number(meta.total_bytes)
            .option(meta.oldest_at, Packer::time)
            .time(meta.newest_at)
            .time(meta.active_at)
            .flag(meta.complete)
            .option(meta.expired_at, Packer::time)
            .option(meta.lease.as_ref(), |packer, lease| {
                packer.text(&lease.owner).time(lease.until)
            })
            .number(meta.reader_epoch)
            .text(session)
            .text(meta.stream.stream.as_str())
            .done()
    }

    pub(crate) fn unpack(key: StreamKey, bytes: &[u8]) -> Result<Self> {
        Self::read(key, &mut Unpacker(bytes)).ok_or_else(|| damaged("stream"))
    }

    fn read(key: StreamKey, bytes: &mut Unpacker<'_>) -> Option<Self> {
        let since = bytes.time()?;
        let meta = StreamMeta {
            key,
            first_seq: bytes.number()?,
            last_seq: bytes.number()?,
            last_tag: bytes.tag()?,
            removed_tag: bytes.option(Unpacker::tag)?,
            removed_bytes: bytes.number()?,
            total_bytes: bytes.number()?,
            oldest_at: bytes.option(Unpacker::time)?,
            newest_at: bytes.time()?,
            active_at: bytes.time()?,
            complete: bytes.flag()?,
            expired_at: bytes.option(Unpacker::time)?,
            lease: bytes.option(|bytes| {
                Some(HeldLease { owner: Arc::from(bytes.text()?), until: bytes.time()? })
            })?,
            reader_epoch: bytes.number()?,
            stream: StreamRef {
                session: match bytes.text()? {
                    "" => None,
                    session => Some(SessionId::new(session).ok()?),
                },
                stream: StreamId::new(bytes.text()?).ok()?,
            },
        };
        bytes.is_done()?;
        let is_whole = (1..=meta.last_seq + 1).contains(&meta.first_seq)
            && meta.removed_bytes <= meta.total_bytes;
        is_whole.then_some(Self { since, meta })
    }
}

impl SessionRow {
    /// Whether nothing is left to remember.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_record && self.deleted_at.is_none() && self.streams == 0
    }

    pub(crate) fn state(&self) -> SessionState {
        SessionState { deleted_at: self.deleted_at, open_streams: self.open_streams }
    }

    pub(crate) fn pack(&self) -> Vec<u8> {
        Packer::default()
            .flag(self.has_record)
            .time(self.used_at)
            .time(self.used_since)
            .option(self.deleted_at, Packer::time)
            .number(self.bytes)
            .number(self.streams)
            .number(self.open_streams)
            .done()
    }

    pub(crate) fn unpack(bytes: &[u8]) -> Result<Self> {
        Self::read(&mut Unpacker(bytes)).ok_or_else(|| damaged("session"))
    }

    fn read(bytes: &mut Unpacker<'_>) -> Option<Self> {
        let row = Self {
            has_record: bytes.flag()?,
            used_at: bytes.time()?,
            used_since: bytes.time()?,
            deleted_at: bytes.option(Unpacker::time)?,
            bytes: bytes.number()?,
            streams: bytes.number()?,
            open_streams: bytes.number()?,
        };
        bytes.is_done()?;
        Some(row)
    }
}

/// The key of a stream's name.
pub(crate) fn name_key(stream: &StreamRef) -> Vec<u8> {
    let session = stream.session.as_ref().map_or("", SessionId::as_str);
    [session.as_bytes(), &[END_OF_SESSION], stream.stream.as_str().as_bytes()].concat()
}

/// The keys of the names of a session's streams: from the first to before the second.
pub(crate) fn names_of(session: &SessionId) -> (Vec<u8>, Vec<u8>) {
    let bound = |end: u8| [session.as_str().as_bytes(), &[end]].concat();
    (bound(END_OF_SESSION), bound(END_OF_SESSION + 1))
}

/// The stream key that a name leads to.
pub(crate) fn stream_key(bytes: &[u8]) -> Result<StreamKey> {
    bytes.try_into().map(StreamKey).map_err(|_| damaged("stream name"))
}

/// The key of an event.
pub(crate) fn event_key(StreamKey(key): &StreamKey, seq: u64) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(key);
    bytes[16..].copy_from_slice(&seq.to_be_bytes());
    bytes
}

/// The value of an event.
pub(crate) fn pack_event(stamp: &Stamp, event: &PendingEvent) -> Vec<u8> {
    Packer::default()
        .tag(event.tag)
        .time(stamp.stored_at)
        .number(stamp.running_bytes)
        .option(event.retry_ms, Packer::number)
        .option(event.message.as_ref(), |packer, message| packer.rest(message.get().as_bytes()))
        .done()
}

/// An event with this key and value.
pub(crate) fn unpack_event(key: &[u8], value: &[u8]) -> Result<PageEvent> {
    let mut value = Unpacker(value);
    let head = (|| {
        let seq = key.last_chunk().copied().map(u64::from_be_bytes)?;
        let (tag, stored_at) = (value.tag()?, value.time()?);
        let (running_bytes, retry_ms) = (value.number()?, value.option(Unpacker::number)?);
        Some(PageEvent { seq, tag, stored_at, running_bytes, message: None, retry_ms })
    })();
    let head = head.ok_or_else(|| damaged("event"))?;
    let has_message = value.flag().ok_or_else(|| damaged("event"))?;
    let message = has_message.then(|| message(value.0)).transpose()?;
    Ok(PageEvent { message, ..head })
}

/// A message or record with this text. RocksDB compares each block that it reads with a checksum.
pub(crate) fn message(text: &[u8]) -> Result<Message> {
    match std::str::from_utf8(text) {
        Ok(text) if !text.is_empty() => Ok(Message::from_verified(text)),
        _ => Err(damaged("message")),
    }
}

#[cfg(test)]
mod tests {
    use mcp_event_store_core::Error;
    use mcp_event_store_core::backend::Tag;

    use super::*;

    fn meta() -> StreamMeta {
        let session = SessionId::new("sitzung").unwrap();
        let stream = StreamRef::in_session(session, StreamId::new("strom").unwrap());
        StreamMeta::new(stream, StreamKey([7; 16]), Timestamp(-5))
    }

    #[test]
    fn rows_survive_their_bytes() {
        let full = StreamMeta {
            first_seq: 3,
            last_seq: 4,
            last_tag: Tag([1, 2, 3, 4, 5, 6]),
            removed_tag: Some(Tag([0; 6])),
            removed_bytes: 7,
            total_bytes: 9,
            oldest_at: Some(Timestamp(1)),
            complete: true,
            expired_at: Some(Timestamp(2)),
            lease: Some(HeldLease { owner: "ich".into(), until: Timestamp(3) }),
            reader_epoch: u64::MAX,
            ..meta()
        };
        for meta in [meta(), full] {
            let row = StreamRow::new(meta);
            assert_eq!(StreamRow::unpack(StreamKey([7; 16]), &row.pack()).unwrap(), row);
        }
        let session = SessionRow { deleted_at: Some(Timestamp(1)), bytes: 2, ..Default::default() };
        assert_eq!(SessionRow::unpack(&session.pack()).unwrap(), session);
    }

    #[test]
    fn cut_or_padded_rows_are_corrupt() {
        let whole = StreamRow::new(meta()).pack();
        for length in 0..whole.len() {
            let cut = StreamRow::unpack(StreamKey([7; 16]), &whole[..length]);
            assert!(matches!(cut, Err(Error::Corrupt { .. })), "{length}");
        }
        assert!(StreamRow::unpack(StreamKey([7; 16]), &[&whole[..], &[0]].concat()).is_err());
    }

    #[test]
    fn texts_that_cannot_have_been_stored_are_corrupt() {
        assert_eq!(message(b"{}").unwrap().get(), "{}");
        for text in [&b""[..], b"\"\xff\""] {
            assert!(matches!(message(text), Err(Error::Corrupt { .. })));
        }
    }

    #[test]
    fn the_names_of_a_session_are_one_range() {
        let id = |name: &str| SessionId::new(name).unwrap();
        let (from, below) = names_of(&id("s"));
        let within = |session: Option<&str>, name| {
            let stream = StreamId::new(name).unwrap();
            let key = name_key(&StreamRef { session: session.map(id), stream });
            from <= key && key < below
        };
        assert!(within(Some("s"), "a") && within(Some("s"), "\u{10ffff}"));
        assert!(!within(Some("s "), "a") && !within(Some("ss"), "a") && !within(None, "s"));
    }
}
