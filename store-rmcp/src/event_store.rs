//! rmcp's `EventStore` over ours, for streams without a session.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use mcp_event_store_core::{EventStore, NewEvent, ReplayMode, Scope, Store, StreamId, StreamRef};
use rmcp::model::ServerJsonRpcMessage;
use rmcp::transport::common::server_side_http::ServerSseMessage;
use rmcp::transport::streamable_http_server::session::{
    EventId, EventStore as RmcpEvents, EventStoreError, EventStream,
};

use crate::connection::Connection;
use crate::{request_scope, wire};

/// The name that rmcp's `LocalSessionManager` gives a session's standalone stream ends so. It
/// carries stray responses too, and must not be completed by one.
const COMMON: &str = ":common";

/// A drop-in for rmcp's `LocalSessionManager::with_event_store`, and what serves requests without
/// a session: their responses can be resumed, and only theirs.
///
/// rmcp asks such a store without naming a session, so that with `LocalSessionManager` an event
/// ID of one session resumes in another. [`DurableSessionManager`](crate::DurableSessionManager)
/// keeps sessions apart.
#[derive(Clone)]
pub struct RmcpEventStore {
    events: Arc<dyn EventStore>,
}

impl RmcpEventStore {
    /// Over the session-less streams of `store`.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self { events: store.events() }
    }

    pub(crate) fn over(events: Arc<dyn EventStore>) -> Self {
        Self { events }
    }
}

impl fmt::Debug for RmcpEventStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RmcpEventStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl RmcpEvents for RmcpEventStore {
    async fn store_event(
        &self,
        stream_id: &str,
        event: &ServerSseMessage,
    ) -> Result<EventId, EventStoreError> {
        let message = event.message.as_deref();
        let answers = matches!(
            message,
            Some(ServerJsonRpcMessage::Response(_) | ServerJsonRpcMessage::Error(_))
        );
        let new = NewEvent {
            message: message.map(wire::encode).transpose()?,
            retry: event.retry,
            completes_stream: answers && !stream_id.ends_with(COMMON),
            lease: None,
        };
        let stream = StreamRef::sessionless(StreamId::new(stream_id)?);
        let id = self.events.store_event(&stream, new).await?;
        Ok(id.as_str().to_owned())
    }

    /// Replays, then follows until the response.
    async fn replay_events_after(
        &self,
        last_event_id: &str,
    ) -> Result<EventStream, EventStoreError> {
        let id = last_event_id.into();
        let mode = ReplayMode::follow();
        let replay = self.events.replay_events_after(Scope::Sessionless, &id, mode).await;
        Ok(Box::pin(Connection::sessionless(replay.inspect_err(request_scope::refuse_for)?)))
    }
}
