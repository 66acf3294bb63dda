//! What all sessions of one server instance share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mcp_event_store_core::{EventStore, Lease, SessionId, SessionStore, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config::DurableSessionConfig;

/// One server instance: its store, its settings, its name as an owner, and its tasks.
pub(crate) struct Context {
    pub(crate) events: Arc<dyn EventStore>,
    pub(crate) sessions: Arc<dyn SessionStore>,
    pub(crate) config: DurableSessionConfig,
    /// Every writer and keeper, so that a shutdown can wait until all is stored.
    pub(crate) tasks: TaskTracker,
    /// Cancelled when clients are to go to other instances.
    pub(crate) draining: CancellationToken,
    /// Cancelled when this instance is about to end.
    pub(crate) stopping: CancellationToken,
    /// The cancellation tokens of rmcp's services over this instance. Held for single operations.
    services: Mutex<Vec<CancellationToken>>,
    instance: Uuid,
    running: watch::Sender<usize>,
}

impl Context {
    pub(crate) fn new(store: &Store, config: DurableSessionConfig) -> Self {
        Self {
            events: store.events(),
            sessions: store.sessions(),
            config: config.workable(),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            stopping: CancellationToken::new(),
            services: Mutex::default(),
            instance: Uuid::new_v4(),
            running: watch::Sender::new(0),
        }
    }

    /// Notes a service of rmcp's by its cancellation token.
    pub(crate) fn note_service(&self, cancelled: &CancellationToken) {
        lock(&self.services).push(cancelled.clone());
    }

    /// Whether rmcp ends all sessions by itself.
    pub(crate) fn services_are_cancelled(&self) -> bool {
        let services = lock(&self.services);
        !services.is_empty() && services.iter().all(CancellationToken::is_cancelled)
    }

    /// Requests whose end is not stored yet.
    pub(crate) fn running(&self) -> usize {
        *self.running.borrow()
    }

    /// Waits until every request has its end stored.
    pub(crate) async fn nothing_runs(&self) {
        // It fails only without a sender, and that is here.
        let _ = self.running.subscribe().wait_for(|running| *running == 0).await;
    }

    /// Counts a request until the guard is dropped.
    pub(crate) fn run_request(self: &Arc<Self>) -> Running {
        self.running.send_modify(|running| *running += 1);
        Running(self.clone())
    }

    /// The claim of the instance that runs a request.
    pub(crate) fn request_lease(&self) -> Lease {
        Lease::new(self.instance.to_string(), self.config.lease_ttl)
    }

    /// The claim of an instance that waits for another's to lapse. Another name than the one it
    /// runs requests under: it must not take over from itself.
    pub(crate) fn watch_lease(&self) -> Lease {
        Lease::new(format!("{}/watch", self.instance), self.config.lease_ttl)
    }

    /// The claim on a standalone stream: every instance that serves the session makes it in the
    /// session's name. It outlasts several rounds of the keeper, which renews it.
    pub(crate) fn standalone_lease(&self, session: &SessionId) -> Lease {
        Lease::new(session.as_str(), self.config.lease_ttl * 3)
    }
}

/// A request that is running.
pub(crate) struct Running(Arc<Context>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running -= 1);
    }
}

/// Locks what no panic can leave half changed: the guarded code here only moves values.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
