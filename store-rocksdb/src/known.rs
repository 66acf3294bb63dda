//! The streams that were appended to last, so that the next append need not look them up.
//!
//! One process has the directory open, and one thread of it writes: what that thread wrote last is
//! what is stored.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mcp_event_store_core::StreamRef;

use crate::rows::StreamRow;

/// Streams that are remembered. A thousand bytes each at most, and usually a few hundred.
const REMEMBERED: usize = 4096;

/// Streams as they are stored.
#[derive(Default)]
pub(crate) struct Known {
    /// Nothing awaits under it.
    streams: Mutex<HashMap<StreamRef, StreamRow>>,
}

impl Known {
    /// The stream of this name, if it is remembered.
    pub(crate) fn get(&self, stream: &StreamRef) -> Option<StreamRow> {
        self.lock().get(stream).cloned()
    }

    /// Notes what was committed just now: a stream as it is, or that it is gone.
    pub(crate) fn note(&self, changed: Vec<(StreamRef, Option<StreamRow>)>) {
        let mut known = self.lock();
        for (stream, row) in changed {
            match row.filter(StreamRow::is_open) {
                Some(row) => {
                    if known.len() >= REMEMBERED && !known.contains_key(&stream) {
                        known.clear();
                    }
                    known.insert(stream, row);
                }
                None => drop(known.remove(&stream)),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamRef, StreamRow>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use mcp_event_store_core::backend::{StreamKey, StreamMeta};
    use mcp_event_store_core::{StreamId, Timestamp};

    use super::*;

    fn row(n: usize) -> StreamRow {
        let stream = StreamRef::sessionless(StreamId::new(format!("stream-{n}")).unwrap());
        StreamRow::new(StreamMeta::new(stream, StreamKey([7; 16]), Timestamp(5)))
    }

    #[test]
    fn open_streams_are_remembered_until_they_are_gone_or_complete() {
        let known = Known::default();
        let (row, mut complete) = (row(1), row(1));
        complete.meta.complete = true;
        let stream = &row.meta.stream;
        for last in [None, Some(complete)] {
            known.note(vec![(stream.clone(), Some(row.clone()))]);
            assert_eq!(known.get(stream).as_ref(), Some(&row));
            known.note(vec![(stream.clone(), last)]);
            assert_eq!(known.get(stream), None);
        }
    }

    #[test]
    fn they_are_no_more_than_so_many() {
        let known = Known::default();
        for n in 0..=2 * REMEMBERED {
            let row = row(n);
            known.note(vec![(row.meta.stream.clone(), Some(row))]);
            assert!((1..=REMEMBERED).contains(&known.lock().len()));
        }
    }
}
