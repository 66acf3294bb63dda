//! Streams and events between Redis and the engine: what scripts are given, and what they answer.
//! The layouts are those of `scripts/common.lua`.

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

/// What every script is given first: see `scripts/common.lua`.
pub(crate) fn terms(clock: &Clock, settings: Option<&Settings>) -> Vec<u8> {
    let mut terms = time(Timestamp(clock.offset_millis())).to_vec();
    let off = (-1.0_f64).to_be_bytes();
    let span = |span: std::time::Duration| double(millis(span));
    let Some(Settings { retention, limits, .. }) = settings else {
        terms.extend([off; 6].concat());
        return terms;
    };
    let guard = guard_millis(settings);
    terms.extend(retention.stream_ttl.map_or(off, span));
    terms.extend(retention.completed_stream_ttl.map_or(off, span));
    terms.extend(span(retention.tombstone_ttl));
    terms.extend(retention.session_ttl.map_or(off, span));
    terms.extend(limits.max_streams_per_session.map_or(off, double));
    terms.extend(guard.map_or(off, double));
    terms
}

/// Whole milliseconds.
pub(crate) fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// How long the server keeps what nobody touches and nobody sweeps: twice the longest lifetime and
/// a day. Nothing is kept for good by some lifetime if the server may take it by another, so
/// there is none where any lifetime is off.
fn guard_millis(settings: Option<&Settings>) -> Option<u64> {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    const LONGEST: u64 = 3650 * DAY;
    let retention = &settings?.retention;
    let longest =
        retention.stream_ttl?.max(retention.completed_stream_ttl?).max(retention.session_ttl?);
    let sum = millis(longest).saturating_add(millis(retention.tombstone_ttl));
    let guard = sum.saturating_mul(2).saturating_add(DAY);
    (guard <= LONGEST).then_some(guard)
}

/// An event as `scripts/append.lua` takes it.
pub(crate) fn event_to_bytes(event: &PendingEvent) -> Vec<u8> {
    let message = event.message.as_ref().map(|message| message.get().as_bytes());
    let mut bytes = Vec::with_capacity(15 + message.map_or(0, <[u8]>::len));
    bytes.extend(event.tag.0);
    bytes.push(
        u8::from(message.is_some()) * HAS_MESSAGE + u8::from(event.retry_ms.is_some()) * HAS_RETRY,
    );
    // Kept as an integer: a script only passes it on.
    bytes.extend(event.retry_ms.unwrap_or_default().to_be_bytes());
    bytes.extend(message.unwrap_or_default());
    bytes
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

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A stream's metadata.
pub(crate) fn meta_from(key: StreamKey, packed: &[u8]) -> Result<StreamMeta> {
    let mut fields = Reader::new(packed);
    let (first_seq, last_seq) = (fields.count()?, fields.count()?);
    let (removed_bytes, total_bytes) = (fields.count()?, fields.count()?);
    let oldest_at = fields.optional_time()?;
    let (newest_at, active_at) = (fields.time()?, fields.time()?);
    let (expired_at, lease_until) = (fields.optional_time()?, fields.optional_time()?);
    let (reader_epoch, _guard) = (fields.count()?, fields.count()?);
    let (_booked_events, _booked_bytes) = (fields.count()?, fields.count()?);
    let [complete] = fields.bytes()?;
    let (last_tag, removed_tag) = (Tag(fields.bytes()?), Tag(fields.bytes()?));
    let session = usize::from(u16::from_be_bytes(fields.bytes()?));
    let name = usize::from(u16::from_be_bytes(fields.bytes()?));
    let (session, name) = (fields.text(session)?, fields.text(name)?);
    let owner = fields.text(fields.0.len())?;
    let session = (!session.is_empty()).then(|| SessionId::new(session)).transpose()?;
    Ok(StreamMeta {
        stream: StreamRef { session, stream: StreamId::new(name)? },
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
    })
}

/// The event with the sequence `seq`.
pub(crate) fn event_from(seq: u64, packed: &[u8]) -> Result<PageEvent> {
    let mut fields = Reader::new(packed);
    let (stored_at, running_bytes) = (fields.time()?, fields.count()?);
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
