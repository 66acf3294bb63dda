//! [`PostgresBackend`]: the engine's operations as calls to the server, each followed by word to
//! the other instances.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use mcp_event_store_core::backend::{
    Appended, Backend, Candidates, Cursor, Found, Group, Known, Page, PageLimit, Removal,
    StreamKey, StreamMeta, Wakeup,
};
use mcp_event_store_core::{
    Clock, Deleted, Durability, Lease, LeaseState, Result, SessionId, SessionRecord, Settings,
    StreamRef, Timestamp, Usage,
};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::append::Appender;
use crate::batch::Place;
use crate::config::{PostgresOptions, connect_options};
use crate::notices::{self, Notices};
use crate::server::Server;
use crate::wakeups::{OwnChanges, POLL_BEHIND};
use crate::{connect, leases, read, sessions, sweep, wakeups};

/// How long closing waits for others to be told of the last commits.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Streams in a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresBackend {
    server: Arc<Server>,
    /// Where streams are that this instance appended to.
    known: Known<StreamRef, Place>,
    notices: Arc<Notices>,
    own_changes: Arc<OwnChanges>,
    /// Whether instances notify each other.
    notify: bool,
    writers: usize,
    poll_interval: Duration,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl PostgresBackend {
    /// Opens the store in the database at `url`, whose query is not read. Must be called within a
    /// Tokio runtime.
    ///
    /// # Errors
    /// `InvalidInput` for a URL or option that cannot be, or a schema of a newer version.
    /// `Unavailable` if the server cannot be reached. `Backend` if it lets this role not in or not
    /// do what is needed, is too old, read-only or not durable. No error shows the password.
    pub async fn open(
        url: &str,
        options: &PostgresOptions,
        durability: Durability,
        clock: Clock,
    ) -> Result<Self> {
        let address = connect_options(url, options)?;
        let server = connect::connect(address.clone(), options, durability, clock).await?;
        let stop = CancellationToken::new();
        let backend = Self {
            notices: Notices::new(&server.names),
            server: Arc::new(server),
            known: Known::default(),
            own_changes: Arc::default(),
            notify: options.notify,
            writers: options.writers,
            poll_interval: if options.notify { POLL_BEHIND } else { options.poll_interval },
            tasks: TaskTracker::new(),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        };
        if options.notify {
            let run = notices::run(backend.notices.clone(), address, options.connect_timeout);
            let stop = backend.stop.clone();
            // It holds the driver's futures of connecting, which are large.
            let run = Box::pin(run);
            backend.tasks.spawn(async move { stop.run_until_cancelled(run).await });
        }
        Ok(backend)
    }

    /// Tells other instances, if they listen.
    fn tell<'a>(&self, streams: impl IntoIterator<Item = &'a StreamRef>) {
        if self.notify {
            self.notices.tell(streams);
        }
    }

    fn tell_any(&self) {
        if self.notify {
            self.notices.tell_any();
        }
    }

    /// Keeps account of a change of this handle. `made` says whether the totals counted it.
    async fn change<T>(
        &self,
        change: impl Future<Output = Result<T>> + Send,
        made: impl FnOnce(&T) -> bool + Send,
    ) -> Result<T> {
        let own = self.own_changes.begin();
        let outcome = change.await;
        if outcome.as_ref().is_ok_and(made) {
            own.made();
        }
        outcome
    }
}

#[async_trait]
impl Backend for PostgresBackend {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn writers(&self) -> usize {
        self.writers
    }

    fn place_key(&self, _stream: &StreamRef, key: StreamKey) -> StreamKey {
        key
    }

    async fn append(&self, groups: &[Group], settings: &Settings) -> Result<Vec<Result<Appended>>> {
        let own = self.own_changes.begin();
        let appender = Appender { server: &self.server, known: &self.known, settings };
        // Awaited here and not by `change`: it is large, and would be moved.
        let answers = appender.append(groups).await;
        match &answers {
            Ok(answers) => {
                if answers.iter().any(Result::is_ok) {
                    own.made();
                }
                let stored = groups.iter().zip(answers).filter(|(_, answer)| answer.is_ok());
                self.tell(stored.map(|(group, _)| &group.stream));
            }
            // It may have been stored all the same.
            Err(_) => self.tell(groups.iter().map(|group| &group.stream)),
        }
        answers
    }

    async fn find(&self, stream: &StreamRef) -> Result<Option<Found>> {
        read::find(&self.server, stream).await
    }

    async fn read(&self, key: &StreamKey, after: u64, limit: PageLimit) -> Result<Option<Page>> {
        read::read(&self.server, key, after, limit).await
    }

    async fn renew(
        &self,
        stream: &StreamRef,
        lease: &Lease,
        settings: &Settings,
    ) -> Result<LeaseState> {
        leases::renew(&self.server, stream, lease, settings).await
    }

    async fn take_over(&self, key: &StreamKey) -> Result<Option<u64>> {
        let taken = self.change(leases::take_over(&self.server, key), Option::is_some).await?;
        Ok(taken.map(|(epoch, stream)| {
            self.tell([&stream]);
            epoch
        }))
    }

    async fn delete_stream(&self, stream: &StreamRef) -> Result<Deleted> {
        let delete = sessions::delete_stream(&self.server, stream);
        let is_deleted = |deleted: &Deleted| deleted.bytes > 0;
        let deleted = self.change(delete, is_deleted).await;
        self.tell([stream]);
        deleted
    }

    async fn delete_session(&self, session: &SessionId) -> Result<Deleted> {
        let delete = sessions::delete_session(&self.server, session);
        let deleted = self.change(delete, |_| true).await;
        self.tell_any();
        deleted
    }

    async fn load_session(
        &self,
        session: &SessionId,
        settings: &Settings,
    ) -> Result<Option<SessionRecord>> {
        sessions::load(&self.server, session, settings).await
    }

    async fn store_session(
        &self,
        session: &SessionId,
        record: &SessionRecord,
        settings: &Settings,
    ) -> Result<()> {
        sessions::store(&self.server, session, record, settings).await
    }

    async fn touch_session(&self, session: &SessionId, settings: &Settings) -> Result<bool> {
        Ok(self.load_session(session, settings).await?.is_some())
    }

    async fn candidates(
        &self,
        which: &Candidates,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<(Vec<StreamMeta>, Option<Cursor>)> {
        sweep::candidates(&self.server, which, after, limit).await
    }

    async fn large_sessions(
        &self,
        min_bytes: u64,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<(SessionId, u64)>> {
        sweep::large_sessions(&self.server, min_bytes, after.as_ref(), limit).await
    }

    async fn remove(&self, removals: &[Removal]) -> Result<Vec<Option<u64>>> {
        let remove = sweep::remove(&self.server, removals);
        let is_removed = |(_, streams): &(_, Vec<StreamRef>)| !streams.is_empty();
        let (taken, streams) = self.change(remove, is_removed).await?;
        self.tell(&streams);
        Ok(taken)
    }

    async fn reclaim(&self, max_events: u64) -> Result<u64> {
        sweep::reclaim(&self.server, max_events).await
    }

    async fn forget_sessions(&self, settings: &Settings, limit: usize) -> Result<u64> {
        sessions::forget(&self.server, settings, limit).await
    }

    async fn claim_sweep(&self, instance: &str, ttl: Duration) -> Result<bool> {
        sweep::claim(&self.server, instance, ttl).await
    }

    async fn usage(&self) -> Result<Usage> {
        read::usage(&self.server).await
    }

    async fn now(&self) -> Result<Timestamp> {
        read::now(&self.server).await
    }

    fn wakeups(&self) -> BoxStream<'static, Wakeup> {
        let (server, own) = (self.server.clone(), self.own_changes.clone());
        wakeups::watch(server, own, &self.notices, self.poll_interval).boxed()
    }

    async fn ping(&self) -> Result<()> {
        self.server.ping().await
    }

    async fn close(&self) -> Result<()> {
        if self.notify {
            // Without its notification an event waits for the others' poll.
            let _ = timeout(LAST_WORDS, self.notices.all_told()).await;
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.server.close().await;
        Ok(())
    }
}
