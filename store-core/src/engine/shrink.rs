//! T6: caps on the bytes of a session and of everything.
//!
//! Streams that were least recently appended to or renewed go first: complete ones whole, live
//! ones down to their newest event, and only as far as needed. Tombstones go last.

use super::search;
use super::sweep::{STEP, Sweep, prefix, tombstone, whole};
use crate::backend::{Backend, Candidates, Removal, StreamMeta};
use crate::error::{Error, Result};
use crate::event::Timestamp;

/// Shrinks every session above `max_bytes_per_session`.
pub(super) async fn sessions<B: Backend>(sweep: &mut Sweep<'_, B>) -> Result<()> {
    let Some(max) = sweep.shared.settings.retention.max_bytes_per_session else { return Ok(()) };
    let mut after = None;
    loop {
        let backend = &sweep.shared.backend;
        let sessions = backend.large_sessions(max.saturating_add(1), after, STEP).await?;
        let Some((last, _)) = sessions.last() else { return Ok(()) };
        after = Some(last.clone());
        for (session, bytes) in sessions {
            let excess = bytes.saturating_sub(max);
            let streams = Candidates::OfSession(session.clone());
            let left = shrink(sweep, &streams, excess).await?;
            shrink(sweep, &Candidates::TombstonesOf(session), left).await?;
        }
    }
}

/// Shrinks the store to `max_total_bytes`.
pub(super) async fn total<B: Backend>(sweep: &mut Sweep<'_, B>) -> Result<()> {
    let Some(max) = sweep.shared.settings.retention.max_total_bytes else { return Ok(()) };
    let excess = sweep.shared.backend.usage().await?.bytes.saturating_sub(max);
    let left = shrink(sweep, &Candidates::LeastRecent, excess).await?;
    shrink(sweep, &Candidates::Tombstones(Timestamp(i64::MAX)), left).await?;
    Ok(())
}

/// Removes from the streams of `which`, in their order, until `excess` bytes are gone; answers
/// how many could not be removed.
async fn shrink<B: Backend>(
    sweep: &mut Sweep<'_, B>,
    which: &Candidates,
    mut excess: u64,
) -> Result<u64> {
    let mut cursor = None;
    while excess > 0 {
        let now = sweep.shared.backend.now().await?;
        let (streams, next) = sweep.shared.backend.candidates(which, cursor, STEP).await?;
        let mut planned = Vec::new();
        let mut still = excess;
        for meta in &streams {
            if still == 0 {
                break;
            }
            if let Some((removal, bytes)) = plan(sweep, meta, now, still).await? {
                planned.push((removal, bytes));
                still = still.saturating_sub(bytes);
            }
        }
        let removals: Vec<_> = planned.iter().map(|(removal, _)| *removal).collect();
        let taken = sweep.remove(&streams, &removals).await?;
        for ((_, bytes), taken) in planned.iter().zip(taken) {
            excess = excess.saturating_sub(if taken.is_some() { *bytes } else { 0 });
        }
        if next.is_none() {
            break;
        }
        cursor = next;
    }
    Ok(excess)
}

/// What to remove of `meta` to get rid of up to `excess` bytes, and how many that frees.
async fn plan<B: Backend>(
    sweep: &Sweep<'_, B>,
    meta: &StreamMeta,
    now: Timestamp,
    excess: u64,
) -> Result<Option<(Removal, u64)>> {
    if meta.is_tombstone() {
        return Ok(Some((tombstone(meta), meta.own_bytes())));
    }
    if !meta.is_live(now, &sweep.shared.settings.retention) {
        return Ok(Some((whole(meta, now), meta.kept_bytes())));
    }
    if meta.kept_events() < 2 {
        return Ok(None);
    }
    match trim_to_fit(sweep, meta, excess).await {
        Err(Error::UnknownEvent) => Ok(None),
        planned => planned,
    }
}

/// The shortest prefix of a live stream that has `excess` bytes, or all but its newest event.
async fn trim_to_fit<B: Backend>(
    sweep: &Sweep<'_, B>,
    meta: &StreamMeta,
    excess: u64,
) -> Result<Option<(Removal, u64)>> {
    let backend = &*sweep.shared.backend;
    let enough = meta.removed_bytes + excess;
    let fits = search::first_where(backend, meta, |_, event| event.running_bytes >= enough).await?;
    let through = fits.min(meta.last_seq - 1);
    let removal = prefix(meta, through);
    let freed = search::running_bytes(backend, meta, through).await?;
    Ok(Some((removal, freed.saturating_sub(meta.removed_bytes))))
}
