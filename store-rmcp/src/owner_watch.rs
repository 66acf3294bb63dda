//! Ends the stream of a request whose server died.
//!
//! An instance that serves a resumed connection of a stream waits for its owner's lease to lapse.
//! If it does, exactly one instance takes it, and answers the request with an error: otherwise
//! the client would wait for ever.

use std::sync::Arc;
use std::time::Duration;

use mcp_event_store_core::{Error, LeaseState, NewEvent, Result, StreamRef};
use rmcp::model::RequestId;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::context::Context;
use crate::{failure, stream_name, wire};

/// Between two tries to reach a store that is away.
const PAUSE: Duration = Duration::from_secs(1);

/// A lease about to lapse is not asked about without a pause.
const LEAST: Duration = Duration::from_millis(20);

/// Watches the owner of `stream` until the guard is dropped; `None` if it is no request's stream.
pub(crate) fn start(context: &Arc<Context>, stream: StreamRef) -> Option<DropGuard> {
    let request = stream_name::request_of(&stream.stream)?;
    let stop = CancellationToken::new();
    let watch = watch(context.clone(), stream, request);
    let stopped = stop.clone();
    tokio::spawn(async move { stopped.run_until_cancelled(watch).await });
    Some(stop.drop_guard())
}

async fn watch(context: Arc<Context>, stream: StreamRef, request: RequestId) {
    let lease = context.watch_lease();
    loop {
        match context.events.renew(&stream, &lease).await {
            Ok(LeaseState::Other { remaining }) => sleep(remaining.max(LEAST)).await,
            Ok(LeaseState::Held) => match end(&context, &stream, request.clone()).await {
                Err(error) if may_pass(&error) => sleep(PAUSE).await,
                _ => return,
            },
            Err(error) if may_pass(&error) => sleep(PAUSE).await,
            Ok(LeaseState::Complete | LeaseState::Gone) | Err(_) => return,
        }
    }
}

/// Whether to look again. An end that may be stored already does no harm: a second is refused.
fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Unavailable { .. } | Error::OutcomeUnknown { .. })
}

async fn end(context: &Context, stream: &StreamRef, request: RequestId) -> Result<()> {
    tracing::info!(?stream, "its owner's lease has lapsed: answering with an error");
    let message = wire::encode(&failure::interrupted(request))?;
    context.events.store_event(stream, NewEvent::message(message).completing()).await.map(drop)
}
