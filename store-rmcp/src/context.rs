//! What all sessions of one server instance share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mcp_event_store_core::{EventStore, Lease, SessionId, SessionStore, Store};
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
    instance: Uuid,
    running: AtomicUsize,
}

impl Context {
    pub(crate) fn new(store: &Store, config: DurableSessionConfig) -> Self {
        Self {
            events: store.events(),
            sessions: store.sessions(),
            config,
            tasks: TaskTracker::new(),
            instance: Uuid::new_v4(),
            running: AtomicUsize::new(0),
        }
    }

    /// Requests whose end is not stored yet.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// Counts a request until the guard is dropped.
    pub(crate) fn run_request(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::SeqCst);
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
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Locks what no panic can leave half changed: the guarded code here only moves values.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
