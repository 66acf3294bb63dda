//! A store that answers late, or not at all, when the test says so.

use std::sync::Arc;

use async_trait::async_trait;
use mcp_event_store::{
    Deleted, Error, EventId, EventStore, Lease, LeaseState, Maintenance, NewEvent, Replay,
    ReplayMode, Result, Scope, SessionId, SessionRecord, SessionStore, Store, StreamRef,
    SweepReport, Usage,
};
use tokio::sync::watch;

/// How appends fare.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Appends {
    Work,
    /// They wait until the store works again.
    Stall,
    /// They fail with `Unavailable`.
    Fail,
}

/// The test's hold on the store.
pub struct Fault(watch::Sender<Appends>);

impl Fault {
    /// A store over `store` that works until told otherwise.
    pub fn over(store: &Store) -> (Self, Store) {
        let (fault, appends) = watch::channel(Appends::Work);
        (Self(fault), Store::new(Arc::new(Faulty { store: store.clone(), appends })))
    }

    pub fn set(&self, appends: Appends) {
        self.0.send_replace(appends);
    }
}

struct Faulty {
    store: Store,
    appends: watch::Receiver<Appends>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventStore for Faulty {
    async fn store_event(&self, stream: &StreamRef, event: NewEvent) -> Result<EventId> {
        let mut appends = self.appends.clone();
        if *appends.wait_for(|a| *a != Appends::Stall).await.unwrap() == Appends::Fail {
            return Err(Error::unavailable("out of order", std::io::Error::other("told to fail")));
        }
        self.store.events().store_event(stream, event).await
    }

    async fn stream_id_for_event_id(&self, id: &EventId) -> Result<Option<StreamRef>> {
        self.store.events().stream_id_for_event_id(id).await
    }

    async fn replay_events_after(
        &self,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        self.store.events().replay_events_after(scope, id, mode).await
    }

    async fn read_stream(&self, stream: &StreamRef, mode: ReplayMode) -> Result<Replay> {
        self.store.events().read_stream(stream, mode).await
    }

    async fn renew(&self, stream: &StreamRef, lease: &Lease) -> Result<LeaseState> {
        self.store.events().renew(stream, lease).await
    }

    async fn delete_stream(&self, stream: &StreamRef) -> Result<Deleted> {
        self.store.events().delete_stream(stream).await
    }

    async fn delete_session(&self, session: &SessionId) -> Result<Deleted> {
        self.store.events().delete_session(session).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SessionStore for Faulty {
    async fn load(&self, session: &SessionId) -> Result<Option<SessionRecord>> {
        self.store.sessions().load(session).await
    }

    async fn store(&self, session: &SessionId, record: SessionRecord) -> Result<()> {
        self.store.sessions().store(session, record).await
    }

    async fn touch(&self, session: &SessionId) -> Result<bool> {
        self.store.sessions().touch(session).await
    }

    async fn delete(&self, session: &SessionId) -> Result<Deleted> {
        self.store.sessions().delete(session).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Maintenance for Faulty {
    async fn sweep(&self) -> Result<SweepReport> {
        self.store.maintenance().sweep().await
    }

    async fn usage(&self) -> Result<Usage> {
        self.store.maintenance().usage().await
    }

    async fn ping(&self) -> Result<()> {
        self.store.maintenance().ping().await
    }

    async fn close(&self) -> Result<()> {
        self.store.maintenance().close().await
    }
}
