//! The `Backend`: each method one transaction on the tables.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use mcp_event_store_compliance::async_trait;
use mcp_event_store_core::backend::{
    Appended, Backend, Candidates, Cursor, Found, Group, Page, PageLimit, Removal, StreamKey,
    StreamMeta, Wakeup,
};
use mcp_event_store_core::{
    Clock, Deleted, Lease, LeaseState, Result, SessionId, SessionRecord, Settings, StreamRef,
    Timestamp, Usage,
};
use tokio::sync::watch;

use super::tables::Tables;

/// One handle on the tables; clones share them.
#[derive(Clone)]
pub(crate) struct MapBackend {
    /// Guards everything, so that each method is one transaction; nothing awaits under it.
    tables: Arc<Mutex<Tables>>,
    /// How many writes there were: what others wait for.
    writes: watch::Sender<u64>,
    clock: Clock,
}

impl MapBackend {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { tables: Arc::default(), writes: watch::Sender::new(0), clock }
    }

    fn read(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A transaction that others are told of.
    fn write<T>(&self, change: impl FnOnce(&mut Tables, Timestamp) -> T) -> T {
        let changed = change(&mut self.read(), self.clock.now());
        self.writes.send_modify(|writes| *writes += 1);
        changed
    }
}

#[async_trait]
impl Backend for MapBackend {
    fn name(&self) -> &'static str {
        "map"
    }

    fn writers(&self) -> usize {
        1
    }

    fn place_key(&self, _stream: &StreamRef, key: StreamKey) -> StreamKey {
        key
    }

    async fn append(&self, groups: &[Group], settings: &Settings) -> Result<Vec<Result<Appended>>> {
        Ok(self.write(|tables, now| {
            groups.iter().map(|group| tables.append(group, now, settings)).collect()
        }))
    }

    async fn find(&self, stream: &StreamRef) -> Result<Option<Found>> {
        let now = self.clock.now();
        Ok(self.read().streams.get(stream).map(|meta| Found { meta: meta.clone(), now }))
    }

    async fn read(&self, key: &StreamKey, after: u64, limit: PageLimit) -> Result<Option<Page>> {
        let now = self.clock.now();
        Ok(self.read().page(key, after, limit, now))
    }

    async fn renew(
        &self,
        stream: &StreamRef,
        lease: &Lease,
        settings: &Settings,
    ) -> Result<LeaseState> {
        Ok(self.write(|tables, now| match tables.streams.get_mut(stream) {
            Some(meta) => meta.plan_renew(lease, now, &settings.retention),
            None => LeaseState::Gone,
        }))
    }

    async fn take_over(&self, key: &StreamKey) -> Result<Option<u64>> {
        Ok(self.write(|tables, _| {
            let meta = tables.meta_mut(key)?;
            meta.reader_epoch += 1;
            Some(meta.reader_epoch)
        }))
    }

    async fn delete_stream(&self, stream: &StreamRef) -> Result<Deleted> {
        Ok(self.write(|tables, _| tables.delete_stream(stream)))
    }

    async fn delete_session(&self, session: &SessionId) -> Result<Deleted> {
        Ok(self.write(|tables, now| tables.delete_session(session, now)))
    }

    async fn load_session(
        &self,
        session: &SessionId,
        settings: &Settings,
    ) -> Result<Option<SessionRecord>> {
        Ok(self.write(|tables, now| tables.use_record(session, now, &settings.retention)))
    }

    async fn store_session(
        &self,
        session: &SessionId,
        record: &SessionRecord,
        settings: &Settings,
    ) -> Result<()> {
        self.write(|tables, now| {
            tables.store_record(session, record.clone(), now, &settings.retention)
        })
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
        Ok(self.read().candidates(which, after.as_ref(), limit))
    }

    async fn large_sessions(
        &self,
        min_bytes: u64,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<(SessionId, u64)>> {
        Ok(self.read().large_sessions(min_bytes, after.as_ref(), limit))
    }

    async fn remove(&self, removals: &[Removal]) -> Result<Vec<Option<u64>>> {
        Ok(self.write(|tables, _| removals.iter().map(|one| tables.remove(one)).collect()))
    }

    async fn reclaim(&self, _max_events: u64) -> Result<u64> {
        // Rows go with their removal here; a database with many would free some at a time.
        Ok(self.write(|tables, _| std::mem::take(&mut tables.freed)))
    }

    async fn forget_sessions(&self, settings: &Settings, limit: usize) -> Result<u64> {
        Ok(self.write(|tables, now| tables.forget_sessions(now, &settings.retention, limit)))
    }

    async fn claim_sweep(&self, instance: &str, ttl: Duration) -> Result<bool> {
        Ok(self.write(|tables, now| {
            let taken = |(by, until): &(String, Timestamp)| by != instance && *until > now;
            if tables.sweeper.as_ref().is_some_and(taken) {
                return false;
            }
            tables.sweeper = (!ttl.is_zero()).then(|| (instance.to_owned(), now.plus(ttl)));
            true
        }))
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(self.read().usage())
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.clock.now())
    }

    fn wakeups(&self) -> BoxStream<'static, Wakeup> {
        // Any stream may have changed: more wake-ups than needed, but none too few.
        let writes = self.writes.subscribe();
        let told = stream::unfold(writes, |mut writes| async move {
            writes.changed().await.ok().map(|()| (Wakeup::Any, writes))
        });
        told.boxed()
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
