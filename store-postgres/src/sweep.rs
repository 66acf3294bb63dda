//! What a sweep asks for, and what it removes.

use std::sync::Arc;
use std::time::Duration;

use mcp_event_store_core::backend::{Candidates, Cursor, Removal, Remove, StreamMeta};
use mcp_event_store_core::{Result, SessionId, StreamRef};
use sqlx::postgres::PgRow;

use crate::call::Call;
use crate::read;
use crate::rows::{Stream, int, millis, stream_ref};
use crate::server::{Server, column};

/// The bytes from which on a stream is in the index of large ones.
const LARGE_FROM: u64 = 65_536;

/// A page of candidates, and the rows whose place in the sweep's order is out of date.
struct Listing {
    streams: Vec<StreamMeta>,
    next: Option<Cursor>,
    stale: Vec<i64>,
}

/// A page of the streams that a sweep should look at.
pub(crate) async fn candidates(
    server: &Server,
    which: &Candidates,
    after: Option<Cursor>,
    limit: usize,
) -> Result<(Vec<StreamMeta>, Option<Cursor>)> {
    let by_since = matches!(which, Candidates::Idle(_) | Candidates::LeastRecent);
    // Streams that are used from now on need not move once more: else a busy one would for ever.
    let began = if by_since { read::now(server).await?.0 } else { 0 };
    loop {
        let Listing { streams, next, stale } =
            list(server, which, after.as_ref(), limit, began).await?;
        if by_since && !stale.is_empty() {
            server.ask(&Call::new("refresh").with(stale)).await?;
            if *which == Candidates::LeastRecent {
                // Their order was not the true one: list again, now without these.
                continue;
            }
        }
        return Ok((streams, next));
    }
}

async fn list(
    server: &Server,
    which: &Candidates,
    after: Option<&Cursor>,
    limit: usize,
    began: i64,
) -> Result<Listing> {
    let (word, bound, session) = match which {
        Candidates::Idle(until) => ("idle", until.0, ""),
        Candidates::Complete(until) => ("complete", until.0, ""),
        Candidates::Tombstones(until) => ("tombstones", until.0, ""),
        Candidates::Aged(until) => ("aged", until.0, ""),
        Candidates::Large(bytes) if *bytes >= LARGE_FROM => ("large", int(*bytes), ""),
        Candidates::Large(bytes) => ("any size", int(*bytes), ""),
        Candidates::LeastRecent => ("least recent", 0, ""),
        Candidates::OfSession(session) => ("of session", 0, session.as_str()),
        Candidates::TombstonesOf(session) => ("tombstones of", 0, session.as_str()),
    };
    let (at, id) = after.map_or((i64::MIN, i64::MIN), |cursor| (cursor.at, id_of(cursor)));
    let call = Call::new("candidates")
        .with(word)
        .with(bound)
        .with(session)
        .with(at)
        .with(id)
        .with(int(limit as u64));
    let rows = server.ask(&call).await?;
    let last = rows.last().filter(|_| rows.len() >= limit);
    let next = last.map(cursor_of).transpose()?;
    let streams: Vec<_> =
        rows.iter().map(|row| Stream::from_json(column(row, 2)?)).collect::<Result<_>>()?;
    let is_stale =
        |s: &&Stream| !s.meta.complete && s.since < s.meta.active_at.0 && s.since < began;
    let stale = streams.iter().filter(is_stale).map(|stream| stream.id).collect();
    Ok(Listing { streams: streams.into_iter().map(|stream| stream.meta).collect(), next, stale })
}

fn cursor_of(row: &PgRow) -> Result<Cursor> {
    let id: i64 = column(row, 1)?;
    Ok(Cursor { at: column(row, 0)?, id: Arc::from(id.to_be_bytes()) })
}

fn id_of(cursor: &Cursor) -> i64 {
    (*cursor.id).try_into().map_or(i64::MIN, i64::from_be_bytes)
}

/// Streams that are booked at once.
const BOOKED_AT_ONCE: i64 = 256;

/// Adds to the sessions' bytes what appends have left to be booked.
async fn book(server: &Server) -> Result<()> {
    let mut after = Some(i64::MIN);
    while let Some(last) = after {
        let row = server.ask_one(&Call::new("book").with(last).with(BOOKED_AT_ONCE)).await?;
        after = column(&row, 0)?;
    }
    Ok(())
}

/// Sessions with at least `min_bytes`, in the order of their IDs.
pub(crate) async fn large_sessions(
    server: &Server,
    min_bytes: u64,
    after: Option<&SessionId>,
    limit: usize,
) -> Result<Vec<(SessionId, u64)>> {
    if after.is_none() {
        book(server).await?;
    }
    let call = Call::new("large_sessions")
        .with(int(min_bytes))
        .with(after.map_or("", SessionId::as_str))
        .with(int(limit as u64));
    let session = |row: &PgRow| {
        let bytes: i64 = column(row, 1)?;
        Ok((SessionId::new(column::<&str>(row, 0)?)?, bytes.cast_unsigned()))
    };
    server.ask(&call).await?.iter().map(session).collect()
}

/// Applies the removals that still fit; answers the events that each took, and the streams.
pub(crate) async fn remove(
    server: &Server,
    removals: &[Removal],
) -> Result<(Vec<Option<u64>>, Vec<StreamRef>)> {
    let rows = server.ask(&removal(removals).with(server.sync())).await?;
    let mut taken = Vec::with_capacity(rows.len());
    let mut streams = Vec::new();
    for row in &rows {
        let events: Option<i64> = column(row, 0)?;
        taken.push(events.map(i64::cast_unsigned));
        if events.is_some() {
            streams.push(stream_ref(column(row, 1)?, column(row, 2)?)?);
        }
    }
    Ok((taken, streams))
}

fn removal(removals: &[Removal]) -> Call<'static> {
    let mut what = Vec::with_capacity(removals.len());
    let (mut through, mut at, mut last_seq, mut active_at) = (vec![], vec![], vec![], vec![]);
    for removal in removals {
        let (word, of_prefix, of_whole, version) = match removal.what {
            Remove::Prefix { through } => ("prefix", Some(int(through)), None, None),
            Remove::Whole { at, unchanged } => ("whole", None, Some(at.0), Some(unchanged)),
            Remove::Tombstone { unchanged } => ("tombstone", None, None, Some(unchanged)),
        };
        what.push(word);
        through.push(of_prefix);
        at.push(of_whole);
        last_seq.push(version.map(|version| int(version.last_seq)));
        active_at.push(version.map(|version| version.active_at.0));
    }
    let keys: Vec<_> = removals.iter().map(|removal| removal.key).collect();
    Call::new("remove").with(keys).with(what).with(through).with(at).with(last_seq).with(active_at)
}

/// Frees at most `max_events` rows of removed events; answers how many.
pub(crate) async fn reclaim(server: &Server, max_events: u64) -> Result<u64> {
    let row = server.ask_one(&Call::new("reclaim").with(int(max_events))).await?;
    Ok(column::<i64>(&row, 0)?.cast_unsigned())
}

/// Claims background sweeping; a `ttl` of zero gives it back.
pub(crate) async fn claim(server: &Server, instance: &str, ttl: Duration) -> Result<bool> {
    let call = Call::new("claim_sweep").with(instance).with(millis(ttl)).with(server.offset());
    column(&server.ask_one(&call).await?, 0)
}
