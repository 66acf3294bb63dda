//! Names: sessions, streams, and the event IDs that clients hand back.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// The longest session or stream ID, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 512;

/// Checks a session or stream ID: 1 to [`MAX_NAME_BYTES`] bytes, no control characters.
fn check_name(field: &'static str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(field, "is empty; give it at least one character"));
    }
    if name.len() > MAX_NAME_BYTES {
        let reason = format!("has {} bytes; at most {MAX_NAME_BYTES} are allowed", name.len());
        return Err(Error::invalid(field, reason));
    }
    if let Some(c) = name.chars().find(|c| c.is_control()) {
        let reason = format!("contains the control character U+{:04X}; remove it", c as u32);
        return Err(Error::invalid(field, reason));
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes 1 to 512 bytes of UTF-8 without control characters; any separators,
            /// spaces and scripts are welcome.
            ///
            /// # Errors
            /// [`Error::InvalidInput`] names what is wrong with it.
            pub fn new(name: impl AsRef<str>) -> Result<Self> {
                let name = name.as_ref();
                check_name($field, name)?;
                Ok(Self(name.into()))
            }

            /// The ID as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Error;

            fn try_from(name: &str) -> Result<Self> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(name: String) -> Result<Self> {
                Self::new(name)
            }
        }
    };
}

name_type! {
    /// One client's logical connection: the value of `Mcp-Session-Id`.
    ///
    /// It is a credential, so `Debug` shortens it; [`SessionId::as_str`] gives all of it.
    SessionId, "session_id"
}

name_type! {
    /// The name of one SSE stream, unique only within its session.
    StreamId, "stream_id"
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", shortened(&self.0))
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({:?})", &*self.0)
    }
}

/// The first eight characters of a credential, for logs.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 8;
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(SHOWN).collect();
    let rest = if chars.next().is_some() { "…" } else { "" };
    format!("{:?}", head + rest)
}

/// Which stream is meant: a stream of a session, or a session-less one.
///
/// The same [`StreamId`] in two sessions names two streams.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamRef {
    /// The session, or `None` for a session-less stream.
    pub session: Option<SessionId>,
    /// The stream's name within its session.
    pub stream: StreamId,
}

impl StreamRef {
    /// A stream of `session`.
    #[must_use]
    pub fn in_session(session: SessionId, stream: StreamId) -> Self {
        Self { session: Some(session), stream }
    }

    /// A stream that belongs to no session.
    #[must_use]
    pub fn sessionless(stream: StreamId) -> Self {
        Self { session: None, stream }
    }

    /// The scope in which this stream's event IDs may be replayed.
    #[must_use]
    pub fn scope(&self) -> Scope<'_> {
        match &self.session {
            Some(session) => Scope::Session(session),
            None => Scope::Sessionless,
        }
    }

    /// Bytes of both IDs together, as the accounting counts them.
    #[must_use]
    pub fn name_bytes(&self) -> u64 {
        let session = self.session.as_ref().map_or(0, |s| s.as_str().len());
        (session + self.stream.as_str().len()) as u64
    }

    /// A hash of both IDs (FNV-1a), the same in every process and version: what instances may tell
    /// each other instead of names, which are long and may be secret. Streams may share one.
    #[must_use]
    pub fn name_hash(&self) -> u64 {
        const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let session = self.session.as_ref().map_or("", SessionId::as_str);
        // Neither ID can hold the byte between them.
        let bytes = session.bytes().chain([0]).chain(self.stream.as_str().bytes());
        bytes.fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
    }
}

/// In whose name an event ID is presented. An ID from outside the scope is unknown in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// The client authenticated as this session: only its streams can be replayed.
    Session(&'a SessionId),
    /// The client has no session: only session-less streams can be replayed.
    Sessionless,
}

/// An SSE event's `id:`, which a client returns as `Last-Event-ID`.
///
/// It may hold any text, since it comes from a client; a store answers what it does not know
/// with [`Error::UnknownEvent`]. It is a credential, so `Debug` shortens it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventId(Arc<str>);

impl EventId {
    /// Wraps any text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The ID as it stands on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({})", shortened(&self.0))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for EventId {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for EventId {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_take_1_to_512_bytes_without_control_characters() {
        for good in ["a", "sess:1/…", " ", &"é".repeat(256)] {
            assert_eq!(SessionId::new(good).unwrap().as_str(), good);
        }
        for (bad, word) in [("", "empty"), ("a\nb", "U+000A"), ("\u{85}", "U+0085")] {
            let error = StreamId::new(bad).unwrap_err().to_string();
            assert!(error.contains("stream_id") && error.contains(word), "{error}");
        }
        assert!(StreamId::new("x".repeat(513)).unwrap_err().to_string().contains("513"));
    }

    #[test]
    fn debug_output_shortens_credentials() {
        let id = EventId::new("AAAAAAAABBBBBBBBCCCCCCCC");
        assert_eq!(format!("{id:?}"), r#"EventId("AAAAAAAA…")"#);
        let session = SessionId::new("0123456789").unwrap();
        assert_eq!(format!("{session:?}"), r#"SessionId("01234567…")"#);
    }
}
