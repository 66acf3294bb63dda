//! The streams that were read through this handle, by a hash of their names.
//!
//! A notification holds hashes: names may be long, and whoever may connect to the database may
//! listen. A stream that someone here follows has been read here before, so its hash is known.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use mcp_event_store_core::StreamRef;
use mcp_event_store_core::backend::Wakeup;

/// Streams in a generation; two are kept.
const GENERATION: usize = 65_536;

/// A hash that every instance computes alike, with a byte between session and name that neither
/// can hold.
pub(crate) fn hash(stream: &StreamRef) -> u64 {
    let session = stream.session.as_ref().map_or("", |session| session.as_str());
    fnv(session.bytes().chain([0]).chain(stream.stream.as_str().bytes()))
}

/// FNV-1a: the same everywhere, and no secret.
pub(crate) fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Names by their hashes.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    /// Nothing awaits under it.
    names: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    young: HashMap<u64, StreamRef>,
    old: HashMap<u64, StreamRef>,
    /// Whether a name was ever forgotten.
    forgot: bool,
}

impl Followed {
    /// Remembers a stream that is read.
    pub(crate) fn remember(&self, stream: &StreamRef) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = hash(stream);
        if names.young.contains_key(&hash) {
            return;
        }
        if names.young.len() >= GENERATION {
            let young = std::mem::take(&mut names.young);
            let forgotten = std::mem::replace(&mut names.old, young);
            names.forgot |= !forgotten.is_empty();
        }
        names.young.insert(hash, stream.clone());
    }

    /// Whom a change of the stream with `hash` concerns here, if anyone.
    pub(crate) fn concerns(&self, hash: u64) -> Option<Wakeup> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let known = names.young.get(&hash).or_else(|| names.old.get(&hash));
        match known {
            Some(stream) => Some(Wakeup::Stream(stream.clone())),
            None => names.forgot.then_some(Wakeup::Any),
        }
    }
}

#[cfg(test)]
mod tests {
    use mcp_event_store_core::{SessionId, StreamId};

    use super::*;

    fn stream(session: &str, name: usize) -> StreamRef {
        let name = StreamId::new(name.to_string()).unwrap();
        StreamRef::in_session(SessionId::new(session).unwrap(), name)
    }

    #[test]
    fn what_was_read_is_known_and_what_was_not_concerns_no_one() {
        let followed = Followed::default();
        followed.remember(&stream("s", 1));
        assert_eq!(followed.concerns(hash(&stream("s", 1))), Some(Wakeup::Stream(stream("s", 1))));
        assert_eq!(followed.concerns(hash(&stream("s1", 0))), None);
    }

    #[test]
    fn once_names_were_forgotten_an_unknown_one_concerns_all() {
        let followed = Followed::default();
        (0..=2 * GENERATION).for_each(|n| followed.remember(&stream("s", n)));
        assert_eq!(followed.concerns(hash(&stream("s", 0))), Some(Wakeup::Any));
        let last = stream("s", 2 * GENERATION);
        assert_eq!(followed.concerns(hash(&last)), Some(Wakeup::Stream(last)));
    }
}
