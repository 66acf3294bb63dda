//! P7: whose ID it is.

use std::time::Duration;

use mcp_event_store_core::{EventId, ReplayMode, Scope, SessionId, StreamRef};

use crate::context::{Ctx, keeping};
use crate::failure::{Outcome, same};
use crate::instance::Instance;
use crate::need::Need;
use crate::tools::{lone, session, stream};

/// Sessions that ought not to see each other's events, and one that does not exist.
fn sessions() -> Vec<SessionId> {
    ["one", "two", "on", "onee", "ONE", "one/a", "a", "%", "*", "never seen"].map(session).into()
}

/// Every scope but the stream's own.
fn foreign<'a>(to: &StreamRef, sessions: &'a [SessionId]) -> Vec<Scope<'a>> {
    let all = sessions.iter().map(Scope::Session).chain([Scope::Sessionless]);
    all.filter(|scope| *scope != to.scope()).collect()
}

async fn unknown_elsewhere(store: &Instance, one: &StreamRef, id: &EventId) -> Outcome {
    let sessions = sessions();
    let never = EventId::new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    for scope in foreign(one, &sessions) {
        let (alien, none) =
            (store.try_replay(scope, id).await?, store.try_replay(scope, &never).await?);
        let text = |answer| format!("{answer:?}");
        let (alien, none) = (alien.map_err(|e| e.to_string()), none.map_err(|e| e.to_string()));
        same("an answer like that for an ID that never existed", &text(none), &text(alien))?;
        store.unknown(scope, id, format!("an ID of {:?} in {scope:?}", one.session)).await?;
    }
    Ok(())
}

pub(crate) async fn p7_an_id_from_another_scope_is_unknown(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let streams = [stream("one", "a"), stream("two", "a"), stream("on", "ea"), lone("a")];
    for one in &streams {
        let appended = store.fill(one, 3).await?;
        for id in &appended {
            unknown_elsewhere(&store, one, id).await?;
        }
        same("its own scope", &2, &store.replay(one, &appended[0]).await?.len())?;
        if ctx.offers(Need::Follow) {
            let sessions = sessions();
            for scope in foreign(one, &sessions) {
                let answer = store.try_follow(scope, &appended[0], ReplayMode::follow()).await?;
                let refused = matches!(answer, Err(mcp_event_store_core::Error::UnknownEvent));
                same("a follow from another scope is unknown", &true, &refused)?;
            }
        }
    }
    Ok(())
}

pub(crate) async fn p7_an_expired_id_from_another_scope_is_unknown(ctx: &Ctx) -> Outcome {
    let settings = keeping(|r| {
        r.max_events_per_stream = Some(2);
        r.stream_ttl = Some(Duration::from_secs(60));
        r.tombstone_ttl = Duration::from_secs(1000);
    });
    let store = ctx.open_with(&settings).await?;
    for one in [stream("one", "a"), lone("a")] {
        let appended = store.fill(&one, 6).await?;
        for id in &appended {
            unknown_elsewhere(&store, &one, id).await?;
        }
        ctx.pass(70);
        for id in &appended {
            unknown_elsewhere(&store, &one, id).await?;
        }
    }
    Ok(())
}
