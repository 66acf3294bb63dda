//! From an event ID, or a stream's name, to a replay with its verdict.

use std::sync::Arc;

use tracing::Instrument as _;

use super::follow::{Cursor, Expecting, Follower};
use super::position::Position;
use super::{Shared, metrics, search};
use crate::backend::{Backend, Page, PageLimit, StreamMeta, Tag};
use crate::error::{Error, Result};
use crate::id::{EventId, Scope, StreamRef};
use crate::retention::Retention;
use crate::store::{Replay, ReplayMode, Verdict};

/// How often the oldest kept event is looked for while the stream is being trimmed.
const ROUNDS: usize = 64;

/// Where a reader stands in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Everything after its place is kept.
    Good,
    /// Its event is not in this stream, or the stream is forgotten.
    Unknown,
    /// Something after its place was removed.
    Expired,
}

/// Where a reader stands that has read up to `seq`, whose event had `tag` if it read any. `page`
/// was read after `seq`.
pub(super) fn standing(page: &Page, seq: u64, tag: Option<Tag>, retention: &Retention) -> Standing {
    let meta = &page.meta;
    if meta.is_forgotten(page.now, retention) || seq > meta.last_seq {
        return Standing::Unknown;
    }
    if seq + 1 < meta.first_seq {
        return Standing::Expired;
    }
    let stored_tag = if seq >= meta.first_seq { page.anchor_tag } else { meta.removed_tag };
    if tag.is_some() && tag != stored_tag {
        return Standing::Unknown;
    }
    if seq == meta.last_seq {
        return Standing::Good;
    }
    // What decides for the first event decides for all after it.
    match page.events.first() {
        Some(next) if next.seq == seq + 1 && is_kept(meta, page, retention) => Standing::Good,
        _ => Standing::Expired,
    }
}

/// Refuses a page with a hole in it: no backend should give one, and no reader may.
pub(super) fn check_whole(page: &Page) -> Result<()> {
    if page.events.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq) {
        return Ok(());
    }
    let message = "an event in the middle of a stream is missing: restore a backup";
    Err(Error::Corrupt { message: message.into(), cause: None })
}

/// Whether retention keeps the first event of `page`.
fn is_kept(meta: &StreamMeta, page: &Page, retention: &Retention) -> bool {
    !meta.is_expired(page.now, retention)
        && page.events.first().is_some_and(|event| meta.keeps(event, page.now, retention))
}

/// The error of a reader that stands where something was removed.
pub(super) async fn events_expired<B: Backend>(backend: &B, page: &Page, r: &Retention) -> Error {
    match resume_after(backend, &page.meta, r).await {
        Ok(resume_after) => Error::EventsExpired { stream: page.meta.stream.clone(), resume_after },
        Err(error) => error,
    }
}

/// The newest event that retention does not keep.
async fn resume_after<B: Backend>(
    backend: &B,
    meta: &StreamMeta,
    retention: &Retention,
) -> Result<EventId> {
    let first_kept = search::first_kept(backend, meta, retention).await?;
    let (seq, tag) = search::newest_removed(backend, &meta.key, first_kept).await?;
    Ok(Position { key: meta.key, seq, tag }.to_event_id())
}

/// The stream of an event that can be replayed after.
pub(super) async fn stream_of<B: Backend>(
    shared: &Arc<Shared<B>>,
    id: &EventId,
) -> Result<Option<StreamRef>> {
    shared.check_open()?;
    let Some(Position { key, seq, tag }) = Position::parse(id).filter(|p| p.seq > 0) else {
        return Ok(None);
    };
    let Some(page) = shared.backend.read(&key, seq, PageLimit::ONE).await? else {
        return Ok(None);
    };
    let good = standing(&page, seq, Some(tag), &shared.settings.retention) == Standing::Good;
    Ok(good.then_some(page.meta.stream))
}

/// Replays after an event ID.
pub(super) async fn after<B: Backend>(
    shared: &Arc<Shared<B>>,
    scope: Scope<'_>,
    id: &EventId,
    mode: ReplayMode,
) -> Result<Replay> {
    let span = tracing::debug_span!("replay", backend = shared.backend.name(), ?mode);
    let replay = resolve(shared, scope, id, mode).instrument(span).await;
    metrics::replay(shared.backend.name(), replay.as_ref().map(|r| r.verdict));
    replay
}

async fn resolve<B: Backend>(
    shared: &Arc<Shared<B>>,
    scope: Scope<'_>,
    id: &EventId,
    mode: ReplayMode,
) -> Result<Replay> {
    shared.check_open()?;
    let position = Position::parse(id).filter(|p| p.seq > 0).ok_or(Error::UnknownEvent)?;
    let page = shared.backend.read(&position.key, position.seq, PageLimit::PAGE).await?;
    let page = page.filter(|page| page.meta.stream.scope() == scope).ok_or(Error::UnknownEvent)?;
    let retention = &shared.settings.retention;
    match standing(&page, position.seq, Some(position.tag), retention) {
        Standing::Good => {}
        Standing::Unknown => return Err(Error::UnknownEvent),
        Standing::Expired => return Err(events_expired(&*shared.backend, &page, retention).await),
    }
    let Position { key, seq, tag } = position;
    start(shared, Cursor { key, seq, tag: Some(tag) }, page, mode).await
}

/// Replays from the oldest kept event.
pub(super) async fn from_oldest<B: Backend>(
    shared: &Arc<Shared<B>>,
    stream: &StreamRef,
    mode: ReplayMode,
) -> Result<Replay> {
    shared.check_open()?;
    while let Some((cursor, page)) = oldest(shared, stream).await? {
        match start(shared, cursor, page, mode).await {
            // Deleted before it could be taken over: there may be another of its name.
            Err(Error::UnknownEvent) => {}
            started => return started,
        }
    }
    let events = Follower::waiting(shared, stream, mode)?.into_stream();
    Ok(Replay { stream: stream.clone(), verdict: Verdict::CaughtUp, events })
}

/// Follows a stream that begins with `first`, which was stored just now.
pub(super) fn of_new_stream<B: Backend>(expecting: Expecting<B>, first: Position) -> Replay {
    let stream = expecting.stream().clone();
    let events = expecting.from(first).into_stream();
    Replay { stream, verdict: Verdict::of(1), events }
}

/// The place before the oldest kept event of `stream`, and the page after it.
pub(super) async fn oldest<B: Backend>(
    shared: &Arc<Shared<B>>,
    stream: &StreamRef,
) -> Result<Option<(Cursor, Page)>> {
    let (backend, retention) = (&*shared.backend, &shared.settings.retention);
    // A round fails only if the stream was trimmed or deleted during it; the next starts there.
    for _ in 0..ROUNDS {
        let Some(found) = backend.find(stream).await? else { return Ok(None) };
        if found.meta.is_forgotten(found.now, retention) {
            return Ok(None);
        }
        let first_kept = match search::first_kept(backend, &found.meta, retention).await {
            Err(Error::UnknownEvent) => continue,
            first_kept => first_kept?,
        };
        let cursor = Cursor { key: found.meta.key, seq: first_kept - 1, tag: None };
        if let Some(page) = backend.read(&cursor.key, cursor.seq, PageLimit::PAGE).await?
            && standing(&page, cursor.seq, None, retention) == Standing::Good
        {
            return Ok(Some((cursor, page)));
        }
    }
    let message = "the stream's oldest event was removed before it could be read, each time anew";
    Err(Error::Unavailable { message: message.into(), cause: None })
}

async fn start<B: Backend>(
    shared: &Arc<Shared<B>>,
    cursor: Cursor,
    page: Page,
    mode: ReplayMode,
) -> Result<Replay> {
    let stream = page.meta.stream.clone();
    let verdict = Verdict::of(page.meta.last_seq - cursor.seq);
    let events = Follower::after(shared, cursor, page, mode).await?.into_stream();
    Ok(Replay { stream, verdict, events })
}
