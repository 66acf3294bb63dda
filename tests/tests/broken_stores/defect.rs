//! A good store with one thing wrong.

use std::sync::Arc;
use std::time::Duration;

use mcp_event_store_compliance::{Cut, Harness, HarnessError, Opened, async_trait};
use mcp_event_store_core::{
    Begun, Clock, Deleted, EventId, EventStore, Lease, LeaseState, Maintenance, NewEvent, Replay,
    ReplayMode, Result, Scope, SessionId, SessionRecord, SessionStore, Settings, StreamRef,
    SweepReport, Usage,
};

use super::harness::link::{Link, Linked};

/// The good store's faces.
pub(crate) struct Good {
    pub(crate) events: Arc<dyn EventStore>,
    pub(crate) sessions: Arc<dyn SessionStore>,
    pub(crate) maintenance: Arc<dyn Maintenance>,
    /// The connection that it works on.
    pub(crate) link: Link,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
}

/// What is wrong with a store: what it does instead of asking the good one. One value serves all
/// instances on a scope, as a defect in the database would.
#[async_trait]
pub(crate) trait Defect: Default + Send + Sync + 'static {
    /// Settings that are handed on.
    fn settings(&self, settings: &Settings) -> Settings {
        settings.clone()
    }

    async fn store_event(
        &self,
        good: &Good,
        stream: &StreamRef,
        event: NewEvent,
    ) -> Result<EventId> {
        good.events.store_event(stream, event).await
    }

    async fn look_up(&self, good: &Good, id: &EventId) -> Result<Option<StreamRef>> {
        good.events.stream_id_for_event_id(id).await
    }

    async fn replay(
        &self,
        good: &Good,
        scope: Scope<'_>,
        id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        good.events.replay_events_after(scope, id, mode).await
    }

    async fn read(&self, good: &Good, stream: &StreamRef, mode: ReplayMode) -> Result<Replay> {
        good.events.read_stream(stream, mode).await
    }

    async fn begin(&self, good: &Good, stream: &StreamRef, event: NewEvent) -> Result<Begun> {
        let id = self.store_event(good, stream, event).await?;
        let replay = self.read(good, stream, ReplayMode::follow()).await;
        Ok(Begun { id, replay })
    }

    async fn renew(&self, good: &Good, stream: &StreamRef, lease: &Lease) -> Result<LeaseState> {
        good.events.renew(stream, lease).await
    }

    async fn delete_stream(&self, good: &Good, stream: &StreamRef) -> Result<Deleted> {
        good.events.delete_stream(stream).await
    }

    async fn delete_session(&self, good: &Good, session: &SessionId) -> Result<Deleted> {
        good.events.delete_session(session).await
    }

    async fn load(&self, good: &Good, session: &SessionId) -> Result<Option<SessionRecord>> {
        good.sessions.load(session).await
    }

    async fn store(&self, good: &Good, session: &SessionId, record: SessionRecord) -> Result<()> {
        good.sessions.store(session, record).await
    }

    async fn sweep(&self, good: &Good) -> Result<SweepReport> {
        good.maintenance.sweep().await
    }

    async fn usage(&self, good: &Good) -> Result<Usage> {
        good.maintenance.usage().await
    }
}

/// Nothing is wrong.
#[derive(Default)]
pub(crate) struct None;

impl Defect for None {}

/// A scope whose stores have the defect `D`.
pub(crate) struct Broken<D> {
    linked: Linked,
    defect: Arc<D>,
}

/// One store with the defect `D`.
struct Store<D> {
    good: Good,
    defect: Arc<D>,
}

#[async_trait]
impl<D: Defect> Harness for Broken<D> {
    async fn create() -> Result<Self, HarnessError> {
        Ok(Self { linked: Linked::create().await?, defect: Arc::default() })
    }

    async fn open(&self, settings: &Settings, clock: &Clock) -> Result<Opened, HarnessError> {
        let Opened { events, sessions, maintenance } =
            self.linked.open(&self.defect.settings(settings), clock).await?;
        let good = Good {
            events,
            sessions: sessions.ok_or("no sessions")?,
            maintenance: maintenance.ok_or("no maintenance")?,
            link: self.linked.link.clone(),
            settings: settings.clone(),
            clock: clock.clone(),
        };
        let store = Arc::new(Store { good, defect: self.defect.clone() });
        Ok(Opened {
            events: store.clone(),
            sessions: Some(store.clone()),
            maintenance: Some(store),
        })
    }

    fn address(&self) -> String {
        format!("memory, broken by {}", std::any::type_name::<D>())
    }

    async fn tear_down(self: Box<Self>) -> Result<(), HarnessError> {
        Ok(())
    }

    async fn cut(&self, cut: Cut) -> Result<(), HarnessError> {
        self.linked.cut(cut).await
    }

    async fn mend(&self) -> Result<(), HarnessError> {
        self.linked.mend().await
    }

    fn patience(&self) -> Duration {
        // What is broken here often does not answer at all.
        Duration::from_secs(3)
    }
}

#[async_trait]
impl<D: Defect> EventStore for Store<D> {
    async fn store_event(&self, stream: &StreamRef, event: NewEvent) -> Result<EventId> {
        self.defect.store_event(&self.good, stream, event).await
    }

    async fn stream_id_for_event_id(&self, id: &EventId) -> Result<Option<StreamRef>> {
        self.defect.look_up(&self.good, id).await
    }

    async fn replay_events_after(
        &self,
        scope: Scope<'_>,
        last_event_id: &EventId,
        mode: ReplayMode,
    ) -> Result<Replay> {
        self.defect.replay(&self.good, scope, last_event_id, mode).await
    }

    async fn read_stream(&self, stream: &StreamRef, mode: ReplayMode) -> Result<Replay> {
        self.defect.read(&self.good, stream, mode).await
    }

    async fn begin_stream(&self, stream: &StreamRef, event: NewEvent) -> Result<Begun> {
        self.defect.begin(&self.good, stream, event).await
    }

    async fn renew(&self, stream: &StreamRef, lease: &Lease) -> Result<LeaseState> {
        self.defect.renew(&self.good, stream, lease).await
    }

    async fn delete_stream(&self, stream: &StreamRef) -> Result<Deleted> {
        self.defect.delete_stream(&self.good, stream).await
    }

    async fn delete_session(&self, session: &SessionId) -> Result<Deleted> {
        self.defect.delete_session(&self.good, session).await
    }
}

#[async_trait]
impl<D: Defect> SessionStore for Store<D> {
    async fn load(&self, session: &SessionId) -> Result<Option<SessionRecord>> {
        self.defect.load(&self.good, session).await
    }

    async fn store(&self, session: &SessionId, record: SessionRecord) -> Result<()> {
        self.defect.store(&self.good, session, record).await
    }

    async fn touch(&self, session: &SessionId) -> Result<bool> {
        self.good.sessions.touch(session).await
    }

    async fn delete(&self, session: &SessionId) -> Result<Deleted> {
        self.defect.delete_session(&self.good, session).await
    }
}

#[async_trait]
impl<D: Defect> Maintenance for Store<D> {
    async fn sweep(&self) -> Result<SweepReport> {
        self.defect.sweep(&self.good).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.defect.usage(&self.good).await
    }

    async fn ping(&self) -> Result<()> {
        self.good.maintenance.ping().await
    }

    async fn close(&self) -> Result<()> {
        self.good.maintenance.close().await
    }
}
