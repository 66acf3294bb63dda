//! The sessions that this instance holds in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rmcp::transport::common::server_side_http::SessionId as WireSessionId;

use crate::context::lock;
use crate::session::Session;
use crate::turns::{Turn, Turns};

/// Sessions by their ID on the wire.
#[derive(Default)]
pub(crate) struct SessionMap {
    /// Held for single map operations; nothing awaits under it.
    sessions: Mutex<HashMap<WireSessionId, Arc<Session>>>,
    turns: Turns,
}

impl SessionMap {
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Session>> {
        lock(&self.sessions).get(id).cloned()
    }

    /// Adds `session` under `id`; `false` if there is one already.
    pub(crate) fn insert(&self, id: WireSessionId, session: Arc<Session>) -> bool {
        let mut sessions = lock(&self.sessions);
        let vacant = !sessions.contains_key(&id);
        if vacant {
            sessions.insert(id, session);
        }
        vacant
    }

    /// Removes `session`, but never a later one of the same ID.
    pub(crate) fn remove(&self, session: &Arc<Session>) {
        let id = session.id.as_str();
        let mut sessions = lock(&self.sessions);
        if sessions.get(id).is_some_and(|held| Arc::ptr_eq(held, session)) {
            sessions.remove(id);
        }
        drop(sessions);
        session.removed.cancel();
    }

    /// Waits for the sole right to restore the session `id` here, or to delete it.
    pub(crate) async fn turn(&self, id: &str) -> Turn {
        self.turns.turn(&id.into()).await
    }

    /// All sessions, to end them.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        lock(&self.sessions).values().cloned().collect()
    }
}
