//! The session manager: what rmcp calls for every HTTP request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use mcp_event_store_core::{SessionId, Store};
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
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
use crate::refusal::Refusal;
use crate::session::{Origin, Session};
use crate::session_map::SessionMap;
use crate::session_store::RmcpSessionStore;
use crate::transport::SessionTransport;
use crate::{keeper, request, request_scope, resume};

/// How long rmcp may take to let an ended session go: it gives handlers 5 s to finish.
const LINGER: Duration = Duration::from_secs(10);

/// An rmcp session manager whose streams survive lost connections, restarts and crashes, and
/// whose sessions any instance on the same [`Store`] can serve.
pub struct DurableSessionManager {
    pub(crate) context: Arc<Context>,
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
        let context = Arc::new(Context::new(store, config));
        Self { context, sessions: Arc::default() }
    }

    /// rmcp's view of the sessions in the store.
    pub(crate) fn session_store(&self) -> RmcpSessionStore {
        RmcpSessionStore::of(&self.context, &self.sessions)
    }

    /// Sends clients to other instances, before this one is stopped: every connection ends as soon
    /// as its client can come back for the rest, with the time after which it is to try. Requests
    /// run on, for `at_most` or until all are answered; other instances follow them.
    ///
    /// Returns how many still run. Call it before the cancellation token of rmcp's configuration
    /// is cancelled, once the load balancer sends new connections elsewhere.
    pub async fn drain(&self, at_most: Duration) -> usize {
        self.context.draining.cancel();
        let _ = timeout(at_most, self.context.nothing_runs()).await;
        self.running_requests()
    }

    /// Ends every session on this instance and waits until what they sent is stored. Nothing is
    /// deleted: other instances go on with them. No session begins here any more. Call it before
    /// closing the store.
    ///
    /// While the store is away it waits for `store_timeout` and then `lease_ttl` at most: then other
    /// instances may end what is left.
    pub async fn shutdown(&self) {
        self.context.stopping.cancel();
        // It cancels handlers at once, where a session that we end waits for them first.
        if !self.context.services_are_cancelled() {
            self.end_all();
        }
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

    /// The session, if the caller may use it.
    fn session(&self, id: &str) -> Result<Arc<Session>> {
        let session = self.sessions.get(id).ok_or(Error::SessionNotFound)?;
        if !session.is_open_to(&request_scope::caller()) {
            return Err(Error::NotYours);
        }
        session.used();
        Ok(session)
    }

    /// `None` if the session is here already.
    fn start(&self, wire_id: WireSessionId, origin: Origin) -> Result<Option<SessionTransport>> {
        let id = SessionId::new(&*wire_id)?;
        let owner = request_scope::caller().into_owner();
        let (session, inbound) = Session::start(&self.context, id, origin, owner)?;
        if !self.sessions.insert(wire_id, session.clone()) {
            return Ok(None);
        }
        let transport = SessionTransport::new(session.clone(), self.sessions.clone(), inbound);
        // `shutdown` either finds the session in the map, or had begun before this. It would wait
        // for a session that nobody ends.
        if self.context.stopping.is_cancelled() {
            return Err(Error::SessionEnded);
        }
        self.context.tasks.spawn(keeper::run(session));
        Ok(Some(transport))
    }

    /// A session that ends here is waited for: answered "yes" its requests would fail, and with
    /// "no" rmcp could not restore it beside the old one.
    async fn is_alive(&self, session: &Session) -> Result<bool> {
        if session.ended.is_cancelled() {
            let _ = timeout(LINGER, session.removed.cancelled()).await;
        }
        match self.session(session.id.as_str()) {
            Ok(session) => Ok(!session.ended.is_cancelled()),
            Err(Error::SessionNotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the session is here; if not, this request may restore it.
    async fn is_here(&self, id: &WireSessionId) -> Result<bool> {
        if let Some(session) = self.sessions.get(id)
            && session.is_ready()
            && !session.ended.is_cancelled()
            && self.is_alive(&session).await?
        {
            return Ok(true);
        }
        self.is_restored(id).await
    }

    /// `true` if another request restores the session meanwhile; else this one may.
    async fn is_restored(&self, id: &WireSessionId) -> Result<bool> {
        let turn = self.sessions.turn(id).await;
        if let Some(session) = self.sessions.get(id)
            && self.is_alive(&session).await?
        {
            return Ok(true);
        }
        let here = self.may_be_restored(id).await?;
        request_scope::keep(turn);
        Ok(here)
    }

    /// `false`, for rmcp to look for the session in the store; an error if it is another's, or if
    /// the store is away. rmcp lets all who ask for one session wait for the first, and whatever
    /// that fails by, it tells the others that there is no such session.
    async fn may_be_restored(&self, id: &str) -> Result<bool> {
        if let Ok(id) = SessionId::new(id)
            && !self.session_store().is_open_to(&request_scope::caller(), &id).await?
        {
            return Err(Error::NotYours);
        }
        Ok(false)
    }

    /// A request's stream, opened in a task of its own.
    async fn open(&self, id: &WireSessionId, message: ClientJsonRpcMessage) -> Result<Connection> {
        let ClientJsonRpcMessage::Request(request) = message else {
            return Err(Error::UnexpectedMessage("a request"));
        };
        request_scope::note_request(&request.id);
        let session = self.session(id)?;
        Ok(self.context.tasks.spawn(request::open(session, request)).await?)
    }
}

/// Notes for the client why it gets no stream: rmcp would tell it nothing, or in text.
fn telling<T>(outcome: Result<T>) -> Result<T> {
    outcome.inspect_err(|error| request_scope::refuse(Refusal::for_error(error)))
}

impl SessionManager for DurableSessionManager {
    type Error = Error;
    type Transport = SessionTransport;

    async fn create_session(&self) -> Result<(WireSessionId, SessionTransport)> {
        let id: WireSessionId = Uuid::new_v4().to_string().into();
        let started = telling(self.start(id.clone(), Origin::New))?;
        let transport = started.ok_or(Error::SessionEnded)?;
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &WireSessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage> {
        if let ClientJsonRpcMessage::Request(request) = &message {
            request_scope::note_request(&request.id);
        }
        telling(async { self.session(id)?.initialize(message).await }.await)
    }

    async fn has_session(&self, id: &WireSessionId) -> Result<bool> {
        telling(self.is_here(id).await)
    }

    /// Ends the session here, and here only. rmcp calls this on DELETE, and again whenever a
    /// session's handler has ended for whatever reason, which is just when another instance needs
    /// its events. Only after the handler is gone does the session leave the map: earlier it could
    /// be restored, and this late call would end the restored one.
    async fn close_session(&self, id: &WireSessionId) -> Result<()> {
        if let Some(session) = self.sessions.get(id)
            && session.is_open_to(&request_scope::caller())
        {
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
        telling(self.open(id, message).await)
    }

    async fn accept_message(
        &self,
        id: &WireSessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<()> {
        telling(async { self.session(id)?.accept(message).await }.await)
    }

    /// It ends with the session: where that was deleted elsewhere, there is no stream that could
    /// end it.
    async fn create_standalone_stream(
        &self,
        id: &WireSessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static> {
        let session = telling(self.session(id))?;
        let connection = telling(resume::standalone(&session).await)?;
        Ok(connection.take_until(session.ended.clone().cancelled_owned()))
    }

    async fn resume(
        &self,
        id: &WireSessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static> {
        telling(async { resume::after(&self.session(id)?, last_event_id).await }.await)
    }

    /// rmcp has loaded the session's record; the rest of its state is in the store. If the session
    /// is here all the same, its handler takes too long to end.
    async fn restore_session(&self, id: WireSessionId) -> Result<RestoreOutcome<SessionTransport>> {
        let started = self.start(id, Origin::Restored);
        telling(started.and_then(|transport| transport.ok_or(Error::SessionEnded)))
            .map(RestoreOutcome::Restored)
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
