//! What is stored: messages, events, and the lease that an owner holds on a stream.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::ser::Error as _;
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::id::{EventId, MAX_NAME_BYTES};

/// Bytes that an event costs beside its message, as the accounting counts them.
pub const EVENT_OVERHEAD_BYTES: u64 = 64;

/// Bytes that a stream or a tombstone costs beside its IDs, as the accounting counts them.
pub const STREAM_OVERHEAD_BYTES: u64 = 256;

/// One JSON value as text: given back byte for byte, never parsed into a tree, cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct RawJson(Arc<str>);

/// A JSON-RPC message.
pub type Message = RawJson;

/// What a server wants to remember of a session, so that another instance can serve it.
pub type SessionRecord = RawJson;

impl RawJson {
    /// Takes one JSON value as text. White space around it is dropped, inside it is kept.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the text is not exactly one JSON value.
    pub fn parse(text: impl AsRef<str>) -> Result<Self> {
        let raw: &RawValue = serde_json::from_str(text.as_ref())
            .map_err(|e| Error::invalid("message", format!("is not one JSON value: {e}")))?;
        Ok(raw.into())
    }

    /// For backends: takes a text that [`get`](Self::get) gave, and that a checksum has since shown
    /// to be whole. It is not parsed: if it is no JSON value after all,
    /// [`to_value`](Self::to_value) and serialising it fail.
    #[must_use]
    pub fn from_verified(text: &str) -> Self {
        Self(text.into())
    }

    /// Serialises `value`.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if `value` cannot be written as JSON.
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        let text = serde_json::to_string(value)
            .map_err(|e| Error::invalid("message", format!("cannot be written as JSON: {e}")))?;
        Ok(Self(text.into()))
    }

    /// Parses the text into `T`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the text is not a `T`.
    pub fn to_value<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(self.get())
            .map_err(|e| Error::corrupt("a stored JSON text has another shape than expected", e))
    }

    /// The text.
    #[must_use]
    pub fn get(&self) -> &str {
        &self.0
    }

    /// Bytes of the text.
    #[must_use]
    pub fn len(&self) -> usize {
        self.get().len()
    }

    /// Never: the shortest JSON value has one byte. Here because `len` is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl From<&RawValue> for RawJson {
    fn from(raw: &RawValue) -> Self {
        Self(raw.get().into())
    }
}

impl From<Box<RawValue>> for RawJson {
    fn from(raw: Box<RawValue>) -> Self {
        Self::from(&*raw)
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl Serialize for RawJson {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.get()).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// An event to be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewEvent {
    /// The message, or `None` for an event with empty `data`, such as a priming event.
    pub message: Option<Message>,
    /// The SSE `retry` hint. Stored in whole milliseconds; a fraction is cut off.
    pub retry: Option<Duration>,
    /// Whether this is the stream's last event, after which it takes no more.
    pub completes_stream: bool,
    /// Takes or extends the lease on the stream with the same commit, if it is free, lapsed or
    /// the owner's own. Another's lease stays as it is, and the event is stored all the same.
    pub lease: Option<Lease>,
}

impl NewEvent {
    /// An event that carries `message`.
    #[must_use]
    pub fn message(message: Message) -> Self {
        Self { message: Some(message), ..Self::default() }
    }

    /// A priming event: no message, there to hand the client an ID, with an optional `retry`.
    #[must_use]
    pub fn priming(retry: impl Into<Option<Duration>>) -> Self {
        Self { retry: retry.into(), ..Self::default() }
    }

    /// Marks this as the stream's last event.
    #[must_use]
    pub fn completing(mut self) -> Self {
        self.completes_stream = true;
        self
    }

    /// Takes or extends `lease` with the same commit.
    #[must_use]
    pub fn with_lease(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Sets the SSE `retry` hint.
    #[must_use]
    pub fn with_retry(mut self, retry: Duration) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Bytes of the message, 0 without one.
    #[must_use]
    pub fn message_bytes(&self) -> u64 {
        self.message.as_ref().map_or(0, |m| m.len() as u64)
    }
}

/// An event as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its ID on the wire.
    pub id: EventId,
    /// Its place in its stream: 1, 2, 3 …
    pub seq: u64,
    /// When it was stored, by the database's clock, never earlier than its predecessor.
    pub stored_at: Timestamp,
    /// Its message; `None` for an event with empty `data`.
    pub message: Option<Message>,
    /// Its SSE `retry` hint.
    pub retry: Option<Duration>,
    /// Whether it is the last of a complete stream.
    pub completes_stream: bool,
}

/// A moment, in milliseconds since the Unix epoch, by the database's clock where there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This moment later by `duration`; stays at the end of time instead of passing it.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_millis(duration)))
    }

    /// This moment earlier by `duration`.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(whole_millis(duration)))
    }

    /// How long until `later`; zero if it has passed.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Self(whole_millis(since)),
            Err(before) => Self(-whole_millis(before.duration())),
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let distance = Duration::from_millis(time.0.unsigned_abs());
        if time.0 >= 0 { Self::UNIX_EPOCH + distance } else { Self::UNIX_EPOCH - distance }
    }
}

/// Whole milliseconds of `duration`, at most `i64::MAX`.
fn whole_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A claim on a stream: while it lasts, the stream is not idle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who claims: the name of a server instance, under the same rules as a stream ID.
    pub owner: Arc<str>,
    /// How long the claim lasts from the moment it is stored.
    pub ttl: Duration,
}

impl Lease {
    /// A claim by `owner` for `ttl`.
    pub fn new(owner: impl Into<Arc<str>>, ttl: Duration) -> Self {
        Self { owner: owner.into(), ttl }
    }

    /// Checks that the owner is 1 to 512 bytes and that the claim lasts a millisecond or more.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] names the field.
    pub fn check(&self) -> Result<()> {
        if self.owner.is_empty() || self.owner.len() > MAX_NAME_BYTES {
            let reason = Cow::Borrowed("must have 1 to 512 bytes");
            return Err(Error::invalid("lease.owner", reason));
        }
        if self.ttl < Duration::from_millis(1) {
            return Err(Error::invalid("lease.ttl", "must be at least 1ms"));
        }
        Ok(())
    }
}

/// Who holds the lease on a stream, after [`renew`](crate::EventStore::renew).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// The caller does.
    Held,
    /// Another does.
    Other {
        /// How long it still holds, by the database's clock, if it does not renew.
        remaining: Duration,
    },
    /// Nobody: the stream is complete.
    Complete,
    /// Nobody: the stream was never there, has expired, or was deleted.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_json_keeps_every_inner_byte() {
        let text = "{ \"a\" :\t1.0 ,\"b\":\"\\u00e9\"}";
        assert_eq!(RawJson::parse(format!(" {text}\n")).unwrap().get(), text);
        assert!(RawJson::parse("{} {}").is_err());
        assert!(RawJson::parse("").is_err());
        assert_eq!(RawJson::from_verified(text), RawJson::parse(text).unwrap());
    }

    #[test]
    fn raw_json_is_written_as_it_is_and_only_if_it_is_json() {
        let text = r#"{"a":1.0, "b":null}"#;
        assert_eq!(serde_json::to_string(&RawJson::parse(text).unwrap()).unwrap(), text);
        let broken = RawJson::from_verified("{} {}");
        serde_json::to_string(&broken).unwrap_err();
        let error = broken.to_value::<serde_json::Value>().unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }

    #[test]
    fn timestamps_do_not_overflow() {
        assert_eq!(Timestamp(5).plus(Duration::MAX), Timestamp(i64::MAX));
        assert_eq!(Timestamp(i64::MIN).minus(Duration::MAX), Timestamp(i64::MIN));
        assert_eq!(Timestamp(5).until(Timestamp(3)), Duration::ZERO);
    }
}
