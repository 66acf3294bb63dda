//! The session manager: what rmcp calls for every HTTP request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use mcp_event_store_core::{EventId, Readers, ReplayMode, Scope, SessionId, Store};
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::StreamableHttpServerConfig;
use rmcp::transport::common::server_side_http::{ServerSseMessage, SessionId as WireSessionId};
use rmcp::transport::streamable_http_server::SessionManager;
use rmcp::transport::streamable_http_server::session::{EventStore as RmcpEvents, RestoreOutcome};
use tokio::time::timeout;
use uuid::Uuid;

use crate::config::DurableSessionConfig;
use crate::connection::Connection;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::event_store::RmcpEventStore;
use crate::session::{Origin, Session};
use crate::session_map::SessionMap;
use crate::session_store::RmcpSessionStore;
use crate::transport::SessionTransport;
use crate::{keeper, owner_watch, request};

/// How long rmcp may take to let an ended session go: it gives handlers 5 s to finish.
const LINGER: Duration = Duration::from_secs(10);

/// A reconnecting client is the stream's one reader: whoever held it before is gone or ends now.
const TAKE_OVER: ReplayMode = ReplayMode::Follow { at_most: None, readers: Readers::TakeOver };

/// An rmcp session manager whose streams survive lost connections, restarts and crashes, and
/// whose sessions any instance on the same [`Store`] can serve.
pub struct DurableSessionManager {
    context: Arc<Context>,
    sessions: Arc<SessionMap>,
}

impl DurableSessionManager {
    /// A manager over `store` with the default settings.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self::with_config(store, DurableSessionConfig::default())
    }

    /// A manager over `store` with `config`.
    #[must_use]
    pub fn with_config(store: &Store, config: DurableSessionConfig) -> Self {
        Self { context: Arc::new(Context::new(store, config)), sessions: Arc::default() }
    }

    /// Fits rmcp's configuration to this manager: sessions are restored from, and by DELETE
    /// deleted in, the store, and `retry` is left to the stored priming events.
    #[must_use]
    pub fn configure(&self, mut config: StreamableHttpServerConfig) -> StreamableHttpServerConfig {
        let sessions = RmcpSessionStore::over(self.context.sessions.clone());
        config.session_store = Some(Arc::new(sessions));
        config.sse_retry = None;
        config
    }

    /// Ends every session on this instance and waits until what they sent is stored. Nothing is
    /// deleted: other instances go on with them. Call it before closing the store.
    pub async fn shutdown(&self) {
        self.end_all();
        self.context.tasks.close();
        self.context.tasks.wait().await;
    }

    /// How many sessions this instance holds in memory.
    #[must_use]
    pub fn sessions_here(&self) -> usize {
        self.sessions.all().len()
    }

    /// How many requests run on this instance, or have a response that is not stored yet.
    #[must_use]
    pub fn running_requests(&self) -> usize {
        self.context.running()
    }

    fn end_all(&self) {
        for session in self.sessions.all() {
            session.end();
        }
    }

    fn session(&self, id: &WireSessionId) -> Result<Arc<Session>> {
        let session = self.sessions.get(id).ok_or(Error::SessionNotFound)?;
        session.used();
        Ok(session)
    }

    /// `None` if the session is here already.
    fn start(&self, wire_id: WireSessionId, origin: Origin) -> Result<Option<SessionTransport>> {
        let id = SessionId::new(&*wire_id)?;
        let (session, inbound) = Session::start(&self.context, id, origin)?;
        if !self.sessions.insert(wire_id, session.clone()) {
            return Ok(None);
        }
        self.context.tasks.spawn(keeper::run(session.clone()));
        Ok(Some(SessionTransport::new(session, self.sessions.clone(), inbound)))
    }
}

impl SessionManager for DurableSessionManager {
    type Error = Error;
    type Transport = SessionTransport;

    async fn create_session(&self) -> Result<(WireSessionId, SessionTransport)> {
        let id: WireSessionId = Uuid::new_v4().to_string().into();
        let transport = self.start(id.clone(), Origin::New)?.ok_or(Error::SessionEnded)?;
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &WireSessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage> {
        self.session(id)?.initialize(message).await
    }

    /// A session that ends here is waited for: answered "yes" its requests would fail, and with
    /// "no" rmcp could not restore it beside the old one.
    async fn has_session(&self, id: &WireSessionId) -> Result<bool> {
        let Some(session) = self.sessions.get(id) else { return Ok(false) };
        if session.ended.is_cancelled() {
            let _ = timeout(LINGER, session.removed.cancelled()).await;
        }
        Ok(self.session(id).is_ok_and(|session| !session.ended.is_cancelled()))
    }

    /// Ends the session here, and here only. rmcp calls this on DELETE, and again whenever a
    /// session's handler has ended for whatever reason, which is just when another instance needs
    /// its events. Only after the handler is gone does the session leave the map: earlier it could
    /// be restored, and this late call would end the restored one.
    async fn close_session(&self, id: &WireSessionId) -> Result<()> {
        if let Some(session) = self.sessions.get(id) {
            session.end();
            if session.transport_gone() {
                self.sessions.remove(&session);
            }
        }
        Ok(())
    }

    async fn create_stream(
        &self,
        id: &WireSessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static> {
        let ClientJsonRpcMessage::Request(request) = message else {
            return Err(Error::UnexpectedMessage("a request"));
        };
        let session = self.session(id)?;
        Ok(self.context.tasks.spawn(request::open(session, request)).await?)
    }

    async fn accept_message(
        &self,
        id: &WireSessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<()> {
        let session = self.session(id)?;
        session.note_cancellation(&message);
        session.hand_over(message).await
    }

    /// Follows the standalone stream from its oldest kept event. It takes over, because a message
    /// must go to one stream only. It ends with the session: where that was deleted elsewhere,
    /// there is no stream that could end it.
    async fn create_standalone_stream(
        &self,
        id: &WireSessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static> {
        let session = self.session(id)?;
        let replay = self.context.events.read_stream(&session.standalone()?, TAKE_OVER).await?;
        let connection = Connection::new(replay, session.shows_blank()).using(session.in_use());
        Ok(connection.take_until(session.ended.clone().cancelled_owned()))
    }

    async fn resume(
        &self,
        id: &WireSessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static> {
        let session = self.session(id)?;
        let event_id = EventId::from(last_event_id.as_str());
        let scope = Scope::Session(&session.id);
        let replay = self.context.events.replay_events_after(scope, &event_id, TAKE_OVER).await?;
        tracing::debug!(stream = ?replay.stream, verdict = ?replay.verdict, "resumed");
        let watch = owner_watch::start(&self.context, replay.stream.clone());
        let connection = Connection::new(replay, session.shows_blank())
            .opening_with(last_event_id, self.context.config.retry)
            .using(session.in_use());
        Ok(match watch {
            Some(watch) => connection.watching_owner(watch),
            None => connection,
        })
    }

    /// rmcp has loaded the session's record; the rest of its state is in the store.
    async fn restore_session(&self, id: WireSessionId) -> Result<RestoreOutcome<SessionTransport>> {
        Ok(match self.start(id, Origin::Restored)? {
            Some(transport) => RestoreOutcome::Restored(transport),
            None => RestoreOutcome::AlreadyPresent,
        })
    }

    /// Serves requests without a session. rmcp names none when it asks this store, so it holds
    /// session-less streams only.
    fn event_store(&self) -> Option<Arc<dyn RmcpEvents>> {
        Some(Arc::new(RmcpEventStore::over(self.context.events.clone())))
    }
}

impl Drop for DurableSessionManager {
    fn drop(&mut self) {
        self.end_all();
    }
}

impl fmt::Debug for DurableSessionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableSessionManager").finish_non_exhaustive()
    }
}
