//! Reading: one statement a page, so that a page is one snapshot and a dropped read leaves nothing
//! open.

use mcp_event_store_core::backend::{Found, Page, PageEvent, PageLimit, StreamKey};
use mcp_event_store_core::{Error, Message, Result, StreamRef, Timestamp, Usage};
use sqlx::postgres::PgRow;

use crate::call::Call;
use crate::rows::{Stream, int, session_text, tag_from_int};
use crate::server::{Server, column};

/// A stream by its name.
pub(crate) async fn find(server: &Server, stream: &StreamRef) -> Result<Option<Found>> {
    let call = Call::new("find")
        .with(session_text(stream.session.as_ref()))
        .with(stream.stream.as_str())
        .with(server.offset());
    let rows = server.ask(&call).await?;
    let found = |row: &PgRow| {
        let meta = Stream::from_json(column(row, 0)?)?.meta;
        Ok(Found { meta, now: Timestamp(column(row, 1)?) })
    };
    rows.first().map(found).transpose()
}

/// A page of a stream.
pub(crate) async fn read(
    server: &Server,
    key: &StreamKey,
    after: u64,
    limit: PageLimit,
) -> Result<Option<Page>> {
    let call = Call::new("read")
        .with(key.0.to_vec())
        .with(int(after))
        .with(int(limit.events))
        .with(int(limit.bytes))
        .with(server.offset());
    let rows = server.ask(&call).await?;
    let Some((head, events)) = rows.split_first() else { return Ok(None) };
    let events = events.iter().map(event).collect::<Result<_>>()?;
    Ok(Some(Page { events, ..self::head(head)? }))
}

/// The first row: the stream.
fn head(row: &PgRow) -> Result<Page> {
    let anchor_tag: Option<i64> = column(row, 1)?;
    Ok(Page {
        meta: Stream::from_json(column(row, 5)?)?.meta,
        now: Timestamp(column(row, 2)?),
        anchor_tag: anchor_tag.map(|tag| tag_from_int(tag.cast_unsigned())),
        events: Vec::new(),
    })
}

fn event(row: &PgRow) -> Result<PageEvent> {
    let message: Option<&str> = column(row, 5)?;
    Ok(PageEvent {
        seq: column::<i64>(row, 0)?.cast_unsigned(),
        tag: tag_from_int(column::<i64>(row, 1)?.cast_unsigned()),
        stored_at: Timestamp(column(row, 2)?),
        running_bytes: column::<i64>(row, 3)?.cast_unsigned(),
        message: message.map(message_from).transpose()?,
        retry_ms: column::<Option<i64>>(row, 4)?.map(i64::cast_unsigned),
    })
}

fn message_from(text: &str) -> Result<Message> {
    Message::parse(text).map_err(|e| Error::corrupt("PostgreSQL holds a damaged message", e))
}

/// What is stored.
pub(crate) async fn usage(server: &Server) -> Result<Usage> {
    let row = server.ask_one(&Call::new("usage")).await?;
    let sum = |at: usize| column::<i64>(&row, at).map(i64::cast_unsigned);
    Ok(Usage {
        sessions: sum(0)?,
        streams: sum(1)?,
        tombstones: sum(2)?,
        events: sum(3)?,
        bytes: sum(4)?,
    })
}

/// The server's time.
pub(crate) async fn now(server: &Server) -> Result<Timestamp> {
    let row = server.ask_one(&Call::new("now").with(server.offset())).await?;
    Ok(Timestamp(column(&row, 0)?))
}
