//! Reading: each page from one snapshot, which ends with the call.

use mcp_event_store_core::backend::{Found, Page, PageEvent, PageLimit, StreamKey, StreamMeta};
use mcp_event_store_core::{Result, StreamRef, Timestamp};

use crate::database::{Cache, Database, Rows, View};
use crate::error::damaged;
use crate::rows::{event_key, unpack_event};
use crate::schema::Table;

/// A stream by its name.
pub(crate) fn find(
    database: &Database,
    stream: &StreamRef,
    now: Timestamp,
) -> Result<Option<Found>> {
    let row = database.snapshot().stream_named(stream)?;
    Ok(row.map(|row| Found { meta: row.meta, now }))
}

/// A page of a stream.
pub(crate) fn read(
    database: &Database,
    key: &StreamKey,
    after: u64,
    limit: PageLimit,
    now: impl Fn() -> Timestamp,
) -> Result<Option<Page>> {
    let view = database.snapshot();
    let Some(row) = view.stream(key)? else { return Ok(None) };
    let (meta, now) = (row.meta, now());
    let mut page = Page { meta, now, anchor_tag: None, events: Vec::new() };
    let meta = &page.meta;
    if after > meta.last_seq {
        return Ok(Some(page));
    }
    // The anchor, if it is kept, is read with the events that follow it.
    let from = after.max(meta.first_seq);
    let (first, below) = (event_key(key, from), event_key(key, meta.last_seq + 1));
    let rows = view.rows(Table::Events, first.to_vec(), below.to_vec(), Cache::Fill)?;
    let mut events = Events { rows, next: from, last: meta.last_seq };
    let mut bytes_before = meta.removed_bytes;
    if after >= meta.first_seq {
        let anchor = events.next()?.ok_or_else(|| damaged("stream"))?;
        bytes_before = anchor.running_bytes;
        page.anchor_tag = Some(anchor.tag);
    }
    while !is_full(&page.events, limit) {
        let Some(event) = events.next()? else { break };
        let fits = event.running_bytes.saturating_sub(bytes_before) <= limit.bytes;
        if !fits && !page.events.is_empty() {
            break;
        }
        page.events.push(event);
    }
    Ok(Some(page))
}

fn is_full(events: &[PageEvent], limit: PageLimit) -> bool {
    events.len() as u64 >= limit.events.max(1)
}

/// A kept event of `meta`, and the one after it if it is not the last.
pub(crate) fn event_and_next(
    view: &View<'_>,
    meta: &StreamMeta,
    seq: u64,
) -> Result<(PageEvent, Option<PageEvent>)> {
    let (first, below) = (event_key(&meta.key, seq), event_key(&meta.key, meta.last_seq + 1));
    let rows = view.rows(Table::Events, first.to_vec(), below.to_vec(), Cache::Leave)?;
    let mut events = Events { rows, next: seq, last: meta.last_seq };
    let event = events.next()?.ok_or_else(|| damaged("stream"))?;
    Ok((event, events.next()?))
}

/// The events of a stream up to `last`, of which none may be missing.
struct Events<'a> {
    rows: Rows<'a>,
    next: u64,
    last: u64,
}

impl Events<'_> {
    fn next(&mut self) -> Result<Option<PageEvent>> {
        if self.next > self.last {
            return Ok(None);
        }
        let (key, value) = self.rows.next()?.ok_or_else(|| damaged("stream"))?;
        let event = unpack_event(key, value)?;
        if event.seq != self.next {
            return Err(damaged("stream"));
        }
        self.next += 1;
        Ok(Some(event))
    }
}
