//! What the author of a store writes to run the suite: how to make a scope, open a store on it,
//! and remove it again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mcp_event_store_core::{Clock, EventStore, Maintenance, SessionStore, Settings, Store};

/// Why a harness could not do something. It is reported as such, never as a broken rule.
pub type HarnessError = Box<dyn std::error::Error + Send + Sync>;

/// A scope that holds nothing but what one check stores, and how to open stores on it.
///
/// A value of the implementing type is one scope: a database, a schema, a key prefix, a
/// directory. Each check gets its own. `create` is all that stands between the suite and the
/// store; [`open`](Self::open) is called again to reopen it or to add a second instance.
///
/// The methods after [`tear_down`](Self::tear_down) belong to a need each. Leave them out if
/// `compliance_suite!` does not offer that need; their checks then show as ignored.
#[async_trait]
#[allow(clippy::must_use_candidate)] // A future is `must_use` already.
pub trait Harness: Send + Sync + 'static {
    /// Makes an empty scope. Must leave it free for another process to open.
    ///
    /// # Errors
    /// Whatever prevents it, such as a server that is not there.
    async fn create() -> Result<Self, HarnessError>
    where
        Self: Sized;

    /// Opens a store on this scope: an instance of its own, with nothing in memory that another
    /// instance put there. Its time is `clock`'s: the store's own plus the clock's offset.
    ///
    /// # Errors
    /// Whatever the store says.
    async fn open(&self, settings: &Settings, clock: &Clock) -> Result<Opened, HarnessError>;

    /// Where this scope is: shown when a check fails, and what [`attach`](Self::attach) takes.
    fn address(&self) -> String;

    /// Removes this scope. Not called when a check fails: the scope stays to be looked into, and
    /// this value is forgotten without running its destructor.
    ///
    /// # Errors
    /// Whatever prevents it.
    async fn tear_down(self: Box<Self>) -> Result<(), HarnessError>;

    /// `kill`: the scope at `address`, made by another process that still runs.
    ///
    /// # Errors
    /// Whatever prevents it.
    async fn attach(address: &str) -> Result<Self, HarnessError>
    where
        Self: Sized,
    {
        Err(format!("this harness cannot attach to {address}, so it cannot offer `kill`").into())
    }

    /// `cut`: breaks the connections of this scope's stores in the given way.
    ///
    /// # Errors
    /// Whatever prevents it.
    async fn cut(&self, cut: Cut) -> Result<(), HarnessError> {
        Err(format!("this harness has no connection to cut ({cut:?})").into())
    }

    /// `cut`: lets new connections through again, and forgets cuts that have not struck.
    ///
    /// # Errors
    /// Whatever prevents it.
    async fn mend(&self) -> Result<(), HarnessError> {
        Err("this harness has no connection to mend".into())
    }

    /// `lose_tail`: remembers what is stored now. No instance is open.
    ///
    /// # Errors
    /// Whatever prevents it.
    async fn back_up(&self) -> Result<(), HarnessError> {
        Err("this harness has no backups".into())
    }

    /// `lose_tail`: loses everything stored since [`back_up`](Self::back_up), as a failover
    /// without the last writes or a restored backup does. No instance is open.
    ///
    /// # Errors
    /// Whatever prevents it.
    async fn lose_tail(&self) -> Result<(), HarnessError> {
        Err("this harness has no backups to restore".into())
    }

    /// `server_kill`: kills the database server of this scope with SIGKILL and starts it again on
    /// the data it left. Stores are open, and no other scope may use that server. Returns when the
    /// server has been started; it need not answer yet.
    ///
    /// # Errors
    /// Whatever prevents it.
    async fn kill_server(&self) -> Result<(), HarnessError> {
        Err("this harness has no server to kill".into())
    }

    /// Whether `max_total_bytes` (T6) goes strictly by the order of last use, whichever streams
    /// are concerned. A store that keeps several such orders may say no: the model test then lets
    /// it choose which streams make room, and still checks how much.
    fn recency_is_exact(&self) -> bool {
        true
    }

    /// The time within which an event stored through one instance reaches a follower on another,
    /// as the store's documentation states it. Measured by F2.
    fn wake_up_bound(&self) -> Duration {
        Duration::from_secs(2)
    }

    /// How long one operation may take before the suite calls it hanging.
    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }

    /// How long one whole check may take.
    fn deadline() -> Duration
    where
        Self: Sized,
    {
        Duration::from_secs(180)
    }
}

/// The faces of one open store; absent ones make the checks that need them ignored.
#[derive(Clone)]
pub struct Opened {
    /// The store under test.
    pub events: Arc<dyn EventStore>,
    /// `sessions`: its session records.
    pub sessions: Option<Arc<dyn SessionStore>>,
    /// `maintenance`: sweeping, usage and closing.
    pub maintenance: Option<Arc<dyn Maintenance>>,
}

impl Opened {
    /// A store with nothing but events.
    pub fn events_only(events: impl EventStore) -> Self {
        Self { events: Arc::new(events), sessions: None, maintenance: None }
    }
}

impl From<Store> for Opened {
    fn from(store: Store) -> Self {
        Self {
            events: store.events(),
            sessions: Some(store.sessions()),
            maintenance: Some(store.maintenance()),
        }
    }
}

/// A way to lose the connection to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Once, at the next write: the connection dies before the database has the request.
    Request,
    /// Once, at the next write: the database does what it was asked, and the connection dies
    /// before its answer.
    Answer,
    /// From now on until it is mended: no connection works, and open ones are dead.
    Down,
}
