//! A client that comes back, and one that listens: connections to streams that are there already.

use std::sync::Arc;

use mcp_event_store_core::{Error as StoreError, EventId, Readers, ReplayMode, Scope};

use crate::connection::Connection;
use crate::error::Result;
use crate::patience::patiently;
use crate::session::Session;
use crate::{failure, keeper, owner_watch, stream_name};

/// A reconnecting client is the stream's one reader: whoever held it before is gone or ends now.
const TAKE_OVER: ReplayMode = ReplayMode::Follow { at_most: None, readers: Readers::TakeOver };

/// Follows a stream after `last_event_id`, whichever instance runs its request.
pub(crate) async fn after(session: &Arc<Session>, last_event_id: String) -> Result<Connection> {
    let context = &session.context;
    let id = EventId::from(last_event_id.as_str());
    let scope = Scope::Session(&session.id);
    let replay = patiently(context.config.store_timeout, || {
        context.events.replay_events_after(scope, &id, TAKE_OVER)
    });
    let replay = match replay.await {
        Ok(replay) => replay,
        Err(error) => return refused(last_event_id, error),
    };
    tracing::debug!(stream = ?replay.stream, verdict = ?replay.verdict, "resumed");
    let watch = owner_watch::start(context, replay.stream.clone());
    let connection = Connection::follow(session, replay);
    Ok(connection.opening_with(last_event_id, context.config.retry).watching_owner(watch))
}

/// A request whose events expired gets its answer, an error, where the client waits for it.
fn refused(last_event_id: String, error: StoreError) -> Result<Connection> {
    if let StoreError::EventsExpired { stream, resume_after } = &error
        && let Some(request) = stream_name::request_of(&stream.stream)
    {
        let answer = failure::expired(request, resume_after);
        return Ok(Connection::answer(last_event_id, answer));
    }
    Err(error.into())
}

/// Follows the standalone stream from its oldest kept event. It takes over, because a message must
/// go to one stream only.
pub(crate) async fn standalone(session: &Arc<Session>) -> Result<Connection> {
    let context = &session.context;
    let stream = session.standalone()?;
    let replay =
        patiently(context.config.store_timeout, || context.events.read_stream(&stream, TAKE_OVER));
    let replay = replay.await?;
    // A later deletion ends what follows the stream. After an earlier one it would wait for a
    // stream that never comes.
    if keeper::is_gone(session).await? {
        session.end();
        return Err(StoreError::SessionDeleted.into());
    }
    Ok(Connection::follow(session, replay))
}
