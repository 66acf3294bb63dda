//! Streams and events between Redis and the engine: what scripts are given, and what they answer.
//! The layouts are those of `scripts/terms.lua` and `scripts/stream.lua`.

use std::sync::Arc;

use mcp_event_store_core::backend::{
    HeldLease, PageEvent, PendingEvent, StreamKey, StreamMeta, Tag,
};
use mcp_event_store_core::{
    Clock, Message, Result, SessionId, Settings, StreamId, StreamRef, Timestamp,
};
use redis::Value;

use crate::error::malformed;

/// The largest number that a script reads exactly.
const LARGEST: u64 = 1 << 53;

/// A time that is not there.
const NONE: f64 = -1_152_921_504_606_846_976.0;

const HAS_MESSAGE: u8 = 1;
const HAS_RETRY: u8 = 2;

/// `number` for a script: exact, or the largest there is.
#[allow(clippy::cast_precision_loss)] // Not up to `LARGEST`.
pub(crate) fn double(number: u64) -> [u8; 8] {
    (number.min(LARGEST) as f64).to_be_bytes()
}

/// A time for a script.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn time(at: Timestamp) -> [u8; 8] {
    let largest = LARGEST.cast_signed();
    (at.0.clamp(-largest, largest) as f64).to_be_bytes()
}

/// `number` as a text that a script reads exactly.
pub(crate) fn text_of(number: u64) -> String {
    number.min(LARGEST).to_string()
}

/// What every script is given first: see `scripts/terms.lua`.
pub(crate) fn terms(clock: &Clock, settings: Option<&Settings>) -> Vec<u8> {
    let offset = time(Timestamp(clock.offset_millis()));
    let off = (-1.0_f64).to_be_bytes();
    let span = |span: std::time::Duration| double(millis(span));
    let Some(Settings { retention, limits, .. }) = settings else {
        return [offset, off, off, off, off, off, off].concat();
    };
    [
        offset,
        retention.stream_ttl.map_or(off, span),
        retention.completed_stream_ttl.map_or(off, span),
        span(retention.tombstone_ttl),
        retention.session_ttl.map_or(off, span),
        limits.max_streams_per_session.map_or(off, double),
        guard_millis(settings).map_or(off, double),
    ]
    .concat()
}

/// Whole milliseconds.
pub(crate) fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// How long the server keeps what nobody touches and nobody sweeps: twice the longest lifetime and
/// a day. Nothing is kept for good by some lifetime if the server may take it by another, so
/// there is none where any lifetime is off.
pub(crate) fn guard_millis(settings: Option<&Settings>) -> Option<u64> {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    const LONGEST: u64 = 3650 * DAY;
    let retention = &settings?.retention;
    let longest =
        retention.stream_ttl?.max(retention.completed_stream_ttl?).max(retention.session_ttl?);
    let sum = millis(longest).saturating_add(millis(retention.tombstone_ttl));
    let guard = sum.saturating_mul(2).saturating_add(DAY);
    (guard <= LONGEST).then_some(guard)
}

/// Writes an event's field `e`.
pub(crate) fn write_event(event: &PendingEvent, bytes: &mut Vec<u8>) {
    let message = event.message.as_ref().map(|message| message.get().as_bytes());
    bytes.extend_from_slice(&event.tag.0);
    bytes.push(
        u8::from(message.is_some()) * HAS_MESSAGE + u8::from(event.retry_ms.is_some()) * HAS_RETRY,
    );
    // Kept as an integer: a script only passes it on.
    bytes.extend_from_slice(&event.retry_ms.unwrap_or_default().to_be_bytes());
    bytes.extend_from_slice(message.unwrap_or_default());
}

/// Writes numbers one behind the other.
pub(crate) fn write_all<const N: usize>(numbers: [[u8; 8]; N], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(numbers.as_flattened());
}

/// Reads fields one after the other.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (part, rest) = self.0.split_first_chunk().ok_or_else(|| malformed("a short field"))?;
        self.0 = rest;
        Ok(*part)
    }

    pub(crate) fn text(&mut self, length: usize) -> Result<&'a str> {
        let (part, rest) =
            self.0.split_at_checked(length).ok_or_else(|| malformed("a short text"))?;
        self.0 = rest;
        std::str::from_utf8(part).map_err(|_| malformed("a text that is not UTF-8"))
    }

    /// A count. Scripts write whole numbers from 0 to 2^53.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(crate) fn count(&mut self) -> Result<u64> {
        Ok(f64::from_be_bytes(self.bytes()?) as u64)
    }

    #[allow(clippy::cast_possible_truncation)]
    fn optional_time(&mut self) -> Result<Option<Timestamp>> {
        let at = f64::from_be_bytes(self.bytes()?);
        Ok((at > NONE).then_some(Timestamp(at as i64)))
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp> {
        self.optional_time()?.ok_or_else(|| malformed("a missing time"))
    }

    pub(crate) fn key(&mut self) -> Result<StreamKey> {
        self.bytes().map(StreamKey)
    }

    /// The names of a stream, of so many bytes.
    fn stream(&mut self, [session, name]: [usize; 2]) -> Result<StreamRef> {
        let (session, name) = (self.text(session)?, self.text(name)?);
        let session = (!session.is_empty()).then(|| SessionId::new(session)).transpose()?;
        Ok(StreamRef { session, stream: StreamId::new(name)? })
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A stream as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) meta: StreamMeta,
    /// The time by the server's own clock from which its native expiry counts; 0 if it has none.
    pub(crate) guard: Timestamp,
    pub(crate) booked_events: u64,
    pub(crate) booked_bytes: u64,
}

impl Row {
    /// From all that is stored, or from `HEAD` and owner of a stream whose name is known.
    pub(crate) fn read(key: StreamKey, packed: &[u8], stream: Option<StreamRef>) -> Result<Self> {
        let mut fields = Reader::new(packed);
        let (newest_at, active_at) = (fields.time()?, fields.time()?);
        let (last_seq, total_bytes) = (fields.count()?, fields.count()?);
        let ([complete], last_tag) = (fields.bytes()?, Tag(fields.bytes()?));
        let lease_until = fields.optional_time()?;
        let (first_seq, removed_bytes) = (fields.count()?, fields.count()?);
        let (oldest_at, expired_at) = (fields.optional_time()?, fields.optional_time()?);
        let (reader_epoch, guard) = (fields.count()?, fields.time()?);
        let (booked_events, booked_bytes) = (fields.count()?, fields.count()?);
        let removed_tag = Tag(fields.bytes()?);
        let lengths: [[u8; 2]; 2] = [fields.bytes()?, fields.bytes()?];
        let stream = match stream {
            Some(stream) => stream,
            None => fields.stream(lengths.map(|length| usize::from(u16::from_be_bytes(length))))?,
        };
        let owner = fields.text(fields.0.len())?;
        let meta = StreamMeta {
            stream,
            key,
            first_seq,
            last_seq,
            last_tag,
            removed_tag: (first_seq > 1).then_some(removed_tag),
            removed_bytes,
            total_bytes,
            oldest_at,
            newest_at,
            active_at,
            complete: complete != 0,
            expired_at,
            lease: lease_until.map(|until| HeldLease { owner: Arc::from(owner), until }),
            reader_epoch,
        };
        Ok(Self { meta, guard, booked_events, booked_bytes })
    }

    /// Writes all that is stored.
    pub(crate) fn write(&self, row: &mut Vec<u8>) {
        write_all([time(self.meta.newest_at), time(self.meta.active_at)], row);
        self.write_growth(row);
        self.write_rest(row);
    }

    /// What each append changes beside the times and the lease.
    fn write_growth(&self, row: &mut Vec<u8>) {
        let meta = &self.meta;
        write_all([double(meta.last_seq), double(meta.total_bytes)], row);
        row.push(u8::from(meta.complete));
        row.extend_from_slice(&meta.last_tag.0);
    }

    /// The lease, and what follows it.
    fn write_rest(&self, row: &mut Vec<u8>) {
        let meta = &self.meta;
        let session = session_text(meta.stream.session.as_ref());
        let name = meta.stream.stream.as_str();
        let owner = meta.lease.as_ref().map_or("", |lease| &*lease.owner);
        let optional = |at: Option<Timestamp>| at.map_or(NONE.to_be_bytes(), time);
        let numbers = [
            optional(meta.lease.as_ref().map(|lease| lease.until)),
            double(meta.first_seq),
            double(meta.removed_bytes),
            optional(meta.oldest_at),
            optional(meta.expired_at),
            double(meta.reader_epoch),
            time(self.guard),
            double(self.booked_events),
            double(self.booked_bytes),
        ];
        write_all(numbers, row);
        row.extend_from_slice(&meta.removed_tag.unwrap_or_default().0);
        for text in [session, name] {
            // A name is far shorter.
            let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
            row.extend_from_slice(&length.to_be_bytes());
        }
        for text in [session, name, owner] {
            row.extend_from_slice(text.as_bytes());
        }
    }

    /// Whether a part of it waits to be booked.
    pub(crate) fn waits(&self) -> bool {
        let meta = &self.meta;
        self.booked_events != meta.kept_events()
            || self.booked_bytes != meta.kept_bytes() + meta.own_bytes()
    }

    /// Writes what an append is to write of it after its two times: all of a complete stream, else
    /// what it changes before the lease.
    pub(crate) fn write_changed(&self, row: &mut Vec<u8>) {
        self.write_growth(row);
        if self.meta.complete {
            self.write_rest(row);
        }
    }
}

/// A stream's metadata.
pub(crate) fn meta_from(key: StreamKey, packed: &[u8]) -> Result<StreamMeta> {
    Ok(Row::read(key, packed, None)?.meta)
}

/// The event with the sequence `seq`, from its fields `s` and `e`.
pub(crate) fn event_from(seq: u64, stamp: &[u8], packed: &[u8]) -> Result<PageEvent> {
    let mut stamp = Reader::new(stamp);
    let (stored_at, running_bytes) = (stamp.time()?, stamp.count()?);
    let mut fields = Reader::new(packed);
    let (tag, [flags]) = (Tag(fields.bytes()?), fields.bytes()?);
    let retry_ms = u64::from_be_bytes(fields.bytes()?);
    let text = fields.text(fields.0.len())?;
    let message = (flags & HAS_MESSAGE != 0).then(|| Message::parse(text)).transpose();
    Ok(PageEvent {
        seq,
        tag,
        stored_at,
        running_bytes,
        message: message.map_err(|_| malformed("a damaged message"))?,
        retry_ms: (flags & HAS_RETRY != 0).then_some(retry_ms),
    })
}

/// An answer's parts.
pub(crate) fn array(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(parts) => Ok(parts),
        _ => Err(malformed("no array")),
    }
}

/// A string.
pub(crate) fn bytes(value: Value) -> Result<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        _ => Err(malformed("no string")),
    }
}

/// A string of UTF-8.
pub(crate) fn string(value: Value) -> Result<String> {
    String::from_utf8(bytes(value)?).map_err(|_| malformed("a text that is not UTF-8"))
}

/// A whole number.
pub(crate) fn integer(value: &Value) -> Result<i64> {
    match value {
        Value::Int(number) => Ok(*number),
        _ => Err(malformed("no number")),
    }
}

/// A whole number that is not negative.
pub(crate) fn unsigned(value: &Value) -> Result<u64> {
    u64::try_from(integer(value)?).map_err(|_| malformed("a negative number"))
}

/// Several of them.
pub(crate) fn numbers<const N: usize>(value: Value) -> Result<[u64; N]> {
    let numbers: Vec<u64> = array(value)?.iter().map(unsigned).collect::<Result<_>>()?;
    numbers.try_into().map_err(|_| malformed("too few or too many numbers"))
}

/// The session's part of a key: empty for session-less streams, which no session ID is.
pub(crate) fn session_text(session: Option<&SessionId>) -> &str {
    session.map_or("", SessionId::as_str)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes of `HEAD`.
    const HEAD_BYTES: usize = 121;

    prop_compose! {
        fn row()(
            numbers in prop::array::uniform6(0..LARGEST),
            times in prop::array::uniform3(-LARGEST.cast_signed()..LARGEST.cast_signed()),
            optional in prop::array::uniform2(prop::option::of(0_i64..1 << 50)),
            lease in prop::option::of(("[a-z]{0,9}", 0_i64..1 << 50)),
            (session, name) in (prop::option::of("[!-~]{1,20}"), "[!-~]{1,20}"),
            (complete, tag, removed_tag) in any::<(bool, [u8; 6], [u8; 6])>(),
        ) -> Row {
            let [last_seq, total_bytes, removed_bytes, reader_epoch, booked_events, booked_bytes] =
                numbers;
            let first_seq = 1 + last_seq / 2;
            let session = session.map(|session| SessionId::new(session).unwrap());
            let meta = StreamMeta {
                stream: StreamRef { session, stream: StreamId::new(name).unwrap() },
                key: StreamKey([7; 16]),
                first_seq,
                last_seq,
                last_tag: Tag(tag),
                removed_tag: (first_seq > 1).then_some(Tag(removed_tag)),
                removed_bytes,
                total_bytes,
                oldest_at: optional[0].map(Timestamp),
                newest_at: Timestamp(times[0]),
                active_at: Timestamp(times[1]),
                complete,
                expired_at: optional[1].map(Timestamp),
                lease: lease.map(|(owner, until)| HeldLease {
                    owner: owner.into(),
                    until: Timestamp(until),
                }),
                reader_epoch,
            };
            Row { meta, guard: Timestamp(times[2]), booked_events, booked_bytes }
        }
    }

    proptest! {
        #[test]
        fn what_is_stored_is_read(row in row()) {
            let (mut bytes, stream) = (Vec::new(), row.meta.stream.clone());
            row.write(&mut bytes);
            let owner = row.meta.lease.as_ref().map_or("", |lease| &*lease.owner);
            let short = [&bytes[..HEAD_BYTES], owner.as_bytes()].concat();
            let key = row.meta.key;
            prop_assert_eq!(&Row::read(key, &bytes, None).unwrap(), &row);
            prop_assert_eq!(&Row::read(key, &short, Some(stream)).unwrap(), &row);
        }
    }
}
