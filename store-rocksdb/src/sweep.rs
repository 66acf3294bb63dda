//! What a sweep asks for, and what it removes.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use mcp_event_store_core::backend::{Candidates, Cursor, Removal, Remove, StreamKey, StreamMeta};
use mcp_event_store_core::{Result, SessionId, Timestamp};

use crate::batch::Batch;
use crate::database::{Cache, Database};
use crate::error::damaged;
use crate::index::{Garbage, LARGE_SESSION, LARGE_STREAM, List, next_moment, split};
use crate::read::event_and_next;
use crate::rows::{StreamRow, names_of, stream_key};
use crate::schema::Table;

/// Rows that one step looks at where a limit is too small for a list.
const SCANNED: usize = 4096;

/// A page of candidates.
pub(crate) struct Listing {
    pub(crate) streams: Vec<StreamMeta>,
    pub(crate) next: Option<Cursor>,
    /// Streams whose place in the sweep's order is out of date.
    pub(crate) stale: Vec<StreamKey>,
}

/// Where a stream stands in a listing.
type Place = (Timestamp, StreamKey);

/// A page of the streams that a sweep should look at.
pub(crate) fn candidates(
    database: &Database,
    which: &Candidates,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Listing> {
    let after = after.map(place_of).transpose()?;
    let until = |list: List, at: Timestamp| by_time(database, &[list], at, after, limit);
    match which {
        Candidates::Idle(at) => until(List::Incomplete, *at),
        Candidates::Complete(at) => until(List::Complete, *at),
        Candidates::Tombstones(at) => until(List::Tombstones, *at),
        Candidates::Aged(at) => until(List::Aged, *at),
        Candidates::LeastRecent => {
            let end = Timestamp(i64::MAX);
            by_time(database, &[List::Incomplete, List::Complete], end, after, limit)
        }
        Candidates::Large(bytes) => large(database, *bytes, after, limit),
        Candidates::OfSession(session) => {
            let living = |meta: &StreamMeta| (!meta.is_tombstone()).then_some(meta.active_at);
            of_session(database, session, living, after, limit)
        }
        Candidates::TombstonesOf(session) => {
            of_session(database, session, |meta| meta.expired_at, after, limit)
        }
    }
}

fn place_of(cursor: &Cursor) -> Result<Place> {
    Ok((Timestamp(cursor.at), stream_key(&cursor.id)?))
}

fn cursor_at((at, key): Place) -> Cursor {
    Cursor { at: at.0, id: Arc::from(key.0) }
}

/// Streams of `lists` up to a time, in one order.
fn by_time(
    database: &Database,
    lists: &[List],
    until: Timestamp,
    after: Option<Place>,
    limit: usize,
) -> Result<Listing> {
    let turns: Vec<_> = lists.iter().map(|list| database.marks.begin(*list)).collect();
    let mut places = Vec::new();
    for (list, turn) in lists.iter().zip(&turns) {
        let from =
            after.map_or_else(|| list.timed(turn.first, &[]), |(at, k)| list.timed(at, &k.0));
        let mut rows = database.rows(Table::Lists, from, list.after(until), Cache::Leave)?;
        let listed = places.len();
        while places.len() < listed + limit
            && let Some((entry, _)) = rows.next()?
        {
            let (at, id) = split(entry)?;
            let place = (at, stream_key(id)?);
            if Some(place) != after {
                places.push(place);
            }
        }
        if after.is_none() {
            let first = places.get(listed).map_or_else(|| next_moment(until), |(at, _)| *at);
            database.marks.end(turn, first);
        }
    }
    places.sort_unstable();
    let mut listing = page(database, places, limit)?;
    if !lists.contains(&List::Incomplete) {
        listing.stale.clear();
    }
    Ok(listing)
}

/// The streams at the first `limit` of `places`.
fn page(database: &Database, mut places: Vec<Place>, limit: usize) -> Result<Listing> {
    let is_full = places.len() >= limit;
    places.truncate(limit);
    let next = places.last().filter(|_| is_full).map(|place| cursor_at(*place));
    let mut listing = Listing { streams: Vec::with_capacity(places.len()), next, stale: vec![] };
    for (_, key) in places {
        // An entry without its stream is left to the one who restores what is damaged.
        let Some(row) = database.stream(&key)? else { continue };
        if row.is_open() && row.since < row.meta.active_at {
            listing.stale.push(key);
        }
        listing.streams.push(row.meta);
    }
    Ok(listing)
}

/// Streams of at least `bytes`, in the order of their keys.
fn large(database: &Database, bytes: u64, after: Option<Place>, limit: usize) -> Result<Listing> {
    let is_listed = bytes >= LARGE_STREAM;
    let (table, start, end) = if is_listed {
        (Table::Lists, List::LargeStreams.start(), List::LargeStreams.end())
    } else {
        (Table::Streams, Vec::new(), vec![0xff; 17])
    };
    let from = after.map_or_else(|| start.clone(), |(_, key)| [&start[..], &key.0].concat());
    let mut rows = database.rows(table, from, end, Cache::Leave)?;
    let mut listing = Listing { streams: Vec::new(), next: None, stale: Vec::new() };
    let mut looked = 0;
    while let Some((entry, value)) = rows.next()? {
        let key = stream_key(entry.get(start.len()..).unwrap_or_default())?;
        if after.is_some_and(|(_, after)| key == after) {
            continue;
        }
        let row =
            if is_listed { database.stream(&key)? } else { Some(StreamRow::unpack(key, value)?) };
        let fits = |row: &StreamRow| !row.meta.is_tombstone() && row.meta.kept_bytes() >= bytes;
        listing.streams.extend(row.filter(fits).map(|row| row.meta));
        looked += 1;
        if listing.streams.len() >= limit || looked >= SCANNED {
            listing.next = Some(cursor_at((Timestamp(0), key)));
            break;
        }
    }
    Ok(listing)
}

/// Streams of a session that have a sort key, in its order. All of them are looked at, and no
/// more than a page is held.
fn of_session(
    database: &Database,
    session: &SessionId,
    sort_key: impl Fn(&StreamMeta) -> Option<Timestamp>,
    after: Option<Place>,
    limit: usize,
) -> Result<Listing> {
    let (from, below) = names_of(session);
    let mut names = database.rows(Table::Names, from, below, Cache::Leave)?;
    let mut first = BTreeMap::new();
    while let Some((_, key)) = names.next()? {
        let key = stream_key(key)?;
        let Some(row) = database.stream(&key)? else { continue };
        let Some(at) = sort_key(&row.meta) else { continue };
        if after.is_none_or(|after| (at, key) > after) {
            first.insert((at, key), row.meta);
            if first.len() > limit {
                first.pop_last();
            }
        }
    }
    let last = first.last_key_value().filter(|_| first.len() >= limit);
    let next = last.map(|(place, _)| cursor_at(*place));
    Ok(Listing { streams: first.into_values().collect(), next, stale: Vec::new() })
}

/// Puts open streams where they belong in the sweep's order.
pub(crate) fn refresh(batch: &mut Batch<'_>, streams: &[StreamKey]) -> Result<()> {
    for key in streams {
        let row = batch.stream(key)?;
        if let Some(row) = row.filter(StreamRow::is_open) {
            batch.refresh(&row)?;
        }
    }
    Ok(())
}

/// Sessions with at least `min_bytes`, in the order of their IDs.
pub(crate) fn large_sessions(
    database: &Database,
    min_bytes: u64,
    after: Option<&SessionId>,
    limit: usize,
) -> Result<Vec<(SessionId, u64)>> {
    let (table, start, end) = if min_bytes >= LARGE_SESSION {
        (Table::Lists, List::LargeSessions.start(), List::LargeSessions.end())
    } else {
        (Table::Sessions, Vec::new(), vec![0xff])
    };
    let from = after.map_or("", SessionId::as_str);
    let from = [&start[..], from.as_bytes()].concat();
    let mut rows = database.rows(table, from, end, Cache::Leave)?;
    let mut sessions = Vec::new();
    while sessions.len() < limit
        && let Some((entry, _)) = rows.next()?
    {
        let id = entry.get(start.len()..).and_then(|id| std::str::from_utf8(id).ok());
        let id = SessionId::new(id.ok_or_else(|| damaged("list"))?)?;
        let bytes = database.session(&id)?.map_or(0, |row| row.bytes);
        if bytes >= min_bytes && after != Some(&id) {
            sessions.push((id, bytes));
        }
    }
    Ok(sessions)
}

/// Applies the removals that still fit; answers the events that each took.
///
/// Only a stream's first removal applies. A stream that is completed between the readings of two
/// lists is in both, and a second change of it in one batch would be counted again.
pub(crate) fn remove(batch: &mut Batch<'_>, removals: &[Removal]) -> Result<Vec<Option<u64>>> {
    let mut changed = HashSet::new();
    let one = |removal: &Removal| {
        if !changed.insert(removal.key) {
            return Ok(None);
        }
        let Some(before) = batch.stream(&removal.key)? else { return Ok(None) };
        apply(batch, &before, removal.what)
    };
    removals.iter().map(one).collect()
}

/// Applies one removal to `before`, if it still fits.
fn apply(batch: &mut Batch<'_>, before: &StreamRow, what: Remove) -> Result<Option<u64>> {
    let mut meta = before.meta.clone();
    match what {
        Remove::Prefix { through } => {
            if through < meta.first_seq || through > meta.last_seq {
                return Ok(None);
            }
            let (newest, next) = event_and_next(batch.database(), &meta, through)?;
            let next_at = next.map(|event| event.stored_at);
            meta.remove_prefix(through, newest.tag, newest.running_bytes, next_at);
        }
        Remove::Whole { at, unchanged } => {
            if meta.version() != unchanged || meta.is_tombstone() {
                return Ok(None);
            }
            if meta.kept_events() > 0 {
                meta.remove_all();
            }
            meta.expired_at = Some(at);
        }
        Remove::Tombstone { unchanged } => {
            if meta.version() != unchanged {
                return Ok(None);
            }
            batch.delete(before)?;
            return Ok(Some(meta.kept_events()));
        }
    }
    let taken = before.meta.kept_events() - meta.kept_events();
    batch.change(before, meta)?;
    Ok(Some(taken))
}

/// What one step of freeing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freed {
    pub(crate) events: u64,
    /// Bytes of what is now freed to its last event.
    pub(crate) bytes: u64,
    /// No garbage is left before this number.
    pub(crate) garbage_from: u64,
}

/// Frees at most `max_events` removed events, from the garbage with the number `from` on. Their
/// keys follow from their sequences, so nothing of them is read.
pub(crate) fn reclaim(batch: &mut Batch<'_>, from: u64, max_events: u64) -> Result<Freed> {
    let database = batch.database();
    let (first, end) = (Garbage::entry(from), List::Garbage.end());
    let mut rows = database.rows(Table::Lists, first, end, Cache::Leave)?;
    let mut freed = Freed { garbage_from: from, ..Freed::default() };
    while freed.events < max_events
        && let Some((entry, value)) = rows.next()?
    {
        let (number, mut garbage) = (Garbage::number(entry)?, Garbage::unpack(value)?);
        let until = garbage.below.min(garbage.from + max_events - freed.events);
        batch.free(&garbage.key, garbage.from, until)?;
        freed.events += until - garbage.from;
        garbage.from = until;
        if until == garbage.below {
            batch.remove_garbage(number)?;
            freed.bytes += garbage.bytes;
            freed.garbage_from = number + 1;
        } else {
            batch.put_garbage(number, &garbage)?;
            freed.garbage_from = number;
        }
    }
    Ok(freed)
}
