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
    let call = Call::new(if server.has_own_settings() { "page" } else { "read" })
        .with(*key)
        .with(int(after))
        .with(int(limit.events))
        .with(int(limit.bytes))
        .with(server.offset());
    let mut page: Option<Page> = None;
    let mut events = Vec::new();
    for line in server.ask_each(&call, |row| line(&row)).await? {
        match line? {
            Line::Stream(head) => page = Some(*head),
            Line::Event(event) => events.push(event),
        }
    }
    // The server walks a range of an index in order, but does not promise it.
    events.sort_unstable_by_key(|event: &PageEvent| event.seq);
    Ok(page.map(|page| Page { events, ..page }))
}

/// A row of a page.
enum Line {
    /// A page without events.
    Stream(Box<Page>),
    Event(PageEvent),
}

fn line(row: &PgRow) -> Result<Line> {
    match column::<i64>(row, 0)? {
        0 => head(row).map(Box::new).map(Line::Stream),
        seq => event(row, seq.cast_unsigned()).map(Line::Event),
    }
}

fn head(row: &PgRow) -> Result<Page> {
    let anchor_tag: Option<i64> = column(row, 1)?;
    Ok(Page {
        meta: Stream::from_json(column(row, 5)?)?.meta,
        now: Timestamp(column(row, 2)?),
        anchor_tag: anchor_tag.map(|tag| tag_from_int(tag.cast_unsigned())),
        events: Vec::new(),
    })
}

fn event(row: &PgRow, seq: u64) -> Result<PageEvent> {
    let message: Option<&str> = column(row, 5)?;
    Ok(PageEvent {
        seq,
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
