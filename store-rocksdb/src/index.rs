//! The table that sweeps list by: what to look at, in the order in which to look.
//!
//! A key is a letter for the list, a time where the list has an order, and whose it is. Values are
//! empty, but for garbage.

use mcp_event_store_core::backend::StreamKey;
use mcp_event_store_core::{Result, Timestamp};

use crate::error::damaged;
use crate::packed::{Packer, Unpacker};
use crate::rows::{SessionRow, StreamRow};

/// The lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum List {
    /// Incomplete streams by `since`.
    Incomplete = b'i' as isize,
    /// Complete streams by their completion.
    Complete = b'c' as isize,
    /// Tombstones by their expiry.
    Tombstones = b't' as isize,
    /// Streams by the time of their oldest kept event.
    Aged = b'a' as isize,
    /// Streams of [`LARGE_STREAM`] bytes and more.
    LargeStreams = b'l' as isize,
    /// Session records by `used_since`.
    UsedSessions = b'u' as isize,
    /// Deletion marks by their time.
    DeletedSessions = b'd' as isize,
    /// Sessions of [`LARGE_SESSION`] bytes and more.
    LargeSessions = b's' as isize,
    /// Removed events to be freed, in the order in which they were removed.
    Garbage = b'g' as isize,
}

/// Bytes of kept events from which on a stream is listed: so ordinary appends touch no list.
pub(crate) const LARGE_STREAM: u64 = 64 * 1024;

/// Bytes from which on a session is listed.
pub(crate) const LARGE_SESSION: u64 = 1024 * 1024;

impl List {
    fn letter(self) -> u8 {
        self as u8
    }

    /// The entry for `id` at `at`.
    pub(crate) fn timed(self, Timestamp(at): Timestamp, id: &[u8]) -> Vec<u8> {
        // Flips the sign, so that the order of bytes is the order of times.
        let at = (at.cast_unsigned() ^ (1 << 63)).to_be_bytes();
        [&[self.letter()], &at[..], id].concat()
    }

    /// The entry for `id` in a list without times.
    pub(crate) fn plain(self, id: &[u8]) -> Vec<u8> {
        [&[self.letter()], id].concat()
    }

    /// What is before every entry.
    pub(crate) fn start(self) -> Vec<u8> {
        vec![self.letter()]
    }

    /// What is after every entry up to `until`.
    pub(crate) fn after(self, until: Timestamp) -> Vec<u8> {
        if until.0 == i64::MAX { self.end() } else { self.timed(next_moment(until), &[]) }
    }

    /// What is after every entry.
    pub(crate) fn end(self) -> Vec<u8> {
        vec![self.letter() + 1]
    }
}

/// The moment after `at`, or the end of time.
pub(crate) fn next_moment(at: Timestamp) -> Timestamp {
    Timestamp(at.0.saturating_add(1))
}

/// Time and owner of an entry with a time.
pub(crate) fn split(entry: &[u8]) -> Result<(Timestamp, &[u8])> {
    let parts = entry.get(1..).and_then(|rest| rest.split_first_chunk());
    let (at, id) = parts.ok_or_else(|| damaged("list"))?;
    Ok((Timestamp((u64::from_be_bytes(*at) ^ (1 << 63)).cast_signed()), id))
}

/// The lists that have an order.
const TIMED: [List; 6] = [
    List::Incomplete,
    List::Complete,
    List::Tombstones,
    List::Aged,
    List::UsedSessions,
    List::DeletedSessions,
];

/// The list of an entry, and its time, if the list has an order.
pub(crate) fn timed(entry: &[u8]) -> Option<(List, Timestamp)> {
    let list = TIMED.into_iter().find(|list| entry.first() == Some(&list.letter()))?;
    split(entry).ok().map(|(at, _)| (list, at))
}

/// The entries of a stream.
pub(crate) fn of_stream(row: &StreamRow) -> Vec<Vec<u8>> {
    let id = &row.meta.key.0[..];
    let by_state = if row.meta.is_tombstone() {
        List::Tombstones
    } else if row.meta.complete {
        List::Complete
    } else {
        List::Incomplete
    };
    let mut entries = vec![by_state.timed(row.since, id)];
    entries.extend(row.meta.oldest_at.map(|at| List::Aged.timed(at, id)));
    if row.meta.kept_bytes() >= LARGE_STREAM {
        entries.push(List::LargeStreams.plain(id));
    }
    entries
}

/// The entries of a session.
pub(crate) fn of_session(id: &str, row: &SessionRow) -> Vec<Vec<u8>> {
    let id = id.as_bytes();
    let mut entries = Vec::new();
    if row.has_record {
        entries.push(List::UsedSessions.timed(row.used_since, id));
    }
    entries.extend(row.deleted_at.map(|at| List::DeletedSessions.timed(at, id)));
    if row.bytes >= LARGE_SESSION {
        entries.push(List::LargeSessions.plain(id));
    }
    entries
}

/// Events of a stream that wait to be freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Garbage {
    pub(crate) key: StreamKey,
    /// The first of them.
    pub(crate) from: u64,
    /// The first after them.
    pub(crate) below: u64,
    /// The bytes of all that were removed together.
    pub(crate) bytes: u64,
}

impl Garbage {
    /// The entry for the `number`th garbage.
    pub(crate) fn entry(number: u64) -> Vec<u8> {
        List::Garbage.plain(&number.to_be_bytes())
    }

    pub(crate) fn number(entry: &[u8]) -> Result<u64> {
        let number = entry.get(1..).and_then(|rest| rest.try_into().ok());
        number.map(u64::from_be_bytes).ok_or_else(|| damaged("list"))
    }

    pub(crate) fn pack(&self) -> Vec<u8> {
        let key = Packer::default().rest(&self.key.0);
        key.number(self.from).number(self.below).number(self.bytes).done()
    }

    pub(crate) fn unpack(bytes: &[u8]) -> Result<Self> {
        Self::read(&mut Unpacker(bytes)).ok_or_else(|| damaged("list"))
    }

    fn read(bytes: &mut Unpacker<'_>) -> Option<Self> {
        let key = StreamKey(bytes.key()?);
        Some(Self { key, from: bytes.number()?, below: bytes.number()?, bytes: bytes.number()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_in_the_order_of_time() {
        let times = [i64::MIN, -1, 0, 1, i64::MAX].map(Timestamp);
        let entries = times.map(|at| List::Aged.timed(at, b"id"));
        assert!(entries.is_sorted());
        for (entry, at) in entries.iter().zip(times) {
            assert_eq!(split(entry).unwrap(), (at, &b"id"[..]));
            assert!(List::Aged.start() < *entry && *entry < List::Aged.end());
        }
    }
}
