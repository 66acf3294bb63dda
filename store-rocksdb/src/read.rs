//! Reading: each page as of one moment, with nothing left open when the call ends.

use mcp_event_store_core::backend::{Found, Page, PageEvent, PageLimit, StreamKey, StreamMeta};
use mcp_event_store_core::{Error, Result, StreamRef, Timestamp};

use crate::database::{Cache, Rows, Tables};
use crate::error::damaged;
use crate::rows::{event_key, unpack_event};
use crate::schema::Table;

/// What is not in memory is read on another thread. To get there and back takes as long as to read 256
/// events, so that a page is larger there.
pub(crate) const LATER_PAGES: PageLimit = PageLimit { events: 1024, bytes: 1024 * 1024 };

/// A stream by its name.
pub(crate) fn find(tables: &Tables, stream: &StreamRef, now: Timestamp) -> Result<Option<Found>> {
    let row = tables.stream_named(stream)?;
    Ok(row.map(|row| Found { meta: row.meta, now }))
}

/// A page of a stream.
///
/// The stream is read first, and its events never change while they are kept. So events and stream
/// are of one moment, unless some of them were freed between the two: then both are read again.
pub(crate) fn read(
    tables: &Tables,
    key: &StreamKey,
    after: u64,
    limit: PageLimit,
    now: impl Fn() -> Timestamp,
) -> Result<Option<Page>> {
    let mut stream = tables.stream(key)?;
    while let Some(row) = stream {
        let first_seq = row.meta.first_seq;
        match page(tables, row.meta, after, limit, now()) {
            Err(error @ Error::Corrupt { .. }) => {
                stream = tables.stream(key)?;
                if stream.as_ref().is_some_and(|row| row.meta.first_seq == first_seq) {
                    return Err(error);
                }
            }
            page => return page.map(Some),
        }
    }
    Ok(None)
}

/// The page of `meta`, of whose events none may be missing.
fn page(
    tables: &Tables,
    meta: StreamMeta,
    after: u64,
    limit: PageLimit,
    now: Timestamp,
) -> Result<Page> {
    let mut page = Page { meta, now, anchor_tag: None, events: Vec::new() };
    let meta = &page.meta;
    if after > meta.last_seq {
        return Ok(page);
    }
    // What is read again is the end of a stream, to which readers come back one after the other, and
    // the single events among which its oldest is looked for.
    let before_end = (meta.last_seq - after).saturating_sub(PageLimit::PAGE.events);
    let is_end = before_end == 0;
    let cache = if is_end || limit == PageLimit::ONE { Cache::Fill } else { Cache::Pass };
    // The anchor, if it is kept, is read with the events that follow it.
    let (from, first) = (after.max(meta.first_seq), (after + 1).max(meta.first_seq));
    let most = (meta.last_seq + 1 - first).min(limit.events.max(1));
    // A larger page leaves the end to one of its own.
    let most = most.min(before_end.max(PageLimit::PAGE.events));
    let mut events = Events::of(tables, &meta.key, from, first + most - 1, cache)?;
    let mut bytes_before = meta.removed_bytes;
    if after >= meta.first_seq {
        let anchor = events.next()?.ok_or_else(|| damaged("stream"))?;
        bytes_before = anchor.running_bytes;
        page.anchor_tag = Some(anchor.tag);
    }
    let expected = most.min(LATER_PAGES.events);
    page.events.reserve(usize::try_from(expected).unwrap_or_default());
    while let Some(event) = events.next()? {
        let fits = event.running_bytes.saturating_sub(bytes_before) <= limit.bytes;
        if !fits && !page.events.is_empty() {
            break;
        }
        page.events.push(event);
    }
    Ok(page)
}

/// A kept event of `meta`, and the one after it if it is not the last.
pub(crate) fn event_and_next(
    tables: &Tables,
    meta: &StreamMeta,
    seq: u64,
) -> Result<(PageEvent, Option<PageEvent>)> {
    let last = meta.last_seq.min(seq + 1);
    let mut events = Events::of(tables, &meta.key, seq, last, Cache::Leave)?;
    let event = events.next()?.ok_or_else(|| damaged("stream"))?;
    Ok((event, events.next()?))
}

/// The events of a stream up to `last`, of which none may be missing.
struct Events<'a> {
    rows: Rows<'a>,
    next: u64,
    last: u64,
}

impl<'a> Events<'a> {
    fn of(tables: &'a Tables, key: &StreamKey, from: u64, last: u64, cache: Cache) -> Result<Self> {
        let (first, below) = (event_key(key, from), event_key(key, last + 1));
        let rows = tables.rows(Table::Events, first.to_vec(), below.to_vec(), cache)?;
        Ok(Self { rows, next: from, last })
    }

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
