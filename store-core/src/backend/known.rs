//! The streams that were appended to last, as a backend stored them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::id::StreamRef;

/// Streams that are remembered. What backends keep of one is a thousand bytes at most, and usually
/// a few hundred.
const REMEMBERED: usize = 4096;

/// What a backend remembers of streams, so that the next append to one need not look it up.
///
/// Where others can change a stream, a commit has to check that it still is as it is remembered.
#[derive(Debug)]
pub struct Known<V> {
    /// Nothing awaits under it.
    streams: Mutex<HashMap<StreamRef, V>>,
}

impl<V> Default for Known<V> {
    fn default() -> Self {
        Self { streams: Mutex::default() }
    }
}

impl<V: Clone> Known<V> {
    /// What is remembered of the stream.
    #[must_use]
    pub fn get(&self, stream: &StreamRef) -> Option<V> {
        self.lock().get(stream).cloned()
    }

    /// Remembers streams as they are now, and forgets those of which nothing is given. Of
    /// too many, all that were remembered before are forgotten.
    pub fn note(&self, changed: impl IntoIterator<Item = (StreamRef, Option<V>)>) {
        let mut known = self.lock();
        for (stream, value) in changed {
            let Some(value) = value else {
                known.remove(&stream);
                continue;
            };
            if known.len() >= REMEMBERED && !known.contains_key(&stream) {
                known.clear();
            }
            known.insert(stream, value);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamRef, V>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::StreamId;

    fn stream(n: usize) -> StreamRef {
        StreamRef::sessionless(StreamId::new(format!("stream-{n}")).unwrap())
    }

    #[test]
    fn streams_are_remembered_until_they_are_forgotten() {
        let known = Known::default();
        known.note([(stream(1), Some('a')), (stream(2), Some('b'))]);
        known.note([(stream(1), Some('c'))]);
        assert_eq!([1, 2, 3].map(|n| known.get(&stream(n))), [Some('c'), Some('b'), None]);
        known.note([(stream(1), None)]);
        assert_eq!([1, 2].map(|n| known.get(&stream(n))), [None, Some('b')]);
    }

    #[test]
    fn they_are_no_more_than_so_many() {
        let known = Known::default();
        for n in 0..=2 * REMEMBERED {
            known.note([(stream(n), Some(n))]);
            assert_eq!(known.get(&stream(n)), Some(n));
            assert!((1..=REMEMBERED).contains(&known.lock().len()));
        }
    }
}
