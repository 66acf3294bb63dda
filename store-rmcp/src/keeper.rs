//! Keeps a session's record and standalone stream from expiring while it is used here, and lets
//! it go when it is not.

use std::sync::Arc;
use std::time::Duration;

use mcp_event_store_core::{LeaseState, Result as StoreResult};
use tokio::time::{Instant, sleep};

use crate::patience::patiently;
use crate::session::Session;

/// Runs until the session ends.
pub(crate) async fn run(session: Arc<Session>) {
    let ended = session.ended.clone();
    ended.run_until_cancelled(keep(&session)).await;
}

async fn keep(session: &Session) {
    let mut record = if session.is_restored() { Record::Seen } else { Record::Unseen };
    let mut renewed = Instant::now();
    loop {
        sleep(period(session)).await;
        let last_used = session.last_used();
        if session.context.config.idle_timeout.is_some_and(|idle| last_used.elapsed() >= idle) {
            tracing::debug!(session = ?session.id, "idle: left to the store");
            return session.end();
        }
        if last_used > renewed && renewed.elapsed() >= session.context.config.lease_ttl {
            renewed = Instant::now();
            record = renew(session, record).await;
        }
        if record == Record::Gone {
            tracing::debug!(session = ?session.id, "deleted or expired elsewhere");
            return session.end();
        }
    }
}

/// How often to look: the lease's pace, and often enough not to miss the idle timeout by much.
fn period(session: &Session) -> Duration {
    let config = &session.context.config;
    config.idle_timeout.map_or(config.lease_ttl, |idle| config.lease_ttl.min(idle / 4))
}

/// What is known of the session's record. rmcp stores it some time after the session began, or
/// never, if it was not given a session store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Record {
    Unseen,
    Seen,
    Gone,
}

/// Renews the record and the standalone stream.
async fn renew(session: &Session, record: Record) -> Record {
    let primed_stream_is_gone = !renew_standalone(session).await;
    match session.context.sessions.touch(&session.id).await {
        Ok(true) => Record::Seen,
        Ok(false) if record == Record::Seen || primed_stream_is_gone => Record::Gone,
        _ => record,
    }
}

/// Whether the session was deleted or has expired, on whichever instance.
pub(crate) async fn is_gone(session: &Session) -> StoreResult<bool> {
    let context = &session.context;
    let has_record =
        patiently(context.config.store_timeout, || context.sessions.touch(&session.id));
    if has_record.await? {
        return Ok(false);
    }
    // One that began here has a record only if rmcp stores any, but it has its stream.
    Ok(session.is_restored() || !renew_standalone(session).await)
}

/// `false` if the standalone stream is not there: with its session it was deleted, since nothing
/// else removes a live stream.
async fn renew_standalone(session: &Session) -> bool {
    let Ok(stream) = session.standalone() else { return true };
    let lease = session.context.standalone_lease(&session.id);
    !matches!(session.context.events.renew(&stream, &lease).await, Ok(LeaseState::Gone))
}
