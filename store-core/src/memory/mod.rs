//! The in-memory backend: the simplest thing that keeps the contract, but for surviving its
//! process (A1, R1, R3). The reference for other backends, and a store for tests.

mod data;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::broadcast;

use self::data::Data;
use crate::backend::{
    Appended, Backend, Candidates, Cursor, Found, Group, Page, PageLimit, Removal, StreamKey,
    StreamMeta, Wakeup,
};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::error::Result;
use crate::event::{Lease, LeaseState, SessionRecord, Timestamp};
use crate::id::{SessionId, StreamRef};
use crate::retention::Settings;
use crate::store::{Deleted, Store, Usage};

/// Wake-ups that a slow listener may fall behind by before it is told to look everywhere.
const WAKEUPS: usize = 1024;

/// Opens a store in memory. Must be called within a Tokio runtime.
///
/// # Errors
/// `InvalidInput` for a setting of zero.
pub fn open(settings: Settings, clock: Clock) -> Result<Store> {
    Ok(Store::new(Engine::open(MemoryBackend::new(clock), settings)?))
}

/// Streams in memory. A clone is another handle on the same streams, as a second process is on
/// the same database.
#[derive(Debug)]
pub struct MemoryBackend {
    shared: Arc<Shared>,
    clock: Clock,
    /// Tells this handle's own commits from those of others.
    handle: u64,
}

#[derive(Debug)]
struct Shared {
    /// Guards everything; nothing awaits under it.
    data: Mutex<Data>,
    commits: broadcast::Sender<(u64, Wakeup)>,
    handles: AtomicU64,
    /// Events that sweeps have freed and not yet reported.
    freed: AtomicU64,
}

impl MemoryBackend {
    /// An empty store.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let commits = broadcast::Sender::new(WAKEUPS);
        let shared = Shared {
            data: Mutex::default(),
            commits,
            handles: AtomicU64::new(1),
            freed: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared), clock, handle: 0 }
    }

    /// Forgets everything, as a flushed server does.
    pub fn flush(&self) {
        *self.data() = Data::default();
        self.tell(Wakeup::Any);
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        self.shared.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, wakeup: Wakeup) {
        // Nobody may be listening.
        let _ = self.shared.commits.send((self.handle, wakeup));
    }
}

impl Clone for MemoryBackend {
    fn clone(&self) -> Self {
        let handle = self.shared.handles.fetch_add(1, Ordering::Relaxed);
        Self { shared: self.shared.clone(), clock: self.clock.clone(), handle }
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn writers(&self) -> usize {
        1
    }

    fn place_key(&self, _stream: &StreamRef, key: StreamKey) -> StreamKey {
        key
    }

    async fn append(&self, groups: &[Group], settings: &Settings) -> Result<Vec<Result<Appended>>> {
        let now = self.clock.now();
        let mut data = self.data();
        let results: Vec<_> =
            groups.iter().map(|group| data.append(group, now, settings)).collect();
        drop(data);
        for (group, _) in groups.iter().zip(&results).filter(|(_, result)| result.is_ok()) {
            self.tell(Wakeup::Stream(group.stream.clone()));
        }
        Ok(results)
    }

    async fn find(&self, stream: &StreamRef) -> Result<Option<Found>> {
        let now = self.clock.now();
        Ok(self.data().meta_of(stream).map(|meta| Found { meta: meta.clone(), now }))
    }

    async fn read(&self, key: &StreamKey, after: u64, limit: PageLimit) -> Result<Option<Page>> {
        let now = self.clock.now();
        Ok(self.data().read(key, after, limit, now))
    }

    async fn renew(
        &self,
        stream: &StreamRef,
        lease: &Lease,
        settings: &Settings,
    ) -> Result<LeaseState> {
        let now = self.clock.now();
        let mut data = self.data();
        let meta = data.meta_of_mut(stream);
        Ok(meta.map_or(LeaseState::Gone, |m| m.plan_renew(lease, now, &settings.retention)))
    }

    async fn take_over(&self, key: &StreamKey) -> Result<Option<u64>> {
        let taken = self.data().take_over(key);
        Ok(taken.map(|(stream, epoch)| {
            self.tell(Wakeup::Stream(stream));
            epoch
        }))
    }

    async fn delete_stream(&self, stream: &StreamRef) -> Result<Deleted> {
        let deleted = self.data().delete_stream(stream);
        self.tell(Wakeup::Stream(stream.clone()));
        Ok(deleted)
    }

    async fn delete_session(&self, session: &SessionId) -> Result<Deleted> {
        let deleted = self.data().delete_session(session, self.clock.now());
        self.tell(Wakeup::Any);
        Ok(deleted)
    }

    async fn load_session(
        &self,
        session: &SessionId,
        settings: &Settings,
    ) -> Result<Option<SessionRecord>> {
        Ok(self.data().use_record(session, self.clock.now(), settings))
    }

    async fn store_session(
        &self,
        session: &SessionId,
        record: &SessionRecord,
        settings: &Settings,
    ) -> Result<()> {
        self.data().store_record(session, record.clone(), self.clock.now(), settings)
    }

    async fn touch_session(&self, session: &SessionId, settings: &Settings) -> Result<bool> {
        Ok(self.data().use_record(session, self.clock.now(), settings).is_some())
    }

    async fn candidates(
        &self,
        which: &Candidates,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<(Vec<StreamMeta>, Option<Cursor>)> {
        Ok(self.data().candidates(which, after.as_ref(), limit))
    }

    async fn large_sessions(
        &self,
        min_bytes: u64,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<(SessionId, u64)>> {
        Ok(self.data().large_sessions(min_bytes, after.as_ref(), limit))
    }

    async fn remove(&self, removals: &[Removal]) -> Result<Vec<Option<u64>>> {
        let mut data = self.data();
        let taken: Vec<_> = removals.iter().map(|removal| data.remove(removal)).collect();
        drop(data);
        self.shared.freed.fetch_add(taken.iter().flatten().sum(), Ordering::Relaxed);
        Ok(taken)
    }

    async fn reclaim(&self, _max_events: u64) -> Result<u64> {
        // Removed events are freed at once; all that is left is to say how many.
        Ok(self.shared.freed.swap(0, Ordering::Relaxed))
    }

    async fn forget_sessions(&self, settings: &Settings, limit: usize) -> Result<u64> {
        Ok(self.data().forget_sessions(self.clock.now(), settings, limit))
    }

    async fn claim_sweep(&self, instance: &str, ttl: Duration) -> Result<bool> {
        Ok(self.data().claim_sweep(instance, self.clock.now(), ttl))
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(self.data().usage())
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.clock.now())
    }

    fn wakeups(&self) -> BoxStream<'static, Wakeup> {
        let own = self.handle;
        let receiver = self.shared.commits.subscribe();
        let wakeups = stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(told) => Some((Some(told), receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((None, receiver)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        });
        let of_others = wakeups.filter_map(move |told| async move {
            match told {
                Some((handle, _)) if handle == own => None,
                Some((_, wakeup)) => Some(wakeup),
                None => Some(Wakeup::Any),
            }
        });
        of_others.boxed()
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
