//! What an event ID says: the stream's key, the sequence, and the event's tag.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::backend::{StreamKey, Tag};
use crate::id::EventId;

/// Bytes of key, sequence and tag; a multiple of three, so that every text of 40 characters
/// stands for exactly one position.
const BYTES: usize = 16 + 8 + 6;
const CHARS: usize = BYTES / 3 * 4;

/// An event's place: what an [`EventId`] encodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) key: StreamKey,
    pub(super) seq: u64,
    pub(super) tag: Tag,
}

impl Position {
    /// The ID on the wire: 40 characters of URL-safe base64.
    pub(super) fn to_event_id(self) -> EventId {
        let mut bytes = [0; BYTES];
        bytes[..16].copy_from_slice(&self.key.0);
        bytes[16..24].copy_from_slice(&self.seq.to_be_bytes());
        bytes[24..].copy_from_slice(&self.tag.0);
        let mut text = [0; CHARS];
        // It always fits.
        let length = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).unwrap_or_default();
        EventId::new(std::str::from_utf8(&text[..length]).unwrap_or_default())
    }

    /// The position that `id` encodes; `None` for any other text.
    pub(super) fn parse(id: &EventId) -> Option<Self> {
        if id.as_str().len() != CHARS {
            return None;
        }
        let mut bytes = [0; BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(id.as_str(), &mut bytes).ok()?;
        if length != BYTES {
            return None;
        }
        let seq = u64::from_be_bytes(bytes[16..24].try_into().ok()?);
        // Databases keep sequences in signed columns.
        i64::try_from(seq).ok()?;
        Some(Self {
            key: StreamKey(bytes[..16].try_into().ok()?),
            seq,
            tag: Tag(bytes[24..].try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_position_survives_the_wire(key: [u8; 16], seq in 0..=i64::MAX as u64, tag: [u8; 6]) {
            let position = Position { key: StreamKey(key), seq, tag: Tag(tag) };
            let id = position.to_event_id();
            prop_assert_eq!(id.as_str().len(), 40);
            prop_assert_eq!(Position::parse(&id), Some(position));
        }

        #[test]
        fn no_text_panics_and_what_parses_is_canonical(text in "\\PC{0,64}|[A-Za-z0-9_-]{40}") {
            let id = EventId::new(text);
            if let Some(position) = Position::parse(&id) {
                prop_assert_eq!(position.to_event_id(), id);
            }
        }
    }
}
