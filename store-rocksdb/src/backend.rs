//! [`RocksBackend`]: the engine's operations as jobs of the thread that writes and of those that
//! read.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use mcp_event_store_core::backend::{
    Appended, Backend, Candidates, Cursor, Found, Group, Page, PageLimit, Removal, StreamKey,
    StreamMeta, Wakeup,
};
use mcp_event_store_core::{
    Clock, Deleted, Durability, Error, Lease, LeaseState, Result, SessionId, SessionRecord,
    Settings, StreamRef, Timestamp, Usage,
};
use tokio::task::spawn_blocking;

use crate::batch::Batch;
use crate::config::RocksOptions;
use crate::database::{Database, Tables};
use crate::readers::Readers;
use crate::worker::Worker;
use crate::{append, connect, leases, read, sessions, sweep};

/// Streams in a RocksDB directory.
///
/// One process at a time has the directory open, and in it one backend.
///
/// Dropping it waits until the files are closed, and blocks meanwhile; [`close`](Backend::close) does
/// not block.
pub struct RocksBackend {
    path: PathBuf,
    // Dropped before the writer, whose thread so has the last hold on the database, and closes it.
    readers: Readers,
    writer: Worker,
    clock: Clock,
}

impl fmt::Debug for RocksBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksBackend").field("path", &self.path).finish_non_exhaustive()
    }
}

impl RocksBackend {
    /// Opens or creates the directory at `path`. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// `InvalidInput` for a path that cannot be one or a directory of another application or a
    /// newer version, `Corrupt` if it is damaged, `Unavailable` if another process has it open or
    /// the disk is full.
    pub async fn open(
        path: impl AsRef<Path>,
        options: &RocksOptions,
        durability: Durability,
        clock: Clock,
    ) -> Result<Self> {
        let (path, options) = (path.as_ref().to_owned(), *options);
        let opening = spawn_blocking(move || {
            let database = Arc::new(connect::connect(&path, &options, durability)?);
            let writer = Worker::start(database.clone())?;
            Ok(Self { path, readers: Readers::new(database, options.readers), writer, clock })
        });
        opening.await.unwrap_or_else(|error| Err(Error::backend("opening ended early", error)))
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is open, for tests that look at rows. It stays open as long as this is held.
    #[cfg(test)]
    pub(crate) fn database(&self) -> Arc<Database> {
        self.readers.database().unwrap()
    }
}

#[async_trait]
impl Backend for RocksBackend {
    fn name(&self) -> &'static str {
        "rocksdb"
    }

    /// Commits are decided one after the other.
    fn writers(&self) -> usize {
        1
    }

    fn place_key(&self, _stream: &StreamRef, key: StreamKey) -> StreamKey {
        key
    }

    async fn append(&self, groups: &[Group], settings: &Settings) -> Result<Vec<Result<Appended>>> {
        let (groups, settings, clock) = (groups.to_vec(), settings.clone(), self.clock.clone());
        let fill =
            move |batch: &mut Batch<'_>| Ok(append::append(batch, &groups, &settings, clock.now()));
        self.writer.commit(fill).await
    }

    async fn find(&self, stream: &StreamRef) -> Result<Option<Found>> {
        let (stream, clock) = (stream.clone(), self.clock.clone());
        self.readers.read(move |tables| read::find(tables, &stream, clock.now())).await
    }

    async fn read(&self, key: &StreamKey, after: u64, limit: PageLimit) -> Result<Option<Page>> {
        let (key, clock) = (*key, self.clock.clone());
        let read = move |tables: &Tables, limit: PageLimit| {
            read::read(tables, &key, after, limit, || clock.now())
        };
        let PageLimit { events, bytes } = PageLimit::PAGE;
        let little = PageLimit { events: limit.events.min(events), bytes: limit.bytes.min(bytes) };
        if let Some(page) = self.readers.read_at_once(|tables| read(tables, little)).await? {
            return Ok(page);
        }
        self.readers.run(move |database| read(database, limit)).await
    }

    fn later_pages(&self) -> PageLimit {
        read::LATER_PAGES
    }

    async fn renew(
        &self,
        stream: &StreamRef,
        lease: &Lease,
        settings: &Settings,
    ) -> Result<LeaseState> {
        let (stream, lease) = (stream.clone(), lease.clone());
        let (settings, clock) = (settings.clone(), self.clock.clone());
        let fill = move |batch: &mut Batch<'_>| {
            leases::renew(batch, &stream, &lease, &settings, clock.now())
        };
        self.writer.commit(fill).await
    }

    async fn take_over(&self, key: &StreamKey) -> Result<Option<u64>> {
        let key = *key;
        self.writer.commit(move |batch| leases::take_over(batch, &key)).await
    }

    async fn delete_stream(&self, stream: &StreamRef) -> Result<Deleted> {
        let stream = stream.clone();
        self.writer.commit(move |batch| sessions::delete_stream(batch, &stream)).await
    }

    async fn delete_session(&self, session: &SessionId) -> Result<Deleted> {
        let (session, clock) = (session.clone(), self.clock.clone());
        let fill =
            move |batch: &mut Batch<'_>| sessions::delete_session(batch, &session, clock.now());
        self.writer.commit(fill).await
    }

    async fn load_session(
        &self,
        session: &SessionId,
        settings: &Settings,
    ) -> Result<Option<SessionRecord>> {
        let (session, settings) = (session.clone(), settings.clone());
        let clock = self.clock.clone();
        let fill = move |batch: &mut Batch<'_>| {
            sessions::use_record(batch, &session, &settings, clock.now())
        };
        self.writer.commit(fill).await
    }

    async fn store_session(
        &self,
        session: &SessionId,
        record: &SessionRecord,
        settings: &Settings,
    ) -> Result<()> {
        let (session, record) = (session.clone(), record.clone());
        let (settings, clock) = (settings.clone(), self.clock.clone());
        let fill = move |batch: &mut Batch<'_>| {
            sessions::store_record(batch, &session, &record, &settings, clock.now())
        };
        self.writer.commit(fill).await
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
        loop {
            let (ask, from) = (which.clone(), after.clone());
            let list = move |db: &Database| sweep::candidates(db, &ask, from.as_ref(), limit);
            let listing = self.readers.run(list).await?;
            if !listing.stale.is_empty() {
                let stale = listing.stale;
                self.writer.commit(move |batch| sweep::refresh(batch, &stale)).await?;
                if *which == Candidates::LeastRecent {
                    // Their order was not the true one: list again, now without these.
                    continue;
                }
            }
            return Ok((listing.streams, listing.next));
        }
    }

    async fn large_sessions(
        &self,
        min_bytes: u64,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<(SessionId, u64)>> {
        let list = move |db: &Database| sweep::large_sessions(db, min_bytes, after.as_ref(), limit);
        self.readers.run(list).await
    }

    async fn remove(&self, removals: &[Removal]) -> Result<Vec<Option<u64>>> {
        let removals = removals.to_vec();
        self.writer.commit(move |batch| sweep::remove(batch, &removals)).await
    }

    async fn reclaim(&self, max_events: u64) -> Result<u64> {
        self.writer.run(move |work| work.reclaim(max_events)).await
    }

    async fn forget_sessions(&self, settings: &Settings, limit: usize) -> Result<u64> {
        let (settings, clock) = (settings.clone(), self.clock.clone());
        let fill =
            move |batch: &mut Batch<'_>| sessions::forget(batch, &settings, limit, clock.now());
        self.writer.commit(fill).await
    }

    /// There is no other instance to share the sweeping with.
    async fn claim_sweep(&self, _instance: &str, _ttl: Duration) -> Result<bool> {
        Ok(true)
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(self.writer.usage())
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.clock.now())
    }

    /// Never: no other process can commit, and the engine tells its followers of its own commits.
    fn wakeups(&self) -> BoxStream<'static, Wakeup> {
        stream::pending().boxed()
    }

    async fn ping(&self) -> Result<()> {
        self.readers.run(Database::check).await
    }

    async fn close(&self) -> Result<()> {
        let written = self.writer.close();
        let database = self.readers.close().await;
        let closing = spawn_blocking(move || {
            written();
            // The last hold on it: closes the files and gives the lock back.
            drop(database);
        });
        closing.await.map_err(|error| Error::backend("closing ended early", error))
    }
}
