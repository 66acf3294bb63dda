//! Reads, replays and look-ups of a script.

use mcp_event_store_core::{Error, EventId, ReplayMode, Scope, Verdict};

use super::play::{Play, agree, is_expired};
use super::reference::Place;
use super::script::{Known, SESSIONS, session_at, session_id, stream_at};
use crate::disguise::altered;
use crate::failure::{Mismatch, Outcome, same};
use crate::instance::within;
use futures_util::TryStreamExt;

/// A read of what is stored at `place`.
pub(super) async fn read(play: &mut Play<'_>, on: usize, place: usize) -> Outcome {
    let store = play.store(on);
    let name = stream_at(place);
    let replay = store.events.read_stream(&name, ReplayMode::Stored);
    let replay = within(store.patience, "a verdict", replay).await??;
    same("the stream of a read", &name, &replay.stream)?;
    let events: Vec<_> =
        within(store.patience, "the end of a read", replay.events.try_collect()).await??;
    let r = &play.open[on].settings.retention;
    let now = play.reference.now;
    let Some(stream) = play.reference.at(place, r) else {
        same("the events of an absent stream", &0, &events.len())?;
        return same("the verdict on an absent stream", &Verdict::CaughtUp, &replay.verdict);
    };
    let first = play.reference.streams[stream].hidden(now, r);
    let all = play.reference.streams[stream].events.len();
    same("the verdict of a read", &Verdict::of((all - first) as u64), &replay.verdict)?;
    play.same_events(stream, first, &events)
}

/// The scope that `known` is presented in: a session's number, or none.
pub(super) fn scope_of(known: Known, own: Option<usize>) -> Option<usize> {
    match known.scope {
        None => own,
        Some(scope) => Some(usize::from(scope)).filter(|scope| *scope < SESSIONS.len()),
    }
}

/// A look-up and a replay after an ID that a script chose.
pub(super) async fn replay(play: &mut Play<'_>, on: usize, known: Known) -> Outcome {
    if play.reference.known.is_empty() {
        return hostile(play, on, EventId::new("nothing is stored"), None, false).await;
    }
    let event = play.reference.known[usize::from(known.event) % play.reference.known.len()];
    let own = session_at(play.reference.streams[event.0].place);
    let scope = scope_of(known, own);
    match known.altered {
        None => replay_in(play, on, event, scope).await,
        Some(which) => {
            let mut near: Vec<_> = altered(play.reference.id(event).as_str()).into_iter().collect();
            near.sort_unstable();
            let id = EventId::new(near.swap_remove(usize::from(which) % near.len()));
            hostile(play, on, id, Some(event), scope == own).await
        }
    }
}

/// A look-up and a replay after an event, in its own scope.
pub(super) async fn replay_known(play: &mut Play<'_>, on: usize, event: (usize, usize)) -> Outcome {
    let own = session_at(play.reference.streams[event.0].place);
    replay_in(play, on, event, own).await
}

async fn replay_in(
    play: &mut Play<'_>,
    on: usize,
    event: (usize, usize),
    scope: Option<usize>,
) -> Outcome {
    let store = play.store(on);
    let retention = play.settings(on).retention;
    let id = play.reference.id(event);
    let place = play.reference.streams[event.0].place;
    let found = play.reference.find(event, session_at(place), &retention);
    let name = (found == Place::Good).then(|| stream_at(place));
    same("a look-up", &name, &store.look_up(&id).await?)?;

    let answer = with_scope(scope, async |scope| store.try_open(scope, &id).await).await?;
    let replay = match (play.reference.find(event, scope, &retention), answer) {
        (Place::Good, Ok(replay)) => replay,
        (Place::Unknown, Err(Error::UnknownEvent)) => return Ok(()),
        (Place::Expired { hidden }, Err(error))
            if is_expired(&error, place, &play.reference.id((event.0, hidden - 1))) =>
        {
            return Ok(());
        }
        (expected, answer) => {
            let what = format!("a replay after event {event:?} of {:?}", stream_at(place));
            return Err(Mismatch::new(format!("{what}: {expected:?}"), format!("{answer:?}")));
        }
    };
    same("the stream of a replay", &stream_at(place), &replay.stream)?;
    let after = play.reference.streams[event.0].events.len() - event.1 - 1;
    same("the verdict of a replay", &Verdict::of(after as u64), &replay.verdict)?;
    let events: Vec<_> =
        within(store.patience, "the end of a replay", replay.events.try_collect()).await??;
    play.same_events(event.0, event.1 + 1, &events)
}

/// Calls `ask` with the scope of `session`.
pub(super) async fn with_scope<T>(
    session: Option<usize>,
    ask: impl AsyncFnOnce(Scope<'_>) -> T,
) -> T {
    match session {
        Some(session) => ask(Scope::Session(&session_id(session))).await,
        None => ask(Scope::Sessionless).await,
    }
}

/// A text that was never given out, made of the ID of `near`: unknown, in whatever scope. Below
/// the first kept event of its stream no one can tell, and it may be expired (P10).
async fn hostile(
    play: &mut Play<'_>,
    on: usize,
    id: EventId,
    near: Option<(usize, usize)>,
    own_scope: bool,
) -> Outcome {
    let store = play.store(on);
    let r = play.settings(on).retention;
    let found = store.look_up(&id).await?;
    same("a look-up of an ID that was never given out", &None, &found)?;
    let answer =
        with_scope(play_scope(play, near, own_scope), async |s| store.try_open(s, &id).await)
            .await?;
    let has_hidden = near.is_some_and(|(stream, _)| {
        let s = &play.reference.streams[stream];
        own_scope && !s.is_forgotten(play.reference.now, &r) && s.hidden(play.reference.now, &r) > 1
    });
    if has_hidden && matches!(answer, Err(Error::EventsExpired { .. })) {
        return Ok(());
    }
    let unknown = Err::<(), _>(super::reference::Refusal::UnknownEvent);
    agree("a replay after an ID that was never given out", &unknown, answer).map(|_| ())
}

/// The scope of `near`, or another one.
fn play_scope(play: &Play<'_>, near: Option<(usize, usize)>, own_scope: bool) -> Option<usize> {
    let own = near.and_then(|(stream, _)| session_at(play.reference.streams[stream].place));
    match (own_scope, own) {
        (true, own) => own,
        (false, None) => Some(0),
        (false, Some(_)) => None,
    }
}
