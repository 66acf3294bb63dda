//! One request at a time looks for a session that is not here yet.
//!
//! rmcp asks whether a session is here, and if not, restores it, within the request that asked; it
//! answers 500 to a request that asked before another had restored the session and comes to
//! restore it after that, and hands a session over that has not been initialised yet. So whoever
//! is told "no" holds the session's turn until its request has been answered, and others wait.
//! Deleting a session takes a turn as well: a restore that has seen the record would otherwise put
//! the session back after it was deleted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use rmcp::transport::common::server_side_http::SessionId as WireSessionId;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::context::lock;

/// The sole right to restore or delete one session. Ends when dropped.
pub(crate) type Turn = OwnedMutexGuard<()>;

/// The turns of all sessions.
#[derive(Default)]
pub(crate) struct Turns {
    /// Held for single map operations; nothing awaits under it.
    waiting: Mutex<HashMap<WireSessionId, Weak<AsyncMutex<()>>>>,
}

impl Turns {
    /// Waits for the turn of the session `id`.
    pub(crate) async fn turn(&self, id: &WireSessionId) -> Turn {
        self.queue(id).lock_owned().await
    }

    fn queue(&self, id: &WireSessionId) -> Arc<AsyncMutex<()>> {
        let mut waiting = lock(&self.waiting);
        if let Some(queue) = waiting.get(id).and_then(Weak::upgrade) {
            return queue;
        }
        waiting.retain(|_, queue| queue.strong_count() > 0);
        let queue = Arc::default();
        waiting.insert(id.clone(), Arc::downgrade(&queue));
        queue
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn each_session_has_one_turn_at_a_time_and_none_is_kept() {
        let turns = Turns::default();
        let (one, other) = ("one".into(), "other".into());
        let first = turns.turn(&one).await;
        let mut second = Box::pin(turns.turn(&one));
        assert!((&mut second).now_or_never().is_none());
        drop(turns.turn(&other).now_or_never().unwrap());
        drop(first);
        drop(second.await);
        turns.turn(&"third".into()).await;
        assert_eq!(lock(&turns.waiting).len(), 1);
    }
}
