//! Leases, deletions, records, sweeps and reopenings of a script.

use mcp_event_store_core::{Error, LeaseState, RawJson, Settings};

use super::play::{DRIFT, Open, Play, agree, lease, owner};
use super::script::{Claim, session_id, stream_at};
use crate::failure::{Mismatch, Outcome, ensure, same};
use crate::instance::within;
use crate::need::Need;

pub(super) async fn renew(play: &mut Play<'_>, on: usize, place: usize, claim: Claim) -> Outcome {
    let store = play.store(on);
    let (name, asked) = (stream_at(place), lease(claim));
    let asked = store.events.renew(&name, &asked);
    let answer = within(store.patience, "an answer to renew", asked).await?;
    let r = &play.open[on].settings.retention;
    let expected = play.reference.renew(place, &owner(claim), lease(claim).ttl, r);
    let came = agree("a renewal", &expected, answer)?;
    match (expected, came) {
        (Ok(LeaseState::Other { remaining: expected }), Some(LeaseState::Other { remaining })) => {
            let fits = remaining <= expected && expected.saturating_sub(remaining) < DRIFT;
            ensure(fits, format!("another's lease for {expected:?}"), format!("{remaining:?}"))
        }
        (Ok(expected), Some(came)) => same("the lease", &expected, &came),
        _ => Ok(()),
    }
}

pub(super) async fn delete_stream(play: &mut Play<'_>, on: usize, place: usize) -> Outcome {
    let deleted = play.store(on).delete_stream(&stream_at(place)).await?;
    same("what was deleted", &play.reference.delete_stream(place), &deleted)
}

pub(super) async fn delete_session(play: &mut Play<'_>, on: usize, session: usize) -> Outcome {
    let store = play.store(on);
    let id = session_id(session);
    // Both are the same operation.
    let deleted = if session == 0 {
        within(store.patience, "the end of a deletion", store.sessions()?.delete(&id)).await??
    } else {
        store.delete_session(&id).await?
    };
    same("what was deleted", &play.reference.delete_session(session), &deleted)
}

pub(super) async fn store_record(
    play: &mut Play<'_>,
    on: usize,
    session: usize,
    bytes: u32,
) -> Outcome {
    let store = play.store(on);
    let name = format!("record {} ", play.reference.now);
    let fill = usize::try_from(bytes).expect("some bytes").saturating_sub(name.len() + 2);
    let record = format!("\"{name}{}\"", "x".repeat(fill));
    let json = RawJson::parse(record.clone())?;
    let id = session_id(session);
    let stored = store.sessions()?.store(&id, json);
    let answer = within(store.patience, "an answer to store", stored).await?;
    let expected = play.reference.store_record(session, record, &play.open[on].settings);
    agree("a record", &expected, answer).map(|_| ())
}

pub(super) async fn load_record(play: &mut Play<'_>, on: usize, session: usize) -> Outcome {
    let store = play.store(on);
    let id = session_id(session);
    let loaded = store.sessions()?.load(&id);
    let loaded = within(store.patience, "an answer to load", loaded).await??;
    let expected = play.reference.use_record(session, &play.open[on].settings.retention);
    same("the record", &expected.as_deref(), &loaded.as_ref().map(RawJson::get))
}

pub(super) async fn touch_record(play: &mut Play<'_>, on: usize, session: usize) -> Outcome {
    let store = play.store(on);
    let id = session_id(session);
    let touched = store.sessions()?.touch(&id);
    let touched = within(store.patience, "an answer to touch", touched).await??;
    let expected = play.reference.use_record(session, &play.open[on].settings.retention);
    same("whether there is a record", &expected.is_some(), &touched)
}

pub(super) async fn sweep(play: &mut Play<'_>, on: usize) -> Outcome {
    play.store(on).sweep().await?;
    let r = play.settings(on).retention;
    play.reference.sweep(&r);
    if play.reference.excess(&r) > 0 && !play.ctx.recency_is_exact() {
        super::choice::adopt_total(play, on, &r).await?;
    } else {
        play.reference.sweep_total(&r);
    }
    super::choice::adopt_tombstones(play, on).await?;
    play.reference.forget(&r);
    Ok(())
}

/// Closes or drops an instance, and opens it again.
pub(super) async fn reopen(
    play: &mut Play<'_>,
    on: usize,
    close: bool,
    settings: Option<Settings>,
) -> Outcome {
    if !play.ctx.offers(Need::Reopen) {
        return Ok(());
    }
    let settings = settings.unwrap_or_else(|| play.settings(on));
    let Open { store, .. } = play.open.remove(on);
    if close {
        let maintenance = store.maintenance()?;
        within(store.patience, "the end of closing", maintenance.close()).await??;
        let again = within(store.patience, "the end of closing", maintenance.close()).await?;
        ensure(again.is_ok(), "closing twice to be no error", format!("{again:?}"))?;
        let read = store.try_open(mcp_event_store_core::Scope::Sessionless, &"x".into()).await?;
        if !matches!(read, Err(Error::Closed)) {
            return Err(Mismatch::new("Closed, after closing", format!("{read:?}")));
        }
        play.closed(on).await?;
    }
    play.readers.retain(|reader| reader.on != on);
    drop(store);
    let store = play.ctx.open_with(&settings).await?;
    play.open.insert(on, Open { store, settings });
    Ok(())
}
