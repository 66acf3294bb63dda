//! Where a sweep is free to choose, the reference looks at what the store chose, and checks that
//! it might.

use mcp_event_store_core::{Error, LeaseState, Retention};

use super::play::{Play, lease};
use super::read::with_scope;
use super::script::{Claim, session_at, stream_at};
use crate::failure::{Mismatch, Outcome, ensure, same};

/// Whether even the tombstone of `stream` is gone.
async fn is_gone(play: &Play<'_>, on: usize, stream: usize) -> Outcome<bool> {
    let store = play.store(on);
    let s = &play.reference.streams[stream];
    let id = play.reference.id((stream, s.events.len() - 1));
    let answer = with_scope(session_at(s.place), async |s| store.try_open(s, &id).await).await?;
    match answer {
        Ok(_) => Ok(false),
        Err(Error::UnknownEvent) => Ok(true),
        Err(other) => {
            let expected = "a replay after a stream's last event, or UnknownEvent";
            Err(Mismatch::new(expected, format!("{other:?}")))
        }
    }
}

/// Tombstones that were made in the same moment may be forgotten in any order. The reference has
/// forgotten as many of them as it had to.
pub(super) async fn adopt_tombstones(play: &mut Play<'_>, on: usize) -> Outcome {
    let now = play.reference.now;
    let evicted = std::mem::take(&mut play.reference.evicted);
    let is_tied = |s: &usize| play.reference.streams[*s].expired_at == Some(now);
    let evicted: Vec<_> = evicted.into_iter().filter(is_tied).collect();
    let left: Vec<_> = play.reference.rows().filter(is_tied).collect();
    if evicted.is_empty() || left.is_empty() {
        return Ok(());
    }
    let mut forgotten = 0;
    for s in evicted.iter().chain(&left).copied() {
        if is_gone(play, on, s).await? {
            forgotten += 1;
            play.reference.remove(play.reference.streams[s].place);
        } else {
            play.reference.restore(s);
        }
    }
    same("tombstones that had to make room", &evicted.len(), &forgotten)
}

/// T6 over everything, in a store whose order of last use is approximate: any streams may make
/// room, but no more of them than need be, and none that must not.
pub(super) async fn adopt_total(play: &mut Play<'_>, on: usize, r: &Retention) -> Outcome {
    let excess = play.reference.excess(r);
    let rows: Vec<_> = play.reference.rows().collect();
    let mut freed = Vec::new();
    let mut forgotten = 0;
    for s in rows.iter().copied() {
        let before = play.reference.streams[s].bytes();
        let was_tombstone = play.reference.streams[s].expired_at.is_some();
        adopt(play, on, s).await?;
        let stream = &play.reference.streams[s];
        freed.push(if stream.gone { before } else { before - stream.bytes() });
        forgotten += usize::from(stream.gone && was_tombstone);
    }
    let all: u64 = freed.iter().sum();
    let largest = freed.iter().max().copied().unwrap_or(0);
    let came = format!("{freed:?} bytes freed of {excess} too many");
    ensure(all == 0 || all - largest < excess, "no stream to make room in vain", &came)?;
    let left = play.reference.rows().map(|s| &play.reference.streams[s]);
    let could = left.filter(|s| s.expired_at.is_none()).any(|s| s.complete || s.kept().len() > 1);
    ensure(!(could && all < excess), "streams that make room until it is enough", &came)?;
    ensure(!(could && forgotten > 0), "tombstones to go last", &came)?;
    let tombstones = play.reference.usage().tombstones;
    ensure(all >= excess || tombstones == 0, "tombstones that make room", came)
}

/// Takes over what the store left of one stream.
async fn adopt(play: &mut Play<'_>, on: usize, stream: usize) -> Outcome {
    let (now, store) = (play.reference.now, play.store(on));
    let s = &play.reference.streams[stream];
    let name = stream_at(s.place);
    if s.expired_at.is_none() && s.complete {
        // Changes nothing: a complete stream has no lease.
        if store.renew(&name, &lease(Claim { owner: 0, hours: 1 })).await? == LeaseState::Gone {
            play.reference.streams[stream].expire(now);
        }
    } else if s.expired_at.is_none() {
        let kept = s.kept().len();
        let left = store.read(&name).await?.len();
        ensure(left <= kept && left >= kept.min(1), "a live stream with its newest event", left)?;
        play.reference.streams[stream].removed += kept - left;
    }
    if play.reference.streams[stream].expired_at.is_some() && is_gone(play, on, stream).await? {
        play.reference.remove(play.reference.streams[stream].place);
    }
    Ok(())
}
