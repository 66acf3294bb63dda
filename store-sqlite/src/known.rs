//! The short way into the file, for streams that this process appended to last: one statement,
//! one round trip, one commit.
//!
//! A cached stream is never trusted: the statement itself checks that no other process, sweep or
//! deletion has changed the stream, and fails whole if one has. Then, as for new streams, the
//! batch takes the way of [`append`](crate::append).

use std::sync::LazyLock;

use mcp_event_store_core::backend::{
    AppendPlan, Appended, Group, Known, PendingEvent, Stamp, StreamMeta,
};
use mcp_event_store_core::{Result, Settings, StreamRef, Timestamp};
use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::append::appended;
use crate::batch::only_grew;
use crate::error::{classify_commit, is_raised};
use crate::rows::{Statement, Stream, int, session_text, tag_to_int};

const COLUMNS: usize = 14;

/// Rows that one statement has room for; see [`append`](crate::append).
const ROOMS: [usize; 6] = [1, 4, 16, 64, 256, 1024];

static INSERTS: LazyLock<[(usize, String); 6]> = LazyLock::new(|| {
    ROOMS.map(|room| {
        let row = format!("({})", ["?"; COLUMNS].join(","));
        let rows = vec![row; room].join(",");
        let all = format!("SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL");
        (room, format!("INSERT INTO known_append {all}"))
    })
});

/// An event, and its stream after it.
struct Row<'a> {
    stream: i64,
    /// The stream's version before it.
    version: i64,
    stamp: Stamp,
    event: &'a PendingEvent,
    after: StreamMeta,
}

/// Stores `groups` if all their streams are known and only grow. Answers `None`, with nothing
/// stored, if they have to go the long way.
pub(crate) async fn append(
    connection: &mut SqliteConnection,
    groups: &[Group],
    settings: &Settings,
    now: Timestamp,
    known: &Known<StreamRef, Stream>,
) -> Result<Option<Vec<Result<Appended>>>> {
    let Some((rows, streams)) = plan(groups, settings, now, known) else { return Ok(None) };
    let Some((room, insert)) = INSERTS.iter().find(|(room, _)| *room >= rows.len()) else {
        return Ok(None);
    };
    let query = bind(sqlx::query(AssertSqlSafe(insert.as_str())), &rows, *room);
    match query.execute(connection).await {
        Ok(_) => {}
        Err(error) if is_raised(&error) => {
            known.note(groups.iter().map(|group| (group.stream.clone(), None)));
            return Ok(None);
        }
        Err(error) => return Err(classify_commit(error)),
    }
    let first_seq =
        |stream: &Stream, group: &Group| stream.meta.last_seq + 1 - group.events.len() as u64;
    let answers = streams.iter().zip(groups).map(|(s, g)| Ok(appended(s, first_seq(s, g))));
    let answers = answers.collect();
    remember(known, streams);
    Ok(Some(answers))
}

/// Notes streams that were just written.
pub(crate) fn remember(known: &Known<StreamRef, Stream>, streams: Vec<Stream>) {
    known.note(streams.into_iter().map(|stream| {
        (stream.meta.stream.clone(), Some(stream).filter(|stream| !stream.meta.complete))
    }));
}

/// The rows to write and the streams after them, if every stream is known and only grows.
fn plan<'a>(
    groups: &'a [Group],
    settings: &Settings,
    now: Timestamp,
    known: &Known<StreamRef, Stream>,
) -> Option<(Vec<Row<'a>>, Vec<Stream>)> {
    let mut rows = Vec::with_capacity(groups.len());
    let mut streams = Vec::with_capacity(groups.len());
    for group in groups {
        let before = known.get(&group.stream)?;
        let plan = StreamMeta::plan_append(Some(&before.meta), now, &settings.retention);
        if plan.ok()? != AppendPlan::Extend {
            return None;
        }
        let mut stream = before.clone();
        for event in &group.events {
            let stamp = stream.meta.push(event, now);
            let (after, version) = (stream.meta.clone(), stream.version);
            rows.push(Row { stream: stream.id, version, stamp, event, after });
            stream.version += 1;
        }
        if !only_grew(&before.meta, &stream.meta) {
            return None;
        }
        streams.push(stream);
    }
    Some((rows, streams))
}

fn bind<'q>(mut query: Statement<'q>, rows: &[Row<'_>], room: usize) -> Statement<'q> {
    for Row { stream, version, stamp, event, after } in rows {
        let lease = after.lease.as_ref();
        query = query
            .bind(*stream)
            .bind(*version)
            .bind(session_text(after.stream.session.as_ref()).to_owned())
            .bind(int(stamp.seq))
            .bind(int(tag_to_int(event.tag)))
            .bind(stamp.stored_at.0)
            .bind(after.active_at.0)
            .bind(int(stamp.running_bytes))
            .bind(int(event.bytes()))
            .bind(event.retry_ms.map(int))
            .bind(event.message.as_ref().map(|message| message.get().to_owned()))
            .bind(lease.map(|lease| lease.owner.to_string()))
            .bind(lease.map_or(0, |lease| lease.until.0))
            .bind(event.completes_stream);
    }
    for _ in 0..(room - rows.len()) * COLUMNS {
        query = query.bind(None::<i64>);
    }
    query
}
