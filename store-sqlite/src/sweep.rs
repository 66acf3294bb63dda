//! What a sweep asks for, and what it removes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mcp_event_store_core::backend::{Candidates, Cursor, Removal, Remove, StreamMeta, Tag};
use mcp_event_store_core::{Result, SessionId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::batch::Batch;
use crate::error::classify;
use crate::readers::Readers;
use crate::rows::{Stream, int, key_to_hex, stream_json, tag_from_int, to_json};

/// Streams after a cursor (`?1` sort key, `?2` row) in the order of the sort key; `?3` rows.
macro_rules! listing {
    ($sort_key:literal, $condition:literal) => {
        concat!(
            "SELECT ",
            $sort_key,
            ", s.id, ",
            stream_json!(),
            " FROM streams s WHERE ",
            $condition,
            " AND (",
            $sort_key,
            ", s.id) > (?1, ?2) ORDER BY 1, 2 LIMIT ?3"
        )
    };
}

const IDLE: &str = listing!("s.since", "s.state = 0 AND s.since <= ?4");
const COMPLETE: &str = listing!("s.since", "s.state = 1 AND s.since <= ?4");
const TOMBSTONES: &str = listing!("s.since", "s.state = 2 AND s.since <= ?4");
const AGED: &str = listing!("s.oldest_at", "s.oldest_at IS NOT NULL AND s.oldest_at <= ?4");
/// The partial index serves sizes from its own bound on.
const LARGE: &str = listing!("0", "s.large AND s.total_bytes - s.removed_bytes >= ?4");
const LARGE_SCAN: &str = listing!("0", "s.total_bytes - s.removed_bytes >= ?4");
const LARGE_INDEXED_FROM: u64 = 65_536;
const OF_SESSION: &str = listing!("s.active_at", "s.session = ?4 AND s.state < 2");
const TOMBSTONES_OF: &str = listing!("s.since", "s.session = ?4 AND s.state = 2");

/// The first streams of either living state, by the index.
const LEAST_RECENT: &str = concat!(
    "SELECT s.since, s.id, ",
    stream_json!(),
    " FROM streams s WHERE s.id IN (
         SELECT id FROM (SELECT since, id FROM streams
             WHERE state = 0 AND (since, id) > (?1, ?2) ORDER BY since, id LIMIT ?3)
         UNION ALL
         SELECT id FROM (SELECT since, id FROM streams
             WHERE state = 1 AND (since, id) > (?1, ?2) ORDER BY since, id LIMIT ?3))
     ORDER BY 1, 2 LIMIT ?3"
);

/// Puts incomplete streams where their last append or renewal belongs.
const REFRESH: &str = "
    UPDATE streams SET since = active_at
    WHERE id IN (SELECT value FROM json_each(?)) AND state = 0";

const LARGE_SESSIONS: &str = "
    SELECT id, bytes FROM sessions WHERE large AND bytes >= ?1 AND id > ?2
    ORDER BY id LIMIT ?3";
const LARGE_SESSIONS_SCAN: &str =
    "SELECT id, bytes FROM sessions WHERE bytes >= ?1 AND id > ?2 ORDER BY id LIMIT ?3";
const LARGE_SESSIONS_INDEXED_FROM: u64 = 1_048_576;

const BY_KEY: &str = concat!(
    "SELECT ",
    stream_json!(),
    " FROM json_each(?) w CROSS JOIN streams s ON s.key = unhex(w.value)"
);

/// For each `[stream, seq]`: that event's tag and running bytes, and its successor's time.
const PREFIX_ENDS: &str = "
    SELECT w.key, e.tag, e.running_bytes, n.stored_at
    FROM jsonb_each(?) w
    CROSS JOIN events e ON e.stream = w.value->>0 AND e.seq = w.value->>1
    LEFT JOIN events n ON n.stream = e.stream AND n.seq = e.seq + 1";

/// Streams whose removed events are freed in one step.
const GARBAGE: &str = "SELECT stream, below FROM garbage LIMIT 256";

/// For each `[stream, seq]`: frees that stream's rows below that sequence, `?2` in all.
const FREE: &str = "
    DELETE FROM events WHERE rowid IN (
        SELECT e.rowid FROM jsonb_each(?1) w
        CROSS JOIN events e ON e.stream = w.value->>0 AND e.seq < w.value->>1 LIMIT ?2)";

/// For each `[stream, seq]`: forgets the stream if nothing of it is left to free.
const FREED: &str = "
    DELETE FROM garbage
    WHERE stream IN (SELECT value->>0 FROM jsonb_each(?1)) AND NOT EXISTS (
        SELECT 1 FROM events e WHERE e.stream = garbage.stream AND e.seq < garbage.below)";

/// All but the scans for small limits, which the configuration's guide warns of.
#[cfg(test)]
pub(crate) const STATEMENTS: [&str; 14] = [
    IDLE,
    COMPLETE,
    TOMBSTONES,
    AGED,
    LARGE,
    OF_SESSION,
    TOMBSTONES_OF,
    LEAST_RECENT,
    REFRESH,
    LARGE_SESSIONS,
    BY_KEY,
    PREFIX_ENDS,
    FREE,
    FREED,
];

/// A page of candidates, and the rows whose place in the sweep's order is out of date.
struct Listing {
    streams: Vec<Stream>,
    next: Option<Cursor>,
}

/// A page of the streams that a sweep should look at.
pub(crate) async fn candidates(
    readers: &Readers,
    which: &Candidates,
    after: Option<Cursor>,
    limit: usize,
) -> Result<(Vec<StreamMeta>, Option<Cursor>, Vec<i64>)> {
    let Listing { streams, next } = list(readers, which, after.as_ref(), limit).await?;
    let is_stale = |s: &&Stream| !s.meta.complete && s.since < s.meta.active_at.0;
    let by_since = matches!(which, Candidates::Idle(_) | Candidates::LeastRecent);
    let stale = streams.iter().filter(is_stale).map(|stream| stream.id);
    let stale = if by_since { stale.collect() } else { Vec::new() };
    Ok((streams.into_iter().map(|stream| stream.meta).collect(), next, stale))
}

/// Moves `streams` to where they belong in the sweep's order.
pub(crate) async fn refresh(connection: &mut SqliteConnection, streams: &[i64]) -> Result<()> {
    let refresh = sqlx::query(REFRESH).bind(to_json(streams)?);
    refresh.execute(connection).await.map_err(classify)?;
    Ok(())
}

async fn list(
    readers: &Readers,
    which: &Candidates,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Listing> {
    let sql = match which {
        Candidates::Idle(_) => IDLE,
        Candidates::Complete(_) => COMPLETE,
        Candidates::Tombstones(_) => TOMBSTONES,
        Candidates::Aged(_) => AGED,
        Candidates::Large(bytes) if *bytes >= LARGE_INDEXED_FROM => LARGE,
        Candidates::Large(_) => LARGE_SCAN,
        Candidates::LeastRecent => LEAST_RECENT,
        Candidates::OfSession(_) => OF_SESSION,
        Candidates::TombstonesOf(_) => TOMBSTONES_OF,
    };
    let (at, id) = after.map_or((i64::MIN, i64::MIN), |cursor| (cursor.at, id_of(cursor)));
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = sqlx::query(sql).bind(at).bind(id).bind(rows);
    let query = match which {
        Candidates::Idle(until)
        | Candidates::Complete(until)
        | Candidates::Tombstones(until)
        | Candidates::Aged(until) => query.bind(until.0),
        Candidates::Large(bytes) => query.bind(int(*bytes)),
        Candidates::OfSession(session) | Candidates::TombstonesOf(session) => {
            query.bind(session.as_str().to_owned())
        }
        Candidates::LeastRecent => query,
    };
    let rows = readers.all(query).await?;
    let last = rows.last().filter(|_| rows.len() >= limit);
    let next = last.map(cursor_of).transpose()?;
    Ok(Listing { streams: rows.iter().map(|row| stream(row, 2)).collect::<Result<_>>()?, next })
}

fn cursor_of(row: &SqliteRow) -> Result<Cursor> {
    let id: i64 = row.try_get(1).map_err(classify)?;
    Ok(Cursor { at: row.try_get(0).map_err(classify)?, id: Arc::from(id.to_be_bytes()) })
}

fn id_of(cursor: &Cursor) -> i64 {
    (*cursor.id).try_into().map_or(i64::MIN, i64::from_be_bytes)
}

fn stream(row: &SqliteRow, column: usize) -> Result<Stream> {
    Stream::from_json(row.try_get(column).map_err(classify)?)
}

/// Sessions with at least `min_bytes`, in the order of their IDs.
pub(crate) async fn large_sessions(
    readers: &Readers,
    min_bytes: u64,
    after: Option<SessionId>,
    limit: usize,
) -> Result<Vec<(SessionId, u64)>> {
    let is_indexed = min_bytes >= LARGE_SESSIONS_INDEXED_FROM;
    let sql = if is_indexed { LARGE_SESSIONS } else { LARGE_SESSIONS_SCAN };
    let after = after.as_ref().map_or("", SessionId::as_str).to_owned();
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = sqlx::query(sql).bind(int(min_bytes)).bind(after).bind(rows);
    let rows = readers.all(query).await?;
    let session = |row: &SqliteRow| {
        let id: &str = row.try_get(0).map_err(classify)?;
        let bytes: i64 = row.try_get(1).map_err(classify)?;
        Ok((SessionId::new(id)?, bytes.cast_unsigned()))
    };
    rows.iter().map(session).collect()
}

/// Applies the removals that still fit; answers the events that each took.
pub(crate) async fn remove(
    connection: &mut SqliteConnection,
    removals: &[Removal],
) -> Result<Vec<Option<u64>>> {
    let keys: Vec<_> = removals.iter().map(|removal| key_to_hex(&removal.key)).collect();
    let query = sqlx::query(BY_KEY).bind(to_json(&keys)?);
    let rows = query.fetch_all(&mut *connection).await.map_err(classify)?;
    let streams = rows.iter().map(|row| stream(row, 0));
    let streams = streams.map(|s| s.map(|s| (s.meta.key, s))).collect::<Result<HashMap<_, _>>>()?;
    let found: Vec<_> = removals.iter().map(|r| (r, streams.get(&r.key))).collect();
    let ends = prefix_ends(connection, &found).await?;
    let mut batch = Batch::default();
    let taken = found
        .iter()
        .enumerate()
        .map(|(at, (removal, stream))| apply((*stream)?, removal.what, ends.get(&at), &mut batch));
    let taken = taken.collect();
    batch.write(connection).await?;
    Ok(taken)
}

/// The end of a prefix: its last event's tag and running bytes, and its successor's time.
type PrefixEnd = (Tag, u64, Option<Timestamp>);

async fn prefix_ends(
    connection: &mut SqliteConnection,
    found: &[(&Removal, Option<&Stream>)],
) -> Result<HashMap<usize, PrefixEnd>> {
    // A removal without a stream asks for an event that is not there.
    let place = |(removal, stream): &(&Removal, Option<&Stream>)| match (removal.what, stream) {
        (Remove::Prefix { through }, Some(stream)) => (stream.id, int(through)),
        _ => (0, 0),
    };
    if !found.iter().any(|(removal, _)| matches!(removal.what, Remove::Prefix { .. })) {
        return Ok(HashMap::new());
    }
    let places: Vec<_> = found.iter().map(place).collect();
    let query = sqlx::query(PREFIX_ENDS).bind(to_json(&places)?);
    let rows = query.fetch_all(connection).await.map_err(classify)?;
    let end = |row: &SqliteRow| {
        let at: i64 = row.try_get(0).map_err(classify)?;
        let tag: i64 = row.try_get(1).map_err(classify)?;
        let bytes: i64 = row.try_get(2).map_err(classify)?;
        let next: Option<i64> = row.try_get(3).map_err(classify)?;
        let end = (tag_from_int(tag.cast_unsigned()), bytes.cast_unsigned(), next.map(Timestamp));
        Ok((usize::try_from(at).unwrap_or(usize::MAX), end))
    };
    rows.iter().map(end).collect()
}

/// Applies one removal to `before`, if it still fits.
fn apply(before: &Stream, what: Remove, end: Option<&PrefixEnd>, batch: &mut Batch) -> Option<u64> {
    let mut after = before.clone();
    match what {
        Remove::Prefix { through } => {
            let (tag, bytes, next_at) = *end?;
            if through < before.meta.first_seq || through > before.meta.last_seq {
                return None;
            }
            after.meta.remove_prefix(through, tag, bytes, next_at);
        }
        Remove::Whole { at, unchanged } => {
            if before.meta.version() != unchanged || before.meta.is_tombstone() {
                return None;
            }
            if before.meta.kept_events() > 0 {
                after.meta.remove_all();
            }
            after.meta.expired_at = Some(at);
        }
        Remove::Tombstone { unchanged } => {
            if before.meta.version() != unchanged {
                return None;
            }
            batch.delete(before);
            return Some(before.meta.kept_events());
        }
    }
    batch.change(&before.meta, &after);
    Some(before.meta.kept_events() - after.meta.kept_events())
}

/// Frees at most `max_events` rows of removed events; answers how many. Many streams share a
/// commit: each that a server answered a request on ends here.
pub(crate) async fn reclaim(connection: &mut SqliteConnection, max_events: u64) -> Result<u64> {
    loop {
        let garbage = sqlx::query(GARBAGE).fetch_all(&mut *connection).await.map_err(classify)?;
        if garbage.is_empty() {
            return Ok(0);
        }
        let place = |row: &SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?));
        let places: Vec<(i64, i64)> =
            garbage.iter().map(place).collect::<sqlx::Result<_>>().map_err(classify)?;
        let places = to_json(&places)?;
        let free = sqlx::query(FREE).bind(places.clone()).bind(int(max_events));
        let freed = free.execute(&mut *connection).await.map_err(classify)?.rows_affected();
        sqlx::query(FREED).bind(places).execute(&mut *connection).await.map_err(classify)?;
        if freed > 0 {
            return Ok(freed);
        }
    }
}

/// A claim that lasts longer than this was made before the clock was set back.
const LONGEST_CLAIM: Duration = Duration::from_hours(1);

/// Claims background sweeping; a `ttl` of zero gives it back.
pub(crate) async fn claim(
    connection: &mut SqliteConnection,
    instance: &str,
    now: Timestamp,
    ttl: Duration,
) -> Result<bool> {
    let claim = sqlx::query(
        "UPDATE totals SET sweeper = ?1, sweep_until = ?2
         WHERE sweeper IS NULL OR sweeper = ?1 OR sweep_until <= ?3 OR sweep_until > ?4",
    );
    let claim = claim.bind(instance.to_owned()).bind(now.plus(ttl).0).bind(now.0);
    let claim = claim.bind(now.plus(LONGEST_CLAIM).0);
    let claimed = claim.execute(connection).await.map_err(classify)?;
    Ok(claimed.rows_affected() > 0)
}
