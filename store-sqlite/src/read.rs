//! Reading: one statement a page, so that a page is one snapshot and a dropped read leaves nothing
//! open.

use futures_util::TryStreamExt;
use mcp_event_store_core::backend::{Found, Page, PageEvent, PageLimit, StreamKey};
use mcp_event_store_core::{Error, Message, Result, StreamRef, Timestamp};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error::classify;
use crate::readers::Readers;
#[cfg(test)]
use crate::rows::BY_NAME;
use crate::rows::{Stream, by_name, int, stream_json, tag_from_int};

/// The stream, with the tag of the event that the page starts after, then the events. Sequences
/// have no holes, so a range bounds the work; running bytes tell where a page is full before its
/// messages are touched.
///
/// `?1` key, `?2` after, `?3` events, `?4` bytes.
const READ: &str = concat!(
    "WITH place AS MATERIALIZED (
         SELECT s.id AS stream, max(?2, s.first_seq - 1) AS after,
             iif(?2 >= s.first_seq, a.tag, NULL) AS anchor_tag,
             iif(?2 >= s.first_seq, a.running_bytes, s.removed_bytes) AS bytes_before
         FROM streams s LEFT JOIN events a ON a.stream = s.id AND a.seq = ?2
         WHERE s.key = ?1)
     SELECT 0 AS seq, place.anchor_tag AS tag, 0 AS stored_at, 0 AS running_bytes,
         NULL AS retry_ms, ",
    stream_json!(),
    " AS message
     FROM place JOIN streams s ON s.id = place.stream
     UNION ALL
     SELECT e.seq, e.tag, e.stored_at, e.running_bytes, e.retry_ms, e.message
     FROM place CROSS JOIN events e ON e.stream = place.stream
         AND e.seq > place.after AND e.seq <= place.after + ?3
         AND (e.running_bytes - place.bytes_before <= ?4 OR e.seq = place.after + 1)"
);

#[cfg(test)]
pub(crate) const STATEMENTS: [&str; 2] = [BY_NAME, READ];

/// A stream by its name.
pub(crate) async fn find(
    readers: &Readers,
    stream: &StreamRef,
    now: Timestamp,
) -> Result<Option<Found>> {
    let Some(row) = readers.optional(by_name(stream)).await? else { return Ok(None) };
    let meta = Stream::from_json(row.try_get(0).map_err(classify)?)?.meta;
    Ok(Some(Found { meta, now }))
}

/// A page of a stream.
pub(crate) async fn read(
    readers: &Readers,
    key: &StreamKey,
    after: u64,
    limit: PageLimit,
    now: impl Fn() -> Timestamp,
) -> Result<Option<Page>> {
    let query = sqlx::query(READ)
        .bind(key.0.to_vec())
        .bind(int(after))
        .bind(int(limit.events))
        .bind(int(limit.bytes));
    let mut lent = readers.lend().await?;
    let mut rows = query.fetch(lent.connection()?);
    let mut page: Option<Page> = None;
    let mut events = Vec::new();
    loop {
        match rows.try_next().await {
            Ok(Some(row)) if page.is_some() => events.push(event(&row)?),
            Ok(Some(row)) => page = Some(head(&row, now())?),
            ended => {
                drop(rows);
                lent.end(ended)?;
                break;
            }
        }
    }
    // SQLite walks a range of the index in order, but does not promise it.
    events.sort_unstable_by_key(|event: &PageEvent| event.seq);
    Ok(page.map(|page| Page { events, ..page }))
}

/// The first row: the stream.
fn head(row: &SqliteRow, now: Timestamp) -> Result<Page> {
    let anchor_tag: Option<i64> = row.try_get(1).map_err(classify)?;
    let anchor_tag = anchor_tag.map(|tag| tag_from_int(tag.cast_unsigned()));
    let meta = Stream::from_json(row.try_get(5).map_err(classify)?)?.meta;
    Ok(Page { meta, now, anchor_tag, events: Vec::new() })
}

fn event(row: &SqliteRow) -> Result<PageEvent> {
    let tag: i64 = row.try_get(1).map_err(classify)?;
    let retry_ms: Option<i64> = row.try_get(4).map_err(classify)?;
    let message: Option<&str> = row.try_get(5).map_err(classify)?;
    Ok(PageEvent {
        seq: unsigned(row, 0)?,
        tag: tag_from_int(tag.cast_unsigned()),
        stored_at: Timestamp(row.try_get(2).map_err(classify)?),
        running_bytes: unsigned(row, 3)?,
        message: message.map(message_from).transpose()?,
        retry_ms: retry_ms.map(i64::cast_unsigned),
    })
}

fn unsigned(row: &SqliteRow, column: usize) -> Result<u64> {
    let number: i64 = row.try_get(column).map_err(classify)?;
    Ok(number.cast_unsigned())
}

fn message_from(text: &str) -> Result<Message> {
    let damaged = |e| Error::corrupt("the SQLite database holds a damaged message", e);
    Message::parse(text).map_err(damaged)
}
