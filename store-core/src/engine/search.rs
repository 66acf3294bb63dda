//! Finding a place in a stream by halving. What decides (age, count, bytes) is monotone along a
//! stream, so a few reads of single events find where it turns, however long the stream is.

use crate::backend::{Backend, Page, PageEvent, PageLimit, StreamKey, StreamMeta, Tag};
use crate::error::{Error, Result};
use crate::retention::Retention;

/// The first event, from the stream's first kept one, for which `turned` holds, or `last_seq + 1`.
/// `turned` must hold for every event after one for which it holds.
pub(super) async fn first_where<B: Backend>(
    backend: &B,
    meta: &StreamMeta,
    turned: impl Fn(&Page, &PageEvent) -> bool + Send,
) -> Result<u64> {
    let (mut low, mut high) = (meta.first_seq, meta.last_seq + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let page = read_one(backend, &meta.key, middle - 1).await?;
        match page.events.first() {
            Some(event) if event.seq == middle && turned(&page, event) => high = middle,
            Some(event) if event.seq == middle => low = middle + 1,
            // Trimmed since `meta` was read.
            _ => low = page.meta.first_seq.clamp(middle + 1, high),
        }
    }
    Ok(low)
}

/// The first event that retention keeps, or `last_seq + 1`.
pub(super) async fn first_kept<B: Backend>(
    backend: &B,
    meta: &StreamMeta,
    retention: &Retention,
) -> Result<u64> {
    first_where(backend, meta, |page, event| {
        !page.meta.is_expired(page.now, retention) && page.meta.keeps(event, page.now, retention)
    })
    .await
}

/// The newest removed event and its tag, given that `first_kept` is the first kept one; a later
/// one if the stream was trimmed since.
pub(super) async fn newest_removed<B: Backend>(
    backend: &B,
    key: &StreamKey,
    first_kept: u64,
) -> Result<(u64, Tag)> {
    let newest = first_kept - 1;
    let page = read_one(backend, key, newest).await?;
    match (page.anchor_tag, page.meta.removed_tag) {
        (Some(tag), _) => Ok((newest, tag)),
        (None, Some(tag)) => Ok((page.meta.first_seq - 1, tag)),
        (None, None) => Err(Error::UnknownEvent),
    }
}

/// Bytes of all events up to `seq`, a kept event of the stream.
pub(super) async fn running_bytes<B: Backend>(
    backend: &B,
    meta: &StreamMeta,
    seq: u64,
) -> Result<u64> {
    let page = read_one(backend, &meta.key, seq - 1).await?;
    Ok(page.events.first().map_or(page.meta.total_bytes, |event| event.running_bytes))
}

async fn read_one<B: Backend>(backend: &B, key: &StreamKey, after: u64) -> Result<Page> {
    backend.read(key, after, PageLimit::ONE).await?.ok_or(Error::UnknownEvent)
}
