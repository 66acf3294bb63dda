//! [`SqliteBackend`]: the engine's operations on the one connection that writes and on those
//! that read.

use std::path::{Path, PathBuf};
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
use sqlx::Row;

use crate::config::SqliteOptions;
use crate::error::classify;
use crate::known;
use crate::readers::Readers;
use crate::rows::Stream;
use crate::writer::Writer;
use crate::{append, connect, leases, read, sessions, sweep, wakeups};

/// Streams in a SQLite file.
///
/// Several processes may have the same file open; on Linux and macOS it must lie on a local disk,
/// since WAL needs shared memory.
#[derive(Debug)]
pub struct SqliteBackend {
    path: PathBuf,
    writer: Arc<Writer>,
    readers: Readers,
    /// Streams as the last append left them; only used under the writer's lock.
    known: Known<StreamRef, Stream>,
    clock: Clock,
}

impl SqliteBackend {
    /// Opens or creates the file at `path`.
    ///
    /// # Errors
    /// `InvalidInput` for a path that cannot be one or a file of another application or a newer
    /// version, `Corrupt` for a file that is no database, `Unavailable` if it is locked or full.
    pub async fn open(
        path: impl AsRef<Path>,
        options: &SqliteOptions,
        durability: Durability,
        clock: Clock,
    ) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let connections = connect::connect(&path, options, durability).await?;
        let writer = Arc::new(Writer::new(connections.writer, connections.max_pages));
        Ok(Self { path, writer, readers: connections.readers, known: Known::default(), clock })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[async_trait]
impl Backend for SqliteBackend {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    /// SQLite commits one transaction at a time.
    fn writers(&self) -> usize {
        1
    }

    fn place_key(&self, _stream: &StreamRef, key: StreamKey) -> StreamKey {
        key
    }

    async fn append(&self, groups: &[Group], settings: &Settings) -> Result<Vec<Result<Appended>>> {
        let mut connection = self.writer.lock_for_append().await?;
        let now = || self.clock.now();
        let known = known::append(&mut connection, groups, settings, now(), &self.known).await;
        let appended = match known {
            Ok(None) => append::append(&mut connection, groups, settings, now, &self.known).await,
            known => known.map(Option::unwrap_or_default),
        };
        connection.settle(appended).await
    }

    async fn find(&self, stream: &StreamRef) -> Result<Option<Found>> {
        read::find(&self.readers, stream, self.clock.now()).await
    }

    async fn read(&self, key: &StreamKey, after: u64, limit: PageLimit) -> Result<Option<Page>> {
        read::read(&self.readers, key, after, limit, || self.clock.now()).await
    }

    async fn renew(
        &self,
        stream: &StreamRef,
        lease: &Lease,
        settings: &Settings,
    ) -> Result<LeaseState> {
        let mut tx = self.writer.begin().await?;
        let state = leases::renew(&mut tx, stream, lease, self.clock.now(), settings).await;
        tx.finish(state).await
    }

    async fn take_over(&self, key: &StreamKey) -> Result<Option<u64>> {
        let mut tx = self.writer.begin().await?;
        let epoch = leases::take_over(&mut tx, key).await;
        tx.finish(epoch).await
    }

    async fn delete_stream(&self, stream: &StreamRef) -> Result<Deleted> {
        let mut tx = self.writer.begin_removal().await?;
        let deleted = sessions::delete_stream(&mut tx, stream).await;
        tx.finish(deleted).await
    }

    async fn delete_session(&self, session: &SessionId) -> Result<Deleted> {
        let mut tx = self.writer.begin_removal().await?;
        let deleted = sessions::delete_session(&mut tx, session, self.clock.now()).await;
        tx.finish(deleted).await
    }

    async fn load_session(
        &self,
        session: &SessionId,
        settings: &Settings,
    ) -> Result<Option<SessionRecord>> {
        let mut tx = self.writer.begin().await?;
        let record = sessions::use_record(&mut tx, session, self.clock.now(), settings).await;
        tx.finish(record).await
    }

    async fn store_session(
        &self,
        session: &SessionId,
        record: &SessionRecord,
        settings: &Settings,
    ) -> Result<()> {
        let mut tx = self.writer.begin().await?;
        let now = self.clock.now();
        let stored = sessions::store_record(&mut tx, session, record, now, settings).await;
        tx.finish(stored).await
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
            let page = sweep::candidates(&self.readers, which, after.clone(), limit).await?;
            let (streams, next, stale) = page;
            if !stale.is_empty() {
                let mut tx = self.writer.begin_removal().await?;
                let refreshed = sweep::refresh(&mut tx, &stale).await;
                tx.finish(refreshed).await?;
                if *which == Candidates::LeastRecent {
                    // Their order was not the true one: list again, now without these.
                    continue;
                }
            }
            return Ok((streams, next));
        }
    }

    async fn large_sessions(
        &self,
        min_bytes: u64,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<(SessionId, u64)>> {
        sweep::large_sessions(&self.readers, min_bytes, after, limit).await
    }

    async fn remove(&self, removals: &[Removal]) -> Result<Vec<Option<u64>>> {
        let mut tx = self.writer.begin_removal().await?;
        let taken = sweep::remove(&mut tx, removals).await;
        tx.finish(taken).await
    }

    async fn reclaim(&self, max_events: u64) -> Result<u64> {
        let mut tx = self.writer.begin_removal().await?;
        let freed = sweep::reclaim(&mut tx, max_events).await;
        tx.finish(freed).await
    }

    async fn forget_sessions(&self, settings: &Settings, limit: usize) -> Result<u64> {
        let mut tx = self.writer.begin_removal().await?;
        let forgotten = sessions::forget(&mut tx, self.clock.now(), settings, limit).await;
        tx.finish(forgotten).await
    }

    async fn claim_sweep(&self, instance: &str, ttl: Duration) -> Result<bool> {
        let mut tx = self.writer.begin_removal().await?;
        let claimed = sweep::claim(&mut tx, instance, self.clock.now(), ttl).await;
        tx.finish(claimed).await
    }

    async fn usage(&self) -> Result<Usage> {
        let query = sqlx::query("SELECT sessions, streams, tombstones, events, bytes FROM totals");
        let row = self.readers.one(query).await?;
        let sum = |at: usize| row.try_get(at).map(i64::cast_unsigned).map_err(classify);
        Ok(Usage {
            sessions: sum(0)?,
            streams: sum(1)?,
            tombstones: sum(2)?,
            events: sum(3)?,
            bytes: sum(4)?,
        })
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.clock.now())
    }

    fn wakeups(&self) -> BoxStream<'static, Wakeup> {
        wakeups::watch(self.writer.clone()).boxed()
    }

    async fn ping(&self) -> Result<()> {
        self.writer.check()?;
        self.readers.one(sqlx::query("SELECT 1")).await?;
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.readers.close().await;
        self.writer.close().await
    }
}
