//! What a tool may do with its client's SSE connections (SEP-1699).

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mcp_event_store_core::{Error as StoreError, NewEvent};

use crate::error::{Error, Result};
use crate::session::Session;
use crate::writer::{WeakWriterHandle, WriterHandle};

/// Ends SSE connections whose clients are to come back later.
///
/// Every request's extensions hold one, if its session can be resumed: its client agreed on
/// protocol 2025-11-25 or later, and [`DurableSessionManager`](crate::DurableSessionManager)
/// serves it. Nothing is lost by it. What the tool sends in the meantime is stored, and the client
/// gets it when it returns, from whichever instance it reaches.
///
/// ```
/// use std::time::Duration;
///
/// use mcp_event_store_rmcp::StreamControl;
/// use rmcp::{RoleServer, service::RequestContext};
///
/// /// Keeps no connection open while the tool works for an hour.
/// async fn hang_up(context: &RequestContext<RoleServer>) -> Result<(), mcp_event_store_rmcp::Error> {
///     match context.extensions.get::<StreamControl>() {
///         Some(control) => control.close_stream(Duration::from_mins(1)).await,
///         None => Ok(()), // an older client waits on its connection
///     }
/// }
/// ```
#[derive(Clone)]
pub struct StreamControl {
    session: Weak<Session>,
    /// Weak, because a handler that keeps its context must not keep its stream from ending.
    own: WeakWriterHandle,
    retry: Duration,
}

impl StreamControl {
    /// `None` if the session's client does not know events without a message.
    pub(crate) fn new(session: &Arc<Session>, own: &WriterHandle) -> Option<Self> {
        session.shows_blank().then(|| Self {
            session: Arc::downgrade(session),
            own: own.downgrade(),
            retry: session.context.config.retry,
        })
    }

    /// Ends the connection on which this request's client waits, wherever that is. The client
    /// returns after `retry`, or after [`DurableSessionConfig::retry`] if that is `None`.
    ///
    /// Returns once the order is stored, after everything that was sent before. Without a
    /// connection at the moment it has no effect on the next one. Repeatable.
    ///
    /// [`DurableSessionConfig::retry`]: crate::DurableSessionConfig::retry
    ///
    /// # Errors
    /// [`Error::Store`] if the request was answered or cancelled, or if the store refuses.
    pub async fn close_stream(&self, retry: impl Into<Option<Duration>>) -> Result<()> {
        let own = self.own.upgrade().ok_or(StoreError::StreamComplete)?;
        own.enqueue(self.marker(retry.into())).wait().await
    }

    /// Ends the session's standalone connection, the one of a GET without `Last-Event-ID`, as
    /// [`close_stream`](Self::close_stream) ends the request's.
    ///
    /// # Errors
    /// [`Error::SessionEnded`] if the session has left this instance, [`Error::Store`] if the
    /// store refuses.
    pub async fn close_standalone_stream(&self, retry: impl Into<Option<Duration>>) -> Result<()> {
        let session = self.session.upgrade().ok_or(Error::SessionEnded)?;
        let marker = self.marker(retry.into());
        let stored = session.with_router(|r| r.standalone().map(|w| w.enqueue(marker)))?;
        stored.wait().await
    }

    /// A message-less event with `retry` that is not its stream's first.
    fn marker(&self, retry: Option<Duration>) -> NewEvent {
        NewEvent::priming(retry.unwrap_or(self.retry))
    }
}

impl fmt::Debug for StreamControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamControl").finish_non_exhaustive()
    }
}
