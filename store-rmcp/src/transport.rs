//! rmcp's side of a session: messages from the client to the handler, and back to the store.

use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::sync::mpsc;

use crate::error::{Error, Result};
use crate::session::Session;
use crate::session_map::SessionMap;

/// The transport of one session.
pub struct SessionTransport {
    session: Arc<Session>,
    sessions: Arc<SessionMap>,
    inbound: mpsc::Receiver<ClientJsonRpcMessage>,
    /// Whether rmcp ever ran it. If so, `close_session` follows its end.
    served: bool,
}

impl SessionTransport {
    pub(crate) fn new(
        session: Arc<Session>,
        sessions: Arc<SessionMap>,
        inbound: mpsc::Receiver<ClientJsonRpcMessage>,
    ) -> Self {
        Self { session, sessions, inbound, served: false }
    }
}

impl Transport<RoleServer> for SessionTransport {
    type Error = Error;

    /// Routes and enqueues before it returns: rmcp polls the futures concurrently, so a later
    /// moment would lose the order.
    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        self.session.dispatch(message).wait()
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        self.served = true;
        tokio::select! {
            biased;
            () = self.session.ended.cancelled() => None,
            message = self.inbound.recv() => message,
        }
    }

    async fn close(&mut self) -> Result<()> {
        self.session.end();
        Ok(())
    }
}

impl Drop for SessionTransport {
    fn drop(&mut self) {
        self.session.finish();
        if !self.served {
            self.sessions.remove(&self.session);
        }
    }
}
