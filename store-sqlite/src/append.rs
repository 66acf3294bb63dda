//! The way of any batch into the file: two round trips to SQLite's thread, one commit.
//!
//! The first begins the transaction and reads the streams that the batch is for; the decisions
//! are the engine's pure functions; the second writes everything and commits.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use mcp_event_store_core::backend::{
    AppendPlan, Appended, Group, Known, PendingEvent, SessionState, Stamp, StreamMeta,
};
use mcp_event_store_core::{Error, Result, SessionId, Settings, StreamRef, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use crate::batch::{Batch, write_sql};
use crate::error::{classify, classify_commit};
use crate::known::remember;
use crate::rows::{Statement, Stream, int, session_text, stream_json, tag_to_int, to_json};

/// Rows of three kinds: the next stream's ID, the streams and the sessions that exist.
const OPEN: &str = concat!(
    "BEGIN IMMEDIATE;
     SELECT 0 AS kind, next_stream AS number, NULL AS json FROM totals;
     SELECT 1, w.key, ",
    stream_json!(),
    " FROM jsonb_each(?1) w
     CROSS JOIN streams s ON s.session = w.value->>0 AND s.name = w.value->>1;
     SELECT 2, w.key, json_object('deleted_at', x.deleted_at, 'open_streams', x.open_streams)
     FROM json_each(?2) w CROSS JOIN sessions x ON x.id = w.value;"
);

/// Streams of a session that are incomplete and have not expired.
const COUNT_OPEN: &str = "
    SELECT count(*) FROM streams
    WHERE session = ?1 AND state = 0 AND (active_at > ?2 OR lease_until > ?3)";

#[cfg(test)]
pub(crate) const STATEMENTS: [&str; 2] = [OPEN, COUNT_OPEN];

const INSERT: &str = "INSERT INTO events
    (stream, seq, tag, stored_at, running_bytes, retry_ms, message) SELECT * FROM (VALUES ";
const ROW: &str = "(?,?,?,?,?,?,?)";
const ROW_COLUMNS: usize = 7;

/// Rows that one `INSERT` has room for. Unused room is filled with rows of `NULL`, which it passes
/// over: so a handful of prepared statements serves batches of every size.
const ROOMS: [usize; 6] = [1, 4, 16, 64, 256, 1024];

/// For each room, the `INSERT` alone and the one that goes on to write the batch and commit.
static INSERTS: LazyLock<[(usize, String, String); 6]> = LazyLock::new(|| {
    ROOMS.map(|room| {
        let rows = vec![ROW; room].join(",");
        let insert = format!("{INSERT}{rows}) WHERE column1 IS NOT NULL;");
        let mut last = insert.clone();
        let _ = write!(last, "{} COMMIT;", write_sql!());
        (room, insert, last)
    })
});

/// What the transaction sees of the streams and sessions that a batch is for.
struct Seen {
    next_stream: i64,
    /// By the group's index.
    streams: HashMap<usize, Stream>,
    sessions: HashMap<SessionId, SessionState>,
}

/// An event with everything that its row holds.
struct EventRow<'a> {
    stream: i64,
    stamp: Stamp,
    event: &'a PendingEvent,
}

/// Begins a transaction, decides about each group, writes and commits; what was written is known
/// from then on.
///
/// The transaction is left open on an error: the caller rolls back.
pub(crate) async fn append(
    connection: &mut SqliteConnection,
    groups: &[Group],
    settings: &Settings,
    now: impl Fn() -> Timestamp,
    known: &Known<StreamRef, Stream>,
) -> Result<Vec<Result<Appended>>> {
    let mut seen = open(connection, groups).await?;
    let now = now();
    count_open_streams(connection, groups, &mut seen, settings, now).await?;
    let mut batch = Batch::default();
    let mut rows = Vec::with_capacity(groups.len());
    let mut written = Vec::with_capacity(groups.len());
    let results = groups.iter().enumerate().map(|(at, group)| {
        let stream = plan(group, seen.streams.remove(&at), &mut seen, settings, now, &mut batch)?;
        Ok(extend(group, stream, now, &mut batch, &mut rows, &mut written))
    });
    let results: Vec<_> = results.collect();
    if batch.is_empty() {
        sqlx::raw_sql("ROLLBACK").execute(connection).await.map_err(classify)?;
    } else {
        commit(connection, &batch, &rows).await?;
    }
    remember(known, written);
    Ok(results)
}

/// The answer for a group that was stored from `first_seq` on.
pub(crate) fn appended(Stream { meta, .. }: &Stream, first_seq: u64) -> Appended {
    Appended {
        key: meta.key,
        first_seq,
        stored_at: meta.newest_at,
        reader_epoch: meta.reader_epoch,
    }
}

async fn open(connection: &mut SqliteConnection, groups: &[Group]) -> Result<Seen> {
    let names: Vec<_> = groups
        .iter()
        .map(|g| (session_text(g.stream.session.as_ref()), g.stream.stream.as_str()))
        .collect();
    let mut sessions: Vec<_> = groups.iter().filter_map(|g| g.stream.session.as_ref()).collect();
    sessions.sort_unstable();
    sessions.dedup();
    let ids: Vec<_> = sessions.iter().map(|session| session.as_str()).collect();
    let query = sqlx::query(OPEN).bind(to_json(&names)?).bind(to_json(&ids)?);
    let rows = query.fetch_all(connection).await.map_err(classify)?;
    let mut seen = Seen { next_stream: 0, streams: HashMap::new(), sessions: HashMap::new() };
    for row in rows {
        seen.take(&row, &sessions)?;
    }
    Ok(seen)
}

impl Seen {
    fn take(&mut self, row: &SqliteRow, sessions: &[&SessionId]) -> Result<()> {
        let kind: i64 = row.try_get(0).map_err(classify)?;
        let number: i64 = row.try_get(1).map_err(classify)?;
        if kind == 0 {
            self.next_stream = number;
            return Ok(());
        }
        let json: &str = row.try_get(2).map_err(classify)?;
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        if kind == 1 {
            self.streams.insert(at, Stream::from_json(json)?);
        } else if let Some(session) = sessions.get(at) {
            self.sessions.insert((*session).clone(), session_state(json)?);
        }
        Ok(())
    }
}

fn session_state(json: &str) -> Result<SessionState> {
    #[derive(serde::Deserialize)]
    struct SessionRow {
        deleted_at: Option<i64>,
        open_streams: u64,
    }
    let damaged = |e| Error::corrupt("the SQLite database holds a damaged session", e);
    let row: SessionRow = serde_json::from_str(json).map_err(damaged)?;
    let deleted_at = row.deleted_at.map(Timestamp);
    Ok(SessionState { deleted_at, open_streams: row.open_streams })
}

/// Counts exactly where the row's count, in which expired streams wait for the sweep, may reach
/// the limit within this batch.
async fn count_open_streams(
    connection: &mut SqliteConnection,
    groups: &[Group],
    seen: &mut Seen,
    settings: &Settings,
    now: Timestamp,
) -> Result<()> {
    let Some(limit) = settings.limits.max_streams_per_session else { return Ok(()) };
    let idle_since = settings.retention.stream_ttl.map_or(i64::MIN, |ttl| now.minus(ttl).0);
    for (session, state) in &mut seen.sessions {
        if state.open_streams + groups.len() as u64 <= limit {
            continue;
        }
        let count = sqlx::query(COUNT_OPEN).bind(session.as_str()).bind(idle_since).bind(now.0);
        let row = count.fetch_one(&mut *connection).await.map_err(classify)?;
        let open: i64 = row.try_get(0).map_err(classify)?;
        state.open_streams = u64::try_from(open).unwrap_or_default();
    }
    Ok(())
}

/// The stream that `group` goes to, before its events, and its metadata in the database.
fn plan(
    group: &Group,
    stream: Option<Stream>,
    seen: &mut Seen,
    settings: &Settings,
    now: Timestamp,
    batch: &mut Batch,
) -> Result<(Stream, Option<StreamMeta>)> {
    let meta = stream.as_ref().map(|stream| &stream.meta);
    let plan = StreamMeta::plan_append(meta, now, &settings.retention)?;
    if plan != AppendPlan::Extend
        && let Some(session) = &group.stream.session
    {
        let state = seen.sessions.entry(session.clone()).or_default();
        state.check_new_stream(now, &settings.retention, &settings.limits)?;
        state.open_streams += 1;
    }
    match (plan, stream) {
        (AppendPlan::Extend, Some(stream)) => {
            let before = stream.meta.clone();
            Ok((stream, Some(before)))
        }
        (AppendPlan::Revive, Some(mut stream)) => {
            let before = stream.meta.clone();
            stream.meta.revive();
            Ok((stream, Some(before)))
        }
        (_, old) => {
            if let Some(old) = old {
                batch.delete(&old);
            }
            let id = seen.next_stream;
            seen.next_stream += 1;
            let meta = StreamMeta::new(group.stream.clone(), group.candidate_key, now);
            Ok((Stream { id, since: now.0, version: 0, meta }, None))
        }
    }
}

/// Appends the events of `group`.
fn extend<'a>(
    group: &'a Group,
    (mut stream, before): (Stream, Option<StreamMeta>),
    now: Timestamp,
    batch: &mut Batch,
    rows: &mut Vec<EventRow<'a>>,
    written: &mut Vec<Stream>,
) -> Appended {
    let first_seq = stream.meta.last_seq + 1;
    for event in &group.events {
        rows.push(EventRow { stream: stream.id, stamp: stream.meta.push(event, now), event });
    }
    match before {
        Some(before) => {
            batch.change(&before, &stream);
            stream.version += 1;
        }
        None => batch.create(&stream),
    }
    let appended = appended(&stream, first_seq);
    written.push(stream);
    appended
}

/// Writes events and batch, the last statement of which commits.
async fn commit(
    connection: &mut SqliteConnection,
    batch: &Batch,
    rows: &[EventRow<'_>],
) -> Result<()> {
    batch.remove(connection).await?;
    let largest = ROOMS[ROOMS.len() - 1];
    let (first, last) = rows.split_at((rows.len().max(1) - 1) / largest * largest);
    for rows in first.chunks(largest) {
        let (_, insert, _) = &INSERTS[ROOMS.len() - 1];
        let query = bind(sqlx::query(AssertSqlSafe(insert.as_str())), rows, largest);
        query.execute(&mut *connection).await.map_err(classify)?;
    }
    let fitting = INSERTS.iter().find(|(room, ..)| *room >= last.len());
    let (room, _, insert_and_commit) = fitting.unwrap_or(&INSERTS[ROOMS.len() - 1]);
    let query = bind(sqlx::query(AssertSqlSafe(insert_and_commit.as_str())), last, *room);
    batch.bind(query)?.execute(connection).await.map_err(classify_commit)?;
    Ok(())
}

/// Gives an `INSERT` with `room` its rows.
fn bind<'q>(mut query: Statement<'q>, rows: &[EventRow<'_>], room: usize) -> Statement<'q> {
    for EventRow { stream, stamp, event } in rows {
        query = query
            .bind(*stream)
            .bind(int(stamp.seq))
            .bind(int(tag_to_int(event.tag)))
            .bind(stamp.stored_at.0)
            .bind(int(stamp.running_bytes))
            .bind(event.retry_ms.map(int))
            .bind(event.message.as_ref().map(|message| message.get().to_owned()));
    }
    for _ in 0..(room - rows.len()) * ROW_COLUMNS {
        query = query.bind(None::<i64>);
    }
    query
}
