//! rmcp's `SessionStore` over ours.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mcp_event_store_core::{RawJson, Result as StoreResult, SessionId, SessionStore, Store};
use rmcp::transport::streamable_http_server::session::{
    SessionState, SessionStore as RmcpSessions, SessionStoreError,
};
use serde::{Deserialize, Serialize};

use crate::config::DurableSessionConfig;
use crate::context::Context;
use crate::error::Error;
use crate::patience::patiently;
use crate::principal::{Caller, Principal};
use crate::refusal::Refusal;
use crate::request_scope;
use crate::session_map::SessionMap;

/// Lets rmcp restore sessions from a [`Store`], for `StreamableHttpServerConfig::session_store`.
///
/// Deleting a session here, which rmcp does when a client sends DELETE, deletes its events too.
#[derive(Clone)]
pub struct RmcpSessionStore {
    sessions: Arc<dyn SessionStore>,
    patience: Duration,
    /// The sessions of the instance that this store is a part of.
    here: Option<Arc<SessionMap>>,
}

/// What is stored of a session.
#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    state: SessionState,
    /// Whose the session is, where that is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    principal: Option<Principal>,
}

impl RmcpSessionStore {
    /// Over the sessions of `store`.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        let patience = DurableSessionConfig::default().store_timeout;
        Self { sessions: store.sessions(), patience, here: None }
    }

    /// The part of an instance that holds the sessions `here`.
    pub(crate) fn of(context: &Context, here: &Arc<SessionMap>) -> Self {
        let patience = context.config.store_timeout;
        Self { sessions: context.sessions.clone(), patience, here: Some(here.clone()) }
    }

    /// Whether the session is the caller's, or nobody's.
    pub(crate) async fn is_open_to(
        &self,
        caller: &Caller,
        session: &SessionId,
    ) -> StoreResult<bool> {
        let record = self.record(session).await?;
        Ok(record.is_none_or(|record| caller.may_use(record.principal.as_deref())))
    }

    async fn record(&self, session: &SessionId) -> StoreResult<Option<Record>> {
        let record = patiently(self.patience, || self.sessions.load(session)).await?;
        record.map(|record| record.to_value()).transpose()
    }

    /// The session's state, if there is any and the caller may use it.
    async fn state(&self, session: &SessionId) -> StoreResult<Option<SessionState>> {
        let (caller, record) = (request_scope::caller(), self.record(session).await?);
        let record = record.filter(|record| caller.may_use(record.principal.as_deref()));
        Ok(record.map(|record| record.state))
    }

    async fn save(&self, session: &str, state: &SessionState) -> StoreResult<()> {
        let principal = request_scope::caller().into_owner();
        let record = RawJson::from_value(&Record { state: state.clone(), principal })?;
        let session = SessionId::new(session)?;
        patiently(self.patience, || self.sessions.store(&session, record.clone())).await
    }

    async fn remove(&self, session: &SessionId) -> Result<(), Error> {
        if request_scope::caller().is_checked() && self.state(session).await?.is_none() {
            return Err(Error::NotYours);
        }
        // Whoever restores the session here has done so by now, or will find no record.
        let _turn = match &self.here {
            Some(here) => Some(here.turn(session.as_str()).await),
            None => None,
        };
        let deleted = patiently(self.patience, || self.sessions.delete(session)).await?;
        if let Some(restored) = self.here.as_ref().and_then(|here| here.get(session.as_str())) {
            restored.end();
        }
        tracing::debug!(?session, ?deleted, "session deleted");
        Ok(())
    }
}

impl fmt::Debug for RmcpSessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RmcpSessionStore").finish_non_exhaustive()
    }
}

/// Each error reaches the client where a `ResumeGuard` stands before rmcp, which would pass over
/// it and answer as if all were well.
#[async_trait]
impl RmcpSessions for RmcpSessionStore {
    /// `None` for a name that no session can have, too: it comes from a client's header.
    async fn load(&self, session_id: &str) -> Result<Option<SessionState>, SessionStoreError> {
        let Ok(session) = SessionId::new(session_id) else { return Ok(None) };
        told(self.state(&session).await.map_err(Error::from))
    }

    async fn store(&self, session_id: &str, state: &SessionState) -> Result<(), SessionStoreError> {
        let saved = self.save(session_id, state).await;
        // A session without a record would end with this instance: it does not begin.
        if saved.is_err()
            && let Some(session) = self.here.as_ref().and_then(|here| here.get(session_id))
        {
            session.end();
        }
        told(saved.map_err(Error::from))
    }

    async fn delete(&self, session_id: &str) -> Result<(), SessionStoreError> {
        let Ok(session) = SessionId::new(session_id) else { return Ok(()) };
        told(self.remove(&session).await)
    }
}

fn told<T>(outcome: Result<T, Error>) -> Result<T, SessionStoreError> {
    Ok(outcome.inspect_err(|error| request_scope::refuse(Refusal::for_error(error)))?)
}
