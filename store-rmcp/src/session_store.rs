//! rmcp's `SessionStore` over ours.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use mcp_event_store_core::{RawJson, SessionId, SessionStore, Store};
use rmcp::transport::streamable_http_server::session::{
    SessionState, SessionStore as RmcpSessions, SessionStoreError,
};

/// Lets rmcp restore sessions from a [`Store`], for `StreamableHttpServerConfig::session_store`.
///
/// Deleting a session here, which rmcp does when a client sends DELETE, deletes its events too.
#[derive(Clone)]
pub struct RmcpSessionStore {
    sessions: Arc<dyn SessionStore>,
}

impl RmcpSessionStore {
    /// Over the sessions of `store`.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self { sessions: store.sessions() }
    }

    pub(crate) fn over(sessions: Arc<dyn SessionStore>) -> Self {
        Self { sessions }
    }
}

impl fmt::Debug for RmcpSessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RmcpSessionStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl RmcpSessions for RmcpSessionStore {
    /// `None` for a name that no session can have, too: it comes from a client's header.
    async fn load(&self, session_id: &str) -> Result<Option<SessionState>, SessionStoreError> {
        let Ok(session) = SessionId::new(session_id) else { return Ok(None) };
        let record = self.sessions.load(&session).await?;
        Ok(record.map(|record| record.to_value()).transpose()?)
    }

    async fn store(&self, session_id: &str, state: &SessionState) -> Result<(), SessionStoreError> {
        let record = RawJson::from_value(state)?;
        Ok(self.sessions.store(&SessionId::new(session_id)?, record).await?)
    }

    async fn delete(&self, session_id: &str) -> Result<(), SessionStoreError> {
        let Ok(session) = SessionId::new(session_id) else { return Ok(()) };
        let deleted = self.sessions.delete(&session).await?;
        tracing::debug!(?session, ?deleted, "session deleted");
        Ok(())
    }
}
