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

/// What was freed to make room.
#[derive(Debug, Default)]
struct Freed {
    /// Bytes of events, by stream.
    events: Vec<u64>,
    /// Bytes of tombstones that could have stayed.
    tombstones: Vec<u64>,
    /// Bytes of tombstones whose time was over in any case.
    overdue: u64,
}

/// T6 over everything, in a store whose order of last use is approximate: any streams may make
/// room, but no more of them than need be, and none that must not.
pub(super) async fn adopt_total(play: &mut Play<'_>, on: usize, r: &Retention) -> Outcome {
    let excess = play.reference.excess(r);
    let rows: Vec<_> = play.reference.rows().collect();
    let mut freed = Freed::default();
    for s in rows.iter().copied() {
        let kept = play.reference.streams[s].kept_bytes();
        let overdue = play.reference.streams[s].is_forgotten(play.reference.now, r);
        adopt(play, on, s).await?;
        let stream = &play.reference.streams[s];
        freed.events.push(kept - stream.kept_bytes());
        match (stream.gone, overdue) {
            (true, true) => freed.overdue += stream.own_bytes(),
            (true, false) => freed.tombstones.push(stream.own_bytes()),
            (false, _) => {}
        }
    }
    let left = play.reference.rows().map(|s| &play.reference.streams[s]);
    let could = left.filter(|s| s.expired_at.is_none()).any(|s| s.complete || s.kept().len() > 1);
    let tombstones = play.reference.usage().tombstones;
    freed.fit(excess, could, tombstones > 0)
}

impl Freed {
    /// Fails unless it had to be so much. Streams, or tombstones, that could make more room are
    /// left or not.
    fn fit(&self, excess: u64, streams_left: bool, tombstones_left: bool) -> Outcome {
        let came = format!("{self:?} of {excess} bytes too many");
        let events: u64 = self.events.iter().sum();
        let tombstones: u64 = self.tombstones.iter().sum();
        let still = excess.saturating_sub(events);
        ensure(needed(&self.events, excess), "no stream to make room in vain", &came)?;
        ensure(!streams_left || still == 0, "streams that make room until it is enough", &came)?;
        ensure(needed(&self.tombstones, still), "tombstones to go last, if they must", &came)?;
        let enough = tombstones + self.overdue >= still;
        ensure(enough || !tombstones_left, "tombstones that make room", came)
    }
}

/// Whether none of `parts` could have been spared.
fn needed(parts: &[u64], of: u64) -> bool {
    let all: u64 = parts.iter().sum();
    all == 0 || all - parts.iter().max().copied().unwrap_or(0) < of
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

#[cfg(test)]
mod tests {
    use super::*;

    fn freed(events: &[u64], tombstones: &[u64], overdue: u64) -> Freed {
        Freed { events: events.to_vec(), tombstones: tombstones.to_vec(), overdue }
    }

    #[test]
    fn room_is_made_by_as_little_as_suffices() {
        freed(&[100, 200, 0], &[], 0).fit(250, true, true).unwrap();
        freed(&[100, 200], &[259], 0).fit(400, false, true).unwrap();
        freed(&[100], &[], 259).fit(300, false, true).unwrap();
        freed(&[100], &[259], 0).fit(1000, false, false).unwrap();
        freed(&[0], &[], 259).fit(0, true, true).unwrap();
    }

    #[test]
    fn too_much_and_too_little_are_found() {
        freed(&[100, 200], &[], 0).fit(90, true, true).unwrap_err();
        freed(&[100], &[], 0).fit(250, true, true).unwrap_err();
        freed(&[300], &[259], 0).fit(250, true, true).unwrap_err();
        freed(&[100], &[259, 259], 0).fit(300, false, true).unwrap_err();
        freed(&[100], &[], 0).fit(300, false, true).unwrap_err();
    }
}
